"""``mograder https fetch``, ``submit`` and ``feedback`` (B149-B151)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from mograder.cli.https.server import Server, offered_assignment, server_options
from mograder.cli.shared.options import dry_run_option, feedback_dir_option, what_to_fetch
from mograder.cli.shared.result import Result, json_option
from mograder.cli.shared.student_work import StudentWork
from mograder.exchange.student.submit import check_notebook


@contextmanager
def _connected(server: Server, *, dry_run: bool = False) -> Iterator[StudentWork]:
    with server.connected() as (transport, transfers):
        find = partial(offered_assignment, transport, dry_run=dry_run)
        yield StudentWork(transport, find, transfers.say, transport.url)


@click.command("fetch")
@what_to_fetch
@click.option(
    "--draft", is_flag=True, help="Put your newest work on the server in the notebook's place."
)
@json_option
@server_options
def fetch_command(
    *, server: Server, assignment: str | None, listed: bool, output_dir: Path, draft: bool
) -> Result:
    """Download an assignment, or list them all.

    ASSIGNMENT is a name, a number of the list, or a part of a name that only one has. Zips are
    unpacked. A file that you have edited is kept under another name, which is told. What broke
    off goes on when the command is run again. If you have newer work on the server, from a
    browser or another computer, that is told too; --draft takes it.
    """
    if not assignment and not listed:
        raise click.UsageError("Name an assignment, or use --list.")
    with _connected(server) as work:
        if listed or not assignment:
            return work.list()
        return work.fetch(assignment, output_dir, draft=draft)


@click.command("submit")
@click.argument("assignment")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--late", is_flag=True, help="Let it replace one that was on time, without asking.")
@click.option("--yes", is_flag=True, help="Let it replace newer work, without asking.")
@dry_run_option
@json_option
@server_options
def submit_command(
    *, server: Server, assignment: str, file: Path, late: bool, yes: bool, dry_run: bool
) -> Result:
    """Hand a notebook in.

    Every submission is kept, and the latest counts. The server's receipt is kept beside the
    notebook, in .mograder/receipts/. A late one takes the place of one that was on time only if
    you agree; so does one that would replace newer work, from a browser or another computer, that
    this folder has not seen. That work is kept beside FILE.
    """
    check_notebook(file)
    with _connected(server, dry_run=dry_run) as work:
        found = work.find(assignment)
        if dry_run:
            return work.preview(found, file)
        return work.submit(found, file, late=late, yes=yes)


@click.command("feedback")
@click.argument("assignment")
@feedback_dir_option
@json_option
@server_options
def feedback_command(*, server: Server, assignment: str, output_dir: Path | None) -> Result:
    """Show your status, grade and feedback."""
    with _connected(server) as work:
        return work.feedback(assignment, output_dir)
