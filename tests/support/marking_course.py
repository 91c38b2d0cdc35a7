"""A hub with graded submissions to mark: two questions with checks, and two for people."""

from __future__ import annotations

import hashlib
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from mograder.grading.pages.notebook_page import render_notebook_page
from mograder.grading.submissions.autograde import run_of, write_copy
from mograder.grading.submissions.grade_submission import GradedNotebook
from mograder.grading.submissions.grading_result import (
    GradedCheck,
    GradedLabel,
    GradedQuestion,
    GradingResult,
    GradingState,
)
from mograder.sandbox.execution.judging import JudgedCondition
from mograder.sandbox.execution.report import CellOutput, CellResult, CellStatus
from mograder.store.gradebook.gradebook import Gradebook
from mograder.web.marking.context import answer_id, question_address
from tests.support.graded_results import graded_result
from tests.support.hub_app import Hub, make_hub, opened, running
from tests.support.hub_copies import ask
from tests.support.notebooks import notebook

A = "hw1"
AT = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
MARKS = {"Q1": 10.0, "Q2": 5.0, "Essay": 10.0, "Q4": 5.0}
TOML = """title = "Numerics"
[hub]
instructors = ["prof"]
[marking]
markers = ["mia", "ben"]
"""

SOURCE = notebook(
    "import marimo as mo\nfrom mograder.runtime import Grader",
    """
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5, "Essay": 10, "Q4": 5}
    grader = Grader(_marks)
    check = grader.check
    return (check,)
    """,
    """
    ### BEGIN SOLUTION
    area = 3.14
    ### END SOLUTION
    """,
    'check("Q1: area", [(area > 3, "too small")])',
    """
    ### BEGIN SOLUTION
    def twice(x):
        return 2 * x

    ### END SOLUTION
    """,
    'check("Q2: twice", [(lambda: twice(2) == 4, "two times two is four")])',
    '''
    mo.md(r"""
    ## Essay (10 marks)

    /// details | Marking Scale
        type: info

    - 10: all, with $x^2$
    - 5: half
    ///
    """)
    ''',
    '''
    @app.cell
    def written_analysis(mo):
        ### BEGIN SOLUTION
        mo.md(r"""The model essay, with $a^2$.""")
        ### END SOLUTION
        return
    ''',
    'mo.md(r"""## Question 4 (5 marks)""")',
    """
    ### BEGIN SOLUTION
    plot = "a plot"
    ### END SOLUTION
    """,
)


def submission_of(essay: str = "My essay.", area: str = "3.1") -> str:
    """Return a submission, in which one cell was added before the first answer."""
    text = SOURCE.replace("area = 3.14", f"area = {area}").replace('"a plot"', '"my plot"')
    text = text.replace('r"""The model essay, with $a^2$."""', f'r"""{essay}"""')
    lines = [line for line in text.split("\n") if "SOLUTION" not in line]
    added = "@app.cell\ndef _():\n    helper = 1\n    return (helper,)\n\n\n"
    return "\n".join(lines).replace(
        "@app.cell\ndef _():\n    area", f"{added}@app.cell\ndef _():\n    area", 1
    )


def graded(student: str, text: str, *, points: float = 7.5, later: int = 0) -> GradingResult:
    """Return the result of a submission; ``points`` are those of Q1, ``later`` is in minutes."""
    conditions = (
        JudgedCondition(message="right", weight=3.0, passed=True),
        JudgedCondition(message="too small", weight=1.0, passed=points == 10, reason="<b>why</b>"),
    )
    labels = (
        GradedLabel(
            label="Q1: area",
            key="Q1",
            earned=points,
            total=10.0,
            passed=points == 10,
            conditions=conditions,
        ),
        GradedLabel(label="Q2: twice", key="Q2", earned=1.0, total=1.0, passed=True, hidden=True),
    )
    judged, manual = GradingState.JUDGED, GradingState.MANUAL
    checks = tuple(
        GradedCheck(cell=3 + 2 * at, line=30, hidden=label.hidden, state=judged, labels=(label,))
        for at, label in enumerate(labels)
    )
    questions = (
        GradedQuestion(key="Q1", available=10.0, earned=points, state=judged, labels=("Q1: area",)),
        GradedQuestion(key="Q2", available=5.0, earned=5.0, state=judged, labels=("Q2: twice",)),
        GradedQuestion(key="Essay", available=10.0, earned=None, state=manual),
        GradedQuestion(key="Q4", available=5.0, earned=None, state=manual),
    )
    return graded_result(
        assignment=A,
        student=student,
        filename=f"{student}.py",
        submission_sha256=hashlib.sha256(text.encode()).hexdigest(),
        submission_bytes=len(text),
        questions=questions,
        checks=checks,
        auto_mark=points + 5.0,
        auto_available=15.0,
        max_mark=30.0,
        at=(AT + timedelta(minutes=later)).isoformat().replace("+00:00", "Z"),
    )


@dataclass
class MarkingCourse:
    """A hub with graded submissions, and its requests."""

    hub: Hub
    students: list[str] = field(default_factory=list)

    @property
    def key(self) -> bytes:
        """The key of signatures and of the names of answers."""
        return self.hub.services.grading.key

    def grade(
        self, student: str, text: str | None = None, *, points: float = 7.5, later: int = 0
    ) -> None:
        """Record a graded submission, with its files."""
        text = submission_of() if text is None else text
        result = graded(student, text, points=points, later=later)
        output = CellOutput("text/html", "<p>seen</p><script>of()</script>")
        cells = (CellResult(3, "", CellStatus.OK, outputs=(output,)),)
        page = render_notebook_page(text, result.filename, cells)
        write_copy(self.hub.course / "autograded" / A, GradedNotebook(result, text, cells), page)
        with self.book() as book:
            book.record_run(run_of(result, self.key))
        if student not in self.students:
            self.students.append(student)

    def book(self) -> Gradebook:
        """Open the gradebook, as another process does."""
        return Gradebook(self.hub.services.loaded.gradebook_path)

    def id_of(self, student: str) -> str:
        """Return the name of a student's answers."""
        return answer_id(self.key, A, student)

    def at(self, student: str, question: str = "Essay") -> str:
        """Return the address of an answer."""
        place = question_address(question)
        return f"/marking/-/api/{A}/answers/{self.id_of(student)}/questions/{place}"

    async def ask(self, method: str, path: str, user: str = "mia", **more: Any) -> httpx.Response:
        return await ask(self.hub, method, path, user, **more)

    async def state(self, student: str, question: str = "Essay", user: str = "mia") -> Any:
        """Return an answer."""
        response = await self.ask("GET", self.at(student, question), user)
        assert response.status_code == 200, response.text
        return response.json()

    async def save(
        self, student: str, question: str = "Essay", user: str = "mia", **change: Any
    ) -> httpx.Response:
        """Save a mark, by default on the version as it stands."""
        if "version" not in change:
            change["version"] = (await self.state(student, question, user))["version"]
        return await self.ask("PUT", self.at(student, question), user, json=change)

    async def saved(
        self, student: str, question: str = "Essay", user: str = "mia", **change: Any
    ) -> Any:
        """Save a mark, and return the state after it."""
        response = await self.save(student, question, user, **change)
        assert response.status_code == 200, response.text
        return response.json()

    async def comment(self, text: str, points: float | None = None) -> Any:
        """Add a saved comment for the essay."""
        path = f"/marking/-/api/{A}/questions/Essay/comments"
        response = await self.ask("POST", path, json={"text": text, "points": points})
        assert response.status_code == 201, response.text
        return response.json()["comment"]


@asynccontextmanager
async def open_marking_course(
    course: Path, *students: str, names: str = "hidden"
) -> AsyncIterator[MarkingCourse]:
    """A hub whose markers ``mia`` and ``ben`` may mark the graded submissions of students."""
    chosen = students or ("alice", "bob", "eve")
    for file in _graded_course(chosen):
        target = course / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        target.chmod(file.mode)
    made = make_hub(course, f'{TOML}names = "{names}"\n')
    opened(made.app).marking.reports.patience_seconds = 60  # a machine may be busy with other tests
    async with running(made.app):
        yield MarkingCourse(made, list(chosen))
    made.close()


@pytest.fixture
async def course(tmp_path: Path) -> AsyncIterator[MarkingCourse]:
    """A course in which alice, bob and eve have handed in the same."""
    async with open_marking_course(tmp_path / "course") as made:
        yield made


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    mode: int
    content: bytes


@cache
def _graded_course(students: tuple[str, ...]) -> tuple[_File, ...]:
    """Return the files of a course, whose graded submissions take as long to make as most tests."""
    with tempfile.TemporaryDirectory() as name:
        course = Path(name)
        made = make_hub(course, TOML)
        (course / "marking.json").write_text(f'["{A}"]\n')
        (course / "allowed_users.txt").write_text("alice\nbob\neve\n")
        source = course / "source" / A / f"{A}.py"
        source.parent.mkdir(parents=True)
        source.write_text(SOURCE)
        rig = MarkingCourse(made)
        for student in students:
            rig.grade(student)
        made.close()
        found = [path for path in course.rglob("*") if path.is_file()]
        return tuple(
            _File(path.relative_to(course), stat.S_IMODE(path.stat().st_mode), path.read_bytes())
            for path in found
        )


def texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_in(each)
