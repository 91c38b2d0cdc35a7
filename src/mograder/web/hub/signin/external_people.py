"""The instructors' page about signing in by other systems: their addresses, keys and people.

Only hubs with a provider or a platform have it. A link made here lets a person of another system
be a user of this hub; taking one away also ends the person's logins, since one of them may be the
reason for it.
"""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.lti_addresses import ToolAddresses
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import Username
from mograder.operations.sign_in_settings import own_url
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.lti_platforms import Keys, Platforms
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.signin.external_signin import refused_people
from mograder.web.pages import go_to, page, with_outcome
from mograder.web.request_body import read_form
from mograder.web.route import INSTRUCTOR, Route
from mograder.web.sheets import sheet_of

PAGE = "/course/people/sign-in"
_LONGEST_SUBJECT = 255


def sign_in(request: Request, app: CurrentApp) -> Response:
    """Show providers and platforms, the addresses to paste there, and the linked people."""
    engine, own = app.services.state.engine, app.services.loaded.settings.lti.platform
    platforms, people = _platforms(app), ExternalPeople(engine).people()
    wanted = request.query_params.get("q", "").strip()[:100]
    found = [each for each in people if wanted.casefold() in each.username.casefold()]
    return page(
        request,
        "sign_in.html",
        here="people",
        oidc=app.services.loaded.settings.oidc,
        addresses=ToolAddresses(own_url(app.services.loaded)),
        platforms=platforms.all(),
        registered={each.platform.key for each in platforms.registered()}
        - {each.key for each in own},
        keys=Keys(engine, app.services.secret).facts(),
        refused=refused_people(app, people),
        issuers=platforms.issuers(app.services.loaded.settings.oidc.issuer),
        sheet=sheet_of(found, request),
        wanted=wanted,
    )


async def link(request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Let a person of another system be a user of this hub."""
    form = await read_form(request)
    issuer, subject = form.get("issuer", ""), form.get("subject", "").strip()
    user = Username.claimed(form.get("username", "").strip())
    if not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise InvalidInput("Give the person's id there: in Moodle the number of the profile.")

    def make() -> None:
        if issuer not in _platforms(app).issuers(app.services.loaded.settings.oidc.issuer):
            raise NotFound("This hub knows no such platform or provider.")
        now = app.services.clock.now()
        people = ExternalPeople(app.services.state.engine)
        people.link(issuer, subject, user, "", caller.username, now)

    await to_thread.run_sync(make)
    await app.audit.record(request, "link person", f"{user} {issuer} {subject}")
    return go_to(request, with_outcome(PAGE, "linked", user))


async def unlink(request: Request, app: CurrentApp) -> Response:
    """Take a person's link away, and end all the person's tokens, logins and open pages."""
    form = await read_form(request)
    issuer, user = form.get("issuer", ""), Username.parse(form.get("username", ""))
    services = app.services

    def take_away() -> None:
        if not ExternalPeople(services.state.engine).unlink(issuer, user):
            raise NotFound("There is no such link any more.")
        services.revocations.bump_epoch(user)
        services.capabilities.revoke_user(user)

    await to_thread.run_sync(take_away)
    await app.audit.record(request, "unlink person", f"{user} {issuer}")
    return go_to(request, with_outcome(PAGE, "unlinked", user))


def _platforms(app: HubApp) -> Platforms:
    return Platforms(app.services.state.engine, app.services.loaded.settings.lti)


ROUTES = (
    Route("GET", "/course/people/sign-in", sign_in, INSTRUCTOR),
    Route("POST", "/course/people/sign-in/link", link, INSTRUCTOR),
    Route("POST", "/course/people/sign-in/unlink", unlink, INSTRUCTOR),
)
