"""The drafts of students' notebooks (docs/reference/https-api.md, "Drafts")."""

from __future__ import annotations

from datetime import datetime

from pydantic import JsonValue
from starlette.responses import JSONResponse, Response

from mograder.auth.receipts import moment
from mograder.core.errors import InvalidInput
from mograder.store.assignment_server.drafts import DRAFT_LIMIT, Draft, DraftChanged
from mograder.web.request_body import announced_size, read_body
from mograder.web.server.access import RequestInfo
from mograder.web.server.assignments import find, find_open

_LONGEST_TAG = 100


async def read(info: RequestInfo) -> Response:
    """Return a person's draft of an assignment; its fields are null if there is none."""
    assignment = await find(info)
    services = info.services
    draft = await services.read(services.drafts.find, info.whose, assignment.name)
    if draft is None:
        return JSONResponse({**about(None), "text": None})
    return _answer(draft, text=draft.text)


async def replace(info: RequestInfo) -> Response:
    """Save a draft over the version that the request names; 412 if there is another one."""
    services, request = info.services, info.request
    over = _over(info)
    if over is None:
        return JSONResponse(
            {"error": "Name the version to replace by If-Match, or If-None-Match: *."}, 428
        )
    size = announced_size(request, DRAFT_LIMIT)
    with services.uploads.sending(info.whose):
        async with services.uploads.place(size):
            body = await read_body(request, DRAFT_LIMIT)
            try:
                text = body.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidInput("The draft is not UTF-8.") from error
            now = services.clock.now()
            return await services.write(_replace, info, text, now, over)


def _replace(info: RequestInfo, text: str, now: datetime, over: str) -> Response:
    assignment = find_open(info)
    try:
        draft = info.services.drafts.replace(info.whose, assignment.name, text, now, over or None)
    except DraftChanged as error:
        answer = {"error": str(error), "reason": "changed"}
        return JSONResponse({**answer, **about(error.current)}, 412)
    return _answer(draft)


def _over(info: RequestInfo) -> str | None:
    """Return the tag of the version to replace, empty for none, or None if it is not named."""
    headers = info.request.headers
    wanted = headers.get("if-match", "").strip()
    if wanted:
        return wanted.strip('"')[:_LONGEST_TAG]
    return "" if headers.get("if-none-match", "").strip() == "*" else None


def _answer(draft: Draft, **more: str) -> Response:
    return JSONResponse({**about(draft), **more}, headers={"ETag": f'"{draft.tag}"'})


def about(draft: Draft | None) -> dict[str, JsonValue]:
    """Return the facts about a draft, without its text."""
    if draft is None:
        return {"tag": None, "version": 0, "saved": None, "sha256": None}
    return {
        "tag": draft.tag,
        "version": draft.version,
        "saved": moment(draft.saved),
        "sha256": draft.sha256,
    }
