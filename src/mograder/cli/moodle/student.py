"""``mograder moodle fetch``, ``submit`` and ``feedback``: the commands for students.

They share their code with `mograder https`; only the transport differs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from mograder.cli.moodle.site import Site, site_options
from mograder.cli.shared.console import print_json
from mograder.cli.shared.course_settings import course_option
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
from mograder.cli.shared.output import reporting
from mograder.clients.course_server import (
    Acknowledgement,
    RemoteAssignment,
    WorkState,
    WorkStatus,
    WouldReplaceOnTime,
)
from mograder.clients.moodle.transport import MoodleTransport
from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict
from mograder.core.settings import LoadedSettings
from mograder.core.single_flight import Progress
from mograder.exchange.assignment_lookup import choose_remote
from mograder.exchange.student.feedback import Returned, read_feedback
from mograder.exchange.student.fetch import Change, FetchedFile
from mograder.exchange.student.fetch import fetch as fetch_files
from mograder.exchange.student.submit import check_notebook

_Directory = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class _Connection:
    """One person's connection to one course, with the lookup of its assignments."""

    transport: MoodleTransport
    find: Callable[[str], RemoteAssignment]
    say: Progress


@contextmanager
def _connected(site: Site, loaded: LoadedSettings, *, quiet: bool) -> Iterator[_Connection]:
    with site.client(loaded) as client, reporting(quiet=quiet) as report:
        transport = MoodleTransport(client, site.course(client, loaded))

        def find(named: str) -> RemoteAssignment:
            return choose_remote(named, transport.list_assignments(), loaded.settings.assignments)

        yield _Connection(transport, find, report)


@click.command("fetch")
@what_to_fetch
@site_options
@json_option
@course_option
def fetch(
    *,
    assignment: str | None,
    listed: bool,
    output_dir: Path,
    site: Site,
    as_json: bool,
    loaded: LoadedSettings,
) -> None:
    """Fetch an assignment's files.

    ASSIGNMENT is its name, a part of it that is unique, or its number. Zips are unpacked. A file
    that you have edited is kept under another name, which is told.
    """
    if not assignment and not listed:
        raise click.UsageError("Name an assignment, or use --list.")
    with _connected(site, loaded, quiet=as_json) as moodle:
        if listed or not assignment:
            _print_list(moodle.transport.list_assignments(), as_json=as_json)
            return
        found = moodle.find(assignment)
        now = SystemClock().now()
        files = fetch_files(moodle.transport, found, output_dir, moodle.say, now)
    _print_fetched(found, output_dir, files, as_json=as_json)


@click.command("submit")
@click.argument("assignment")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@site_options
@click.option(
    "--no-finalize",
    is_flag=True,
    help="Save it as a draft only, where the assignment has drafts.",
)
@click.option("--late", is_flag=True, help="Let it replace one that was on time.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and send nothing.")
@json_option
@course_option
def submit(
    *,
    assignment: str,
    file: Path,
    site: Site,
    no_finalize: bool,
    late: bool,
    dry_run: bool,
    as_json: bool,
    loaded: LoadedSettings,
) -> None:
    """Hand in a notebook.

    Afterwards Moodle is asked whether it keeps it. It takes the place of the files that you handed
    in before.
    """
    check_notebook(file)
    with _connected(site, loaded, quiet=as_json) as moodle:
        found = moodle.find(assignment)
        if dry_run:
            _preview(moodle, found, file, as_json=as_json)
            return
        hand_in = moodle.transport.save_draft if no_finalize else moodle.transport.submit
        try:
            handed = hand_in(found, file, moodle.say, late=late)
        except WouldReplaceOnTime as error:
            hint = "--late submits it all the same; without it nothing is changed."
            raise Conflict(error.message, hint=hint) from error
        status = moodle.transport.work_status(found) if no_finalize else None
    draft = status is not None and status.state is WorkState.DRAFT
    _print_handed(found, file, handed, draft=draft, as_json=as_json)


@click.command("feedback")
@click.argument("assignment")
@site_options
@click.option("-o", "--output-dir", type=_Directory, help="Save the feedback files there.")
@json_option
@course_option
def feedback(
    *,
    assignment: str,
    site: Site,
    output_dir: Path | None,
    as_json: bool,
    loaded: LoadedSettings,
) -> None:
    """Show your status, grade and feedback."""
    with _connected(site, loaded, quiet=as_json) as moodle:
        found = moodle.find(assignment)
        returned = read_feedback(moodle.transport, found, output_dir)
    if as_json:
        print_json(status_json(found, returned, saved_as="files"))
        return
    for line in _status_lines(found, returned):
        click.echo(line)


def _preview(moodle: _Connection, found: RemoteAssignment, file: Path, *, as_json: bool) -> None:
    """Print what would be sent, and refuse what Moodle would refuse.

    Raises:
        Conflict: It cannot be submitted now.
    """
    status = moodle.transport.work_status(found)
    if not status.can_submit:
        raise Conflict(f"{found.name} cannot be handed in now: {status.why_not}")
    if as_json:
        told = {"assignment": found.name, "file": str(file), "submitted": False}
        print_json(told)
        return
    click.echo(f"Would submit {file} to {found.name} as {moodle.transport.user}.")
    click.echo("Dry run — nothing was sent.")


def _print_list(offered: Sequence[RemoteAssignment], *, as_json: bool) -> None:
    if as_json:
        listed = [assignment_json(each) for each in offered]
        print_json(listed)
        return
    if not offered:
        click.echo("No assignments found.")
        return
    table = Table("ID", "Name", "Due date", "Files", box=None, pad_edge=False)
    for each in offered:
        names = ", ".join(file.name for file in each.files)
        table.add_row(str(each.number or ""), plain(each.name), when(each.due), plain(names))
    # As wide as needed: names that are cut off could not be copied.
    width = Console(width=10_000).measure(table).maximum
    console = Console(file=sys.stdout, width=max(width, 40), highlight=False, markup=False)
    console.print(table)


def _print_fetched(
    found: RemoteAssignment, out: Path, files: Sequence[FetchedFile], *, as_json: bool
) -> None:
    if as_json:
        print_json(fetched_json(found, out, files))
        return
    click.echo(f"Fetched {plain(found.name)} to {out}")
    for file in files:
        kept = f"  (what you had is kept as {file.kept.name})" if file.kept else ""
        word = "" if file.change is Change.NEW or kept else f"  ({file.change.value})"
        click.echo(f"  {file.name}{called_there(file)}{kept or word}")


def _print_handed(
    found: RemoteAssignment, file: Path, handed: Acknowledgement, *, draft: bool, as_json: bool
) -> None:
    if as_json:
        told = {
            "assignment": found.name,
            "file": str(file),
            "filename": handed.filename,
            "submitted": not draft,
            "submitted_at": iso(handed.submitted_at),
            "late": handed.late,
            "repeated": handed.repeated,
        }
        print_json(told)
        return
    if draft:
        click.echo(f"Saved {file} as a draft of {plain(found.name)}; it is not handed in yet.")
        click.echo("Run the command again without --no-finalize to hand it in.")
        return
    click.echo(f"Submitted {file} to {plain(found.name)}.")
    if handed.filename != file.name:
        click.echo(f"  Moodle calls it {plain(handed.filename)}.")
    if handed.repeated:
        click.echo("  Moodle held exactly this already; nothing has changed.")
    if handed.submitted_at is not None:
        click.echo(f"  Received: {when(handed.submitted_at)}{' (late)' if handed.late else ''}")


def _status_lines(found: RemoteAssignment, returned: Returned) -> list[str]:
    status = returned.status
    lines = [f"Assignment: {plain(found.name)}"]
    if status.state is WorkState.NEW and not status.graded:
        return [*lines, "No submission yet.", *closed(status)]
    lines.append(f"Status:     {_status(status)}")
    if status.graded:
        earlier = f" (attempt {status.graded_attempt})" if status.graded_attempt else ""
        lines.append(f"Grade:      {plain(status.grade or '-')}{earlier}")
        lines.append(f"Feedback:   {_below_each_other(status.feedback) or '-'}")
    else:
        lines.append("Not yet graded.")
    lines += [f"File:       {plain(str(path))}" for path in returned.pages]
    if status.feedback_available and not returned.pages:
        lines.append("There are feedback files: use -o DIRECTORY to save them.")
    return [*lines, *closed(status)]


def _below_each_other(text: str) -> str:
    return "\n            ".join(plain(line) for line in text.splitlines())


def _status(status: WorkStatus) -> str:
    moment = f", {when(status.submitted_at)}" if status.submitted_at else ""
    return f"{status.state.value}{moment}{' (late)' if status.late else ''}"
