"""TLS of the connections between nodes and hubs: version 1.3, certificates of the course only."""

from __future__ import annotations

import os
import ssl

from mograder.auth.node_certificates import KeyAndCertificate

ALPN = "mograder-node/1"


def hub_context(pair: KeyAndCertificate, authority: bytes) -> ssl.SSLContext:
    """Return a hub's side; ``authority`` is the certificate (PEM) that signed the nodes'.

    A client without a certificate is let in, since a machine that joins has none; one with a
    certificate that is not valid is refused.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cadata=authority.decode("ascii"))
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # no connection is resumed
    use_certificate(context, pair)
    return context


def node_context(authority: bytes, pair: KeyAndCertificate | None = None) -> ssl.SSLContext:
    """Return a node's side, which accepts hubs of this authority only.

    Without ``pair`` the node shows no certificate, as it does when it joins.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.decode("ascii"))
    if pair is not None:
        use_certificate(context, pair)
    return context


def unverified_context() -> ssl.SSLContext:
    """Return a client's side that accepts any server, to fetch what is not secret from it.

    The certificate of the authority is fetched so; its key is then compared with a fingerprint.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def use_certificate(context: ssl.SSLContext, pair: KeyAndCertificate) -> None:
    """Use a key and its certificate for the connections that a context makes from now on."""
    # The function reads files only; this one is in memory.
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pair.key + pair.certificate)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def _context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols([ALPN])
    return context
