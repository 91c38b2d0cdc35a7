"""``mograder moodle upload-feedback``: grades, comments and feedback files to Moodle."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from mograder.cli.course import load_course
from mograder.cli.moodle_site import Site, feedback_dir_of, item_name, site_options
from mograder.cli.moodle_users import naming_of, naming_options, read_bytes
from mograder.cli.options import Given, course_dir_option, json_option
from mograder.cli.output import reporting
from mograder.core.clock import SystemClock
from mograder.exchange.grades_file import GradeLine, from_gradebook, parse_grades
from mograder.exchange.moodle_grades import (
    Draft,
    Told,
    Wishes,
    draft,
    feedback_files,
    gather,
    send,
    summary,
)
from mograder.exchange.moodle_users import call_roll, remembered_people
from mograder.store.gradebook import Gradebook, Sent, existing_gradebook
from mograder.transports.moodle.grading import Result
from mograder.transports.moodle.records import WorkflowState

_STATES = [state.value for state in WorkflowState]


@click.command("upload-feedback")
@click.argument("assignment")
@site_options
@click.option(
    "--feedback-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Feedback files, USERNAME.html.  [default: feedback/ASSIGNMENT]",
)
@click.option(
    "--grades-csv",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with student, mark, feedback.  [default: the gradebook]",
)
@click.option("--grades-only", is_flag=True, help="Send neither comments nor files.")
@click.option(
    "--workflow-state",
    type=click.Choice(_STATES),
    default=WorkflowState.READY_FOR_RELEASE.value,
    show_default=True,
    help="Where the assignment uses marking workflow: how far the marking is then.",
)
@click.option("--force", is_flag=True, help="Overwrite what was changed on Moodle meanwhile.")
@naming_options
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@json_option
@course_dir_option
@click.pass_context
def upload_feedback(  # noqa: PLR0913  # one argument per option
    ctx: click.Context,
    /,
    *,
    assignment: str,
    site: Site,
    feedback_dir: Path | None,
    grades_csv: Path | None,
    grades_only: bool,
    workflow_state: str,
    force: bool,
    map_file: Path | None,
    username_from: str | None,
    dry_run: bool,
    as_json: bool,
    course_dir: Path | None,
) -> None:
    """Send grades and feedback to Moodle.

    ASSIGNMENT is its name, the only name that begins so, or its number. Everything is checked
    before anything is sent. What Moodle holds already is not sent again, so the command may be
    repeated. A grade that has been released stays released, unless --workflow-state is given.
    """
    loaded = load_course(Given(), course_dir)
    naming = naming_of(map_file, username_from)
    stated = ctx.get_parameter_source("workflow_state")
    exact = stated is not None and stated.name == "COMMANDLINE"
    wishes = Wishes(WorkflowState(workflow_state), exact, force, grades_only)
    book = loaded.path(loaded.settings.gradebook.path)
    with site.client(loaded) as client:
        chosen = site.assignment(client, loaded, assignment)
        name = item_name(assignment, loaded, chosen)
        lines = _lines(grades_csv, book, name)
        files = feedback_files(feedback_dir or feedback_dir_of(loaded, assignment, name))
        roll = call_roll(client, chosen.id, remembered_people(book, client.url), naming)
        gathered = gather(lines, files, roll, grades_only=grades_only)
        sent = _sent(book, client.url, chosen.id)
        drafted = draft(client, chosen, roll, gathered, sent, wishes)
        outcomes = drafted.plan.outcomes
        if not dry_run:
            with Gradebook(book) as gradebook, reporting(quiet=as_json) as report:
                outcomes = send(client, drafted, gradebook, report, SystemClock().now())
    told = summary(outcomes, roll, drafted.unmatched)
    if as_json:
        click.echo(json.dumps([_as_json(line) for line in told], ensure_ascii=False))
    else:
        _tell(told, drafted, dry_run=dry_run)
    if any(line.result in (Result.FAILED, Result.SKIPPED) for line in told):
        raise click.exceptions.Exit(1)


def _lines(grades_csv: Path | None, book: Path, name: str) -> tuple[GradeLine, ...]:
    """Return the grades of the file, else those of the gradebook."""
    if grades_csv is not None:
        return parse_grades(read_bytes(grades_csv), str(grades_csv))
    gradebook = existing_gradebook(book)
    if gradebook is None:
        return ()
    with gradebook:
        return from_gradebook(gradebook.marks(name))


def _sent(book: Path, site: str, assignment_id: int) -> Mapping[int, Sent]:
    gradebook = existing_gradebook(book)
    if gradebook is None:
        return {}
    with gradebook:
        return gradebook.sent(site, assignment_id)


def _tell(told: Sequence[Told], drafted: Draft, *, dry_run: bool) -> None:
    wide = max((len(line.name) for line in told), default=0)
    for line in told:
        click.echo(f"  {line.name:<{wide}}  {line.result.value:<9}  {_grades(line)}".rstrip())
    counted = Counter(line.result for line in told)
    told_counts = ", ".join(f"{counted[each]} {each.value}" for each in Result if counted[each])
    click.echo(f"{drafted.plan.assignment.name}: {told_counts}.")
    if dry_run:
        click.echo("Dry run — nothing was sent.")
    elif counted[Result.CHANGED]:
        click.echo("Moodle was asked again: it holds what is listed as changed.")


def _grades(line: Told) -> str:
    changed = line.result is Result.CHANGED and line.before != line.after
    grade = f"{line.before or '-'} -> {line.after or '-'}" if changed else line.before
    return ", ".join(filter(None, (grade, line.along, line.why)))


def _as_json(line: Told) -> dict[str, object]:
    return {
        "student": line.name,
        "full_name": line.full_name,
        "result": line.result.value,
        "before": line.before or None,
        "after": line.after or None,
        "sent": line.along,
        "why": line.why,
    }
