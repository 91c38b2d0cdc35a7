"""The security headers of our own pages and answers (security.md, "Our own pages").

Session pages have other ones, which the proxy sets.
"""

from __future__ import annotations

import re

from mograder.web.context import RequestContext

_NAMEABLE_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
"""What a Content-Security-Policy can name: not an IPv6 literal, nothing that ends a directive."""

_UNCHANGING = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"x-frame-options", b"DENY"),
)


def security_headers(context: RequestContext) -> tuple[tuple[bytes, bytes], ...]:
    """The headers that every answer of our own carries, an error's too."""
    return (*_UNCHANGING, (b"content-security-policy", content_security_policy(context).encode()))


def nameable(context: RequestContext) -> bool:
    """Tell whether a policy can name the host of this request."""
    return _NAMEABLE_HOST.fullmatch(context.host) is not None


def content_security_policy(context: RequestContext) -> str:
    """Our policy: scripts and styles from the static path only, nothing inline, no framing.

    ``'self'`` would include the session paths, where student code chooses the bytes, so the
    static path is named with the host in full. A host that a policy cannot name (an IPv6
    literal) gets no scripts at all: the pages work without, and the policy stays closed.
    """
    if nameable(context):
        static = f"{context.scheme}://{context.host}{context.prefix}/static/"
        scripts = styles = images = static
    else:
        scripts, styles, images = "'none'", "'self'", "'self'"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts}",
            f"style-src {styles}",
            f"img-src {images}",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )
