"""The work that students hand in, submissions and drafts, and the instructor's downloads of it.

B146, B147, B157, B158; docs/reference/https-api.md.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from urllib.parse import quote

from pydantic import JsonValue
from starlette.responses import JSONResponse, Response

from mograder.core.errors import Forbidden, InvalidInput, MograderError, TooLarge
from mograder.core.item_dates import OwnDates
from mograder.core.names import FileName
from mograder.notebook import MAX_NOTEBOOK
from mograder.store.assignment_server.assignments import Assignment
from mograder.store.assignment_server.drafts import DRAFT_LIMIT, Draft, DraftChanged
from mograder.store.assignment_server.grades import Mark
from mograder.store.submissions.history import Submission
from mograder.store.submissions.receipts import (
    LONGEST,
    moment,
    read_receipt,
    receipt_of,
    verdict_of,
)
from mograder.store.submissions.submissions import Kept, Terms
from mograder.store.submissions.submitted_files import reads_as_a_submission
from mograder.web.request_body import MEGABYTE, read_body, submitted_bytes
from mograder.web.server.access import RequestInfo
from mograder.web.server.assignments import find, find_open, shown
from mograder.web.server.files import answer_file, look

_SUBMISSION_LIMIT = 32 * MEGABYTE
_DAY = "%a %d %b %Y, %H:%M UTC"
_LONGEST_TAG = 100


async def submit(info: RequestInfo) -> Response:
    """Store a submitted notebook; it is on disk before the response is sent."""
    services = info.services
    if reads_as_a_submission(info.whose):
        raise InvalidInput("Invalid username: it reads as the name of a submission")
    with services.uploads.sending(info.whose):
        assignment, dates, kept = await _receive(info)
    if kept is None:
        return JSONResponse({"error": _closed(assignment, dates), "reason": "closed"}, 403)
    receipt = receipt_of(info.services.secret, assignment.name, kept.submission, dates)
    if not kept.counts:
        late = {"error": _late(assignment, dates), "reason": "late-would-replace"}
        return JSONResponse({**late, "late": True, "receipt": receipt.model_dump()}, 409)
    return JSONResponse(
        {
            "status": "ok",
            "filename": f"{info.whose}.py",
            "late": receipt.late,
            "repeated": kept.repeated,
            "receipt": receipt.model_dump(),
        }
    )


async def verify_receipt(info: RequestInfo) -> Response:
    """Return whether this server signed a receipt, and the state of its submission."""
    receipt, services = read_receipt(await read_body(info.request, LONGEST)), info.services
    async with services.without_login:
        verdict = await services.read(verdict_of, services.secret, services.submissions, receipt)
    return JSONResponse(asdict(verdict))


async def status(info: RequestInfo) -> Response:
    assignment = await find(info)

    def read() -> dict[str, JsonValue]:
        services, user = info.services, info.whose
        counting = services.submissions.counting(user, assignment.name)
        mark = services.grades(assignment.name).of(user) or Mark(None, "")
        feedback = services.feedback_directory(assignment.name) / f"{user}.html"
        plain: dict[str, JsonValue] = {
            "status": "submitted" if counting else "new",
            "graded": mark.grade is not None or bool(mark.feedback),
            "grade": mark.grade,
            "feedback": mark.feedback,
            "feedback_available": feedback.is_file(),
        }
        if not info.detailed:
            return plain
        return {**plain, **_more(info, assignment, counting), **_draft(info, assignment)}

    return JSONResponse(await info.services.read(read))


async def list_all(info: RequestInfo) -> Response:
    assignment = await find(info)

    def read() -> list[dict[str, JsonValue]]:
        found = info.services.submissions.people(assignment.name)
        base = f"/assignments/{quote(assignment.name, safe='')}/submissions"
        lines: list[dict[str, JsonValue]] = []
        for user, person in found.items():
            name = f"{user}.py"
            line: dict[str, JsonValue] = {
                "username": user,
                "filename": name,
                "url": f"{base}/{quote(name, safe='')}",
            }
            if info.detailed and person.counting is not None:
                dates = info.services.dates.own(assignment.name, user)
                history: list[JsonValue] = [each.filename for each in person.submissions]
                line |= {**_details(person.counting, dates), "history": history}
            lines.append(line)
        return lines

    return JSONResponse(await info.services.read(read))


async def send(info: RequestInfo) -> Response:
    """Send one submission, ``<user>.py`` or an earlier one."""
    services = info.services
    assignment = await find(info)
    try:
        name = FileName.parse(info.names["file"])
    except InvalidInput as error:
        raise Forbidden("Invalid path") from error
    locate = services.submissions.locate
    found = await services.read(locate, assignment.name, name)
    opened = await services.read(look, found.parent, found.name, services.digests)
    return answer_file(info.request, opened)


async def read_draft(info: RequestInfo) -> Response:
    """Return a person's draft of an assignment; its fields are null if there is none."""
    assignment = await find(info)
    services = info.services
    draft = await services.read(services.drafts.find, info.whose, assignment.name)
    if draft is None:
        return JSONResponse({**_about_draft(None), "text": None})
    return _draft_answer(draft, text=draft.text)


async def replace_draft(info: RequestInfo) -> Response:
    """Save a draft over the version that the request names; 412 if there is another one."""
    services, over = info.services, _over(info)
    if over is None:
        return JSONResponse(
            {"error": "Name the version to replace by If-Match, or If-None-Match: *."}, 428
        )
    with services.uploads.sending(info.whose):
        async with services.uploads.body(info.request, DRAFT_LIMIT) as body:
            try:
                text = body.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidInput("The draft is not UTF-8.") from error
            now = services.clock.now()
            return await services.write(_replace_draft, info, text, now, over)


async def _receive(info: RequestInfo) -> tuple[Assignment, OwnDates, Kept | None]:
    """Read a notebook and store it as of when the request came.

    After the end it is None, or the equal one stored in time.
    """
    services, request = info.services, info.request
    now = services.clock.now()
    async with services.uploads.body(request, _SUBMISSION_LIMIT) as body:
        kind = request.headers.get("content-type", "")

        def keep() -> tuple[Assignment, OwnDates, Kept | None]:
            # Looked up here and not before: each switch to a thread costs time.
            assignment = find_open(info)
            dates = services.dates.own(assignment.name, info.whose)
            data = submitted_bytes(kind, body)
            if len(data) > MAX_NOTEBOOK:
                most = f"{MAX_NOTEBOOK // 1_000_000} MB"
                raise TooLarge(f"A notebook may have at most {most}: no larger one can be graded.")
            store, user, name = services.submissions, info.whose, assignment.name
            if dates.is_closed(now) and not info.asker.instructor:
                # The response to the first try may have been lost.
                return assignment, dates, store.repeated(user, name, data)
            terms = Terms(due=dates.due, replace=info.query.get("late") == "replace", once=True)
            return assignment, dates, store.add(user, name, data, now, terms)

        return await services.write(keep)


def _more(
    info: RequestInfo, assignment: Assignment, counting: Submission | None
) -> dict[str, JsonValue]:
    dates = info.services.dates.own(assignment.name, info.whose)
    can_submit = not dates.is_closed(info.services.clock.now()) or info.asker.instructor
    secret = info.services.secret
    # Clients ask for this before they submit, so one that cannot be read is no error here.
    readable = counting if counting and counting.sha256 is not None else None
    receipt = receipt_of(secret, assignment.name, readable, dates) if readable else None
    return {
        "receipt": receipt.model_dump() if receipt else None,
        "late": counting is not None and dates.is_late(counting.received),
        "due": shown(dates.due),
        "cutoff": shown(dates.closes),
        "can_submit": can_submit,
        "why_not": "" if can_submit else _closed(assignment, dates),
    }


def _draft(info: RequestInfo, assignment: Assignment) -> dict[str, JsonValue]:
    """Return the facts about a person's draft for that person alone, nothing if it is damaged."""
    if info.asker.user != info.whose and not info.services.options.no_auth:
        return {}
    with suppress(MograderError):
        return {"draft": _about_draft(info.services.drafts.find(info.whose, assignment.name))}
    return {}


def _details(counting: Submission, dates: OwnDates) -> dict[str, JsonValue]:
    """Return the facts about a submission; it is late by the due date now: an extension counts."""
    return {
        "received": moment(counting.received),
        "late": dates.is_late(counting.received),
        "size": counting.size,
        "sha256": counting.sha256,
        "sequence": counting.sequence,
    }


def _closed(assignment: Assignment, dates: OwnDates) -> str:
    when = f"{dates.closes.astimezone(UTC):{_DAY}}" if dates.closes else "earlier"
    return (
        f"Submissions to {assignment.name} closed on {when}. Nothing was changed. "
        "Ask your instructor if you should have more time."
    )


def _late(assignment: Assignment, dates: OwnDates) -> str:
    when = f"{dates.due.astimezone(UTC):{_DAY}}" if dates.due else "earlier"
    return (
        f"{assignment.name} was due on {when}, and what you handed in on time still counts. "
        "This late version was kept, but does not count unless you confirm that it should "
        "replace the one on time, or your instructor picks it."
    )


def _replace_draft(info: RequestInfo, text: str, now: datetime, over: str) -> Response:
    assignment = find_open(info)
    try:
        draft = info.services.drafts.replace(info.whose, assignment.name, text, now, over or None)
    except DraftChanged as error:
        answer = {"error": str(error), "reason": "changed"}
        return JSONResponse({**answer, **_about_draft(error.current)}, 412)
    return _draft_answer(draft)


def _over(info: RequestInfo) -> str | None:
    """Return the tag of the version to replace, empty for none, or None if it is not named."""
    headers = info.request.headers
    wanted = headers.get("if-match", "").strip()
    if wanted:
        return wanted.strip('"')[:_LONGEST_TAG]
    return "" if headers.get("if-none-match", "").strip() == "*" else None


def _draft_answer(draft: Draft, **more: str) -> Response:
    return JSONResponse({**_about_draft(draft), **more}, headers={"ETag": f'"{draft.tag}"'})


def _about_draft(draft: Draft | None) -> dict[str, JsonValue]:
    if draft is None:
        return {"tag": None, "version": 0, "saved": None, "sha256": None}
    return {
        "tag": draft.tag,
        "version": draft.version,
        "saved": moment(draft.saved),
        "sha256": draft.sha256,
    }
