"""Equal answers: the groups of 500 submissions, and opening an answer when they are known."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.options import Options
from bench.report import Budget, Row
from bench.stage import Stage
from mograder.grading.marking.answer_groups import AnswerGroups, AssignmentWork
from mograder.grading.marking.question_sources import question_sources
from mograder.notebook.source.release import with_hidden_tests
from tests.support.graded_assignment import NAME, source_text, submission_text

_STUDENTS, _DIFFERENT = 500, 40
_QUESTION = "Q3"
_LONG = "\n".join(
    f"    step_{n} = [each * {n} for each in range({n}) if each % 3]" for n in range(60)
)
"""Lines that make the notebooks as long as those of a course."""


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Group answers of 500 students, of which 40 differ; then ask again for the known groups."""
    work = await asyncio.to_thread(_write, stage.directory / "equal")
    first, again = [], []
    for _ in range(options.rounds):
        groups = AnswerGroups()
        started = time.perf_counter()
        found = await groups.of(work, _QUESTION)
        first.append(time.perf_counter() - started)
        assert found is not None
        assert sum(len(each.students) for each in found) == _STUDENTS, found
        assert len(found) == _DIFFERENT, found
        started = time.perf_counter()
        await groups.of(work, _QUESTION)
        again.append(1000 * (time.perf_counter() - started))
    told = f"slowest {max(first):.2f} s"
    name = f"equal answers: the groups of {_STUDENTS} submissions"
    return [
        Row(name, "s", "", tuple(first), (), Budget(5, unit="s"), told),
        Row(f"{name}, known", "ms", "", tuple(again), (), Budget(50, unit="ms")),
    ]


def _write(course: Path) -> AssignmentWork:
    """Write submissions with names and comments of their own."""
    source = source_text()
    release = with_hidden_tests(source, f"{NAME}.py", ())
    submitted = course / "submitted" / NAME
    submitted.mkdir(parents=True)
    students = tuple(f"student{number:03}" for number in range(_STUDENTS))
    for number, student in enumerate(students):
        text = submission_text(release, number)
        text = text.replace("counts", f"counted_{number}")
        different = f"    counted_{number} = {{}}\n        extra = {number % _DIFFERENT}\n"
        text = text.replace(f"    counted_{number} = {{}}\n", different)
        text = text.replace("    squares = [", f"{_LONG}\n    squares = [")
        (submitted / f"{student}.py").write_text(text, "utf-8")
    sources = question_sources(source, f"{NAME}.py")
    return AssignmentWork(NAME, students, course / "autograded" / NAME, submitted, sources)
