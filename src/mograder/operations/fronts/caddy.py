"""The configuration of Caddy in front of a hub (Caddy 2.6, as Debian has it, and later).

Caddy has no allow-list for headers. So it removes request headers by name and by prefix, and the
hub, which receives all of them in Caddy's subrequest, permits the fast path only for requests
without other headers (``core.session_header_policy``).
"""

from __future__ import annotations

from mograder.core.session_header_policy import (
    ASSET_HEADERS,
    FROM_SESSION_NEVER_PREFIXES,
    FRONT_DOOR,
    REMOVED_BY_FRONT,
    REMOVED_BY_FRONT_PREFIXES,
    UPSTREAM_HOST,
)
from mograder.operations.fronts.front import (
    ASSET_PATH,
    CAPABILITY,
    FENCED,
    HUB_IS_DOWN,
    NEVER,
    RELATIVE,
    RETRY_SECONDS,
    Front,
)
from mograder.operations.fronts.templates import render
from mograder.sandbox.environments.static_assets import ASSET_TYPES

_OWN = r"(?:https?://session\.invalid)?/(?:edit|run)/user/[^/]+/[^/]+/"
_KEPT = frozenset({"sec-"})
_FAMILIES = ("sec-session-",)


def caddy_config(front: Front) -> str:
    """Return the site's block; with the fast path if the settings name its group."""
    families = [name for name in FROM_SESSION_NEVER_PREFIXES if name not in _KEPT]
    return render(
        "Caddyfile.j2",
        front=front,
        header=front.header or "X-Remote-User",
        own_certificate=bool(front.certificate)
        and not front.certificate.startswith("/etc/letsencrypt/"),
        signs_in_here=_signs_in_here(front),
        prefix_pattern=front.prefix.replace(".", "\\."),
        own_pattern=_OWN,
        relative_pattern=RELATIVE,
        asset_pattern=ASSET_PATH,
        capability_pattern=CAPABILITY,
        asset_types=ASSET_TYPES,
        asset_headers=ASSET_HEADERS,
        fence=FENCED,
        front_door=FRONT_DOOR,
        upstream_host=UPSTREAM_HOST,
        removed=(*REMOVED_BY_FRONT, *(f"{name}*" for name in REMOVED_BY_FRONT_PREFIXES)),
        never=(*NEVER, *(f"{name}*" for name in (*families, *_FAMILIES))),
        retry_seconds=RETRY_SECONDS,
        hub_is_down=HUB_IS_DOWN,
    )


def _signs_in_here(front: Front) -> bool:
    """Return whether Caddy itself asks users to sign in.

    A variable of ``vars`` has the username from a single sign-on in front of Caddy. Such a sign-on
    may add its own bearer tokens; these requests must keep the username.
    """
    return bool(front.user) and not front.user.startswith("{http.vars.")
