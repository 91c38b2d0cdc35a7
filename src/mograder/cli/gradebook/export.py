"""``mograder gradebook export``: marks as CSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import click

from mograder.cli.files import print_file, write_private
from mograder.cli.gradebook.book import assignment_named
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.options import output_file_option
from mograder.cli.shared.released import warn_of_reservations
from mograder.core.name_lookup import counted
from mograder.core.settings import LoadedSettings
from mograder.exchange.grade_files import (
    as_json,
    assignment_csv,
    course_csv,
    moodle_csv,
    question_csv,
    server_csv,
)
from mograder.grading.course_late import CourseLate
from mograder.store.gradebook.gradebook import viewed_gradebook
from mograder.store.gradebook.grading_records import StudentGrade

_BY_QUESTION, _BY_ASSIGNMENT = "question", "assignment"
_CSV, _MOODLE, _HTTPS, _JSON = "csv", "moodle", "https", "json"
_Render = Callable[[Sequence[StudentGrade]], str]
_RENDERERS: Mapping[tuple[str, str], _Render] = MappingProxyType(
    {
        (_CSV, _BY_QUESTION): question_csv,
        (_CSV, _BY_ASSIGNMENT): assignment_csv,
        (_MOODLE, _BY_ASSIGNMENT): moodle_csv,
        (_HTTPS, _BY_ASSIGNMENT): server_csv,
    }
)


@click.command("export")
@click.argument("assignment", required=False)
@click.option(
    "--by",
    type=click.Choice([_BY_QUESTION, _BY_ASSIGNMENT]),
    help="One mark for each question, or one for each assignment.  [default: question for csv "
    "and json of one assignment, else assignment]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([_CSV, _MOODLE, _HTTPS, _JSON]),
    default=_CSV,
    show_default=True,
    help="moodle and https: the columns that the uploads to these need.",
)
@output_file_option
@course_option
def export(
    *,
    assignment: str | None,
    by: str | None,
    form: str,
    output: Path | None,
    loaded: LoadedSettings,
) -> None:
    """Write marks into a file.

    Without ASSIGNMENT there is a row for each student and a column for each assignment, with the
    mark that counts. `mograder moodle upload-feedback`, `mograder moodle export` and
    `mograder https upload-grades` read the files of one assignment by --grades-csv.
    """
    if by is None:
        detailed = assignment is not None and form in (_CSV, _JSON)
        by = _BY_QUESTION if detailed else _BY_ASSIGNMENT
    if form in (_MOODLE, _HTTPS) and (assignment is None or by == _BY_QUESTION):
        raise click.UsageError(
            f"--format {form} is for the marks of one ASSIGNMENT, --by assignment."
        )
    if form == _CSV and assignment is None and by == _BY_QUESTION:
        raise click.UsageError("--by question is for the marks of one ASSIGNMENT.")
    with viewed_gradebook(loaded.gradebook_path) as book:
        known = [each.name for each in book.assignments()]
        names = known if assignment is None else [assignment_named(book, assignment)]
        late = CourseLate(loaded)
        course = {name: late.grades(book, name) for name in names}
    for name, grades in course.items():
        warn_of_reservations(name, grades)
    text = _rendered(course, form, by, single=assignment is not None)
    if output is None:
        print_file(text)
        return
    rows = sum(len(grades) for grades in course.values())
    write_private(output, text, f"the marks of {counted(rows, 'submission')}")


def _rendered(
    course: Mapping[str, Sequence[StudentGrade]], form: str, by: str, *, single: bool
) -> str:
    if form == _JSON:
        questions = by == _BY_QUESTION
        told = [as_json(each, questions=questions) for grades in course.values() for each in grades]
        return json.dumps(told, ensure_ascii=False, indent=1) + "\n"
    if not single:
        return course_csv(course)
    (grades,) = course.values()
    return _RENDERERS[form, by](grades)
