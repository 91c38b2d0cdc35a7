"""``mograder gradebook statistics``: how the questions and checks of an assignment did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from mograder.cli.files import write_private
from mograder.cli.gradebook.book import assignment_named
from mograder.cli.shared.course_settings import course_option
from mograder.cli.shared.formatting import plain
from mograder.cli.shared.result import aligned
from mograder.core.csv_table import number_text, write_table
from mograder.core.settings import LoadedSettings
from mograder.grading.results.grading_result import grading_key
from mograder.grading.statistics.course_statistics import course_statistics
from mograder.grading.statistics.item_statistics import (
    Distribution,
    ItemStatistics,
    csv_rows,
)
from mograder.store.gradebook.gradebook import viewed_gradebook

_WIDEST = 40


@click.command("statistics")
@click.argument("assignment")
@click.option(
    "--csv",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table of questions into this file, too.",
)
@course_option
def statistics(*, assignment: str, file: Path | None, loaded: LoadedSettings) -> None:
    """Tell how the questions of an assignment did.

    "Solved" is the mean as a share of the available marks. "Discrimination" is the correlation of a
    question with the marks for the others, from -1 to 1: near 0 or below, good students do not do
    better at it. Checks that hardly any or nearly all students pass are named. Marks are those
    before deductions for late work.
    """
    with viewed_gradebook(loaded.gradebook_path) as book:
        name = assignment_named(book, assignment)
        found = course_statistics(loaded, book, name, grading_key(loaded))
    if file is not None:
        head, *rows = csv_rows(found)
        write_private(file, write_table(head, rows))
    for line in _lines(found):
        click.echo(plain(line).rstrip())


def _lines(found: ItemStatistics) -> Iterator[str]:
    students = f"{found.students} student{'' if found.students == 1 else 's'}"
    yield f"{found.assignment}: {students}"
    if found.marks is None:
        yield "  No student has a total yet."
    else:
        yield from _distribution(found.marks)
    yield ""
    head = ("Question", "Students", "Mean", "Solved", "Discrimination", "None", "All", "Changed")
    rows = [
        (
            each.key,
            str(each.students),
            f"{number_text(each.mean, 1)}/{number_text(each.available)}",
            f"{100 * each.difficulty:.0f} %",
            "-" if each.discrimination is None else f"{each.discrimination:.2f}",
            str(each.none),
            str(each.full),
            each.changed[:10],
        )
        for each in found.questions
    ]
    yield from (f"  {line}" for line in aligned([head, *rows]))
    noticed = [
        (check.label, check) for each in found.questions for check in each.checks if check.advice
    ]
    yield from (
        f"  {label}: {check.passed} of {check.students} pass. {check.advice}"
        for label, check in noticed
    )


def _distribution(marks: Distribution) -> Iterator[str]:
    yield (
        f"  mean {number_text(marks.mean, 1)} of {number_text(marks.available)}, "
        f"median {number_text(marks.median, 1)}, "
        f"standard deviation {number_text(marks.deviation, 1)}"
    )
    most = max(*marks.bins, 1)
    for at, count in enumerate(marks.bins):
        edges = (marks.available * edge / len(marks.bins) for edge in (at, at + 1))
        first, last = (number_text(edge, 2) for edge in edges)
        yield f"  {f'{first} to {last}':>16}  {'#' * round(_WIDEST * count / most)} {count}"
