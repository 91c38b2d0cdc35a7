"""The table of the routes of LTI 1.3; only hubs that have it configured import it."""

from __future__ import annotations

from mograder.web.hub.handlers import lti, lti_pick, lti_register, lti_scores
from mograder.web.hub.routes import Route
from mograder.web.hub.support.access import Access

LTI_ROUTES: tuple[Route, ...] = (
    Route("GET", "/lti/login", lti.login, Access.ANYONE),
    Route("POST", "/lti/login", lti.login, Access.ANYONE),
    Route("POST", "/lti/launch", lti.launch, Access.ANYONE),
    Route("POST", "/lti/pick", lti_pick.pick, Access.ANYONE),
    Route("GET", "/lti/keys", lti.keys, Access.ANYONE),
    Route("GET", "/lti/register/{code}", lti_register.ask, Access.ANYONE),
    Route("POST", "/lti/register/{code}", lti_register.use, Access.ANYONE),
    Route("POST", "/course/lti/scores/{name}", lti_scores.send_again, Access.INSTRUCTOR),
    Route("POST", "/course/lti/scores/{name}/put-away", lti_scores.put_away, Access.INSTRUCTOR),
)
