"""A person's submissions: the list, each as it was, its receipt, and bringing one back.

The files are students' texts: they are shown escaped, a part at a time, and none of it runs.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Query, Request
from starlette.responses import Response

from mograder.auth.identity import Identity
from mograder.core.errors import NotFound
from mograder.hub.notifier import Part
from mograder.notebook import MAX_NOTEBOOK
from mograder.sessions.copy_timeline import CopyTimelines
from mograder.sessions.session import CopyOf
from mograder.store.submissions.history import Person, Submission
from mograder.store.submissions.receipts import (
    LONGEST,
    Receipt,
    Verdict,
    read_receipt,
    receipt_of,
    verdict_of,
)
from mograder.store.versions.versions import Origin
from mograder.web.context import request_context
from mograder.web.hub.copies.copies import Restored, put_text_back
from mograder.web.hub.copies.copy_pages import extract_of
from mograder.web.hub.copies.hand_in import HandIn, hand_in_of, late_at
from mograder.web.hub.copies.versions import told_changes
from mograder.web.hub.core.access import Caller, Number
from mograder.web.hub.core.hub_app import CurrentApp, HubApp
from mograder.web.hub.core.items import KnownCopy, copy_page
from mograder.web.pages import go_to, outcome, page, saved_file, with_outcome
from mograder.web.request_body import read_text
from mograder.web.route import ANYONE, INSTRUCTOR, OWNER, SELF, JsonBody, Route


async def submissions_page(
    copy: KnownCopy, request: Request, app: CurrentApp, caller: Caller
) -> Response:
    lines, work = await to_thread.run_sync(_lines, app, copy, caller)
    await app.audit.record_foreign(request, copy.user, "read", f"{copy} submissions")
    done, _ = outcome(request)
    return page(
        request,
        "submissions.html",
        copy=copy,
        lines=lines,
        work=work,
        begun=await to_thread.run_sync(_has_copy, app, copy),
        now=app.services.clock.now(),
        mine=copy.user == caller.username,
        done=done,
    )


async def submission_page(
    copy: KnownCopy,
    number: Number,
    request: Request,
    app: CurrentApp,
    caller: Caller,
    to: Literal["", "now"] = "",
    first: Annotated[int, Query(alias="from", ge=1, lt=10**9)] = 1,
) -> Response:
    found, data = await to_thread.run_sync(_read, app, copy, number)
    await app.audit.record_foreign(request, copy.user, "read", f"{copy} submission {number}")
    changes = None
    if to == "now":
        present = (await app.copies.export(copy)).data
        changes = told_changes(await app.of(CopyTimelines).difference(copy, data, present))
    return page(
        request,
        "submission.html",
        copy=copy,
        submission=found,
        begun=await to_thread.run_sync(_has_copy, app, copy),
        changes=changes,
        extract=await extract_of(request, data, first),
        mine=copy.user == caller.username,
        running=app.services.pool.find(copy.key) is not None,
    )


async def send_submission(
    copy: KnownCopy, number: Number, request: Request, app: CurrentApp
) -> Response:
    """Send the file of a submission."""
    found, data = await to_thread.run_sync(_read, app, copy, number)
    await app.audit.record_foreign(request, copy.user, "export", f"{copy} submission {number}")
    return saved_file(data, found.filename, "text/x-python; charset=utf-8")


def send_receipt(copy: KnownCopy, number: Number, request: Request, app: CurrentApp) -> Response:
    """Send the signed receipt of a submission, with this hub's address, as students keep it."""
    found = _person(app, copy).numbered(number)
    own = app.dates.own(copy.item, copy.user)
    receipt = receipt_of(app.services.secret, copy.item, found, own)
    server = request_context(request).address_here
    kept = json.dumps({"server": server, "receipt": receipt.model_dump()}, indent=2)
    return saved_file(f"{kept}\n", f"receipt-{copy.item}-{number}.json", "application/json")


async def bring_back(
    copy: KnownCopy, number: Number, request: Request, app: CurrentApp
) -> Annotated[Response, Restored]:
    """Put a submission into the notebook as a version; the present one is kept."""

    async def put() -> str | None:
        _, data = await to_thread.run_sync(_read, app, copy, number)
        return await app.copies.put(copy, data, Origin.RESTORE)

    done = with_outcome(copy_page("submissions", copy), "restored")
    return await put_text_back(request, app, copy, put, done)


async def pick(copy: KnownCopy, number: Number, request: Request, app: CurrentApp) -> Response:
    await to_thread.run_sync(app.submissions.pick, copy.user, copy.item, number)
    await app.audit.record(request, "pick", f"{copy} submission {number}")
    app.notifier.notify(copy.user, Part.COPIES)
    return go_to(request, with_outcome(copy_page("submissions", copy), "picked"))


async def verify_receipt(
    request: Annotated[Request, JsonBody(Receipt)], app: CurrentApp
) -> Verdict:
    """Return whether this hub signed a receipt, and what became of its file; no login is needed."""
    receipt = read_receipt(await read_text(request, LONGEST))
    async with app.without_login:
        return await to_thread.run_sync(verdict_of, app.services.secret, app.submissions, receipt)


def _has_copy(app: HubApp, copy: CopyOf) -> bool:
    return app.services.workspaces.has_copy(copy.user, copy.item)


def _person(app: HubApp, copy: CopyOf) -> Person:
    return app.submissions.of(copy.user, copy.item)


def _read(app: HubApp, copy: CopyOf, number: int) -> tuple[Submission, bytes]:
    found = _person(app, copy).numbered(number)
    path = app.submissions.locate(copy.item, found.filename)
    try:
        with path.open("rb") as file:
            return found, file.read(MAX_NOTEBOOK + 1)
    except OSError as error:
        raise NotFound("The file of this submission is not there any more.") from error


def _lines(
    app: HubApp, copy: CopyOf, caller: Identity
) -> tuple[list[tuple[Submission, bool, tuple[str, str]]], HandIn]:
    """Return each submission, whether it counts, its lateness and cost; and the work."""
    facts = app.services.workspaces.facts(copy.user, copy.item)
    person = _person(app, copy)
    if facts is None and not person.submissions:
        app.items.demand_shown(caller, copy)
    knows = app.items.may_know(caller, copy)
    work = hand_in_of(app, copy.user, copy.item, facts, knows=knows)
    lines = []
    for each in sorted(person.submissions, key=lambda each: -each.sequence):
        late = late_at(app, copy.user, copy.item, each.received, work.own) if knows else ("", "")
        lines.append((each, each == person.counting, late))
    return lines, work


ROUTES = (
    Route("GET", "/submissions/{user}/{a}", submissions_page, OWNER),
    Route("GET", "/submissions/{user}/{a}/{number}", submission_page, OWNER),
    Route("GET", "/submissions/{user}/{a}/{number}/file", send_submission, OWNER, "Copies"),
    Route("GET", "/submissions/{user}/{a}/{number}/receipt", send_receipt, OWNER, "Copies"),
    Route("POST", "/submissions/{user}/{a}/{number}/restore", bring_back, SELF, "Copies"),
    Route("POST", "/submissions/{user}/{a}/{number}/pick", pick, INSTRUCTOR),
    Route("POST", "/receipts/verify", verify_receipt, ANYONE, "Copies"),
)
