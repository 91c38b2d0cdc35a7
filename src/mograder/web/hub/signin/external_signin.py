"""Signing in by another system: the cookies of one under way, the user name, the link, the login.

On the instructors' page a person of another system becomes a user of this hub; taking a link away
also ends the person's logins, since one of them may be the reason for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth import external_signin
from mograder.auth.credentials import LIFETIME, Login
from mograder.auth.external_signin import (
    Flow,
    ProvenPerson,
    Refusal,
    SignInState,
    display_line,
    parsed_name,
)
from mograder.auth.lti_addresses import ToolAddresses, addresses_of
from mograder.core.errors import Conflict, Forbidden, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.core.names import Username
from mograder.core.sections.settings_model import LtiPlatform
from mograder.exchange.moodle.participants import remembered_people
from mograder.operations.sign_in_settings import own_url
from mograder.store.external.external_people import (
    ExternalPeople,
    ExternalPerson,
    ProviderLogins,
    parsed_subject,
)
from mograder.store.external.lti_platforms import Keys, Platforms
from mograder.store.gradebook.gradebook import existing_gradebook
from mograder.web.app import content_security_policy
from mograder.web.context import request_context
from mograder.web.hub.core.access import IDENTITY, Caller, identity_of
from mograder.web.hub.core.audit import BY_FRONT, Event, LoginThrottle
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.responses import failure_page
from mograder.web.hub.signin.signin import new_login, replace_login, safe_next, signed_in
from mograder.web.pages import go_to, page, sheet_of, with_outcome
from mograder.web.request_body import read_form
from mograder.web.route import INSTRUCTOR, Route

_log = get_logger(__name__)
_LONGEST_NAME = 100
_MOST_REFUSED = 500
_KNOWN_HERE = re.compile(
    rf"(?P<issuer>\S+): {Refusal.KNOWN_HERE} \(subject (?P<subject>.{{1,255}})\)"
)
"""What the audit log has of a person whose name this hub knows, as `refuse` writes it."""

_NO_GUESSES = frozenset({*Refusal, "not entitled", "foreign course", "unreachable"})
"""Refusals that are no guesses: the other system has proved the person, or could not be asked."""

PAGE = "/course/people/sign-in"


async def complete(
    request: Request, app: HubApp, person: ProvenPerson, target: str, *, old_login: str = ""
) -> Response:
    """Sign a proven person in and answer 303 to ``target``, or with a page that says why not.

    The browser's login of before ends: the one of this request and ``old_login``. The new one has
    an id of its own, also for the same person, whose open notebooks go on by it.
    """
    present = identity_of(request)
    front = present.username if present is not None and present.front else ""
    name, linked = await to_thread.run_sync(_user_of, app, person, front)
    where = request_context(request).address
    if linked:
        link = f"{name} {person.issuer} {person.subject}"
        await app.audit.granted(Event(name, "link person", link, where))
    if not isinstance(name, Refusal) and front not in ("", name):
        name = Refusal.FRONT_DISAGREES
    if isinstance(name, Refusal):
        told = "" if isinstance(person.name, Refusal) else display_line(person.name, _LONGEST_NAME)
        # The log tells the subject, which an instructor needs to link the person.
        subject = f"subject {person.subject}"
        return await refuse(request, app, name, issuer=person.issuer, name=told, detail=subject)
    login = new_login(app, name, person.role, person.lifetime)
    old = {old_login, present.login_id if present is not None else ""} - {""}
    await to_thread.run_sync(_exchange, app, person, login, old)
    await app.audit.granted(Event(name, "sign in", f"{person.method} {person.issuer}", where))
    return signed_in(request, app, login, safe_next(target, request_context(request).prefix))


async def refuse(
    request: Request,
    app: HubApp,
    reason: str,
    *,
    issuer: str,
    name: str = "",
    detail: str = "",
    status: int = 403,
) -> Response:
    """Return the page of a sign-in that failed, and record it in the audit log.

    ``reason`` is a :class:`Refusal` or another reason that the template ``signin_refused.html``
    has words for; ``detail`` is a text of ours for it. Too many failures of an address are told as
    that only. Those of proven people do not count, and those of a system that does not answer,
    since a whole class may share an address.
    """
    client = request_context(request).address
    if reason not in _NO_GUESSES and not app.of(LoginThrottle).failed(client):
        response = page(request, "signin_refused.html", 429, reason="too many", name="", detail="")
        response.headers["Retry-After"] = "60"
        return response
    what = f"{issuer}: {reason}" + (f" ({detail})" if detail else "")
    await app.audit.refused(Event(name, "sign in", what, client))
    return page(
        request, "signin_refused.html", status, reason=str(reason), name=name, detail=detail
    )


def _user_of(app: HubApp, person: ProvenPerson, front: str) -> tuple[Username | Refusal, bool]:
    """Return the user name of a person, and whether this sign-in linked them to it.

    ``front`` is whom the web server in front names in this browser: that this user has come by it
    before keeps nobody from the same name.
    """
    people = ExternalPeople(app.services.state.engine)
    linked = people.username_of(person.issuer, person.subject)
    if linked:
        return Username.valid(linked) or Refusal.BAD_NAME, False
    name = parsed_name(person)
    if isinstance(name, Refusal):
        return name, False
    issuers = people.issuers_of(name)
    besides = BY_FRONT if name == front else None
    if person.issuer in issuers:
        return Refusal.OTHER_SUBJECT, False
    try:
        if not person.same_names and (issuers or _is_used(app, person, name, besides)):
            return Refusal.KNOWN_HERE, False
    except MograderError as error:
        _log.warning("whether the name %s is used cannot be told: %s", name, error.message)
        return Refusal.UNDECIDED, False
    now = app.services.clock.now()
    try:
        people.link(person.issuer, person.subject, name, person.display_name, "", now)
    except Conflict:
        # Another request linked the subject or the name in between.
        same = people.username_of(person.issuer, person.subject) == name
        return name if same else Refusal.OTHER_SUBJECT, False
    return name, True


def _is_used(app: HubApp, person: ProvenPerson, name: Username, besides: str | None) -> bool:
    """Return whether a user name is known by more than may be this person's at a first sign-in.

    A list of names, such as that of allowed users, or of students without marks, shows nothing yet.
    Work and marks are a person's of a platform whose own number of the person has this user name
    in the gradebook: an instructor's account has read both from there, and marks are sent to this
    number. A credential, a workspace or a role is not: somebody has used the name on this hub.
    """
    services = app.services
    if name in services.policy.staff or services.state.records(name, besides):
        return True
    if services.workspaces.has_folder(name):
        return True
    worked = app.submissions.anything_of(name)
    if not worked and (book := existing_gradebook(services.loaded.gradebook_path)) is not None:
        with book:
            worked = book.has_marks(name)
    if not worked:
        return False
    return person.method != "lti" or remembered_name(app, person.issuer, person.subject) != name


def remembered_name(app: HubApp, issuer: str, subject: str) -> str:
    """Return the user name that the gradebook has for a platform's number of a person, or ""."""
    try:
        people = remembered_people(app.services.loaded.gradebook_path, issuer.rstrip("/"))
    except MograderError:
        return ""
    return next((each.username for each in people if str(each.user_id) == subject), "")


@dataclass(frozen=True, slots=True)
class RefusedPerson:
    """A person of another system, refused since the user name is known here."""

    at: datetime
    issuer: str
    subject: str
    username: str
    has_role: bool


def _refused_people(app: HubApp, people: Iterable[ExternalPerson]) -> tuple[RefusedPerson, ...]:
    policy = app.services.policy
    done = {(each.issuer, each.subject) for each in people}
    found = []
    for row in app.services.state.recent_audit(_MOST_REFUSED, refused="sign in"):
        told = _KNOWN_HERE.fullmatch(row.what)
        if told is None or (told["issuer"], told["subject"]) in done:
            continue
        done.add((told["issuer"], told["subject"]))
        has_role = row.who in policy.staff
        found.append(RefusedPerson(row.at, told["issuer"], told["subject"], row.who, has_role))
    return tuple(found)


def _exchange(app: HubApp, person: ProvenPerson, login: Login, old: set[str]) -> None:
    """Remember a login that its provider can end; end the browser's old logins."""
    if person.method == "oidc":
        now = app.services.clock.now()
        ProviderLogins(app.services.state.engine).add(
            login.login_id,
            person.issuer,
            person.subject,
            person.session,
            until=now + timedelta(seconds=2 * LIFETIME),  # one's own notebook outlives the login
            now=now,
        )
    for login_id in old:
        replace_login(app, login_id, login)


def keep_state(request: Request, app: HubApp, response: Response, begun: SignInState) -> None:
    where = request_context(request)
    # Sign-ins that were given up leave a cookie each; too many would break every request.
    earlier = list(external_signin.cookies_of(request.scope["headers"]))
    most = external_signin.MOST
    for old in earlier[: -(most - 1)][:most]:  # a stranger's request may bring thousands
        _clear(request, response, old, begun.flow)
    name = external_signin.cookie_name(begun.state, secure=where.secure, prefix=where.prefix)
    value = external_signin.make(app.services.secret, begun)
    path = where.prefix or "/"
    made = external_signin.set_cookie_header(
        name, value, flow=begun.flow, path=path, secure=where.secure
    )
    response.headers.append("set-cookie", made)


def state_under_way(request: Request, app: HubApp, flow: Flow, state: str) -> SignInState | None:
    if not external_signin.is_state(state):
        return None
    where = request_context(request)
    name = external_signin.cookie_name(state, secure=where.secure, prefix=where.prefix)
    value = external_signin.cookies_of(request.scope["headers"]).get(name, "")
    now = app.services.clock.now()
    return external_signin.read(app.services.secret, value, flow=flow, state=state, now=now)


def forget_state(request: Request, response: Response, begun: SignInState) -> None:
    where = request_context(request)
    name = external_signin.cookie_name(begun.state, secure=where.secure, prefix=where.prefix)
    _clear(request, response, name, begun.flow)


def _clear(request: Request, response: Response, name: str, flow: Flow) -> None:
    where = request_context(request)
    path = where.prefix or "/"
    gone = external_signin.clear_cookie_header(name, flow=flow, path=path, secure=where.secure)
    response.headers.append("set-cookie", gone)


def framed_failure(request: Request, error: MograderError, *platforms: LtiPlatform) -> Response:
    """Return the page about a failure for a frame of these platforms, without a person's login."""
    request.scope[IDENTITY] = None  # a platform of the same site gets the cookie in its frame, too
    return framed(request, failure_page(request, error), *platforms)


def framed(request: Request, response: Response, *platforms: LtiPlatform) -> Response:
    """Return the response, which these platforms' pages may now show in a frame.

    Its forms may be sent to them. Such a page must neither show nor change anything by the
    person's login.
    """
    found = [addresses_of(each) for each in platforms]
    response.headers["Content-Security-Policy"] = content_security_policy(
        request_context(request),
        frames={origin for each in found for origin in each.frames},
        posts={origin for each in found for origin in each.services},
    )
    return response


def sign_in(request: Request, app: CurrentApp) -> Response:
    engine, own = app.services.state.engine, app.services.loaded.settings.lti.platform
    platforms, people = _platforms(app), ExternalPeople(engine).people()
    wanted = request.query_params.get("q", "").strip()[:100]
    found = [each for each in people if wanted.casefold() in each.username.casefold()]
    return page(
        request,
        "external_signin.html",
        here="people",
        oidc=app.services.loaded.settings.oidc,
        addresses=ToolAddresses(own_url(app.services.loaded)),
        platforms=platforms.all(),
        registered={each.platform.key for each in platforms.registered()}
        - {each.key for each in own},
        keys=Keys(engine, app.services.secret).facts(),
        refused=_refused_people(app, people),
        issuers=platforms.issuers(app.services.loaded.settings.oidc.issuer),
        sheet=sheet_of(found, request),
        wanted=wanted,
    )


async def link(request: Request, app: CurrentApp, caller: Caller) -> Response:
    form = await read_form(request)
    issuer, subject = form.get("issuer", ""), parsed_subject(form.get("subject", ""))
    user = Username.claimed(form.get("username", "").strip())
    policy = app.services.policy
    # An instructor by a platform is one for hours only, and would be one for good.
    if user in policy.staff and caller.username not in policy.instructors:
        raise Forbidden(
            f"{user} instructs or marks: only an instructor in the hub's settings may link that.",
            hint="`mograder hub lti link` on the hub's machine does it, too.",
        )

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
        links = ExternalPeople(services.state.engine)
        if issuer not in links.issuers_of(user):
            raise NotFound("There is no such link any more.")
        services.revocations.bump_epoch(user)
        services.capabilities.revoke_user(user)
        links.unlink(issuer, user)  # last: while the link is there, all this can be done again

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
