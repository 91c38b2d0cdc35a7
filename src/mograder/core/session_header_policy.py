"""The headers that may pass between browsers and the servers of sessions.

The hub's proxy (``web.hub.proxy.headers``) filters by these lists (security.md, "The session's
server is theirs too").
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


UPSTREAM_HOST = "session.invalid"
"""The Host that every session's server sees; marimo builds redirects from it."""

SANDBOX_POLICY = (
    "sandbox allow-scripts allow-forms allow-modals allow-popups "
    "allow-popups-to-escape-sandbox allow-downloads"
)
"""The policy that gives a page an opaque origin; never with ``allow-same-origin`` (security.md)."""

TO_SESSION = _words(
    """accept accept-encoding accept-language cache-control content-encoding content-language
    content-type if-match if-modified-since if-none-match if-range if-unmodified-since
    last-event-id marimo-lsp-token marimo-server-token marimo-session-id marimo-stable-session-id
    pragma range user-agent"""
)
"""The allowlist of request headers to a session's server, in lower case."""

FROM_SESSION_NEVER = frozenset(
    _words(  # Listed in security.md.
        """set-cookie clear-site-data service-worker-allowed strict-transport-security x-sendfile
        refresh alt-svc report-to nel content-security-policy"""
    )
    # Similar headers: they set state for the origin, ask for a password in the hub's name, report
    # to other servers, or contradict the hub's own headers.
    + _words(
        """content-security-policy-report-only reporting-endpoints set-cookie2 set-login
        public-key-pins expect-ct www-authenticate authentication-info use-as-dictionary
        origin-agent-cluster document-policy document-isolation-policy permissions-policy
        feature-policy speculation-rules accept-ch critical-ch delegate-ch link service-worker
        observe-browsing-topics activate-storage-access x-content-type-options x-frame-options
        x-xss-protection x-permitted-cross-domain-policies referrer-policy x-lighttpd-send-file
        x-reproxy-url x-request-id x-dns-prefetch-control content-location"""
    )
    # Hop-by-hop headers, and those that the hub itself sets.
    + _words(
        """connection keep-alive proxy-authenticate proxy-authentication-info proxy-connection te
        trailer transfer-encoding upgrade date server via location content-length"""
    )
)
"""Response headers of a session that are not passed to a browser, in lower case."""

FROM_SESSION_NEVER_PREFIXES = (
    "access-control-",
    "attribution-reporting-",
    "cross-origin-",
    "x-accel-",
    "x-mograder-",
    "x-remote-",
    "x-sendfile-",
    "sec-",
    "secure-session-",
)
"""Prefixes of response headers of a session that are not passed to a browser."""

FENCE = (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"))
"""The headers of every response from a session, errors included."""

SHARED = (("access-control-allow-origin", "*"), ("access-control-expose-headers", "*"))
"""Further headers below a capability path, whose pages have another origin."""

ASSET_HEADERS = (
    ("access-control-allow-origin", "*"),
    ("cross-origin-resource-policy", "cross-origin"),
    ("timing-allow-origin", "*"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    ("cache-control", "public, max-age=31536000, immutable"),
    ("vary", "accept-encoding"),
)
"""The headers of marimo's static files: opened as a page, they cannot run scripts."""
