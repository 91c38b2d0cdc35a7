"""The routes of OpenID Connect and LTI 1.3; only hubs that have one configured import this."""

from __future__ import annotations

from mograder.web.hub.lti import launch as lti
from mograder.web.hub.lti import pick as lti_pick
from mograder.web.hub.lti import register as lti_register
from mograder.web.hub.lti import scores
from mograder.web.hub.signin import external_people, oidc
from mograder.web.route import Access, Route

ANYONE = Access.ANYONE
INSTRUCTOR = Access.INSTRUCTOR

OIDC_ROUTES: tuple[Route, ...] = (
    Route("GET", "/auth/oidc/start", oidc.start, ANYONE),
    Route("GET", "/auth/oidc/back", oidc.back, ANYONE),
    Route("POST", "/auth/oidc/backchannel-logout", oidc.backchannel_logout, ANYONE),
)

LTI_ROUTES: tuple[Route, ...] = (
    Route("GET", "/lti/login", lti.login, ANYONE),
    Route("POST", "/lti/login", lti.login, ANYONE),
    Route("POST", "/lti/launch", lti.launch, ANYONE),
    Route("POST", "/lti/pick", lti_pick.pick, ANYONE),
    Route("GET", "/lti/keys", lti.keys, ANYONE),
    Route("GET", "/lti/register/{code}", lti_register.ask, ANYONE),
    Route("POST", "/lti/register/{code}", lti_register.use, ANYONE),
    Route("POST", "/course/lti/scores/{name}", scores.send_again, INSTRUCTOR),
    Route("POST", "/course/lti/scores/{name}/put-away", scores.put_away, INSTRUCTOR),
)

PEOPLE_ROUTES: tuple[Route, ...] = (
    Route("GET", "/course/people/sign-in", external_people.sign_in, INSTRUCTOR),
    Route("POST", "/course/people/sign-in/link", external_people.link, INSTRUCTOR),
    Route("POST", "/course/people/sign-in/unlink", external_people.unlink, INSTRUCTOR),
)
"""The page about signing in by other systems, for hubs that have one."""
