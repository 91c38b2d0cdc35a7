"""The headers that are passed between browsers and student code, in either direction.

Towards the session: an allow-list, so that no credential of the hub's is passed on. Towards the
browser: all but those that would act on the hub's origin, on a proxy, or on the connection
(security.md, "The session's server is theirs too").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit

from multidict import CIMultiDict, istr

RawHeaders = Sequence[tuple[bytes, bytes]]  # names in lower case, as ASGI has them
Header = tuple[bytes, bytes]
HeaderList = list[Header]

UPSTREAM_HOST = "session.invalid"
"""The Host that every session's server sees; marimo builds redirects from it."""

SANDBOX_POLICY = (
    "sandbox allow-scripts allow-forms allow-modals allow-popups "
    "allow-popups-to-escape-sandbox allow-downloads"
)
"""The policy that gives a page an opaque origin; never with ``allow-same-origin`` (security.md)."""

_TO_SESSION = {
    name: istr(name.decode().title())
    for name in b"""accept accept-encoding accept-language cache-control content-encoding
    content-language content-type if-match if-modified-since if-none-match if-range
    if-unmodified-since last-event-id marimo-lsp-token marimo-server-token marimo-session-id
    marimo-stable-session-id pragma range user-agent""".split()
}

_HOST = istr("Host")
_CONDITIONAL = frozenset(
    b"""accept-encoding if-match if-modified-since if-none-match if-range if-unmodified-since
    range""".split()
)
_FROM_SESSION_NEVER = frozenset(
    (
        # Listed in security.md.
        b"""set-cookie clear-site-data service-worker-allowed strict-transport-security x-sendfile
        refresh alt-svc report-to nel content-security-policy"""
        # Similar headers: they set state for the origin, ask for a password in the hub's name,
        # report to other servers, or contradict the hub's own headers.
        b""" content-security-policy-report-only reporting-endpoints set-cookie2 set-login
        public-key-pins expect-ct www-authenticate authentication-info use-as-dictionary
        origin-agent-cluster document-policy document-isolation-policy permissions-policy
        feature-policy speculation-rules accept-ch critical-ch delegate-ch link service-worker
        observe-browsing-topics activate-storage-access x-content-type-options x-frame-options
        x-xss-protection x-permitted-cross-domain-policies referrer-policy x-lighttpd-send-file
        x-reproxy-url x-request-id x-dns-prefetch-control content-location"""
        # Hop-by-hop headers, and those that the hub itself sets.
        b""" connection keep-alive proxy-authenticate proxy-authentication-info proxy-connection te
        trailer transfer-encoding upgrade date server via location content-length"""
    ).split()
)

_FROM_SESSION_NEVER_PREFIXES = (
    b"access-control-",
    b"attribution-reporting-",
    b"cross-origin-",
    b"x-accel-",
    b"x-mograder-",
    b"x-remote-",
    b"x-sendfile-",
    b"sec-",
    b"secure-session-",
)

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
    """Return the request headers for a session's server; ``whole`` asks for a plain body."""
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
    hop = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
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


_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_SHARED = ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"*"))


def session_headers(*, sandbox: bool, shared: bool) -> HeaderList:
    """Return the headers of every response from a session, errors included.

    ``sandbox`` makes the origin opaque; pages of ``shared``, capability, paths must read the
    responses. Never with credentials.
    """
    policy = [(b"content-security-policy", SANDBOX_POLICY.encode())] if sandbox else []
    return [*_ALWAYS, *policy, *(_SHARED if shared else ())]


def location_header(address: str) -> Header:
    """Return where to go, with every byte of the request's address that a header may not have."""
    return (b"location", quote(address.encode("latin-1"), safe=_VISIBLE).encode("ascii"))


def public_location(location: str, base_url: str, public_base: str) -> str | None:
    """Translate an upstream redirect to the hub's path; None when it leads elsewhere.

    marimo builds absolute ones from Host (``/b`` → 307), with fewer characters encoded. Dot
    segments would lead out: a program repeats a POST, with its token, where a 307 sends it.
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
        segments, depth = path.split("/"), base_url.count("/") + 1
        if unquote("/".join(segments[:depth])) != unquote(base_url):
            return None
        path = "/".join((public_base, *segments[depth:]))
    elif parts.netloc or parts.scheme:
        return None
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{path}{query}{fragment}"
