"""The routes of the page about signing in by other systems; only hubs with one import it."""

from __future__ import annotations

from mograder.web.hub.handlers import external_people
from mograder.web.hub.routes import Route
from mograder.web.hub.support.access import Access

PEOPLE_ROUTES: tuple[Route, ...] = (
    Route("GET", external_people.PAGE, external_people.sign_in, Access.INSTRUCTOR),
    Route("POST", f"{external_people.PAGE}/link", external_people.link, Access.INSTRUCTOR),
    Route("POST", f"{external_people.PAGE}/unlink", external_people.unlink, Access.INSTRUCTOR),
)
