"""May a browser do this from the page it is on? Pure checks of ``Origin`` and ``Sec-Fetch-*``.

Session pages run student code in an opaque origin, whose requests say ``Origin: null``; so
``null`` is never accepted, and a page of ours that posts a form must not be served with
``Referrer-Policy: no-referrer``, which makes a browser say ``null`` too (security.md).
"""

from __future__ import annotations

from mograder.auth.identity import Headers, Identity, Method
from mograder.core.errors import Forbidden


def browser_marks(headers: Headers) -> bool:
    """Tell whether a browser sent this: ``Origin`` or any ``Sec-Fetch-*`` header is there."""
    return any(name == b"origin" or name.startswith(b"sec-fetch-") for name, _ in headers)


def same_origin(headers: Headers, own_origins: frozenset[str]) -> bool:
    """Tell whether a page of ours sent this; what the browser does not say counts as no.

    ``Sec-Fetch-Site`` helps where the hub does not know its own public name: no script can set
    it, and a page in an opaque origin is never ``same-origin``.
    """
    origins = _values(headers, b"origin")
    sites = _values(headers, b"sec-fetch-site")
    if len(origins) > 1 or len(sites) > 1:
        return False
    if origins and origins[0] == "null":
        return False
    return (bool(origins) and origins[0] in own_origins) or sites == ["same-origin"]


def check_unsafe(identity: Identity | None, headers: Headers, own_origins: frozenset[str]) -> None:
    """Let an unsafe method pass only from our own pages or from a client that is no browser.

    A bearer identity is exempt, since no browser adds that header by itself. Without an
    identity (the sign-in form) the check holds as well.

    Raises: Forbidden for a request that another site's page caused.
    """
    if not _may(identity, headers, own_origins) and not _typed_in(headers):
        raise Forbidden(
            "This request did not come from a page of this hub.",
            hint="Open the hub in this browser tab again and repeat it there.",
        )


def _may(identity: Identity | None, headers: Headers, own_origins: frozenset[str]) -> bool:
    if identity is not None and identity.method is Method.BEARER:
        return True
    return not browser_marks(headers) or same_origin(headers, own_origins)


def _typed_in(headers: Headers) -> bool:
    """Tell whether the user, and no page, caused it (``Sec-Fetch-Site: none``)."""
    return not _values(headers, b"origin") and _values(headers, b"sec-fetch-site") == ["none"]


def _values(headers: Headers, wanted: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for name, value in headers if name == wanted]
