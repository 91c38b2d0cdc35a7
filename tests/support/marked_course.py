"""A course on disk whose submissions are graded and wait for people, for a hub of its own."""

from __future__ import annotations

from pathlib import Path

from mograder.core.settings import load_settings
from mograder.grading.pages.notebook_page import render_notebook_page
from mograder.grading.submissions.autograde import run_of, write_copy
from mograder.grading.submissions.grade_submission import GradedNotebook
from mograder.grading.submissions.grading_result import grading_key
from mograder.notebook.cells import parse_cells
from mograder.sandbox.execution.report import CellOutput, CellResult, CellStatus
from mograder.store.gradebook.gradebook import Gradebook
from tests.support.marking_course import SOURCE, A, graded, submission_of

HOSTILE = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title='taken'\">"
"""The texts of students' answers, and the output of their cells."""

_ESSAYS = (
    "The error falls like $1/\\sqrt{n}$,\nsince the variances of independent numbers add.",
    "It is slow: a hundred times as many points\nfor *one* more digit.",
    f"I do not know.\n\n{HOSTILE}",
)
_AREA = """(
    4 * sum(x * x + y * y < 1 for x, y in points)
    / len(points)  # the part inside
)"""


def put_marked_course(course: Path, students: int) -> Path:
    """Put an assignment and its graded submissions into a new directory; return it."""
    source = course / "source" / A / f"{A}.py"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE)
    (course / "mograder.toml").write_text('title = "Numerical Experiments"\n')
    (course / "marking.json").write_text(f'["{A}"]\n')
    (course / "submitted" / A).mkdir(parents=True)
    loaded = load_settings(course)
    key = grading_key(loaded)
    with Gradebook(loaded.gradebook_path) as book:
        for number in range(students):
            student = student_name(number)
            essay = f"\n{_ESSAYS[number % len(_ESSAYS)]} ({number})\n"
            text = submission_of(essay, _AREA.replace("\n", "\n    "))
            result = graded(student, text)
            (course / "submitted" / A / f"{student}.py").write_text(text)
            page = render_notebook_page(text, result.filename, _cells(text))
            write_copy(course / "autograded" / A, GradedNotebook(result, text, _cells(text)), page)
            book.record_run(run_of(result, key))
    return course


def student_name(number: int) -> str:
    return f"student{number:03}"


def _cells(text: str) -> tuple[CellResult, ...]:
    """Return what the cells of a submission showed when they ran."""
    shown = CellOutput("text/html", f"<p>An example.</p>{HOSTILE}")
    return tuple(
        CellResult(
            cell.index,
            cell.name,
            CellStatus.OK,
            outputs=(shown,) if cell.name == "written_analysis" else (),
        )
        for cell in parse_cells(text, "submission.py").cells
    )
