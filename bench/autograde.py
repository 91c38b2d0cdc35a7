"""Autograde: a small assignment by judge and worker, beside nbgrader and our own validate.

The seconds for one submission are measured in this process, on warm sandboxes, as nbgrader's are
in one of its own. The batch is the command's: seconds between the results that it writes, and its
memory.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.graded_assignment import NAME, source_text, submission_text
from bench.nbgrader_course import NbgraderCourse
from bench.options import Options
from bench.report import Budget, Row, say
from bench.stage import CACHE, Stage
from mograder.core.settings import load_settings, read_environ
from mograder.grading.submissions.grade_submission import (
    GradedNotebook,
    SubmittedNotebook,
    grade_submission,
)
from mograder.grading.submissions.graded_assignment import (
    AssignmentFiles,
    GradedAssignment,
    prepare_assignment,
)
from mograder.grading.submissions.grading_result import GradingState
from mograder.grading.submissions.grading_tools import GradingTools, open_grading_tools
from mograder.grading.validate import Submission, validate
from tests.support.hub import MOGRADER, outside, run_mograder, write_settings

_PER_TURN = 10
_OF_NBGRADER = 3
_ALONE = 60
_FIRST, _JOBS = 50, 2
_SECONDS = 1800.0
_LOOK_SECONDS = 0.05


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Time single submissions in turns with nbgrader and validate; then a batch and its memory."""
    course = stage.directory / "marks"
    release = await asyncio.to_thread(_make_course, course)
    nbgrader = NbgraderCourse(stage.directory / "nbgrader", CACHE)
    await asyncio.to_thread(nbgrader.make)
    singles = await _measure_singles(course, release, nbgrader, options)
    batch = await asyncio.to_thread(_measure_batch, course, release, options.submissions)
    return [*singles.rows(), *batch.rows(options.submissions)]


def _make_course(course: Path) -> str:
    """Write the assignment, make its release and its environment; return the release's text."""
    source = course / "source" / NAME / f"{NAME}.py"
    source.parent.mkdir(parents=True)
    source.write_text(source_text(), "utf-8")
    write_settings(course, {"hub.uv_cache_dir": str(CACHE)})
    done = run_mograder("generate", NAME, cwd=course, seconds=900)
    assert done.status == 0, done
    return (course / "release" / NAME / f"{NAME}.py").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class _Singles:
    """Seconds for one submission, and milliseconds for one call of an answer."""

    ours: tuple[float, ...]
    nbgrader: tuple[float, ...]
    validate: tuple[float, ...]
    calls: tuple[float, ...]

    def rows(self) -> Iterator[Row]:
        told = f"slowest {max(self.ours):.3f} s"
        name = "autograde: a submission, judge and worker"
        yield Row(
            name,
            "s",
            self.ours,
            Budget(0.1),
            told,
            reference="nbgrader autograde",
            theirs=self.nbgrader,
        )
        yield Row(name, "s", self.ours, Budget(3), reference="our validate", theirs=self.validate)
        across = "autograde: a call between judge and worker"
        yield Row(across, "ms", self.calls, Budget(0.2, unit="ms"))


async def _measure_singles(
    course: Path, release: str, nbgrader: NbgraderCourse, options: Options
) -> _Singles:
    ours, theirs, validated, calls = [], [], [], []
    numbers = itertools.count()
    files = AssignmentFiles(
        NAME, course / "source" / NAME / f"{NAME}.py", course / "release" / NAME / f"{NAME}.py"
    )
    async with open_grading_tools(load_settings(course), read_environ(), jobs=1) as tools:
        assignment = await prepare_assignment(files, tools, say)
        for _ in range(_PER_TURN):  # until zygotes are there
            await _grade(assignment, release, next(numbers), tools)
        for _ in range(options.rounds):
            theirs += await asyncio.to_thread(nbgrader.grade, _OF_NBGRADER)
            for _ in range(_PER_TURN):
                started = time.perf_counter()
                graded = await _grade(assignment, release, next(numbers), tools)
                ours.append(time.perf_counter() - started)
                calls += _milliseconds(graded)
                validated.append(await _validate(assignment, release, next(numbers), tools))
    return _Singles(tuple(ours), tuple(theirs), tuple(validated), tuple(calls))


async def _grade(
    assignment: GradedAssignment, release: str, number: int, tools: GradingTools
) -> GradedNotebook:
    data = submission_text(release, number).encode()
    submitted = SubmittedNotebook(f"student{number}", Path(f"student{number}.py"), data)
    graded = await grade_submission(assignment, submitted, tools)
    assert (graded.result.state, graded.result.auto_mark) == (GradingState.JUDGED, 30), graded
    return graded


def _milliseconds(graded: GradedNotebook) -> list[float]:
    return [call.milliseconds for check in graded.result.checks for call in check.calls]


async def _validate(
    assignment: GradedAssignment, release: str, number: int, tools: GradingTools
) -> float:
    submission = Submission(
        text=submission_text(release, number),
        filename=f"{NAME}.py",
        environment=assignment.environment,
        limits=assignment.limits,
        seconds=assignment.deadlines.notebook,
        release=release,
    )
    started = time.perf_counter()
    report = await validate(submission, tools.runner.execute)
    seconds = time.perf_counter() - started
    assert report.ok, report
    return seconds


@dataclass(frozen=True, slots=True)
class _Batch:
    """Seconds for a submission, one or two at a time; bytes of memory, early and late."""

    alone: float
    together: float
    early: int
    late: int

    def rows(self, count: int) -> Iterator[Row]:
        ours, theirs = (count * self.together,), (count * self.alone,)
        name = f"autograde: {count} submissions, -j {_JOBS}"
        told = f"{1 / self.together:.1f} a second; on idle processors about half of the sum"
        yield Row(
            name, "s", ours, Budget(1.2), told, reference="their sum with -j 1", theirs=theirs
        )
        halved = tuple(each / _JOBS for each in theirs)
        yield Row(name, "s", ours, Budget(1.2, goal=True), reference="half of it", theirs=halved)
        name = f"autograde: memory of command and supervisor after {count}"
        mib = 1 << 20
        yield Row(
            name,
            "MiB",
            (self.late / mib,),
            Budget(1.1),
            reference=f"after {_FIRST}",
            theirs=(self.early / mib,),
        )


def _measure_batch(course: Path, release: str, count: int) -> _Batch:
    submitted = course / "submitted" / NAME
    submitted.mkdir(parents=True)
    for number in range(count):
        path = submitted / f"student{number:04}.py"
        path.write_text(submission_text(release, number), "utf-8")
    names = [f"student{number:04}" for number in range(_ALONE)]
    some = [word for name in names for word in ("--student", name)]
    with _running(course, "-j", "1", *some) as alone:
        alone.wait(_ALONE)
    seconds = _seconds_each(course)
    with _running(course, "-j", str(_JOBS), "--force") as together:
        together.wait(_FIRST)
        early = together.memory()
        together.wait(count - _JOBS)
        late = together.memory()
        together.wait(count)
    return _Batch(seconds, _seconds_each(course), early, late)


class _Command:
    """A running ``mograder autograde``."""

    def __init__(self, process: subprocess.Popen[bytes], results: Path) -> None:
        self._process = psutil.Process(process.pid)
        self._ended = process.poll
        self._results = results
        self._before = time.time()

    def wait(self, count: int) -> None:
        """Return once so many results have been written, or the command has ended."""
        deadline = time.monotonic() + _SECONDS
        while self._ended() is None and self._written() < count:
            assert time.monotonic() < deadline, f"{self._written()} of {count} results"
            time.sleep(_LOOK_SECONDS)

    def memory(self) -> int:
        """Return the resident bytes of the command and its supervisor."""
        processes = [self._process, *self._process.children()]
        return sum(each.memory_info().rss for each in processes)

    def _written(self) -> int:
        paths = self._results.glob("*.html")
        return sum(path.stat().st_mtime >= self._before for path in paths)


@contextmanager
def _running(course: Path, *options: str) -> Iterator[_Command]:
    """Grade by the command, and wait for its end."""
    command = [str(MOGRADER), "autograde", NAME, *options]
    log = course / "autograde.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=course,
            env={**outside(), "HOME": str(course)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _Command(process, course / "autograded" / NAME)
            process.wait(_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    assert process.returncode == 0, log.read_text()


def _seconds_each(course: Path) -> float:
    """Return the seconds between results, without those of the start."""
    paths = (course / "autograded" / NAME).glob("*.html")
    times = sorted(path.stat().st_mtime for path in paths)[_PER_TURN:]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return statistics.mean(gaps)
