"""The configuration of Caddy in front of a hub (Caddy 2.6, as Debian has it, and later)."""

from __future__ import annotations

from mograder.operations.fronts.front import HUB_IS_DOWN, RETRY_SECONDS, Front
from mograder.operations.fronts.templates import render


def caddy_config(front: Front) -> str:
    """Return the site's block."""
    return render(
        "Caddyfile.j2",
        front=front,
        hubs=" ".join(front.upstreams),
        header=front.header or "X-Remote-User",
        own_certificate=bool(front.certificate)
        and not front.certificate.startswith("/etc/letsencrypt/"),
        signs_in_here=_signs_in_here(front),
        retry_seconds=RETRY_SECONDS,
        hub_is_down=HUB_IS_DOWN,
    )


def _signs_in_here(front: Front) -> bool:
    """Return whether Caddy itself asks users to sign in.

    A variable of ``vars`` has the username from a single sign-on in front of Caddy. Such a sign-on
    may add its own bearer tokens; these requests must keep the username.
    """
    return bool(front.user) and not front.user.startswith("{http.vars.")
