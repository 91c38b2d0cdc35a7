"""The headers that are passed between browsers and student code, in either direction.

Towards the session: an allow-list, so that no credential of the hub's is passed on. Towards the
browser: all but those that would act on the hub's origin, on a proxy, or on the connection
(security.md, "The session's server is theirs too").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote, urlsplit

from multidict import CIMultiDict, istr

from mograder.core.session_header_policy import (
    FENCE,
    FROM_SESSION_NEVER,
    FROM_SESSION_NEVER_PREFIXES,
    SANDBOX_POLICY,
    SHARED,
    TO_SESSION,
    UPSTREAM_HOST,
)

RawHeaders = Sequence[tuple[bytes, bytes]]  # names in lower case, as ASGI has them
Header = tuple[bytes, bytes]
HeaderList = list[Header]

_POLICY = SANDBOX_POLICY.encode()
_TO_SESSION = {name.encode(): istr(name.title()) for name in TO_SESSION}
_HOST = istr("Host")
_CONDITIONAL = frozenset(
    b"""accept-encoding if-match if-modified-since if-none-match if-range if-unmodified-since
    range""".split()
)
_FROM_SESSION_NEVER = frozenset(name.encode() for name in FROM_SESSION_NEVER)
_FROM_SESSION_NEVER_PREFIXES = tuple(name.encode() for name in FROM_SESSION_NEVER_PREFIXES)
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_VISIBLE = "".join(map(chr, range(33, 127)))
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


def header(headers: RawHeaders, name: bytes) -> str:
    """Return a header's first value as text, or ""."""
    for each, value in headers:
        if each == name:
            return value.decode("latin-1")
    return ""


def upstream_headers(headers: RawHeaders, *, whole: bool) -> CIMultiDict[str]:
    """Return the request headers to send to a session's server.

    ``whole`` asks for the complete, unencoded body, since the hub is going to write into it.
    """
    passed: CIMultiDict[str] = CIMultiDict()
    passed[_HOST] = UPSTREAM_HOST
    for name, value in headers:
        known = _TO_SESSION.get(name)
        if known is None or (whole and name in _CONDITIONAL):
            continue
        try:
            passed.add(known, value.decode("utf-8"))
        except UnicodeDecodeError:
            continue  # not text: marimo reads no header with such a value
    if whole:
        passed["Accept-Encoding"] = "identity"
    return passed


def response_headers(headers: RawHeaders) -> HeaderList:
    """Return the session's headers to send to a browser, without length and location."""
    hop = _named_by_connection(headers)
    return [
        (name, value)
        for name, value in headers
        if _may_pass(name) and name not in hop and not _BAD_VALUE.search(value)
    ]


@lru_cache(maxsize=1024)
def _may_pass(name: bytes) -> bool:
    if name in _FROM_SESSION_NEVER or name.startswith(_FROM_SESSION_NEVER_PREFIXES):
        return False
    return _NAME.fullmatch(name) is not None


def content_length(headers: RawHeaders, status: int) -> int | None:
    """Return the announced length, or None unless it is one number and the body exists."""
    values = [value for name, value in headers if name == b"content-length"]
    if len(values) != 1 or status in (204, 304) or header(headers, b"transfer-encoding"):
        return None
    value = values[0]
    return int(value) if value.isdigit() and len(value) < 19 else None


_ALWAYS = tuple((name.encode(), value.encode()) for name, value in FENCE)
_SHARED = tuple((name.encode(), value.encode()) for name, value in SHARED)


def session_headers(*, sandbox: bool, shared: bool) -> HeaderList:
    """Return the headers of every response from a session, errors included.

    ``sandbox`` makes the origin opaque; ``shared`` is for capability paths, whose pages therefore
    have another origin and must read the responses. Never with credentials.
    """
    policy = [(b"content-security-policy", _POLICY)] if sandbox else []
    return [*_ALWAYS, *policy, *(_SHARED if shared else ())]


def location_header(address: str) -> Header:
    """Return where to go, with every byte of the request's address that a header may not have."""
    return (b"location", quote(address.encode("latin-1"), safe=_VISIBLE).encode("ascii"))


def public_location(location: str, base_url: str, public_base: str) -> str | None:
    """Translate an upstream redirect to the hub's path; None when it leads elsewhere.

    marimo builds absolute ones from Host (``/b`` → 307); the host never reaches the browser. Dot
    segments would lead out of the session: a program repeats a POST, with its token, where a 307
    sends it.
    """
    if _BAD_VALUE.search(location.encode("utf-8", "replace")) or "\\" in location:
        return None
    try:
        parts = urlsplit(location)
    except ValueError:
        return None
    if parts.netloc not in ("", UPSTREAM_HOST) or parts.scheme not in ("", "http", "https"):
        return None
    path = parts.path
    if _DOTS.search(path):
        return None
    if path.startswith("/"):
        if path != base_url and not path.startswith(base_url + "/"):
            return None
        path = public_base + path.removeprefix(base_url)
    elif parts.netloc or parts.scheme:
        return None
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{path}{query}{fragment}"


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return frozenset(named)
