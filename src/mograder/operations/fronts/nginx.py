"""The configuration of nginx in front of a hub (nginx 1.18 and later, Debian's own modules).

nginx has an allow-list for request headers. It can remove response headers only by full name, so
families of headers are listed in full. The hub decides where a request is sent; nginx's own parsing
of the address is not used for this (decision 0034). The header lists are those of the hub's own
proxy (``core.session_header_policy``).
"""

from __future__ import annotations

from mograder.core.session_header_policy import (
    ASSET_HEADERS,
    FAMILIES_BY_NAME,
    FENCE,
    FROM_SESSION_NEVER,
    FRONT_DOOR,
    SANDBOX_POLICY,
    SHARED,
    TO_SESSION,
    UPSTREAM_HOST,
)
from mograder.operations.fronts.front import HUB_IS_DOWN, RETRY_SECONDS, Front
from mograder.operations.fronts.templates import render
from mograder.sandbox.environments.static_assets import ASSET_TYPES, SET_NAME

_PART = "[0-9A-Za-z_@~+-][0-9A-Za-z._@~+-]{0,119}"
_KINDS = "|".join(suffix[1:] for suffix in ASSET_TYPES)
_ASSET_PATH = rf"/s/_marimo/({SET_NAME.pattern})/((?:{_PART}/)*{_PART}\.(?:{_KINDS}))"
"""A pattern for paths of marimo's static files below the prefix; it matches no dot segments."""

_FENCED = (*SHARED, *FENCE, ("content-security-policy", SANDBOX_POLICY))
"""The headers added to every session response on the fast path, including errors."""

_WRITTEN_ANEW = frozenset(
    {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
)
"""Headers that nginx always removes, and writes itself."""

_HEADERS_IGNORED = (
    "X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset"
)
_OWN = r"(?<mg_base>[^ ]+) (?:https?://session\.invalid)?\k<mg_base>/(?<mg_rest>[!-\[\]-~]*)"
_RELATIVE = r"[^ ]+ (?<mg_relative>[A-Za-z0-9._~%?=&@-][!-9;-\[\]-~]*)"
"""A pattern for relative redirects: no scheme, no host, no backslash."""

_WEBSOCKET = ("key", "version", "protocol", "extensions")


def nginx_config(front: Front) -> str:
    """Return the site's file; with the fast path if the settings name its group."""
    live = f"/etc/letsencrypt/live/{front.sessions.domain}" if front.sessions else ""
    return render(
        "nginx.conf.j2",
        front=front,
        header=front.header or "X-Remote-User",
        user=front.user or '""',
        session_certificate=front.session_certificate or f"{live}/fullchain.pem",
        session_key=front.session_key or f"{live}/privkey.pem",
        own_pattern=_OWN,
        relative_pattern=_RELATIVE,
        asset_pattern=_ASSET_PATH,
        asset_types=ASSET_TYPES,
        asset_headers=ASSET_HEADERS,
        fence=_FENCED,
        front_door=FRONT_DOOR,
        upstream_host=UPSTREAM_HOST,
        to_session=(*TO_SESSION, *(f"sec-websocket-{name}" for name in _WEBSOCKET)),
        ignored=_HEADERS_IGNORED,
        hidden=sorted({*FROM_SESSION_NEVER, *FAMILIES_BY_NAME} - _WRITTEN_ANEW),
        retry_seconds=RETRY_SECONDS,
        hub_is_down=HUB_IS_DOWN,
    )
