"""Marks sent to a learning platform: an instructor sends them again, or puts an activity away."""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import InvalidInput
from mograder.hub.lti_scores import ScoreSending
from mograder.hub.lti_service import LtiService
from mograder.web.hub.core.hub_app import CurrentApp
from mograder.web.hub.core.items import item_name, item_page
from mograder.web.pages import go_to, with_outcome
from mograder.web.request_body import read_form
from mograder.web.route import INSTRUCTOR, Route

_DIGITS = 18


async def send_again(name: str, request: Request, app: CurrentApp) -> Response:
    """Send marks of an item again, all or the one of the field ``number``."""
    item = item_name(name)
    number = _number((await read_form(request)).get("number", ""))
    count = await to_thread.run_sync(app.of(ScoreSending).send_again, item, number)
    await app.audit.record(request, "send marks again", f"{item}: {count}")
    app.of(LtiService).due.set()
    return go_to(request, with_outcome(item_page(item), "marks-sent-again", str(count)))


async def put_away(name: str, request: Request, app: CurrentApp) -> Response:
    item = item_name(name)
    number = _number((await read_form(request)).get("number", ""))
    lineitem = await to_thread.run_sync(app.of(ScoreSending).put_away, item, number)
    await app.audit.record(request, "put activity away", f"{item}: {lineitem}")
    return go_to(request, with_outcome(item_page(item), "activity-put-away"))


def _number(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise InvalidInput("This is no number of a mark.")
    return int(text)


ROUTES = (
    Route("POST", "/course/lti/scores/{name}", send_again, INSTRUCTOR),
    Route("POST", "/course/lti/scores/{name}/put-away", put_away, INSTRUCTOR),
)
