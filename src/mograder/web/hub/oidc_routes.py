"""The table of the routes of OpenID Connect; only hubs that have it configured import it."""

from __future__ import annotations

from mograder.web.hub.routes import Route

OIDC_ROUTES: tuple[Route, ...] = ()
