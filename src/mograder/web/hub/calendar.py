"""A person's calendar of due dates (iCalendar, RFC 5545), at an address that needs no login.

The address is a capability: signed for one person, and ended by making another one, by ending it,
or with all tokens of the person. It tells dates and whether something was handed in, nothing else.
"""

from __future__ import annotations

from urllib.parse import quote

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.auth.credentials import Role
from mograder.auth.signing import derived_key, is_signature_of, signature_of
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import INSTRUCTOR, Username
from mograder.hub.items import person
from mograder.web.context import request_context
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.pages import go_to, page
from mograder.web.request_body import read_form
from mograder.web.route import ANYONE, MEMBER, Route

_ESCAPED = str.maketrans({"\\": "\\\\", ";": "\\;", ",": "\\,", "\n": "\\n"})


def calendar_page(request: Request, app: CurrentApp, caller: Caller) -> Response:
    user, state, context = person(caller), app.services.state, request_context(request)
    turn = state.calendar_turn(user)
    address = ""
    if turn % 2:
        key = signature_of(_key(app), _record(app, user, turn, caller.proven))
        where = f"{context.prefix}/calendar/{quote(user, safe='')}/{key}.ics"
        address = f"{context.scheme}://{context.host}{where}"
    return page(request, "calendar.html", address=address)


async def change(request: Request, app: CurrentApp, caller: Caller) -> Response:
    action = (await read_form(request)).get("action", "")
    if action not in ("make", "end"):
        raise InvalidInput("The field action must be make or end.")
    user, state = person(caller), app.services.state
    await to_thread.run_sync(lambda: state.turn_calendar(user, valid=action == "make"))
    await app.audit.record(request, f"{action} calendar address", user)
    return go_to(request, "/calendar")


async def feed(user: str, key: str, request: Request, app: CurrentApp) -> Response:
    home = f"{request_context(request).address_here}/"
    async with app.without_login:
        text = await to_thread.run_sync(_feed, app, user, key, home)
    headers = {"Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer"}
    return Response(text, headers=headers, media_type="text/calendar; charset=utf-8")


def _feed(app: HubApp, name: str, key: str, home: str) -> str:
    """Return the calendar; blocks. Raises: NotFound for an address that is not valid any more."""
    services = app.services
    user = Username(name) if name == INSTRUCTOR else Username.valid(name)
    turn = 0 if user is None else services.state.calendar_turn(user)
    role = None
    if user is not None and turn % 2:
        records = ((each, _record(app, user, turn, each)) for each in Role)
        signed = (each for each, own in records if is_signature_of(_key(app), own, key))
        role = next(signed, None)
    if user is None or role is None:
        raise NotFound("There is no such calendar.", hint="Make a new address on the first page.")
    if not services.admits(user, role):
        raise NotFound("There is no such calendar.", hint="Its person is not on the access list.")
    now = services.clock.now()
    items = [
        (item, app.dates.own(item, user), app.submissions.counting(user, item) is not None)
        for item in services.releases.assignments()
        if app.visibility.of(item).visible(now) or app.items.has_begun(user, item)
    ]
    values = {"course": app.title, "items": items, "now": now}
    values["escaped"] = lambda text: text.translate(_ESCAPED)
    text = app.pages.render("calendar.ics", "", home=home, **values)
    return "".join(f"{_folded(line)}\r\n" for line in text.strip().split("\n"))


def _folded(line: str) -> str:
    """Return a line in pieces of at most 75 bytes, as calendars demand."""
    pieces, piece = [], b""
    for letter in line:
        more = letter.encode()
        if len(piece) + len(more) > 74:
            pieces.append(piece)
            piece = b" "
        piece += more
    return b"\r\n".join([*pieces, piece]).decode()


def _key(app: HubApp) -> bytes:
    return derived_key(app.services.secret, "calendar")


def _record(app: HubApp, user: str, turn: int, proven: Role) -> dict[str, object]:
    """Return the signed record; it has a role that the access list need not have."""
    epoch = app.services.revocations.epoch(user)
    own: dict[str, object] = {"user": user, "turn": turn, "epoch": epoch}
    return own if proven is Role.STUDENT else own | {"role": proven}


ROUTES = (
    Route("GET", "/calendar", calendar_page, MEMBER),
    Route("POST", "/calendar", change, MEMBER),
    Route("GET", "/calendar/{user}/{key}.ics", feed, ANYONE),
)
