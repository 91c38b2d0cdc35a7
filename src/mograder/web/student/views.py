"""The pages of the dashboard, which only read, and the rows on them: one for each assignment."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mograder.clients.course_server import WorkState
from mograder.core.errors import MograderError, NotFound
from mograder.core.files.windows_files import digests
from mograder.core.item_dates import OwnDates
from mograder.exchange.student.course import Known, KnownItem
from mograder.exchange.student.drafts import Elsewhere, unseen
from mograder.grading.validation_report import ValidationResult
from mograder.processes.local_editor import saves_by_itself
from mograder.store.copies.student_folder import Notebook, SentNotebook, Waiting
from mograder.web import pages
from mograder.web.app import content_security_policy
from mograder.web.context import request_context
from mograder.web.pages import go_to, page, saved_file
from mograder.web.student.connector import HttpsConnector
from mograder.web.student.student_app import StudentApp, student_app

_FIRST_LOOK_SECONDS = 3.0
_NO_SCRIPTS = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
)
_OWN_SCRIPTS = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' https: "
    "blob: data:; worker-src blob: data:; style-src 'unsafe-inline' https:; img-src https: data: "
    "blob:; font-src https: data:; media-src data: blob:; connect-src https: data: blob:"
)
_PAGE, _TEXT = ("text/html; charset=utf-8", "text/plain; charset=utf-8")
MARKUP, PLAIN = (".html", ".htm"), (".txt", ".md", ".csv")
"""File name endings of feedback that a page shows; other files can only be downloaded."""


async def health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def static_file(request: Request) -> Response:
    named = request.path_params
    return pages.static_file(request, named["version"], named["name"])


async def use_link(request: Request) -> Response:
    return student_app(request).access.enter(request)


async def home(request: Request) -> Response:
    """Show the assignments, as last received from the server and as now in the folder."""
    app = student_app(request)
    looking = app.connection.first_look
    if looking is not None:
        await asyncio.wait((looking,), timeout=_FIRST_LOOK_SECONDS)
    known = await to_thread.run_sync(app.course.known)
    if known is None and not app.connection.user:
        return go_to(request, "/sign-in")
    lines = await to_thread.run_sync(rows_of, app, known)
    return page(
        request,
        "student/home.html",
        lines=lines,
        known=known,
        now=app.clock.now(),
        looking=looking is not None and not looking.done(),
        trouble=app.connection.trouble,
        temporary=not saves_by_itself(app.course.folder.root / "any.py"),
        token=await to_thread.run_sync(_shown_token, app),
    )


async def sign_in_page(request: Request) -> Response:
    connection = student_app(request).connection
    again = "again" in request.query_params and not connection.signed_out
    return sign_in_form(request, message=connection.trouble if again else "")


def sign_in_form(
    request: Request,
    status: int = 200,
    *,
    message: str = "",
    hint: str = "",
    user: str = "",
    typed: str = "",
) -> Response:
    """Show the forms again, with the error; a code or a token is never shown again.

    ``typed`` is the server's address as it was typed, where the settings do not have it.
    """
    connector = student_app(request).connection.connector
    return page(
        request,
        "student/sign_in.html",
        status,
        ways=connector.ways,
        settled=connector.settled,
        message=message,
        hint=hint,
        user=user,
        typed=typed,
    )


async def sign_out_page(request: Request) -> Response:
    """Ask before the login is deleted: a lost token cannot be had again by the code."""
    app = student_app(request)
    if not app.connection.user:
        return go_to(request, "/sign-in")
    connector = app.connection.connector
    return page(
        request,
        "student/sign_out.html",
        token=await to_thread.run_sync(_shown_token, app),
        token_file=connector.token_file if isinstance(connector, HttpsConnector) else None,
    )


def _shown_token(app: StudentApp) -> str:
    """Return the student's token; "" where others may look at the pages, too, and for Moodle."""
    connector = app.connection.connector
    if app.access.everybody or not app.connection.user:
        return ""
    return connector.token if isinstance(connector, HttpsConnector) else ""


async def validation(request: Request) -> Response:
    line = await requested_row(request)
    return page(request, "student/validation.html", line=line)


async def editor(request: Request) -> Response:
    """Show the page that opens a running editor, or starts one: at once with ``?begin``."""
    line = await requested_row(request)
    found = student_app(request).runner.editors.find(line.folder)
    url, begin = found.url if found else "", "begin" in request.query_params
    return page(request, "student/editor.html", line=line, url=url, begin=begin)


async def replace(request: Request) -> Response:
    """Ask before files are fetched over existing ones."""
    return page(request, "student/replace.html", line=await requested_row(request))


async def late(request: Request) -> Response:
    """Ask before a late submission replaces one that was on time."""
    return page(request, "student/late.html", line=await requested_row(request))


async def newer(request: Request) -> Response:
    """Ask which is to be gone on with: the work in this folder, or newer work from elsewhere."""
    line = await requested_row(request)
    return page(request, "student/newer.html", line=line) if line.elsewhere else go_to(request, "/")


async def receipt(request: Request) -> Response:
    line = await requested_row(request)
    if line.sent is None:
        raise NotFound("Nothing was submitted from this computer.")
    text = await to_thread.run_sync(student_app(request).course.receipt, line.sent)
    return page(request, "student/receipt.html", line=line, sent=line.sent, receipt=text)


async def receipt_file(request: Request) -> Response:
    line = await requested_row(request)
    text = ""
    if line.sent is not None:
        text = await to_thread.run_sync(student_app(request).course.receipt, line.sent)
    if not text:
        raise NotFound("There is no receipt.")
    return _attached(text.encode(), f"receipt-{line.folder}.json", "application/json")


async def feedback(request: Request) -> Response:
    line = await requested_row(request)
    if not line.has_feedback:
        raise NotFound("There is no feedback yet.")
    scripts = "scripts" in request.query_params
    shown = (*MARKUP, *PLAIN)
    response = page(
        request, "student/feedback.html", line=line, scripts=scripts, shown=shown, markup=MARKUP
    )
    own = content_security_policy(request_context(request))
    response.headers["content-security-policy"] = f"{own}; frame-src 'self'"
    return response


async def document(request: Request) -> Response:
    """Show a feedback document in a page without scripts, or with scripts but an opaque origin.

    The server's documents are not trusted: with an opaque origin they can neither read the
    dashboard nor send it anything.
    """
    found, content = await _document(request)
    markup = found.suffix.lower() in MARKUP
    if not markup and found.suffix.lower() not in PLAIN:
        raise NotFound("This document can only be downloaded.")
    scripts = markup and "scripts" in request.query_params
    headers = {
        "Content-Type": _PAGE if markup else _TEXT,
        "Content-Security-Policy": (_OWN_SCRIPTS if scripts else _NO_SCRIPTS)
        + "; form-action 'none'; base-uri 'none'; frame-ancestors 'self'",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "no-referrer",
    }
    return Response(content, headers=headers)


async def document_file(request: Request) -> Response:
    found, content = await _document(request)
    return _attached(content, found.name, "application/octet-stream")


async def requested_row(request: Request) -> AssignmentRow:
    app = student_app(request)
    return await to_thread.run_sync(_find, app, request.path_params["folder"])


def _find(app: StudentApp, folder: str) -> AssignmentRow:
    known = app.course.known()
    if known is None:
        raise NotFound("No assignments are known yet.", hint="Sign in first.")
    return row_of(app, known.item(folder))


async def _document(request: Request) -> tuple[Path, bytes]:
    line = await requested_row(request)
    number = int(request.path_params["number"])
    if number >= len(line.documents):
        raise NotFound("There is no such document.")
    found = line.documents[number]
    folder = student_app(request).course.folder
    return found, await to_thread.run_sync(folder.document, found)


def _attached(content: bytes, name: str, kind: str) -> Response:
    answer = saved_file(content, name, kind)
    answer.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return answer


@dataclass(frozen=True, slots=True)
class AssignmentRow:
    """One assignment; ``state`` uses the terms of the hub's pages."""

    item: KnownItem
    notebook: Notebook | None
    state: str
    sent: SentNotebook | None
    waiting: Waiting | None
    result: ValidationResult | None
    stale: bool
    documents: tuple[Path, ...]
    editing: bool
    elsewhere: Elsewhere | None
    """Newer work, from a browser or another computer, that this folder has not seen."""
    waits_as_before: bool = False
    """Whether the submission that waits has another text than the notebook has now."""

    @property
    def own(self) -> OwnDates:
        assignment, standing = self.item.assignment, self.item.standing
        if standing is None or standing.extended_to is None:
            return OwnDates(assignment.due, assignment.cutoff)
        closes = assignment.cutoff and max(assignment.cutoff, standing.extended_to)
        due = standing.due(assignment)
        return OwnDates(due, closes, extended=due != assignment.due)

    @property
    def folder(self) -> str:
        return self.item.folder

    @property
    def name(self) -> str:
        return self.item.assignment.name

    @property
    def handed_in(self) -> datetime | None:
        """The time at which the server received the submission that counts, if known."""
        standing = self.item.standing
        if standing is not None and standing.submitted_at is not None:
            return standing.submitted_at
        return self.sent.submitted_at if self.sent else None

    @property
    def is_late(self) -> bool:
        """Whether that submission is late: by the due date as it is now, where the server says."""
        standing = self.item.standing
        if standing is not None and standing.submitted_at is not None:
            return standing.late
        return self.sent is not None and self.sent.late

    @property
    def is_handed_in(self) -> bool:
        standing = self.item.standing
        return self.sent is not None or (
            standing is not None and standing.state is WorkState.SUBMITTED
        )

    @property
    def has_feedback(self) -> bool:
        standing = self.item.standing
        reported = standing is not None and bool(standing.feedback or standing.feedback_available)
        return reported or bool(self.documents)


def row_of(app: StudentApp, item: KnownItem) -> AssignmentRow:
    folder = app.course.folder
    notebook, waiting = folder.notebook(item.folder), folder.waiting(item.folder)
    state, standing = folder.state_of(notebook), item.standing
    text: bytes | None = None
    with suppress(MograderError):  # one unreadable notebook must not break the whole list
        text = folder.read(notebook) if notebook and (standing or waiting) else None
    elsewhere = None
    if standing is not None:
        elsewhere = unseen(standing, item.assignment, folder.directory(item.folder), text)
    other = waiting is not None and (text is None or waiting.digest not in digests(text))
    return AssignmentRow(
        item=item,
        notebook=notebook,
        state=state.value if state else "not started",
        sent=folder.sent(notebook) if notebook else None,
        waiting=waiting,
        result=app.runner.result(notebook) if notebook else None,
        stale=app.runner.stale(notebook) if notebook else False,
        documents=folder.feedback(item.folder),
        editing=app.runner.editors.find(item.folder) is not None,
        elsewhere=elsewhere,
        waits_as_before=other and notebook is not None,
    )


def rows_of(app: StudentApp, known: Known | None) -> tuple[AssignmentRow, ...]:
    """Return the rows of all assignments, in the order of what is next; reads the disk."""
    rows = [row_of(app, item) for item in known.items] if known else []
    now = app.clock.now()
    return tuple(sorted(rows, key=lambda row: row.own.urgency(now, handed_in=row.is_handed_in)))
