"""``mograder moodle export``: the worksheet and the zip to upload to Moodle by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from mograder.cli.files import read_bytes
from mograder.cli.moodle.sheets import find_worksheet, people_in
from mograder.cli.moodle.site import feedback_dir_of, item_name
from mograder.cli.moodle.upload_feedback import (
    comment_options,
    feedback_dir_option,
    grade_lines,
    grades_csv_option,
    warn_of_maximum,
)
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import DIRECTORY, EXISTING_FILE
from mograder.cli.shared.released import released_files, released_of, unreleased_option
from mograder.cli.shared.result import Result, json_option
from mograder.clients.moodle.grading_files import parse_worksheet, render_worksheet
from mograder.core.clock import SystemClock
from mograder.core.item_dates import course_zone
from mograder.core.name_lookup import is_label_of
from mograder.core.settings import LoadedSettings
from mograder.exchange.moodle.export import Exported
from mograder.exchange.moodle.export import export as fill_worksheet
from mograder.exchange.moodle.grade_upload import feedback_files
from mograder.store.filesystem.files import atomic_write


@click.command("export")
@click.argument("assignment")
@click.option(
    "--worksheet",
    type=EXISTING_FILE,
    help="Grading worksheet from Moodle.  [default: import/ASSIGNMENT.csv, or [moodle] csv]",
)
@grades_csv_option
@feedback_dir_option
@click.option(
    "-o",
    "--output-dir",
    type=DIRECTORY,
    default=Path("export"),
    show_default=True,
    help="Where the two files go.",
)
@click.option(
    "--match-column",
    default="Username",
    show_default=True,
    help="Column of the worksheet that your grades name students by.",
)
@unreleased_option
@comment_options
@json_option
@course_option
@click.pass_context
def export(  # noqa: PLR0913  # one argument per option
    ctx: click.Context,
    /,
    *,
    assignment: str,
    worksheet: Path | None,
    grades_csv: Path | None,
    feedback_dir: Path | None,
    output_dir: Path,
    match_column: str,
    unreleased: bool,
    clear_comments: bool,
    html_comments: bool,
    loaded: LoadedSettings,
) -> Result:
    """Fill Moodle's grading worksheet, to be uploaded by hand.

    The feedback files are packed into a zip for Moodle. This needs no connection to Moodle.
    Download the worksheet from the assignment's page there (Submissions, Actions, Download grading
    worksheet) into import/ASSIGNMENT.csv first.
    """
    settings = loaded.settings
    if ctx.get_parameter_source("match_column") is not click.core.ParameterSource.COMMANDLINE:
        match_column = settings.moodle.match_column
    item = item_name(assignment, loaded)
    name = _file_name(assignment, item)
    sheet = parse_worksheet(read_bytes(worksheet or find_worksheet(loaded, name, item, assignment)))
    known, usernames = people_in(loaded, sheet, match_column)
    released = released_of(loaded, item, unreleased=unreleased)
    lines = grade_lines(grades_csv, loaded, item, released, html_comments=html_comments)
    if grades_csv is None and sheet.rows:
        warn_of_maximum(loaded, item, sheet.maximum(sheet.rows[0]))
    usual = feedback_dir_of(loaded, assignment, item)
    files = feedback_files(released_files(ctx, released, feedback_dir, usual))
    now = SystemClock().now().astimezone(course_zone(settings))
    made = fill_worksheet(sheet, lines, files, known, usernames, now, clear_comments=clear_comments)
    output_dir.mkdir(parents=True, exist_ok=True)
    filled = output_dir / f"{name}.csv"
    atomic_write(filled, render_worksheet(made.filled.sheet), 0o600)
    archive = output_dir / f"{name}-feedback.zip"
    if made.archive:
        atomic_write(archive, made.archive, 0o600)
    return Result(_as_json(made, filled, archive), _lines(made, filled, archive))


def _file_name(typed: str, item: str) -> str:
    """Return the files' name: the item's, or its label (A1) if that was typed."""
    return typed if item.startswith(typed) and is_label_of(typed, item) else item


def _lines(made: Exported, filled: Path, archive: Path) -> Iterator[str]:
    for participant, why in made.filled.skipped.items():
        yield plain(f"  skipped: {made.people.get(participant, participant)}: {why}")
    for who in made.unmatched:
        yield plain(f"  skipped: {who}: not in the worksheet")
    for participant, comment in made.filled.erased.items():
        yield plain(f"  erases the comment of {made.people[participant]}: “{comment}”")
    changed, same = len(made.filled.changed), len(made.filled.unchanged)
    yield f"Wrote {filled}: {changed} rows changed, {same} unchanged."
    yield "In Moodle: the assignment, Submissions, Actions, Upload grading worksheet."
    if made.left_out:
        yield f"Left out {made.left_out} feedback files: Moodle would give them to other teams."
    if made.archive:
        yield f"Wrote {archive}: {made.files} feedback files."
        yield "In Moodle: the assignment, Submissions, Actions, Upload feedback files in a zip."


def _as_json(made: Exported, filled: Path, archive: Path) -> dict[str, object]:
    skipped = {str(made.people.get(who, who)): why for who, why in made.filled.skipped.items()}
    return {
        "worksheet": str(filled),
        "feedback": str(archive) if made.archive else None,
        "feedback_left_out": made.left_out,
        "changed": [made.people.get(who, str(who)) for who in made.filled.changed],
        "unchanged": [made.people.get(who, str(who)) for who in made.filled.unchanged],
        "erased_comments": {
            made.people[participant]: comment for participant, comment in made.filled.erased.items()
        },
        "skipped": skipped | dict.fromkeys(made.unmatched, "not in the worksheet"),
    }
