"""A learning platform's messages (LTI 1.3): launches, and the picking of items for its links.

The platform's page posts to ``/lti/login``, which redirects to the platform, which posts a signed
token to ``/lti/launch``. In a frame of the platform no login of ours would reach the browser, so
there the first step shows one link, which begins again in a tab. No identity of the request counts
on these addresses: the token says who is there.

Items are picked (deep linking) in the platform's own dialogue, which is such a frame: a signed
handle says what the platform's message allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from urllib.parse import urlencode

from anyio import to_thread
from fastapi import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from mograder.auth.credentials import LIFETIME, Role
from mograder.auth.external_signin import ProvenPerson, Refusal, SignInState, new_state
from mograder.auth.jose import InvalidToken
from mograder.auth.lti_addresses import addresses_of
from mograder.auth.lti_claims import (
    Launch,
    Message,
    PickedItem,
    PickHandle,
    answer_claims,
    is_own_address,
    launch_of,
    make_handle,
    read_handle,
    role_on_hub,
)
from mograder.core.errors import Forbidden, InvalidInput, MograderError, NotFound, RemoteFailed
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.core.sections.settings_model import LtiPlatform
from mograder.hub.items import mode_of
from mograder.hub.lti_service import LtiService, at_work, make_lti
from mograder.notebook.cells import parse_cells
from mograder.notebook.points import marks_of
from mograder.sessions.session import spinner_of
from mograder.store.external.external_tables import Link
from mograder.store.releases.releases import ItemKind, Release
from mograder.web.context import request_context
from mograder.web.hub.core.access import IDENTITY, identify
from mograder.web.hub.core.audit import Event
from mograder.web.hub.core.hub_app import CurrentApp, HubApp, PlatformFacts, Run
from mograder.web.hub.items.dates import dates_in_words, keep_told
from mograder.web.hub.signin.external_signin import (
    complete,
    forget_state,
    framed,
    framed_failure,
    keep_state,
    refuse,
    remembered_name,
    state_under_way,
)
from mograder.web.pages import page
from mograder.web.request_body import read_form, single_fields
from mograder.web.route import ANYONE, Route

LOGIN, LAUNCH, PICK = "/lti/login", "/lti/launch", "/lti/pick"

STAFF_SECONDS = 8 * 3600
"""Seconds of a login with a role from a platform: no message comes when the role is taken away."""

_FORM_BYTES = 128 * 1024
_LONGEST_QUERY = 6000
_PICKING_HINTS = ("ContentItemSelectionRequest", "LtiDeepLinkingRequest")
_STATE_SECONDS = 900
_SENT = ("iss", "login_hint", "target_link_uri", "client_id", "lti_message_hint")
_MOST_ITEMS = 500
_MAXIMUM = 100.0
_HANDLE_SECONDS = 900
_log = get_logger(__name__)
_UNKNOWN = "This hub does not know the platform any more."

_TROUBLES: Mapping[str, str] = {
    "access_denied": "The platform says that another person is signed in there now.",
    "login_required": "The platform says that you are not signed in there.",
    "unauthorized_client": "The platform does not know this hub any more.",
}

_FOREIGN = (
    "%s tells addresses of its services at %s, which are not used: if these are its servers, add "
    "them to services of [[lti.platform]]"
)

_WRONG_ADDRESS = (
    "The activity leads to the address for picking items. Its address must end with /lti/launch."
)


async def login(request: Request, app: CurrentApp) -> Response:
    """Begin a launch: redirect to the platform in a tab, show a link to a tab in a frame."""
    lti = app.of(LtiService)
    if request.method == "POST":
        fields: Mapping[str, str] = await read_form(request, _FORM_BYTES, once=True)
    else:
        fields = single_fields(request.query_params.multi_items())
    issuer, client = fields.get("iss", ""), fields.get("client_id", "")
    platform = await to_thread.run_sync(lti.platforms.find, issuer, client)
    if platform is None:
        unknown = NotFound(
            "This hub does not know the learning platform that sent you.",
            hint="Show this page to your instructor: the platform's address or the client id is"
            " another one than in the hub's settings.",
        )
        return framed_failure(request, unknown, *await _platforms(app))
    try:
        _check(app, fields)
    except InvalidInput as error:
        return framed_failure(request, error, platform)
    picks = _wants_to_pick(app, fields)
    again = f"{request_context(request).prefix}{LOGIN}?{_query(fields)}"
    # Browsers that do not tell that a page of its own asks are in one after our link only.
    where = request.headers.get("sec-fetch-dest", "")
    if not picks and where != "document" and (where or fields.get("tab") != "1"):
        return framed(request, page(request, "lti_frame.html", again=again), platform)
    if not picks and request.method == "POST":
        # The browser sends the login of before with a GET of ours only, and it ends with this one.
        return RedirectResponse(again, 303)
    present = identify(request.scope, app.services.authenticator)
    state = new_state(
        "lti",
        issuer=platform.issuer,
        client_id=platform.client_id,
        target="",
        now=app.services.clock.now(),
        login_id="" if present is None else present.login_id,
    )
    answer = RedirectResponse(_question(platform, fields, state, f"{lti.own_url}{LAUNCH}"), 303)
    keep_state(request, app, answer, state)
    return answer


async def launch(request: Request, app: CurrentApp) -> Response:
    """Take a platform's signed message: sign the person in, or show the page for picking items."""
    fields = await read_form(request, _FORM_BYTES, once=True)
    state = state_under_way(request, app, "lti", fields.get("state", ""))
    if state is None:
        refusal = await refuse(request, app, "no cookie", issuer="LTI")
        return framed(request, refusal, *await _platforms(app))
    platform = await to_thread.run_sync(
        app.of(LtiService).platforms.find, state.issuer, state.client_id
    )
    if platform is None:
        refusal = await refuse(request, app, "invalid", issuer=state.issuer, detail=_UNKNOWN)
        return framed(request, refusal, *await _platforms(app))
    response = await _answer(request, app, platform, state, fields)
    picking = response.status_code == 200  # the page of picking needs the cookie once more
    if not picking:
        forget_state(request, response, state)
    return response


def keys(app: CurrentApp) -> Response:
    """Return the hub's public keys, with which platforms check what it sends."""
    now = app.services.clock.now()
    found = app.of(LtiService).keys.public_set(now)
    return JSONResponse(found, headers={"Cache-Control": "public, max-age=300"})


async def _pick_page(
    request: Request, app: HubApp, platform: LtiPlatform, found: Launch, state: SignInState
) -> Response:
    if found.role is not Role.INSTRUCTOR or found.picking is None:
        detail = "Only instructors of the course pick items for it."
        refusal = await refuse(request, app, "invalid", issuer=platform.issuer, detail=detail)
        return framed(request, refusal, platform)
    handle = PickHandle(
        state=state.state,
        issuer=found.issuer,
        client_id=found.client_id,
        deployment=found.deployment,
        subject=found.subject,
        return_url=found.picking.return_url,
        data=found.picking.data,
        multiple=found.picking.multiple,
    )
    releases = await to_thread.run_sync(lambda: list(app.services.releases.all()))
    shown = page(
        request,
        "lti_pick.html",
        handle=make_handle(app.services.secret, handle),
        multiple=found.picking.multiple,
        assignments=[each.name for each in releases if each.kind is ItemKind.ASSIGNMENT],
        others=[each.name for each in releases if each.kind is not ItemKind.ASSIGNMENT],
    )
    return framed(request, shown, platform)


async def pick(request: Request, app: CurrentApp) -> Response:
    """Send the platform the links to the picked items, by a form of the browser."""
    fields = await read_form(request, _FORM_BYTES, once=True, most_fields=_MOST_ITEMS)
    handle, platform = read_handle(app.services.secret, fields.get("handle", "")), None
    if handle is not None:
        find = app.of(LtiService).platforms.find
        platform = await to_thread.run_sync(find, handle.issuer, handle.client_id)
    if handle is None or platform is None:
        return framed_failure(request, _expired(), *await _platforms(app))
    wanted = [value for name, value in fields.items() if name.startswith("item")]
    try:
        return framed(request, await _links(request, app, handle, wanted), platform)
    except InvalidInput as error:
        return framed_failure(request, error, platform)


async def _platforms(app: HubApp) -> tuple[LtiPlatform, ...]:
    """Return all platforms: a frame of any may show that the request was not recognised."""
    return await to_thread.run_sync(app.of(LtiService).platforms.all)


def _check(app: HubApp, fields: Mapping[str, str]) -> None:
    if not is_own_address(fields.get("target_link_uri", ""), app.of(LtiService).own_url):
        raise InvalidInput("The activity leads to another server than this hub.")
    if not fields.get("login_hint"):
        raise InvalidInput("The platform did not say whom it sends.")
    if len(_query(fields)) > _LONGEST_QUERY:
        raise InvalidInput("The platform's request is too long.")


def _query(fields: Mapping[str, str]) -> str:
    return urlencode({name: fields[name] for name in _SENT if fields.get(name)} | {"tab": "1"})


def _wants_to_pick(app: HubApp, fields: Mapping[str, str]) -> bool:
    """Return whether the platform seems to ask for links, which goes on in its frame.

    The signed message decides; Moodle's hint tells it where the tool has no address for this.
    """
    picking = f"{app.of(LtiService).own_url}{PICK}"
    hint, target = fields.get("lti_message_hint", ""), fields["target_link_uri"]
    return target.partition("?")[0] == picking or any(each in hint for each in _PICKING_HINTS)


def _question(
    platform: LtiPlatform, fields: Mapping[str, str], state: SignInState, back: str
) -> str:
    auth = addresses_of(platform).auth
    query = {
        "scope": "openid",
        "response_type": "id_token",
        "response_mode": "form_post",
        "prompt": "none",
        "client_id": platform.client_id,
        "redirect_uri": back,
        "login_hint": fields["login_hint"],
        "state": state.state,
        "nonce": state.nonce,
    }
    if fields.get("lti_message_hint"):
        query["lti_message_hint"] = fields["lti_message_hint"]
    return f"{auth}{'&' if '?' in auth else '?'}{urlencode(query)}"


async def _answer(
    request: Request,
    app: HubApp,
    platform: LtiPlatform,
    state: SignInState,
    fields: Mapping[str, str],
) -> Response:
    """Check the platform's message, and do what it asks for; a refusal may stand in its frame."""

    async def no(reason: str, detail: str = "", status: int = 403) -> Response:
        refusal = await refuse(
            request, app, reason, issuer=platform.issuer, detail=detail, status=status
        )
        return framed(request, refusal, platform)

    if "id_token" not in fields:
        trouble = fields.get("error", "")[:60]
        return await no("invalid", detail=_TROUBLES.get(trouble, "It reports a failure."))
    try:
        token = fields["id_token"]
        claims = await app.of(LtiService).key_sets(platform).verify(token, algorithms={"RS256"})
        now, own = app.services.clock.now(), app.of(LtiService).own_url
        found = launch_of(claims, platform, nonce=state.nonce, now=now, own_url=own)
    except RemoteFailed as error:
        return await no("unreachable", detail=str(error), status=502)
    except (InvalidToken, Forbidden) as error:
        reason = "foreign course" if isinstance(error, Forbidden) else "invalid"
        return await no(reason, detail=str(error))
    until = app.services.clock.now() + timedelta(seconds=_STATE_SECONDS)
    use = app.of(LtiService).used.use
    if not await to_thread.run_sync(use, f"lti {state.state}", until):  # by any process
        return await no("used")
    if found.message is Message.PICK:
        return await _pick_page(request, app, platform, found, state)
    if request.headers.get("sec-fetch-dest", "document") != "document":
        return await no("invalid", detail=_WRONG_ADDRESS)
    person, place = await to_thread.run_sync(_person_and_place, app, platform, found)
    present = identify(request.scope, app.services.authenticator)
    if present is not None and present.front:
        request.scope[IDENTITY] = present  # a front that names another person forbids the launch
    target = f"{request_context(request).prefix}{place}" if place else ""
    response = await complete(request, app, person, target, old_login=state.login_id)
    if response.status_code == 303:  # signed in
        await _remember(request, app, platform, found)
    return response


async def _remember(request: Request, app: HubApp, platform: LtiPlatform, found: Launch) -> None:
    """Let the person in before members are read next time; keep dates of an instructor's launch.

    Marks that the course refused, as the person was no student there, are sent again. A student's
    launch tells the student's own dates, which an exception may have moved.
    """
    lti, now = app.of(LtiService), app.services.clock.now()

    def launched() -> str:
        username = lti.people.username_of(found.issuer, found.subject)
        lti.rosters.launched(platform, found.course, found.services.memberships, username)
        lti.scores.queue.came(platform.key, found.course, found.subject, now)
        return username

    username, release = await to_thread.run_sync(launched), app.items.find(found.item)
    if found.dates is None or release is None or found.role is not Role.INSTRUCTOR:
        return
    if await to_thread.run_sync(keep_told, app, release.name, found.dates, username):
        where = request_context(request).address
        words = dates_in_words(release.name, found.dates)
        await app.audit.granted(Event(username, "dates by platform", words, where))
        app.notifier.notify_all()


def _person_and_place(
    app: HubApp, platform: LtiPlatform, found: Launch
) -> tuple[ProvenPerson, str]:
    """Return a launch's person, and the item's page or ""; the activity is remembered."""
    role = role_on_hub(found.role, platform)
    if found.services.foreign and found.role is Role.INSTRUCTOR:  # not at each student's launch
        origins = ", ".join(sorted(found.services.foreign))
        _log.warning(_FOREIGN, platform.issuer, origins)
    by_number, name = platform.username == "identities", found.username
    if by_number:
        name = remembered_name(app, found.issuer, found.subject) or Refusal.NOT_READ
    person = ProvenPerson(
        method="lti",
        issuer=found.issuer,
        subject=found.subject,
        name=name,
        same_names=by_number or platform.names == "same",
        lifetime=LIFETIME if role is Role.STUDENT else STAFF_SECONDS,
        display_name=found.display_name,
        role=role,
    )
    release = app.items.find(found.item)
    app.of(LtiService).links.saw(
        Link(
            issuer=found.issuer,
            client_id=found.client_id,
            deployment=found.deployment,
            context=found.course,
            resource_link=found.resource_link,
            item=ItemName.valid(found.item) or "",
            title=" · ".join(filter(None, (found.title, found.course_title))),
            lineitem=found.services.lineitem,
            lineitems=found.services.lineitems,
            seen_at=app.services.clock.now(),
        )
    )
    place = "" if release is None else spinner_of(mode_of(release.kind), release.name)
    return person, place


async def _links(request: Request, app: HubApp, handle: PickHandle, wanted: list[str]) -> Response:
    begun = state_under_way(request, app, "lti", handle.state)
    if begun is None:
        raise _expired()
    if not wanted or (len(wanted) > 1 and not handle.multiple):
        raise InvalidInput("Pick an item.", hint="Go back, and choose one in the list.")
    items, token = await to_thread.run_sync(_picked, app, handle, wanted)
    names = ", ".join(each.name for each in items)
    where = request_context(request).address
    await app.audit.granted(Event("", "pick items", f"{handle.issuer}: {names}", where))
    shown = page(request, "lti_return.html", return_url=handle.return_url, token=token, items=items)
    forget_state(request, shown, begun)
    return shown


def _expired() -> InvalidInput:
    return InvalidInput("This page has expired.", hint="Begin again in the platform.")


def _picked(app: HubApp, handle: PickHandle, wanted: list[str]) -> tuple[list[PickedItem], str]:
    """Return the items and the signed answer, and use the handle up. Raises: InvalidInput."""
    releases = [found for name in wanted if (found := app.items.find(name))]
    if len(releases) < len(wanted):
        raise InvalidInput("One of the items is not published any more.", hint="Begin again.")
    items = [
        PickedItem(each.name, _maximum(app, each) if each.kind is ItemKind.ASSIGNMENT else None)
        for each in releases
    ]
    now, lti = app.services.clock.now(), app.of(LtiService)
    if not lti.used.use(f"pick {handle.state}", now + timedelta(seconds=_HANDLE_SECONDS)):
        raise InvalidInput("These items were sent already.", hint="Begin again in the platform.")
    return items, lti.keys.current(now).sign(answer_claims(handle, items, now))


def _maximum(app: HubApp, release: Release) -> float:
    """Return the marks of an assignment: those of its source, else 100, as grading does."""
    source = app.services.grading.sources.find(release.name)
    if source is None:
        return _MAXIMUM
    try:
        text = source.notebook.read_text("utf-8")
        marks = marks_of(parse_cells(text, source.notebook.name))
    except (MograderError, OSError, ValueError) as error:
        _log.warning("the marks of %s cannot be read: %s", release.name, error)
        return _MAXIMUM
    return sum(marks.values()) if marks else _MAXIMUM


def open_lti(hub: HubApp) -> Run:
    """Make LTI 1.3, which works in the background during the block. Raises: as `make_lti`."""
    lti = hub.add(make_lti(hub.services))
    hub.add(lti.scores)
    hub.add(PlatformFacts(lti.rosters.courses, lti.scores.of_item))
    hub.on_marks.append(lti.due.set)  # they may have been released
    hub.dates.platform_tells = True
    return partial(at_work, hub.services, lti)


ROUTES = (
    Route("GET", "/lti/login", login, ANYONE),
    Route("POST", "/lti/login", login, ANYONE),
    Route("POST", "/lti/launch", launch, ANYONE),
    Route("GET", "/lti/keys", keys, ANYONE),
    Route("POST", "/lti/pick", pick, ANYONE),
)
