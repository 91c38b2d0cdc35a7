"""``mograder https`` for instructors: collecting, grades, feedback, names (B147, B153, B154)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote

import click

from mograder.cli.files import read_bytes
from mograder.cli.https.server import Server, offered_assignment, server_options
from mograder.cli.shared.console import plain
from mograder.cli.shared.options import DIRECTORY, EXISTING_FILE, dry_run_option
from mograder.cli.shared.released import (
    ReleasedCourseMarks,
    grades_to_send,
    released_files,
    released_of,
    unreleased_option,
)
from mograder.cli.shared.result import Result, json_option, tell
from mograder.clients.assignment_server.client import GradeRow, HttpsTransport
from mograder.clients.course_server import RemoteAssignment
from mograder.core.clock import SystemClock
from mograder.core.errors import MograderError, NotFound, RemoteFailed
from mograder.core.name_lookup import listed
from mograder.core.names import Username
from mograder.exchange.assignment_lookup import choose_remote, folder_of
from mograder.exchange.assignment_server import Collected, batches, collect, find_pages
from mograder.exchange.collecting import CollectOutcome
from mograder.exchange.grade_files import is_mark, server_rows, server_rows_of
from mograder.store.course.course import shown


@click.command("fetch-submissions")
@click.argument("assignment")
@click.option(
    "-o", "--output-dir", type=DIRECTORY, help="Where they go.  [default: submitted/ASSIGNMENT]"
)
@click.option("--force", is_flag=True, help="Download again what is here already.")
@json_option
@server_options
def fetch_submissions(
    *, server: Server, assignment: str, output_dir: Path | None, force: bool
) -> Result:
    """Download what was handed in (instructors).

    The latest of each person becomes USER.py; one that it replaces is kept in .replaced/. When
    each was handed in is in .fetch_metadata.json.
    """
    with server.connected() as (transport, transfers):
        found = choose_remote(assignment, transport.list_assignments())
        submitted = server.loaded.path(server.loaded.settings.dirs.submitted)
        out = output_dir or submitted / folder_of(found)
        now = SystemClock().now()
        collected = collect(transport, found, out, transfers.say, now, force=force)
    failure = None
    if failed := [each for each in collected if each.problem is not None]:
        names = listed([each.username for each in failed])
        failure = RemoteFailed(
            f"{len(failed)} submissions could not be downloaded: {names}.",
            hint=failed[0].problem or "",
        )
    told = {
        "assignment": found.name,
        "directory": str(out),
        "submissions": collected,
    }
    return Result(told, _collected_lines(found, out, collected), failure=failure)


@click.command("upload-grades")
@click.argument("assignment")
@click.option(
    "--grades-csv",
    type=EXISTING_FILE,
    help="A CSV file with the columns username, grade and feedback.  [default: the gradebook]",
)
@unreleased_option
@dry_run_option
@json_option
@server_options
def upload_grades(
    *,
    server: Server,
    assignment: str,
    grades_csv: Path | None,
    unreleased: bool,
    dry_run: bool,
) -> Result:
    """Upload grades (instructors).

    They come from the gradebook, or from a CSV file. They are merged into those that the server
    holds: one row for each person. Further columns are kept there as they are. A student without a
    mark in the gradebook is left out.
    """
    given = server_rows(read_bytes(grades_csv), str(grades_csv)) if grades_csv else None
    with server.connected() as (transport, _):
        found = offered_assignment(transport, assignment, dry_run=dry_run)
        rows = given
        if rows is None:
            name = folder_of(found)
            released = released_of(server.loaded, name, unreleased=unreleased)
            rows = server_rows_of(grades_to_send(server.loaded, name, released))
            if not rows and released is None:
                raise NotFound(
                    f"The gradebook {shown(server.loaded.gradebook_path)} has no marks for {name}.",
                    hint=f"Grade it first (mograder autograde {quote(name)}), or give "
                    "--grades-csv.",
                )
        total = None if dry_run else transport.upload_grades(found, rows)
        _tell_remarks(transport, found, given or ())
    told = {
        "assignment": found.name,
        "grades": len(rows),
        "uploaded": total is not None,
        "count": total,
    }
    return Result(told, _grades_lines(found, rows, total))


@click.command("upload-feedback")
@click.argument("assignment")
@click.option(
    "--feedback-dir",
    type=DIRECTORY,
    help="The directory with USER.html files.  [default: feedback/ASSIGNMENT]",
)
@click.option("--grades-csv", type=EXISTING_FILE, help="Upload these grades too.")
@unreleased_option
@dry_run_option
@json_option
@server_options
def upload_feedback(
    *,
    server: Server,
    assignment: str,
    feedback_dir: Path | None,
    grades_csv: Path | None,
    unreleased: bool,
    dry_run: bool,
) -> Result:
    """Upload pages of feedback (instructors).

    Once marks of the assignment were released, these are pages of the released marks only.
    """
    rows = server_rows(read_bytes(grades_csv), str(grades_csv)) if grades_csv else ()
    with server.connected() as (transport, transfers):
        found = offered_assignment(transport, assignment, dry_run=dry_run)
        base = server.loaded.path(server.loaded.settings.dirs.feedback)
        released = released_of(server.loaded, folder_of(found), unreleased=unreleased)
        pages = _pages(released, feedback_dir, base / folder_of(found))
        stored: list[str] = []
        total = None
        if not dry_run:
            total = transport.upload_grades(found, rows) if rows else None
            for batch in batches(pages):
                stored += transport.upload_feedback(found, batch, transfers.say)
        _tell_remarks(transport, found, rows)
    told = {
        "assignment": found.name,
        "pages": [page.name for page in pages],
        "grades": len(rows),
        "uploaded": not dry_run,
        "count": total,
    }
    named = [f"  {page.name}" for page in pages]
    what = f"{len(pages)} feedback file(s) to '{found.name}'"
    lines = list(_grades_lines(found, rows, total)) if rows else []
    lines += [f"Would upload {what}", *named] if dry_run else [*named, f"Uploaded {what}"]
    return Result(told, lines)


def _pages(
    released: ReleasedCourseMarks | None, given: Path | None, usual: Path
) -> tuple[Path, ...]:
    """Return the pages to send, of released marks only if there are some; raises NotFound."""
    if released is None or (given is not None and not given.is_dir()):
        return find_pages(given or usual)
    try:
        return find_pages(released_files(released, given, usual))
    except NotFound as error:
        where = f" in {given}" if given else ""
        raise NotFound(
            f"There is no page of released marks{where}.",
            hint="Release marks (mograder gradebook release), or send all pages: --unreleased.",
        ) from error


@click.command("reset")
@click.argument("username")
@json_option
@server_options
def reset(*, server: Server, username: str) -> Result:
    """Let a name register again (instructors).

    Its tokens end, and the next person to register the name gets a new one. Submissions under the
    name stay.
    """
    user = Username.parse(username)
    with server.connected() as (transport, _):
        transport.reset_registration(user)
    line = f"{user} may register again; all tokens of that name have ended."
    return Result({"user": user, "reset": True}, [line])


def _collected_lines(
    assignment: RemoteAssignment, out: Path, collected: Sequence[Collected]
) -> Iterator[str]:
    counts = Counter(each.change for each in collected)
    if not collected:
        yield f"No submissions to {assignment.name} yet."
        return
    for each in collected:
        before = "" if each.kept is None else each.kept.relative_to(out)
        kept = f"  (the one before is kept as {before})" if before else ""
        if each.path and each.change is not CollectOutcome.UNCHANGED:
            yield f"  {each.path.name}{kept}"
    held = len(collected) - counts[CollectOutcome.SKIPPED]
    told = ", ".join(f"{counts[fate]} {fate}" for fate in CollectOutcome if counts[fate])
    yield f"Downloaded {held} submission(s) in {shown(out.absolute())} ({told})"


def _grades_lines(
    assignment: RemoteAssignment, rows: Sequence[GradeRow], total: int | None
) -> Iterator[str]:
    if total is None:
        yield f"Would upload {len(rows)} grade(s) to '{assignment.name}'"
        yield from (f"  {row.who}: {row.values.get('grade') or '-'}" for row in rows)
    else:
        yield f"Uploaded {len(rows)} grade(s) to '{assignment.name}'; the server holds {total}."


def _tell_remarks(
    transport: HttpsTransport, assignment: RemoteAssignment, rows: Sequence[GradeRow]
) -> None:
    """Name the rows of a file that may be mistakes, though they are sent."""
    grades = {row.who: row.values["grade"] for row in rows if "grade" in row.values}
    removed = [who for who, grade in grades.items() if not grade]
    if removed:
        tell(plain(f"No mark; an earlier one is taken away: {listed(removed)}"), err=True)
    odd = [f"{who} ({grade})" for who, grade in grades.items() if not is_mark(grade)]
    if odd:
        tell(plain(f"Not a number: {listed(odd)}"), err=True)
    if rows and assignment.key:
        with suppress(MograderError):  # the server does not tell
            handed_in = {each.username for each in transport.submissions(assignment)}
            if strangers := [row.who for row in rows if row.who not in handed_in]:
                tell(plain(f"No submission of: {listed(strangers)}"), err=True)
