"""Why a server cannot be reached, as far as it makes a difference to what there is to do."""

from __future__ import annotations

import ssl

_UNTRUSTED = (
    "No authority that this machine knows has signed its certificate. If it is your own, name the "
    "authority's file: SSL_CERT_FILE=root.crt"
)


def is_untrusted(error: BaseException | None) -> bool:
    """Whether the server's certificate is the reason."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def remedy(error: BaseException, otherwise: str) -> str:
    """Return what to do: of a certificate, or else what the caller says."""
    return _UNTRUSTED if is_untrusted(error) else otherwise
