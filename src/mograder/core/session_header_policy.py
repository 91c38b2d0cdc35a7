"""The headers that may pass between browsers and the servers of sessions.

A "front" is a web server that forwards requests to the hub.

The hub's own proxy (``web.hub.proxy.headers``) and the configuration that ``mograder hub
proxy-config`` writes for nginx's fast path both use these lists, so that they filter alike
(security.md, "The session's server is theirs too").
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
)
"""Prefixes of response headers of a session that are not passed to a browser."""

FAMILIES_BY_NAME = _words(
    """access-control-allow-credentials access-control-allow-headers
    access-control-allow-local-network access-control-allow-methods access-control-allow-origin
    access-control-allow-private-network access-control-expose-headers access-control-max-age
    attribution-reporting-info attribution-reporting-register-os-source
    attribution-reporting-register-os-trigger attribution-reporting-register-source
    attribution-reporting-register-trigger cross-origin-embedder-policy
    cross-origin-embedder-policy-report-only cross-origin-opener-policy
    cross-origin-opener-policy-report-only cross-origin-resource-policy location
    sec-session-challenge sec-session-id sec-session-registration upgrade x-accel-buffering
    x-accel-charset x-accel-expires x-accel-limit-rate x-accel-redirect x-mograder-base
    x-mograder-root x-mograder-session x-mograder-socket x-mograder-target x-remote-user
    x-sendfile-type"""
)
"""The known headers with these prefixes, for nginx, which removes headers by name only."""

FRONT_DOOR = "/_front/session"
"""The path below the hub's prefix where a front asks, once per request, which session it is for."""

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
