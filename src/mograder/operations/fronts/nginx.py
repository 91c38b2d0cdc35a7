"""The configuration of nginx in front of a hub (nginx 1.18 and later, Debian's own modules).

nginx has an allow-list for request headers. It can remove response headers only by full name, so
families of headers are listed in full. The hub decides where a request is sent; nginx's own parsing
of the address is not used for this.
"""

from __future__ import annotations

from mograder.core.session_header_policy import (
    ASSET_HEADERS,
    FAMILIES_BY_NAME,
    FRONT_DOOR,
    TO_SESSION,
    UPSTREAM_HOST,
)
from mograder.operations.fronts.front import (
    ASSET_PATH,
    FENCED,
    HUB_IS_DOWN,
    NEVER,
    RELATIVE,
    RETRY_SECONDS,
    Front,
)
from mograder.operations.fronts.templates import render
from mograder.sandbox.environments.static_assets import ASSET_TYPES

_BY_ITSELF = frozenset({"date", "server"})
"""Headers that nginx always removes, and writes itself."""

_HEADERS_IGNORED = (
    "X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate X-Accel-Buffering X-Accel-Charset"
)
_OWN = r"(?<mg_base>[^ ]+) (?:https?://session\.invalid)?\k<mg_base>/(?<mg_rest>[!-\[\]-~]*)"
_RELATIVE = rf"[^ ]+ (?<mg_relative>{RELATIVE})"
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
        prefix_pattern=front.prefix.replace(".", "\\."),
        own_pattern=_OWN,
        relative_pattern=_RELATIVE,
        asset_pattern=ASSET_PATH,
        asset_types=ASSET_TYPES,
        asset_headers=ASSET_HEADERS,
        fence=FENCED,
        front_door=FRONT_DOOR,
        upstream_host=UPSTREAM_HOST,
        to_session=(*TO_SESSION, *(f"sec-websocket-{name}" for name in _WEBSOCKET)),
        ignored=_HEADERS_IGNORED,
        hidden=sorted({*NEVER, *FAMILIES_BY_NAME} - _BY_ITSELF),
        retry_seconds=RETRY_SECONDS,
        hub_is_down=HUB_IS_DOWN,
    )
