"""The configuration of nginx in front of a hub (nginx 1.18 and later, Debian's own modules)."""

from __future__ import annotations

from mograder.operations.fronts.front import HUB_IS_DOWN, RETRY_SECONDS, Front
from mograder.operations.fronts.templates import render


def nginx_config(front: Front) -> str:
    """Return the site's file."""
    live = f"/etc/letsencrypt/live/{front.sessions.domain}" if front.sessions else ""
    return render(
        "nginx.conf.j2",
        front=front,
        header=front.header or "X-Remote-User",
        user=front.user or '""',
        session_certificate=front.session_certificate or f"{live}/fullchain.pem",
        session_key=front.session_key or f"{live}/privkey.pem",
        retry_seconds=RETRY_SECONDS,
        hub_is_down=HUB_IS_DOWN,
    )
