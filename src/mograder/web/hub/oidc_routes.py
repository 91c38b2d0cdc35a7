"""The table of the routes of OpenID Connect; only hubs that have it configured import it."""

from __future__ import annotations

from mograder.web.hub.handlers import oidc
from mograder.web.hub.routes import Route
from mograder.web.hub.support.access import Access

OIDC_ROUTES: tuple[Route, ...] = (
    Route("GET", "/auth/oidc/start", oidc.start, Access.ANYONE),
    Route("GET", "/auth/oidc/back", oidc.back, Access.ANYONE),
    Route("POST", "/auth/oidc/backchannel-logout", oidc.backchannel_logout, Access.ANYONE),
)
