"""A server's certificate: whether it is trusted, why not and what to do, and when it expires.

Also the answer of a server that speaks no TLS.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import httpx

from mograder.core.clock import from_unix
from mograder.core.errors import InvalidInput, RemoteFailed

_SECONDS = 10.0
_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not define."""

_UNTRUSTED = (
    "No authority that this machine knows has signed its certificate. If it is your own, name the "
    "authority's file: SSL_CERT_FILE=root.crt"
)
_WRONG_NAME = (
    "Use the name that the certificate has, or give the server a certificate for this one."
)
_SELF_SIGNED = (
    "The certificate is self-signed. Use one that an authority has signed, or name "
    "the certificate's file as trusted: SSL_CERT_FILE=server.crt"
)
_EXPIRED = "Renew it on the server, and find out why it was not renewed automatically."
_CLOCK = "Compare the clocks of this machine and of the server."

_TROUBLES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        9: ("is not valid yet", _CLOCK),
        10: ("has expired", _EXPIRED),
        18: ("is signed by itself alone", _SELF_SIGNED),
        62: ("is for another name", _WRONG_NAME),
        64: ("is for another address", _WRONG_NAME),
    }
)
"""OpenSSL's code → the problem of a certificate, and the remedy."""

_NO_TLS = (
    "speaks no TLS",
    "The server seems to speak plain http: does its address begin with http://?",
)
_NO_TLS_REASONS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"})
"""OpenSSL's reasons for an answer in plain text, the second one since OpenSSL 3.2."""

_OTHER = ("is signed by no authority that this machine trusts", _UNTRUSTED)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate: ``trouble`` is why it is not trusted, ``remedy`` how to fix it."""

    names: tuple[str, ...]
    issuer: str
    begins: datetime | None
    ends: datetime | None
    trouble: str = ""
    remedy: str = ""


def trusting(authority: Path | None) -> ssl.SSLContext:
    """Return a TLS context that trusts ``authority``, too; raises InvalidInput."""
    context = httpx.create_ssl_context()
    if authority is None:
        return context
    try:
        context.load_verify_locations(cafile=str(authority))
    except ssl.SSLError as error:
        raise InvalidInput(f"{authority} holds no certificate in PEM form.") from error
    except OSError as error:
        raise InvalidInput(
            f"The authority's certificate {authority} cannot be read: {error.strerror}.",
            hint="Let this user read it; for mograder-hub: sudo SSL_CERT_FILE=FILE mograder-hub …",
        ) from error
    return context


def look_at_certificate(host: str, port: int, context: ssl.SSLContext) -> Certificate:
    """Connect and return the certificate, checked with ``context``; raises RemoteFailed."""
    try:
        try:
            found = _shake_hands(host, port, context)
        except ssl.SSLCertVerificationError as error:
            return _read(_shown_anyway(host, port), trouble_of(error))
    except (OSError, ValueError) as error:
        raise RemoteFailed(
            f"{host}:{port} cannot be asked for its certificate: {error}."
        ) from error
    return _read(found)


def trouble_of(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    return _TROUBLES.get(getattr(error, "verify_code", 0), _OTHER)


def tls_trouble(error: BaseException | None) -> tuple[str, str] | None:
    """Return the problem of a server's certificate or TLS and the remedy; None for another error.

    A connection that ends during the handshake is another error, which may pass.
    """
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return trouble_of(error)
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS_REASONS:
            return _NO_TLS
        error = error.__cause__ or error.__context__
    return None


def remedy(error: BaseException, otherwise: str) -> str:
    trouble = tls_trouble(error)
    return otherwise if trouble is None else trouble[1]


def _shake_hands(host: str, port: int, context: ssl.SSLContext) -> dict[str, object]:
    with (
        socket.create_connection((host, port), timeout=_SECONDS) as line,
        context.wrap_socket(line, server_hostname=host) as secured,
    ):
        return dict(secured.getpeercert() or {})


def _shown_anyway(host: str, port: int) -> dict[str, object]:
    """Return the content of a certificate that is not trusted.

    Python only parses certificates that it trusts, so the certificate itself is made the trusted
    authority, and its name and dates are not checked.
    """
    shown = ssl.get_server_certificate((host, port), timeout=_SECONDS)
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    alone.check_hostname = False
    alone.load_verify_locations(cadata=shown)
    alone.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    alone.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    try:
        return _shake_hands(host, port, alone)
    except ssl.SSLCertVerificationError:  # the problem is known already
        return {}


def _read(found: dict[str, object], problem: tuple[str, str] = ("", "")) -> Certificate:
    names = found.get("subjectAltName", ())
    issuer = found.get("issuer", ())
    parts = (
        {str(key): str(value) for each in issuer for key, value in each}
        if isinstance(issuer, tuple)
        else {}
    )
    return Certificate(
        names=tuple(str(name) for _, name in names) if isinstance(names, tuple) else (),
        issuer=parts.get("organizationName") or parts.get("commonName") or "",
        begins=_time(found.get("notBefore")),
        ends=_time(found.get("notAfter")),
        trouble=problem[0],
        remedy=problem[1],
    )


def _time(text: object) -> datetime | None:
    return from_unix(ssl.cert_time_to_seconds(text)) if isinstance(text, str) else None
