"""The reason of a failed TLS connection, as far as the remedy depends on it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import MappingProxyType

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

_OTHER = ("is signed by no authority that this machine trusts", _UNTRUSTED)


def trouble_of(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """Return the problem of a certificate that was not accepted, and the remedy."""
    return _TROUBLES.get(getattr(error, "verify_code", 0), _OTHER)


def certificate_trouble(error: BaseException | None) -> tuple[str, str] | None:
    """Return the problem of a server's certificate and the remedy; None for another error."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return trouble_of(error)
        error = error.__cause__ or error.__context__
    return None


def remedy(error: BaseException, otherwise: str) -> str:
    """Return the remedy for a certificate error, ``otherwise`` for any other."""
    trouble = certificate_trouble(error)
    return otherwise if trouble is None else trouble[1]
