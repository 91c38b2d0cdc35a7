"""Give marks, comments and feedback files to Moodle: by its web services, or as files for a person.

``mograder moodle upload-feedback`` sends them; ``mograder moodle export`` writes the worksheet and
the zip to upload to Moodle by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import click

from mograder.cli.files import read_bytes
from mograder.cli.moodle.course import naming_options, note_renamed
from mograder.cli.moodle.sheets import find_worksheet, people_in
from mograder.cli.moodle.site import Site, feedback_dir_of, item_name, site_options
from mograder.cli.shared.console import plain
from mograder.cli.shared.course_settings import course_option, gathered
from mograder.cli.shared.options import DIRECTORY, EXISTING_DIRECTORY, EXISTING_FILE, together
from mograder.cli.shared.output import reporting
from mograder.cli.shared.released import (
    ReleasedCourseMarks,
    grades_to_send,
    released_files,
    released_of,
    unreleased_option,
)
from mograder.cli.shared.result import Result, aligned, json_option
from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.grading import Outcome
from mograder.clients.moodle.grading import Result as Fate
from mograder.clients.moodle.grading_files import parse_worksheet, render_worksheet
from mograder.clients.moodle.records import Assignment, Person, WorkflowState
from mograder.clients.moodle.texts import Scale
from mograder.core.clock import SystemClock
from mograder.core.csv_table import number_text
from mograder.core.item_dates import course_zone
from mograder.core.name_lookup import is_label_of, listed
from mograder.core.settings import LoadedSettings
from mograder.exchange.grade_files import GradeLine, from_gradebook, parse_grades
from mograder.exchange.moodle.export import Exported
from mograder.exchange.moodle.export import export as fill_worksheet
from mograder.exchange.moodle.grade_upload import (
    Draft,
    SummaryRow,
    UploadOptions,
    draft,
    feedback_files,
    gather,
    person_of,
    scale_of,
    send,
    summary,
)
from mograder.exchange.moodle.identities import Naming, Participants
from mograder.exchange.moodle.participants import list_participants, remembered_people
from mograder.exchange.moodle.protection import Remembered
from mograder.store.course.course import refuse_to_replace, shown
from mograder.store.filesystem.files import atomic_write
from mograder.store.gradebook.gradebook import Gradebook, existing_gradebook, viewed_gradebook

_STATES = [state.value for state in WorkflowState]


@dataclass(frozen=True, slots=True)
class _Given:
    """The options that say which marks, comments and files Moodle is given."""

    grades_csv: Path | None
    feedback_dir: Path | None
    unreleased: bool
    clear_comments: bool
    html_comments: bool

    def released(self, loaded: LoadedSettings, item: str) -> ReleasedCourseMarks | None:
        from_file = self.grades_csv is not None
        return released_of(loaded, item, unreleased=self.unreleased, from_file=from_file)

    def lines(
        self,
        loaded: LoadedSettings,
        item: str,
        released: ReleasedCourseMarks | None,
        people: Participants,
        scale: Scale | None = None,
    ) -> tuple[GradeLine, ...]:
        """Return the grades of the file, else the released ones, else those of the gradebook."""
        file, is_html = self.grades_csv, self.html_comments
        if file is None:
            return from_gradebook(grades_to_send(loaded, item, released), scale=scale)
        lines = parse_grades(read_bytes(file), str(file), scale=scale, html_comments=is_html)
        return lines if released is None else _without_held_back(lines, released, people)

    def files(
        self,
        loaded: LoadedSettings,
        released: ReleasedCourseMarks | None,
        people: Participants,
        *names: str,
    ) -> Mapping[str, tuple[Upload, ...]]:
        """Return the feedback files by student; ``names`` are those of the assignment."""
        given, usual = self.feedback_dir, feedback_dir_of(loaded, *names)
        if given is None or released is None:
            return feedback_files(released_files(released, given, usual))
        files, held_back = feedback_files(given), _held_back(released, people)
        left = [each for each in files if people.find(each, from_here=True) in held_back]
        _tell_left_out(str(given), left)
        return {each: files[each] for each in files if each not in left}


_feedback_dir_option = click.option(
    "--feedback-dir",
    type=EXISTING_DIRECTORY,
    help="Feedback files, USERNAME.html.  [default: feedback/ASSIGNMENT]",
)
_grades_csv_option = click.option(
    "--grades-csv",
    type=EXISTING_FILE,
    help="CSV with student, mark, feedback.  [default: the gradebook]",
)
_comment_options = together(
    click.option(
        "--clear-comments",
        is_flag=True,
        help="Erase the comment on Moodle where the feedback here is empty.",
    ),
    click.option(
        "--html-comments",
        is_flag=True,
        help="The feedback in the CSV is HTML.  [default: text, or as feedback_format says]",
    ),
)


@click.command("upload-feedback")
@click.argument("assignment")
@site_options
@_feedback_dir_option
@_grades_csv_option
@click.option("--grades-only", is_flag=True, help="Send neither comments nor files.")
@click.option(
    "--workflow-state",
    type=click.Choice(_STATES),
    help="Where the assignment uses marking workflow: how far the marking is then.  "
    f"[default: {WorkflowState.READY_FOR_RELEASE.value}]",
)
@click.option("--force", is_flag=True, help="Overwrite what others gave or changed on Moodle.")
@unreleased_option
@_comment_options
@naming_options
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@json_option
@gathered("given", _Given)
def upload_feedback(
    *,
    assignment: str,
    site: Site,
    given: _Given,
    grades_only: bool,
    workflow_state: str | None,
    force: bool,
    naming: Naming,
    dry_run: bool,
) -> Result:
    """Send grades and feedback to Moodle.

    ASSIGNMENT is its name, a unique part of it, or its number. Everything is checked before
    anything is sent. Feedback that Moodle has is not sent again. A grade that has been released
    stays so, unless --workflow-state is given, and a comment on Moodle where there is no feedback
    here, unless --clear-comments is. After `mograder gradebook release`, only its marks are sent,
    and of a file of grades only the lines of students whose marks are released.
    """
    loaded, book = site.loaded, site.loaded.gradebook_path
    state = WorkflowState(workflow_state or WorkflowState.READY_FOR_RELEASE)
    options = UploadOptions(state, workflow_state is not None, force)
    if not dry_run and book.is_file():
        Gradebook(book).close()  # Upgrade a gradebook of an older version before reading it.
    with site.client() as client:
        chosen = site.assignment(client, assignment)
        name = item_name(assignment, loaded, chosen)
        released = given.released(loaded, name)
        people = list_participants(client, chosen, remembered_people(book, client.url), naming)
        files = given.files(loaded, released, people, assignment, name)
        note_renamed(people)
        scale = scale_of(client, chosen, people)
        lines = given.lines(loaded, name, released, people, scale)
        _warn_of_settings(loaded, name, chosen, lines, from_file=given.grades_csv is not None)
        marks = gather(
            lines, files, people, grades_only=grades_only, clear_comments=given.clear_comments
        )
        remembered = _remembered(book, client.url, chosen.id)
        drafted = draft(client, chosen, people, marks, remembered, options, scale)
        outcomes = drafted.plan.outcomes if dry_run else _send(client, drafted, book)
    return _result(summary(outcomes, people, drafted), drafted, dry_run=dry_run)


def _result(told: Sequence[SummaryRow], drafted: Draft, *, dry_run: bool) -> Result:
    failed = any(line.result in (Fate.FAILED, Fate.SKIPPED) for line in told)
    return Result(told, _lines(told, drafted, dry_run=dry_run), int(failed))


def _send(client: MoodleClient, drafted: Draft, book: Path) -> tuple[Outcome, ...]:
    with Gradebook(book) as gradebook, reporting() as report:
        return send(client, drafted, gradebook, report, SystemClock().now())


def _without_held_back(
    lines: Sequence[GradeLine], released: ReleasedCourseMarks, people: Participants
) -> tuple[GradeLine, ...]:
    """Return a file's lines but those of students who are held back, who are told on stderr."""
    held_back = _held_back(released, people)
    sent: list[GradeLine] = []
    left: list[GradeLine] = []
    for line in lines:
        (left if person_of(line, people) in held_back else sent).append(line)
    _tell_left_out("the file", [each.who for each in left])
    return tuple(sent)


def _held_back(released: ReleasedCourseMarks, people: Participants) -> Set[Person | None]:
    """Return the participants who are held back.

    A held-back student who is on Moodle under no name that is known here may be any participant
    whose marks are not released.
    """
    found = {people.find(each, from_here=True) for each in released.held_back}
    if None in found:
        known = {people.find(each, from_here=True) for each in released.marks}
        found |= {each for each in people.people if each not in known}
    return found - {None}


def _tell_left_out(source: str, names: Sequence[str]) -> None:
    if names:
        told = f"Left out of {source}, as they are held back: {listed(names)}"
        click.echo(plain(f"{told}. --unreleased takes them, too."), err=True)


def _warn_of_settings(
    loaded: LoadedSettings,
    name: str,
    assignment: Assignment,
    lines: Sequence[GradeLine],
    *,
    from_file: bool,
) -> None:
    """Tell of settings on Moodle that give the marks another meaning than here."""
    if not from_file:
        _warn_of_maximum(loaded, name, assignment.maximum)
    if assignment.deducts and any(line.is_reduced for line in lines):
        click.echo(
            f"Warning: late work on {name} has a deduction here, and “Grade penalties” are on in "
            "Moodle, which may deduct again. Use one of the two.",
            err=True,
        )


def _warn_of_maximum(loaded: LoadedSettings, name: str, maximum: Decimal | None) -> None:
    """Tell that Moodle would take 18 of 20 for 18 of 100: marks of the gradebook go as they are."""
    path = loaded.gradebook_path
    if maximum is None or not path.is_file():
        return
    with viewed_gradebook(path) as book:
        held = [number_text(each.max_mark) for each in book.assignments() if each.name == name]
    there = number_text(float(maximum))
    if held and held != [there]:  # as texts: a sum of marks may differ in its last digit
        click.echo(
            f"Warning: {name} is marked out of {held[0]} here, and out of {there} on Moodle, "
            "which takes the marks as they are. Make the two equal.",
            err=True,
        )


def _remembered(book: Path, site: str, assignment_id: int) -> Remembered:
    gradebook = existing_gradebook(book)
    if gradebook is None:
        return Remembered({}, {})
    with gradebook:
        return Remembered(
            gradebook.sent(site, assignment_id), gradebook.intended(site, assignment_id)
        )


def _lines(told: Sequence[SummaryRow], drafted: Draft, *, dry_run: bool) -> Iterator[str]:
    rows = []
    for each in told:
        changed = each.result is Fate.CHANGED and each.before != each.after
        grade = f"{each.before or '-'} -> {each.after or '-'}" if changed else each.before or ""
        remarks = ", ".join(filter(None, (grade, each.sent, each.why)))
        rows.append((plain(each.student), f"{each.result.value:<9}", plain(remarks)))
    yield from aligned(rows, indent="  ")
    counted = Counter(line.result for line in told)
    told_counts = ", ".join(f"{counted[each]} {each.value}" for each in Fate if counted[each])
    yield f"{drafted.plan.assignment.name}: {told_counts}."
    if dry_run:
        if drafted.plan.trial is not None:
            yield (
                "Moodle does not tell you whether this assignment has a rubric, which a plain mark "
                "would erase: one mark is sent first, and the others if Moodle keeps it."
            )
        yield "Dry run — nothing was sent."
    elif counted[Fate.CHANGED]:
        yield "Moodle was asked again: it holds what is listed as changed."


@click.command("export")
@click.argument("assignment")
@click.option(
    "--worksheet",
    type=EXISTING_FILE,
    help="Grading worksheet from Moodle.  [default: import/ASSIGNMENT.csv, or [moodle] csv]",
)
@_grades_csv_option
@_feedback_dir_option
@click.option(
    "-o",
    "--output-dir",
    type=DIRECTORY,
    help="Where the two files go.  [default: export in the course]",
)
@click.option(
    "--match-column",
    help="Column of the worksheet that your grades name students by.  [default: Username]",
)
@unreleased_option
@_comment_options
@json_option
@course_option
@gathered("given", _Given)
def export(
    *,
    assignment: str,
    worksheet: Path | None,
    given: _Given,
    output_dir: Path | None,
    match_column: str | None,
    loaded: LoadedSettings,
) -> Result:
    """Fill Moodle's grading worksheet, to be uploaded by hand.

    The feedback files are packed into a zip for Moodle. This needs no connection to Moodle.
    Download the worksheet from the assignment's page there (Submissions, Actions, Download grading
    worksheet) into import/ASSIGNMENT.csv first. After `mograder gradebook release`, only its marks
    are filled in, and of a file of grades only the lines of students whose marks are released.
    """
    settings = loaded.settings
    if match_column is None:
        match_column = settings.moodle.match_column
    item = item_name(assignment, loaded)
    name = _file_name(assignment, item)
    place = output_dir or Path(shown(loaded.course_dir / "export"))
    filled, archive = place / f"{name}.csv", place / f"{name}-feedback.zip"
    empty = worksheet or find_worksheet(loaded, name, item, assignment)
    refuse_to_replace(filled, *filter(None, (empty, given.grades_csv)))
    sheet = parse_worksheet(read_bytes(empty))
    people = people_in(loaded, sheet, match_column)
    released = given.released(loaded, item)
    lines = given.lines(loaded, item, released, people)
    if given.grades_csv is None and sheet.rows:
        _warn_of_maximum(loaded, item, sheet.maximum(sheet.rows[0]))
    files = given.files(loaded, released, people, assignment, item)
    clear = given.clear_comments
    now = SystemClock().now().astimezone(course_zone(settings))
    made = fill_worksheet(sheet, lines, files, people, now, clear_comments=clear)
    place.mkdir(parents=True, exist_ok=True)
    atomic_write(filled, render_worksheet(made.filled.sheet), 0o600)
    if made.archive:
        atomic_write(archive, made.archive, 0o600)
    return Result(_export_json(made, filled, archive), _export_lines(made, filled, archive))


def _file_name(typed: str, item: str) -> str:
    """Return the files' name: the item's, or its label (A1) if that was typed."""
    return typed if item.startswith(typed) and is_label_of(typed, item) else item


def _export_lines(made: Exported, filled: Path, archive: Path) -> Iterator[str]:
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


def _export_json(made: Exported, filled: Path, archive: Path) -> dict[str, object]:
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
