"""The security headers of our own pages and responses (security.md, "Our own pages").

The proxy sets different ones on session pages.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from mograder.web.context import RequestContext

_NAMEABLE_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
"""Hosts that a Content-Security-Policy can name: no IPv6 literals, no ``;`` or space."""

_NAMEABLE_ORIGIN = re.compile(rf"https?://{_NAMEABLE_HOST.pattern}")

_UNCHANGING = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"x-frame-options", b"DENY"),
)


def security_headers(context: RequestContext) -> tuple[tuple[bytes, bytes], ...]:
    """Return the security headers of every response of our own, errors included."""
    return (*_UNCHANGING, (b"content-security-policy", content_security_policy(context).encode()))


def policy_source(context: RequestContext, path: str = "") -> str:
    """Return the source of a policy that is an address of ours; ``path`` has the prefix.

    It is ``'self'`` where a policy cannot name the host (an IPv6 literal).
    """
    if not _NAMEABLE_HOST.fullmatch(context.host):
        return "'self'"
    return f"{context.scheme}://{context.host}{path}"


def content_security_policy(
    context: RequestContext, *, frames: Collection[str] = (), posts: Collection[str] = ()
) -> str:
    """Return our policy: scripts and styles from the static path only, nothing inline, no framing.

    ``frames`` are the origins whose pages may show this page in a frame (browsers that know this
    ignore ``X-Frame-Options``), ``posts`` further origins that its forms may be sent to.

    ``'self'`` would include the session paths, where student code chooses the bytes, so the static
    path is named with the host in full. With a host that a policy cannot name (an IPv6 literal) no
    scripts are allowed; the pages work without them.
    """
    static = policy_source(context, f"{context.prefix}/static/")
    scripts = "'none'" if static == "'self'" else static
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts}",
            f"style-src {static}",
            f"img-src {static}",
            "connect-src 'self'",
            " ".join(("form-action 'self'", *_named(posts))),
            "base-uri 'none'",
            " ".join(("frame-ancestors", *(_named(frames) or ["'none'"]))),
        )
    )


def _named(origins: Collection[str]) -> list[str]:
    """Return the origins that a policy can name, sorted."""
    return sorted(each for each in origins if _NAMEABLE_ORIGIN.fullmatch(each))
