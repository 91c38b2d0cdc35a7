"""A class whose submissions to one assignment are graded and marked, as files and gradebook."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from mograder.core.settings import load_settings
from mograder.grading.pages.notebook_page import render_notebook_page
from mograder.grading.submissions.autograde import run_of, write_copy
from mograder.grading.submissions.grade_submission import GradedNotebook
from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
    grading_key,
)
from mograder.notebook.cells import parse_cells
from mograder.sandbox.execution.judging import JudgedCondition
from mograder.sandbox.execution.report import CellOutput, CellResult, CellStatus
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry

NAME = "Marked"
JUDGED = tuple(f"Q{number}" for number in range(1, 9))
BY_PEOPLE = ("Essay", "Summary")
_MARKS = 10.0
_AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
_DUE = int(_AT.timestamp())
_SETTINGS = f"""
[penalties]
enabled = true

[[assignments]]
name = "{NAME}"
duedate = {_DUE}
"""


def lay_out(course: Path, students: int) -> bytes:
    """Write an assignment of ten questions with so many marked submissions; return the key.

    Each student has marks by checks and by a person, half of the class is late.
    """
    source = course / "source" / NAME / f"{NAME}.py"
    source.parent.mkdir(parents=True)
    source.write_text(_notebook(checks=True, answer="2"))
    (course / "mograder.toml").write_text(_SETTINGS)
    submitted = course / "submitted" / NAME
    submitted.mkdir(parents=True)
    loaded = load_settings(course)
    key = grading_key(loaded)
    directory = course / "autograded" / NAME
    names = [student_name(number) for number in range(students)]
    with Gradebook(loaded.gradebook_path) as book:
        for number, name in enumerate(names):
            text = _notebook(checks=False, answer=str(number))
            (submitted / f"{name}.py").write_text(text)
            result = _result(name, text, fails=number % len(JUDGED))
            page = render_notebook_page(text, result.filename, _cells(text))
            write_copy(directory, GradedNotebook(result, text, _cells(text)), page)
            book.record_run(run_of(result, key))
            given = {question: MarkEntry(7.0, "A fair answer.") for question in BY_PEOPLE}
            book.record_marks(NAME, name, given, marker="mia", at=_AT)
    (submitted / ".fetch_metadata.json").write_text(json.dumps(_times(names)))
    return key


def add_items(course: Path, count: int) -> None:
    """Give the class so many further items with the same marks, straight into the tables."""
    own = ("grading_runs", "question_marks", "student_work", "marked_assignments")
    with closing(sqlite3.connect(load_settings(course).gradebook_path)) as database, database:
        for table in own:
            rows = database.execute(f"PRAGMA table_info({table})")
            columns = [name for _, name, *_ in rows if name != "id"]
            which = "name" if table == "marked_assignments" else "assignment"
            chosen = ", ".join("?" if each == which else each for each in columns)
            copied = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table}"
            for number in range(count):
                given = (f"{NAME}-{number:02}", NAME)
                database.execute(f"{copied} WHERE {which} = ?", given)


def student_name(number: int) -> str:
    return f"student{number:03}"


def _times(names: Sequence[str]) -> dict[str, float]:
    """Return times of submission, Unix seconds; every other one is a day late."""
    return {name: _DUE - 3600 + (number % 2) * 86_400.0 for number, name in enumerate(names)}


def _notebook(*, checks: bool, answer: str) -> str:
    """Return the author's notebook, or without checks a student's."""
    marks = dict.fromkeys((*JUDGED, *BY_PEOPLE), int(_MARKS))
    first = (
        "import marimo as mo\n    from mograder.runtime import check\n\n"
        f"    # === MOGRADER: MARKS ===\n    _marks = {json.dumps(marks)}"
    )
    cells = [f"@app.cell\ndef _():\n    {first}\n    return check, mo"]
    begin, end = ("    ### BEGIN SOLUTION\n", "    ### END SOLUTION\n") if checks else ("", "")
    for key in JUDGED:
        name = key.lower()
        code = f"    {name} = [each * {answer} for each in range(10)]\n"
        cells.append(f"@app.cell\ndef _():\n{begin}{code}{end}    return ({name},)")
        lines = f'    check("{key}: numbers", [({name}[1] == 2, "the second is 2")])\n'
        cells.append(f"@app.cell\ndef _(check, {name}):\n{lines}    return")
    for key in BY_PEOPLE:
        task = f'    mo.md(r"""## {key} ({int(_MARKS)} marks)""")\n'
        cells.append(f"@app.cell\ndef _(mo):\n{task}    return")
        text = f'    mo.md(r"""{_essay(answer)}""")\n'
        cells.append(f"@app.cell\ndef _(mo):\n{begin}{text}{end}    return")
    body = "\n\n\n".join(cells)
    return (
        f"import marimo\n\napp = marimo.App()\n\n\n{body}\n\n\n"
        'if __name__ == "__main__":\n    app.run()\n'
    )


def _essay(answer: str) -> str:
    return " ".join(f"The numbers of row {row} are multiples of {answer}." for row in range(20))


def _result(student: str, text: str, *, fails: int) -> GradingResult:
    """Return the result of a submission of which one check fails."""
    checks, questions = [], []
    for place, key in enumerate(JUDGED):
        passed = place != fails
        condition = JudgedCondition(message="the second is 2", weight=1.0, passed=passed)
        earned = _MARKS if passed else 0.0
        label = GradedLabel(
            label=f"{key}: numbers",
            key=key,
            earned=earned,
            total=_MARKS,
            passed=passed,
            conditions=(condition,),
        )
        state = GradingState.JUDGED
        check = GradedCheck(cell=2 * place + 2, line=1, hidden=False, state=state, labels=(label,))
        checks.append(check)
        questions.append(
            GradedQuestion(
                key=key, available=_MARKS, earned=earned, state=state, labels=(label.label,)
            )
        )
    for key in BY_PEOPLE:
        manual = GradingState.MANUAL
        questions.append(GradedQuestion(key=key, available=_MARKS, earned=None, state=manual))
    return GradingResult(
        assignment=NAME,
        student=student,
        filename=f"{student}.py",
        submission_sha256=hashlib.sha256(text.encode()).hexdigest(),
        submission_bytes=len(text),
        source_sha256="b" * 64,
        mograder="1.0",
        protected=True,
        state=GradingState.JUDGED,
        questions=tuple(questions),
        checks=tuple(checks),
        auto_mark=_MARKS * (len(JUDGED) - 1),
        auto_available=_MARKS * len(JUDGED),
        max_mark=_MARKS * (len(JUDGED) + len(BY_PEOPLE)),
        at=_AT.isoformat().replace("+00:00", "Z"),
    )


def _cells(text: str) -> tuple[CellResult, ...]:
    shown = CellOutput("text/html", f"<p>{_essay('2')}</p>")
    return tuple(
        CellResult(cell.index, cell.name, CellStatus.OK, outputs=(shown,))
        for cell in parse_cells(text, "submission.py").cells
    )
