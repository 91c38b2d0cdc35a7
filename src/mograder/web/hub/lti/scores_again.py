"""Marks on learning platforms: sent again, or forgotten with a deleted activity, as asked."""

from __future__ import annotations

from anyio import to_thread
from fastapi import Request
from starlette.responses import Response

from mograder.core.errors import InvalidInput
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, go_to
from mograder.web.hub.core.items import item_name, item_page
from mograder.web.hub.lti.service import LtiService
from mograder.web.pages import with_outcome
from mograder.web.request_body import read_form

_DIGITS = 18


async def send_again(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Send marks of an item again that wait, were refused, or are others at the platform.

    The form's field ``number`` names one of them, all without it.
    """
    item = item_name(name)
    number = _number((await read_form(request)).get("number", ""))
    count = await to_thread.run_sync(app.of(LtiService).scores.send_again, item, number)
    await app.audit.record(request, caller, "send marks again", f"{item}: {count}")
    app.of(LtiService).passes.wake()
    return go_to(request, with_outcome(item_page(item), "marks-sent-again", str(count)))


async def put_away(name: str, request: Request, app: CurrentApp, caller: Caller) -> Response:
    """Forget an activity whose grade item does not exist any more, by the ``number`` of a mark."""
    item = item_name(name)
    number = _number((await read_form(request)).get("number", ""))
    lineitem = await to_thread.run_sync(app.of(LtiService).scores.put_away, item, number)
    await app.audit.record(request, caller, "put activity away", f"{item}: {lineitem}")
    return go_to(request, with_outcome(item_page(item), "activity-put-away"))


def _number(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise InvalidInput("This is no number of a mark.")
    return int(text)
