"""CSRF protection: pure checks of ``Origin`` and ``Sec-Fetch-*``.

Session pages run student code in an opaque origin, whose requests have ``Origin: null``; so
``null`` is never accepted, and a page of ours that posts a form must not be served with
``Referrer-Policy: no-referrer``, which makes a browser send ``null`` too (security.md).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from mograder.auth.identity import Headers
from mograder.core.errors import Forbidden


def browser_marks(headers: Headers) -> bool:
    """Return whether a browser sent a request: it has ``Origin`` or a ``Sec-Fetch-*`` header."""
    return any(name == b"origin" or name.startswith(b"sec-fetch-") for name, _ in headers)


def same_origin(headers: Headers, own_origins: frozenset[str]) -> bool:
    """Return whether a page of ours sent the request; without these headers, it did not.

    ``Sec-Fetch-Site`` helps where the hub does not know by which scheme and port browsers come: no
    script can set it, and a page in an opaque origin is never ``same-origin``. The name in
    ``Origin`` has to be ours, or the one that was requested, all the same.
    """
    origins = _values(headers, b"origin")
    sites = _values(headers, b"sec-fetch-site")
    if len(origins) > 1 or len(sites) > 1:
        return False
    if origins and origins[0] in own_origins:
        return True
    if sites != ["same-origin"]:
        return False
    if not origins:
        return True
    hosts = (f"//{host}" for host in _values(headers, b"host"))
    named = _name(origins[0])
    return named is not None and named in map(_name, (*own_origins, *hosts))


def from_other_site(headers: Headers) -> bool:
    return not set(_values(headers, b"sec-fetch-site")) <= {"same-origin", "none"}


def loaded_by_other_site(headers: Headers) -> bool:
    """Return whether a page of another origin loads this into itself: its reader has not asked."""
    fetched = (_values(headers, b"sec-fetch-mode"), _values(headers, b"sec-fetch-dest"))
    return from_other_site(headers) and fetched != (["navigate"], ["document"])


def check_unsafe(headers: Headers, own_origins: frozenset[str]) -> None:
    """Check that a request with an unsafe method is from our own pages or not from a browser.

    Call it for each request but those with a bearer token, also for one without an identity (the
    sign-in form).

    Raises: Forbidden for a request that another site's page caused.
    """
    if not browser_marks(headers) or same_origin(headers, own_origins):
        return
    # None: the user, not a page, caused the request.
    if _values(headers, b"origin") or _values(headers, b"sec-fetch-site") != ["none"]:
        raise Forbidden(
            "This request did not come from a page of this hub.",
            hint="Open the hub in this browser tab again and repeat it there. If that "
            "does not help, the web server in front of the hub has to pass on the browser's Host.",
        )


def _name(origin: str) -> str | None:
    """Return the host's name without its port, None for ``null`` and what cannot be read."""
    try:
        return urlsplit(origin).hostname
    except ValueError:
        return None


def _values(headers: Headers, wanted: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for name, value in headers if name == wanted]
