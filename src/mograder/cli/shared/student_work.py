"""The work and the results of ``fetch``, ``submit`` and ``feedback``, for any kind of server."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from mograder.cli.shared.console import plain, when
from mograder.cli.shared.output import clear_for_question
from mograder.cli.shared.result import Result, aligned, tell
from mograder.clients.course_server import (
    Acknowledgement,
    KeepsDrafts,
    NeedsDecision,
    RemoteAssignment,
    RemoteDraft,
    Transport,
    WorkState,
    WouldReplaceOnTime,
)
from mograder.core.clock import SystemClock
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.files.windows_files import digests
from mograder.core.portable_names import server_name
from mograder.core.tasks import Progress
from mograder.exchange.student.drafts import (
    Elsewhere,
    NewerElsewhere,
    SavedDraft,
    notebook_of,
    save_before_submission,
    take,
    unseen,
)
from mograder.exchange.student.fetch import Change, FetchedFile
from mograder.exchange.student.fetch import fetch as fetch_files
from mograder.exchange.student.submit import (
    KeptReceipt,
    Returned,
    keep,
    read_feedback,
    read_notebook,
)
from mograder.store.course.course import shown


@dataclass(frozen=True, slots=True)
class StudentWork:
    """One person's connection to a course, and how an assignment is found by a typed name.

    ``pages_key`` is the JSON key of the saved pages of feedback.
    """

    transport: Transport
    find: Callable[[str], RemoteAssignment]
    say: Progress
    url: str
    pages_key: str = "pages"

    def list(self) -> Result:
        offered = self.transport.list_assignments()
        told = [
            {
                "id": each.key if each.number is None else each.number,
                "name": each.name,
                "due": each.due,
                "cutoff": each.cutoff,
                "files": [file.name for file in each.files],
            }
            for each in offered
        ]
        rows = [("ID", "Name", "Due date", "Files")]
        for each in offered:
            number = each.key if each.number is None else str(each.number)
            names = ", ".join(file.name for file in each.files)
            files = f"{len(each.files)} ({names})" if names else "0"
            rows.append((plain(number), plain(each.name), when(each.due), plain(files)))
        return Result(told, aligned(rows) if offered else ["No assignments found."])

    def fetch(self, named: str, out: Path, *, draft: bool = False) -> Result:
        """Download an assignment; ``draft`` takes newer work of the student's, too."""
        found, now = self.find(named), SystemClock().now()
        files = fetch_files(self.transport, found, out, self.say, now)
        news = self._news(found, files)
        taken = None
        if draft:
            taken = take(self.transport, found, notebook_of(found, files).path, now)
        told = {
            "assignment": found.name,
            "directory": str(out),
            "files": files,
            "newer_elsewhere": news.at if news else None,
            "taken": str(taken.path) if taken else None,
        }
        return Result(told, _fetched_lines(found, files, news, taken))

    def preview(self, found: RemoteAssignment, file: Path) -> Result:
        user = self.transport.user
        told = {
            "assignment": found.name,
            "file": str(file),
            "user": user,
            "url": self.url,
            "submitted": False,
        }
        lines = [
            f"Would submit: {file}",
            f"  Assignment: {plain(found.name)}",
            f"  Server: {self.url}",
            f"  User: {user or '(there is no token)'}",
            "Dry run — nothing was sent.",
        ]
        return Result(told, lines)

    def submit(self, found: RemoteAssignment, file: Path, *, late: bool, yes: bool) -> Result:
        """Hand a notebook in; ask before it replaces newer work, or late work one on time."""
        saved = SavedDraft()
        if isinstance(self.transport, KeepsDrafts):
            saved = self._save_draft(found, file, yes=yes)
        handed = self._submit(found, file, late=late)
        return self.submitted(found, file, handed, saved)

    def submitted(
        self, found: RemoteAssignment, file: Path, handed: Acknowledgement, saved: SavedDraft
    ) -> Result:
        """Keep the receipt, if there is one, and return what the server has acknowledged."""
        receipt = self._keep(handed.receipt, found, file)
        told = self.handed_json(found, file, handed)
        told["receipt"] = json.loads(handed.receipt) if handed.receipt else None
        told["receipt_path"] = None if receipt is None else str(receipt.path)
        told["kept"] = None if saved.kept is None else str(saved.kept)
        return Result(told, _submitted_lines(found, file, handed, receipt, saved))

    def _keep(self, receipt: str, found: RemoteAssignment, file: Path) -> KeptReceipt | None:
        """Keep a receipt; tell if it cannot be: the server has the submission all the same."""
        try:
            return keep(receipt, found, self.url, file.parent)
        except InvalidInput as error:
            tell(plain(f"{error.message} {error.hint}"), err=True)
            return None

    def handed_json(
        self,
        found: RemoteAssignment,
        file: Path,
        handed: Acknowledgement,
        *,
        submitted: bool = True,
    ) -> dict[str, object]:
        return {
            "assignment": found.name,
            "file": str(file),
            "user": self.transport.user,
            "submitted": submitted,
            "filename": handed.filename,
            "submitted_at": handed.submitted_at,
            "late": handed.late,
            "repeated": handed.repeated,
        }

    def feedback(self, named: str, out: Path | None) -> Result:
        """Return status, grade and feedback; pages of feedback are saved into ``out``."""
        found = self.find(named)
        returned = read_feedback(self.transport, found, out)
        status = returned.status
        draft = status.draft
        if draft and draft.tag and isinstance(self.transport, KeepsDrafts):
            same = draft.sha256 == status.sha256  # else another text, unless only in line ends
            same = same or status.sha256 in digests(self.transport.draft(found)[1])
            draft = None if same else draft
        else:
            draft = None
        told = {
            "assignment": found.name,
            "status": status.state,
            "graded": status.graded,
            "grade": status.grade,
            "feedback": status.feedback,
            "feedback_available": status.feedback_available,
            "submitted_at": status.submitted_at,
            "late": status.late,
            "can_submit": status.can_submit,
            "why_not": status.why_not,
            "graded_attempt": status.graded_attempt or None,
            "other_draft": draft.saved if draft else None,
            self.pages_key: [str(path) for path in returned.pages],
        }
        return Result(told, _status_lines(found, returned, draft))

    def _news(self, found: RemoteAssignment, files: Sequence[FetchedFile]) -> Elsewhere | None:
        """Return newer work on the server; None as well if it cannot be asked: files are here."""
        if not isinstance(self.transport, KeepsDrafts):
            return None
        try:
            notebook = notebook_of(found, files).path
            status = self.transport.work_status(found)
            return unseen(status, found, notebook.parent, notebook.read_bytes())
        except (MograderError, OSError):
            return None

    def _save_draft(self, found: RemoteAssignment, file: Path, *, yes: bool) -> SavedDraft:
        """Save the notebook as draft; ask for confirmation if that would replace newer work."""
        text, now = read_notebook(file), SystemClock().now()
        save = partial(save_before_submission, self.transport, found, file, text, now)
        try:
            return save()
        except NewerElsewhere as problem:
            if not yes and not _agrees(problem, "Submit this one all the same?"):
                hint = "Run it again with --yes to submit this one all the same."
                if problem.elsewhere.draft:
                    hint = f"Take the newer one with `mograder https fetch --draft`. {hint}"
                raise NewerElsewhere(problem.elsewhere, hint=hint) from problem
            return save(agreed=problem.elsewhere.key)

    def _submit(self, found: RemoteAssignment, file: Path, *, late: bool) -> Acknowledgement:
        """Submit; ask for confirmation if a late submission would replace one that was on time."""
        send = partial(self.transport.submit, found, file, self.say)
        try:
            return send(late=late)
        except WouldReplaceOnTime as problem:
            self._keep(problem.receipt, found, file)
            if not _agrees(problem, "Let the late one count?"):
                hint = "Run it again with --late to let the late one count."
                raise WouldReplaceOnTime(problem.message, hint=hint) from problem
        return send(late=True)


def _agrees(problem: NeedsDecision, question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    clear_for_question()
    click.echo(problem.message, err=True)
    return click.confirm(question, err=True)


def _fetched_lines(
    assignment: RemoteAssignment,
    files: Sequence[FetchedFile],
    news: Elsewhere | None,
    taken: FetchedFile | None,
) -> Iterator[str]:
    for each in files:
        arrived = "Extracted" if each.archive else "Downloaded"
        words = {Change.NEW: arrived, Change.UPDATED: "Updated", Change.UNCHANGED: "Unchanged"}
        name = server_name(each.name)
        there = "" if name == each.name else f"  (on the server: {plain(name)})"
        yield f"  {words[each.change]}: {shown(each.path.absolute())}{there}{_kept(each)}"
    count = sum(1 for file in files if not file.archive)
    yield f"Fetched {count} file(s) for '{plain(assignment.name)}'"
    if taken is not None:
        yield f"  Your own: {shown(taken.path.absolute())}{_kept(taken)}"
    elif news is not None and news.draft is not None:
        yield (
            "Newer work of yours is on the server, saved in a browser or on another computer on "
            f"{when(news.draft.saved)}. The same command with --draft takes it."
        )
    if news is not None and news.submitted_at is not None:
        yield f"What you submitted elsewhere on {when(news.submitted_at)} counts."


def _kept(file: FetchedFile) -> str:
    return "" if file.kept is None else f"  (what you had is kept as {file.kept.name})"


def _submitted_lines(
    assignment: RemoteAssignment,
    file: Path,
    handed: Acknowledgement,
    receipt: KeptReceipt | None,
    saved: SavedDraft,
) -> Iterator[str]:
    yield f"Submitted '{file.name}' to '{plain(assignment.name)}'"
    if receipt is None and handed.filename != file.name:
        yield f"  The server calls it {plain(handed.filename)}."
    if handed.repeated:
        yield "  The server held exactly this already; nothing has changed."
    if handed.submitted_at is not None:
        yield f"  Received: {when(handed.submitted_at)}{' (late)' if handed.late else ''}"
    if receipt is not None:
        yield f"  Receipt:  {shown(receipt.path.absolute())}"
    if saved.kept is not None:
        yield f"  What was saved elsewhere is kept as {saved.kept.name}"
    if saved.why_not:
        yield f"  Browsers do not begin with it: {plain(saved.why_not)}"


def _status_lines(
    assignment: RemoteAssignment, returned: Returned, draft: RemoteDraft | None
) -> Iterator[str]:
    """Yield lines about the work, first those of 0.3.16; ``draft`` has another text."""
    status = returned.status
    yield f"Assignment: {plain(assignment.name)}"
    yield f"Status: {status.state}"
    if status.submitted_at is not None:
        yield f"Received: {when(status.submitted_at)}{' (late)' if status.late else ''}"
    if status.graded:
        earlier = f" (attempt {status.graded_attempt})" if status.graded_attempt else ""
        yield f"Grade: {plain(status.grade or '-')}{earlier}"
        yield "Feedback:"
        yield from (f"  {plain(line)}" for line in status.feedback.splitlines())
    else:
        yield "No submission yet." if status.state is WorkState.NEW else "Not yet graded."
    if draft is not None:
        yield f"Draft: another text, saved {when(draft.saved)}"
    yield from (f"Page: {plain(shown(page.absolute()))}" for page in returned.pages)
    if status.feedback_available and not returned.pages:
        yield "There are pages of feedback: -o DIRECTORY saves them."
    if not status.can_submit and status.why_not:
        yield plain(status.why_not)
