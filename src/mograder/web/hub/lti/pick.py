"""Picking items for links in a learning platform (LTI deep linking), in its own dialogue.

The page is in a frame of the platform, where no login of ours counts: a signed handle says what the
platform's message allowed.
"""

from __future__ import annotations

from datetime import timedelta

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.lti_claims import (
    Launch,
    PickedItem,
    PickHandle,
    answer_claims,
    make_handle,
    read_handle,
)
from mograder.auth.roles import Role
from mograder.auth.signin_state import SignInState
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.log import get_logger
from mograder.core.sections.settings_model import LtiPlatform
from mograder.notebook.cells import parse_cells
from mograder.notebook.points import marks_of
from mograder.store.releases.releases import ItemKind, Release
from mograder.web.context import request_context
from mograder.web.hub.core.audit import Event
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.lti.service import LtiService
from mograder.web.hub.signin.external_signin import (
    forget_state,
    framed,
    framed_failure,
    refuse,
    state_under_way,
)
from mograder.web.pages import page
from mograder.web.request_body import read_form
from mograder.web.route import ANYONE, Route

_FORM_BYTES = 128 * 1024
_MOST_ITEMS = 500
_MAXIMUM = 100.0
_HANDLE_SECONDS = 900
_log = get_logger(__name__)


async def pick_page(
    request: Request, app: HubApp, platform: LtiPlatform, found: Launch, state: SignInState
) -> Response:
    """Show the published items to an instructor of the platform's course."""
    if found.role is not Role.INSTRUCTOR or found.picking is None:
        detail = "Only instructors of the course pick items for it."
        refusal = await refuse(request, app, "invalid", issuer=platform.issuer, detail=detail)
        return framed(request, platform, refusal)
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
    return framed(request, platform, shown)


async def pick(request: Request, app: CurrentApp) -> Response:
    """Send the platform the links to the picked items, by a form of the browser.

    What is wrong is told in the platform's frame too.

    Raises: InvalidInput for a page that is none of this hub's, or of a platform that is gone.
    """
    fields = await read_form(request, _FORM_BYTES, once=True, most_fields=_MOST_ITEMS)
    handle, platform = read_handle(app.services.secret, fields.get("handle", "")), None
    if handle is not None:
        find = app.of(LtiService).platforms.find
        platform = await to_thread.run_sync(find, handle.issuer, handle.client_id)
    if handle is None or platform is None:
        raise _expired()
    wanted = [value for name, value in fields.items() if name.startswith("item")]
    try:
        return framed(request, platform, await _links(request, app, handle, wanted))
    except InvalidInput as error:
        return framed_failure(request, platform, error)


async def _links(request: Request, app: HubApp, handle: PickHandle, wanted: list[str]) -> Response:
    """Return the page that sends the links, and use the handle up. Raises: InvalidInput."""
    begun = state_under_way(request, app, "lti", handle.state)
    if begun is None:
        raise _expired()
    if not wanted or (len(wanted) > 1 and not handle.multiple):
        raise InvalidInput("Pick an item.", hint="Go back, and choose one in the list.")
    items = await to_thread.run_sync(_picked, app, wanted)
    token = await to_thread.run_sync(_signed, app, handle, items)
    names = ", ".join(each.name for each in items)
    where = request_context(request).address
    await app.audit.granted(Event("", "pick items", f"{handle.issuer}: {names}", where))
    shown = page(request, "lti_return.html", return_url=handle.return_url, token=token, items=items)
    forget_state(request, shown, begun)
    return shown


def _expired() -> InvalidInput:
    return InvalidInput("This page has expired.", hint="Begin again in the platform.")


def _picked(app: HubApp, wanted: list[str]) -> list[PickedItem]:
    """Return the picked items. Raises: InvalidInput for one that is not published."""
    found = [app.items.find(name) for name in wanted]
    if None in found:
        raise InvalidInput("One of the items is not published any more.", hint="Begin again.")
    return [_item(app, each) for each in found if each is not None]


def _item(app: HubApp, release: Release) -> PickedItem:
    maximum = _maximum(app, release) if release.kind is ItemKind.ASSIGNMENT else None
    return PickedItem(release.name, maximum)


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


def _signed(app: HubApp, handle: PickHandle, items: list[PickedItem]) -> str:
    """Return the signed answer, and use the handle up.

    Raises: InvalidInput if it was used before.
    """
    now, lti = app.services.clock.now(), app.of(LtiService)
    if not lti.used.use(f"pick {handle.state}", now + timedelta(seconds=_HANDLE_SECONDS)):
        raise InvalidInput("These items were sent already.", hint="Begin again in the platform.")
    return lti.keys.current(now).sign(answer_claims(handle, items, now))


ROUTES = (Route("POST", "/lti/pick", pick, ANYONE),)
