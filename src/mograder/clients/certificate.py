"""A server's certificate: whether it is trusted, why not, and when it expires."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from mograder.clients.tls_errors import trouble_of
from mograder.core.clock import from_unix
from mograder.core.errors import InvalidInput, RemoteFailed

_SECONDS = 10.0
_NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not define."""


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
    """Return a TLS context that trusts the usual authorities and ``authority``.

    Raises:
        InvalidInput: The file cannot be read or has no certificate.
    """
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
    """Connect to a server and return its certificate, checked with ``context``.

    Raises:
        RemoteFailed: The server does not answer, or does not use TLS.
    """
    try:
        try:
            found = _shake_hands(host, port, context)
        except ssl.SSLCertVerificationError as error:
            return _read(_shown_anyway(host, port), *trouble_of(error))
    except (OSError, ValueError) as error:
        raise RemoteFailed(
            f"{host}:{port} cannot be asked for its certificate: {error}."
        ) from error
    return _read(found)


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


def _read(found: dict[str, object], trouble: str = "", remedy: str = "") -> Certificate:
    names = found.get("subjectAltName", ())
    issuer = found.get("issuer", ())
    return Certificate(
        names=tuple(str(name) for _, name in names) if isinstance(names, tuple) else (),
        issuer=_issuer(issuer),
        begins=_time(found.get("notBefore")),
        ends=_time(found.get("notAfter")),
        trouble=trouble,
        remedy=remedy,
    )


def _issuer(issuer: object) -> str:
    if not isinstance(issuer, tuple):
        return ""
    parts = {str(key): str(value) for each in issuer for key, value in each}
    return parts.get("organizationName") or parts.get("commonName") or ""


def _time(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    return from_unix(ssl.cert_time_to_seconds(text))
