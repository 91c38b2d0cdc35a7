"""``mograder https fetch``, ``submit`` and ``feedback`` (B149-B151)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from mograder.cli.https.server import Server, offered_assignment, server_options
from mograder.cli.shared.console import print_json
from mograder.cli.shared.formatting import (
    assignment_json,
    called_there,
    closed,
    fetched_json,
    iso,
    plain,
    status_json,
    when,
)
from mograder.cli.shared.options import json_option, what_to_fetch
from mograder.clients.assignment_server.client import HttpsTransport
from mograder.clients.course_server import (
    NeedsDecision,
    RemoteAssignment,
    WorkState,
    WouldReplaceOnTime,
)
from mograder.core.clock import SystemClock
from mograder.core.errors import MograderError
from mograder.core.single_flight import Progress
from mograder.exchange.assignment_lookup import choose_remote
from mograder.exchange.student.drafts import (
    Elsewhere,
    NewerElsewhere,
    SavedDraft,
    notebook_of,
    save_before_submission,
    take,
    unseen,
)
from mograder.exchange.student.feedback import Returned, read_feedback
from mograder.exchange.student.fetch import Change, FetchedFile, fetch
from mograder.exchange.student.receipts import keep
from mograder.exchange.student.submit import (
    Submission,
    check_notebook,
    read_notebook,
    submit,
)
from mograder.store.course.course import shown

_Directory = click.Path(file_okay=False, path_type=Path)


@click.command("fetch")
@what_to_fetch
@click.option(
    "--draft", is_flag=True, help="Put your newest work on the server in the notebook's place."
)
@json_option
@server_options
def fetch_command(
    *,
    server: Server,
    assignment: str | None,
    listed: bool,
    output_dir: Path,
    draft: bool,
    as_json: bool,
) -> None:
    """Download an assignment, or list them all.

    ASSIGNMENT is a name, a number of the list, or a part of a name that only one has. Zips are
    unpacked. A file that you have edited is kept under another name, which is told. What broke
    off goes on when the command is run again. If you have newer work on the server, from a
    browser or another computer, that is told too; --draft takes it.
    """
    if not assignment and not listed:
        raise click.UsageError("Name an assignment, or use --list.")
    with server.connected(quiet=as_json) as (transport, transfers):
        offered = transport.list_assignments()
        if listed or not assignment:
            _print_list(offered, as_json=as_json)
            return
        found = choose_remote(assignment, offered)
        now = SystemClock().now()
        files = fetch(transport, found, output_dir, transfers.say, now)
        news = _news(transport, found, files)
        taken = take(transport, found, notebook_of(found, files).path, now) if draft else None
    _print_fetched(found, output_dir, files, (news, taken), as_json=as_json)


@click.command("submit")
@click.argument("assignment")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--late", is_flag=True, help="Let it replace one that was on time, without asking.")
@click.option("--yes", is_flag=True, help="Let it replace newer work, without asking.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@json_option
@server_options
def submit_command(
    *,
    server: Server,
    assignment: str,
    file: Path,
    late: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Hand a notebook in.

    Every submission is kept, and the latest counts. The server's receipt is kept beside the
    notebook, in .mograder/receipts/. A late one takes the place of one that was on time only if
    you agree; so does one that would replace newer work, from a browser or another computer, that
    this folder has not seen. That work is kept beside FILE.
    """
    check_notebook(file)
    with server.connected(quiet=as_json) as (transport, transfers):
        found = offered_assignment(transport, assignment, dry_run=dry_run)
        if dry_run:
            _print_dry_run(found, file, transport, as_json=as_json)
            return
        saved = _save_draft(transport, found, file, yes=yes)
        done = _submit(transport, found, file, transfers.say, late=late)
    _print_submission(found, file, transport, done, saved, as_json=as_json)


@click.command("feedback")
@click.argument("assignment")
@click.option(
    "-o", "--output-dir", type=_Directory, help="Write the page of feedback into this directory."
)
@json_option
@server_options
def feedback_command(
    *, server: Server, assignment: str, output_dir: Path | None, as_json: bool
) -> None:
    """Show your status, grade and feedback."""
    with server.connected(quiet=as_json) as (transport, _):
        found = offered_assignment(transport, assignment)
        returned = read_feedback(transport, found, output_dir)
    if as_json:
        print_json(status_json(found, returned, saved_as="pages"))
        return
    for line in _status_lines(found, returned):
        click.echo(line)


def _news(
    transport: HttpsTransport, assignment: RemoteAssignment, files: Sequence[FetchedFile]
) -> Elsewhere | None:
    """Return newer work on the server; None as well if it cannot be asked: the files are here."""
    try:
        notebook = notebook_of(assignment, files).path
        status = transport.work_status(assignment)
        return unseen(status, assignment, notebook.parent, notebook.read_bytes())
    except (MograderError, OSError):
        return None


def _save_draft(
    transport: HttpsTransport, assignment: RemoteAssignment, file: Path, *, yes: bool
) -> SavedDraft:
    """Save the notebook as draft; ask for confirmation if that would replace newer work."""
    save = partial(
        save_before_submission,
        transport,
        assignment,
        file,
        read_notebook(file),
        SystemClock().now(),
    )
    try:
        return save()
    except NewerElsewhere as problem:
        if not yes and not _agrees(problem, "Submit this one all the same?"):
            hint = "Run it again with --yes to submit this one all the same."
            if problem.elsewhere.draft:
                hint = f"Take the newer one with `mograder https fetch --draft`. {hint}"
            raise NewerElsewhere(problem.elsewhere, hint=hint) from problem
        return save(agreed=problem.elsewhere.key)


def _submit(
    transport: HttpsTransport,
    assignment: RemoteAssignment,
    file: Path,
    say: Progress,
    *,
    late: bool,
) -> Submission:
    """Submit; ask for confirmation if a late submission would replace one that was on time."""
    try:
        return submit(transport, assignment, file, say, server=transport.url, late=late)
    except WouldReplaceOnTime as problem:
        keep(problem.receipt, assignment, transport.url, file.parent)
        if not _agrees(problem, "Let the late one count?"):
            hint = "Run it again with --late to let the late one count."
            raise WouldReplaceOnTime(problem.message, hint=hint) from problem
    return submit(transport, assignment, file, say, server=transport.url, late=True)


def _agrees(problem: NeedsDecision, question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    click.echo(problem.message, err=True)
    return click.confirm(question, err=True)


def _print_list(offered: Sequence[RemoteAssignment], *, as_json: bool) -> None:
    if as_json:
        print_json([assignment_json(each) for each in offered])
        return
    if not offered:
        click.echo("No assignments found.")
        return
    rows = [("ID", "Name", "Due date", "Files"), *(_row(each) for each in offered)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _row(assignment: RemoteAssignment) -> tuple[str, str, str, str]:
    number = assignment.key if assignment.number is None else str(assignment.number)
    names = ", ".join(file.name for file in assignment.files)
    files = f"{len(assignment.files)} ({names})" if names else "0"
    return plain(number), plain(assignment.name), when(assignment.due), plain(files)


def _print_fetched(
    assignment: RemoteAssignment,
    out: Path,
    files: Sequence[FetchedFile],
    work: tuple[Elsewhere | None, FetchedFile | None],
    *,
    as_json: bool,
) -> None:
    """Print the fetched files, and newer work of the student's with its file, if it was taken."""
    news, taken = work
    if as_json:
        answer = fetched_json(assignment, out, files)
        answer["newer_elsewhere"] = iso(news.at) if news else None
        answer["taken"] = str(taken.path) if taken else None
        print_json(answer)
        return
    for file in files:
        click.echo(f"  {_fate(file)}")
    count = sum(1 for file in files if not file.archive)
    click.echo(f"Fetched {count} file(s) for '{plain(assignment.name)}'")
    if taken is not None:
        click.echo(f"  Your own: {shown(taken.path.absolute())}{_kept(taken)}")
    elif news is not None and news.draft is not None:
        click.echo(
            "Newer work of yours is on the server, saved in a browser or on another computer on "
            f"{when(news.draft.saved)}. The same command with --draft takes it."
        )
    if news is not None and news.submitted_at is not None:
        click.echo(f"What you submitted elsewhere on {when(news.submitted_at)} counts.")


def _fate(file: FetchedFile) -> str:
    """Describe what was done with a file, in 0.3.16's words where it has some."""
    arrived = "Extracted" if file.archive else "Downloaded"
    words = {Change.NEW: arrived, Change.UPDATED: "Updated", Change.UNCHANGED: "Unchanged"}
    return f"{words[file.change]}: {shown(file.path.absolute())}{called_there(file)}{_kept(file)}"


def _kept(file: FetchedFile) -> str:
    return "" if file.kept is None else f"  (what you had is kept as {file.kept.name})"


def _print_dry_run(
    assignment: RemoteAssignment, file: Path, transport: HttpsTransport, *, as_json: bool
) -> None:
    if as_json:
        answer = {
            "assignment": assignment.name,
            "file": str(file),
            "user": transport.user,
            "url": transport.url,
            "submitted": False,
        }
        print_json(answer)
        return
    click.echo(f"Would submit: {file}")
    click.echo(f"  Assignment: {plain(assignment.name)}")
    click.echo(f"  Server: {transport.url}")
    click.echo(f"  User: {transport.user or '(there is no token)'}")


def _print_submission(
    assignment: RemoteAssignment,
    file: Path,
    transport: HttpsTransport,
    done: Submission,
    saved: SavedDraft,
    *,
    as_json: bool,
) -> None:
    handed, receipt = done.handed, done.receipt
    if as_json:
        answer = {
            "assignment": assignment.name,
            "file": str(file),
            "user": transport.user,
            "submitted": True,
            "filename": handed.filename,
            "submitted_at": iso(handed.submitted_at),
            "late": handed.late,
            "repeated": handed.repeated,
            "receipt": json.loads(handed.receipt) if handed.receipt else None,
            "receipt_path": None if receipt is None else str(receipt.path),
            "kept": None if saved.kept is None else str(saved.kept),
        }
        print_json(answer)
        return
    click.echo(f"Submitted '{file.name}' to '{plain(assignment.name)}'")
    if handed.repeated:
        click.echo("  The server held exactly this already; nothing has changed.")
    if handed.submitted_at is not None:
        click.echo(f"  Received: {when(handed.submitted_at)}{' (late)' if handed.late else ''}")
    if receipt is not None:
        click.echo(f"  Receipt:  {shown(receipt.path.absolute())}")
    if saved.kept is not None:
        click.echo(f"  What was saved elsewhere is kept as {saved.kept.name}")
    if saved.why_not:
        click.echo(f"  Browsers do not begin with it: {plain(saved.why_not)}")


def _status_lines(assignment: RemoteAssignment, returned: Returned) -> list[str]:
    """Return lines about the state of the work; the first ones are those of 0.3.16."""
    status = returned.status
    lines = [f"Assignment: {plain(assignment.name)}", f"Status: {status.state}"]
    if status.submitted_at is not None:
        late = " (late)" if status.late else ""
        lines.append(f"Received: {when(status.submitted_at)}{late}")
    if status.graded:
        lines += [f"Grade: {plain(status.grade or '-')}", "Feedback:"]
        lines += [f"  {plain(line)}" for line in status.feedback.splitlines()]
    else:
        new = status.state is WorkState.NEW
        lines.append("No submission yet." if new else "Not yet graded.")
    draft = status.draft
    if draft is not None and draft.tag and draft.sha256 != status.sha256:
        lines.append(f"Draft: another text, saved {when(draft.saved)}")
    lines += [f"Page: {shown(page.absolute())}" for page in returned.pages]
    if status.feedback_available and not returned.pages:
        lines.append("There is a page of feedback: -o DIRECTORY saves it.")
    return lines + closed(status)
