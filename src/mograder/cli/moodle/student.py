"""``mograder moodle fetch``, ``submit`` and ``feedback``: the commands for students."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from mograder.cli.moodle.site import Site, site_options
from mograder.cli.shared.console import plain
from mograder.cli.shared.options import (
    NOTEBOOK,
    dry_run_option,
    feedback_dir_option,
    what_to_fetch,
)
from mograder.cli.shared.output import reporting
from mograder.cli.shared.result import Result, json_option
from mograder.cli.shared.student_work import StudentWork
from mograder.clients.course_server import RemoteAssignment, WorkState
from mograder.clients.moodle.transport import MoodleTransport
from mograder.core.errors import Conflict
from mograder.exchange.assignment_lookup import ON_MOODLE, choose_remote
from mograder.exchange.student.drafts import SavedDraft
from mograder.exchange.student.submit import check_notebook


@contextmanager
def _connected(site: Site) -> Iterator[tuple[MoodleTransport, StudentWork]]:
    with site.client() as client, reporting() as report:
        transport = MoodleTransport(client, site.course(client))

        def find(named: str) -> RemoteAssignment:
            configured = site.loaded.settings.assignments
            return choose_remote(named, transport.list_assignments(), configured, ON_MOODLE)

        yield transport, StudentWork(transport, find, report, client.url, "files")


@click.command("fetch")
@what_to_fetch
@json_option
@site_options
def fetch(*, assignment: str | None, listed: bool, output_dir: Path, site: Site) -> Result:
    """Fetch an assignment's files.

    ASSIGNMENT is its name, a part of it that is unique, or its number. Zips are unpacked. A file
    that you have edited is kept under another name, which is told.
    """
    if not assignment and not listed:
        raise click.UsageError("Name an assignment, or use --list.")
    with _connected(site) as (_, work):
        return work.list() if listed or not assignment else work.fetch(assignment, output_dir)


@click.command("submit")
@click.argument("assignment")
@click.argument("file", type=NOTEBOOK)
@click.option(
    "--no-finalize",
    is_flag=True,
    help="Save it as a draft only, where the assignment has drafts.",
)
@click.option("--late", is_flag=True, help="Let it replace one that was on time, without asking.")
@dry_run_option
@json_option
@site_options
def submit(
    *, assignment: str, file: Path, site: Site, no_finalize: bool, late: bool, dry_run: bool
) -> Result:
    """Hand in a notebook.

    Afterwards Moodle is asked whether it keeps it. It takes the place of the files that you handed
    in before.
    """
    check_notebook(file)
    with _connected(site) as (transport, work):
        found = work.find(assignment)
        if dry_run:
            status = transport.work_status(found)
            if not status.can_submit:
                raise Conflict(f"{found.name} cannot be handed in now: {status.why_not}")
            return work.preview(found, file)
        if not no_finalize:
            return work.submit(found, file, late=late, yes=True)
        handed = transport.save_draft(found, file, work.say, late=late)
        if transport.work_status(found).state is not WorkState.DRAFT:  # without drafts there
            return work.submitted(found, file, handed, SavedDraft())
        lines = [
            f"Saved '{file.name}' as a draft of '{plain(found.name)}'; it is not handed in yet.",
            "Run the command again without --no-finalize to hand it in.",
        ]
        return Result(work.handed_json(found, file, handed, submitted=False), lines)


@click.command("feedback")
@click.argument("assignment")
@feedback_dir_option
@json_option
@site_options
def feedback(*, assignment: str, site: Site, output_dir: Path | None) -> Result:
    """Show your status, grade and feedback."""
    with _connected(site) as (_, work):
        return work.feedback(assignment, output_dir)
