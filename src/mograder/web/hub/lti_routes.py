"""The table of the routes of LTI 1.3; only hubs that have it configured import it."""

from __future__ import annotations

from mograder.web.hub.routes import Route

LTI_ROUTES: tuple[Route, ...] = ()
