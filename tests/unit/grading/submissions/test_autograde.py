"""Grading the submissions of an assignment: which ones, into which files, and what ends it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from mograder.core.errors import Busy, InvalidInput, MograderError
from mograder.grading.submissions.autograde import Autograded, AutogradeRequest, autograde, run_of
from mograder.grading.submissions.comparison import verify_results
from mograder.grading.submissions.graded_assignment import AssignmentFiles, GradedAssignment
from mograder.grading.submissions.grading_result import GradingResult, GradingState, render_result
from mograder.grading.submissions.result_forms import ResultRow
from mograder.notebook.denied_code import DEFAULT_DENIED
from mograder.processes.isolated_call import IsolatedCall, R
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult
from mograder.sandbox.execution.report import (
    CellOutput,
    CellResult,
    CellStatus,
    ExecutionResult,
    Outcome,
)
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import GradingRun
from mograder.store.submissions.submitted_files import submitted_files
from tests.support.fake_judges import KEY
from tests.support.gradebooks import change
from tests.support.graded_results import newest_results
from tests.support.grading_course import (
    HALF,
    RIGHT,
    WRONG,
    TextJudges,
    make_course,
    tools_with,
)

ENDS = (".html", ".py")


@dataclass
class Seen:
    """A watch that keeps what it is told."""

    begun: list[tuple[int, int]] = field(default_factory=list)
    graded: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    on_end: Callable[[], None] = lambda: None

    def progress(self, message: str) -> None:
        pass

    def begins(self, _: GradedAssignment, total: int, skipped: int) -> None:
        self.begun.append((total, skipped))
        self.graded.clear()

    def ended(self, row: ResultRow, completed: int, total: int) -> None:
        self.graded.append(row.student)
        assert completed == len(self.graded) <= total
        self.on_end()

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@dataclass
class Rig:
    """A course, and what grading it has asked and told."""

    root: Path
    judges: TextJudges = field(default_factory=TextJudges)
    seen: Seen = field(default_factory=Seen)

    @property
    def book(self) -> Gradebook:
        return Gradebook(self.root / "gradebook.db")

    @property
    def output(self) -> Path:
        return self.root / "autograded" / "hw1"

    @property
    def results(self) -> dict[str, GradingResult]:
        return newest_results(self.root / "gradebook.db", "hw1")

    @property
    def assignment(self) -> AssignmentFiles:
        return AssignmentFiles(
            "hw1", self.root / "source/hw1/hw1.py", self.root / "release/hw1/hw1.py"
        )

    def request(self, **changes: object) -> AutogradeRequest:
        request = AutogradeRequest(
            files=self.assignment,
            submissions=submitted_files(self.root / "submitted/hw1"),
            output=self.output,
            jobs=2,
        )
        return replace(request, **changes)  # type: ignore[arg-type]

    async def grade(self, **changes: object) -> Autograded:
        self.judges.asked.clear()
        tools = tools_with(self.judges, self.root)
        with self.book as book:
            return await autograde(self.request(**changes), tools, book, self.seen)

    def record(self, **changes: object) -> None:
        """Record results that differ from the newest ones, signed by the course."""
        with self.book as book:
            for result in self.results.values():
                book.record_run(run_of(result.model_copy(update=changes), KEY))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    course = make_course(tmp_path, {"alice": RIGHT, "bob": HALF, "carol": WRONG})
    rig = Rig(course)
    rig.judges.gate.set()
    return rig


async def test_each_submission_gets_a_row_its_files_and_a_record(rig: Rig) -> None:
    done = await rig.grade()
    marks = {row.student: (row.auto_mark, row.max_mark) for row in done.rows}
    assert marks == {"alice": (15, 15), "bob": (7.5, 15), "carol": (0, 15)}
    assert sorted(path.name for path in rig.output.iterdir()) == [
        ".mograder_source_hash",
        *(f"{name}{end}" for name in ("alice", "bob", "carol") for end in ENDS),
    ]
    assert {path.stat().st_mode & 0o777 for path in rig.output.iterdir()} == {0o600}
    assert {name: each.state for name, each in rig.results.items()} == dict.fromkeys(
        ("alice", "bob", "carol"), "judged"
    )
    assert rig.results["bob"].auto_mark == 7.5
    assert [column.label for column in done.columns] == ["Q1: one", "Q2: two"]


def _touch_only(rig: Rig) -> None:
    (rig.root / "submitted/hw1/alice.py").touch()


def _other_submission(rig: Rig) -> None:
    (rig.root / "submitted/hw1/alice.py").write_text(HALF)


def _lost_page(rig: Rig) -> None:
    (rig.output / "alice.html").unlink()


def _empty_page(rig: Rig) -> None:
    (rig.output / "alice.html").write_text("")


def _lost_copy(rig: Rig) -> None:
    (rig.output / "alice.py").unlink()


def _other_mark(rig: Rig) -> None:
    """Forge a result as somebody does who has no key."""
    forged = rig.results["alice"].model_copy(update={"auto_mark": 14.0})
    statement = "UPDATE grading_runs SET result = ? WHERE student = 'alice'"
    change(rig.root / "gradebook.db", statement, render_result(forged))


@pytest.mark.parametrize(
    ("change", "asked", "told"),
    [
        (_touch_only, 0, ""),
        (_other_submission, 1, ""),
        (_lost_page, 1, ""),
        (_empty_page, 1, ""),
        (_lost_copy, 1, ""),
        (_other_mark, 1, "alice is graded again: its result was changed after it was signed"),
    ],
)
async def test_a_submission_is_graded_again_if_it_or_its_files_changed(
    rig: Rig, change: Callable[[Rig], None], asked: int, told: str
) -> None:
    await rig.grade()
    change(rig)
    await rig.grade()
    assert len(rig.judges.asked) == asked
    assert told in "".join(rig.seen.warnings)
    assert bool(told) == bool(rig.seen.warnings)
    assert rig.results["alice"].auto_mark == (7.5 if change is _other_submission else 15)


@pytest.mark.parametrize("field", ["source_sha256", "contract_sha256", "environment", "mograder"])
async def test_all_are_graded_again_on_another_basis(rig: Rig, field: str) -> None:
    await rig.grade()
    rig.record(**{field: "other"})
    await rig.grade()
    assert len(rig.judges.asked) == 3


async def test_another_source_or_release_is_another_basis(rig: Rig) -> None:
    await rig.grade()
    for path in (rig.assignment.source, rig.assignment.release):
        assert path is not None
        path.write_text(path.read_text().replace("small", "too small"))
        await rig.grade()
        assert len(rig.judges.asked) == 3


@pytest.mark.parametrize("place", ["source", "release"])
async def test_changed_files_beside_source_or_release_are_another_basis(
    rig: Rig, place: str
) -> None:
    data = rig.root / place / "hw1" / "tables" / "days.csv"
    data.parent.mkdir()
    data.write_text("1\n")
    await rig.grade()
    os.utime(data, ns=(0, 0))
    (data.parent / "__pycache__").mkdir()
    (data.parent / "__pycache__" / "x.pyc").touch()
    await rig.grade()
    assert rig.judges.asked == []
    data.write_text("2\n")
    with rig.book as book:
        found = verify_results(book, KEY, rig.assignment, rig.request().submissions)
    assert {f"the files beside the {place} have changed since"} == {
        each for result in found for each in result.problems
    }
    await rig.grade()
    assert len(rig.judges.asked) == 3
    data.unlink()
    await rig.grade()
    assert len(rig.judges.asked) == 3


FIRST = datetime(2026, 11, 20, 17, tzinfo=UTC)


def fetched_at(rig: Rig, at: datetime) -> None:
    """Record the time of alice's work as collecting does."""
    times = rig.root / "submitted/hw1/.fetch_metadata.json"
    times.write_text(f'{{"alice": {at.timestamp()}}}')


async def received(
    rig: Rig, at: datetime | None, number: int | None = None, *, force: bool = False
) -> tuple[datetime, int | None]:
    """Grade alice's work, with its time as it is told now, and return what is recorded."""
    (file, *_) = submitted_files(rig.root / "submitted/hw1")
    given = replace(file, received=at, receipt=number)
    if at is not None:
        fetched_at(rig, at)
    with (rig.root / "source/hw1/hw1.py").open("a") as source:
        source.write("\n# changed\n")
    await rig.grade(submissions=(given,), force=force)
    found = rig.results["alice"]
    return datetime.fromisoformat(found.received), found.receipt


async def test_the_same_work_keeps_its_first_time_however_often_it_is_graded(rig: Rig) -> None:
    """Uploaded once more it has a later one on Moodle, and no fetch has the first."""
    work = rig.root / "submitted/hw1/alice.py"
    first = work.read_text()
    assert await received(rig, FIRST, 1) == (FIRST, 1)
    assert await received(rig, FIRST + timedelta(days=2), 2) == (FIRST, 1)
    assert await received(rig, None) == (FIRST, 1)
    earlier = FIRST - timedelta(hours=1)
    assert await received(rig, earlier) == (earlier, None)
    work.write_text(HALF)
    assert await received(rig, FIRST + timedelta(days=2), 2) == (FIRST + timedelta(days=2), 2)
    work.write_text(first)
    assert await received(rig, FIRST + timedelta(days=3), 3) == (earlier, None)


async def test_work_that_is_fetched_while_others_are_graded_does_not_get_the_time_of_earlier_work(
    rig: Rig,
) -> None:
    fetched_at(rig, FIRST)
    (file, *_) = submitted_files(rig.root / "submitted/hw1")
    fetched_at(rig, FIRST + timedelta(days=2))
    (row,) = (await rig.grade(submissions=(replace(file, received=FIRST),))).rows
    assert row.problem == "was fetched again meanwhile: grade it again"
    assert (rig.judges.asked, rig.results) == ([], {})


async def test_force_corrects_a_time_that_was_wrong_for_good(rig: Rig) -> None:
    right = FIRST + timedelta(days=2)
    assert await received(rig, FIRST, 1) == (FIRST, 1)
    assert await received(rig, right, 2, force=True) == (right, 2)
    assert await received(rig, right + timedelta(days=1), 3) == (right, 2)
    assert await received(rig, None, force=True) == (right, 2)


async def test_force_grades_all_and_failed_those_without_a_result(rig: Rig) -> None:
    broken = HALF + f"# {rig.judges.broken}\n"
    (rig.root / "submitted/hw1/bob.py").write_text(broken)
    (rig.root / "submitted/hw1/carol.py").write_text("not a notebook")
    first = await rig.grade()
    assert [row.state.value for row in first.rows] == ["judged", "needs attention", "not run"]
    assert [row.auto_mark for row in first.rows] == [15, None, 0]
    await rig.grade(force=True)
    assert sorted(rig.judges.asked) == sorted([RIGHT, broken])
    (rig.root / "submitted/hw1/dave.py").write_text(WRONG)
    rig.judges.broken = "nothing is"
    done = await rig.grade(failed=True, whole=False)
    assert sorted(rig.seen.graded) == ["bob", "carol", "dave"]
    assert [row.auto_mark for row in done.rows] == [7.5, 0, 0]


async def test_what_needs_attention_is_tried_again(rig: Rig) -> None:
    (rig.root / "submitted/hw1/bob.py").write_text(HALF + f"# {rig.judges.broken}\n")
    done = await rig.grade()
    assert [row.needs_attention for row in done.rows] == [False, True, False]
    assert "No sandbox runs." in done.rows[1].problem
    rig.judges.broken = "nothing is"
    done = await rig.grade()
    assert rig.seen.begun[-1] == (1, 2)
    assert [row.needs_attention for row in done.rows] == [False, False, False]


@pytest.mark.parametrize("jobs", [1, 2, 64])
async def test_only_so_many_are_judged_at_a_time(rig: Rig, jobs: int) -> None:
    for number in range(20):
        (rig.root / f"submitted/hw1/s{number}.py").write_text(HALF)
    rig.judges.gate.clear()
    grading = asyncio.create_task(rig.grade(jobs=jobs))
    await rig.judges.reached(min(jobs, 23))
    rig.judges.gate.set()
    done = await grading
    assert rig.judges.most == min(jobs, 23)
    assert [row.student for row in done.rows] == sorted(row.student for row in done.rows)


async def test_46_a_file_that_is_replaced_meanwhile_is_graded_as_it_was_read(rig: Rig) -> None:
    rig.judges.gate.clear()
    grading = asyncio.create_task(rig.grade())
    await rig.judges.reached(2)
    for path in (rig.root / "submitted/hw1").iterdir():
        path.write_text(RIGHT + "# changed\n")
    rig.judges.gate.set()
    await grading
    found = rig.results["bob"]
    assert found.auto_mark == 7.5
    assert found.submission_sha256 == hashlib.sha256(HALF.encode()).hexdigest()
    assert "# changed" not in (rig.output / "bob.py").read_text()


@pytest.mark.parametrize("linked", [True, False])
async def test_an_earlier_submission_does_not_replace_the_result_of_a_newer_one(
    rig: Rig, linked: bool
) -> None:
    """A long job came to a file that it had listed before a command graded the newer one."""
    folder = rig.root / "submitted/hw1"
    times = ("", "_20260102T090000", "_20260102T100000")
    plain, earlier, newer = (folder / f"bob{time}.py" for time in times)
    plain.unlink()

    def hand_in(path: Path, text: str) -> None:
        path.write_text(text)
        if linked:
            plain.unlink(missing_ok=True)
            plain.symlink_to(path.name)

    hand_in(earlier if linked else plain, HALF)
    rig.judges.gate.clear()
    grading = asyncio.create_task(rig.grade(jobs=3))
    await rig.judges.reached(3)
    hand_in(newer if linked else plain, RIGHT)
    other = Rig(rig.root)
    other.judges.gate.set()
    await other.grade()
    rig.judges.gate.set()
    done = await grading
    told = "A newer submission was graded meanwhile. Its result stays."
    assert [row.problem for row in done.rows] == ["", told, ""]
    assert rig.results["bob"].auto_mark == 15
    assert "x = 6" in (rig.output / "bob.py").read_text()
    if linked:
        await rig.grade(submissions=submitted_files(folder, named=[earlier]))
        assert rig.results["bob"].auto_mark == 7.5, "one that is named is graded"


async def test_an_interrupted_run_keeps_whole_results_and_goes_on(rig: Rig) -> None:
    for number in range(20):
        (rig.root / f"submitted/hw1/s{number}.py").write_text(HALF)
    grading = asyncio.create_task(rig.grade())

    def cancel() -> None:
        if len(rig.seen.graded) == 5:
            grading.cancel()

    rig.seen.on_end = cancel
    with pytest.raises(asyncio.CancelledError):
        await grading
    kept = set(rig.results)
    assert kept.issuperset(rig.seen.graded)
    assert all((rig.output / f"{name}{end}").stat().st_size for name in kept for end in ENDS)
    assert not (rig.output / ".mograder_source_hash").exists()
    done = await rig.grade()
    assert len(rig.judges.asked) == 23 - len(kept)
    assert len(done.rows) == len(rig.results) == 23


async def test_a_full_disk_or_a_locked_gradebook_ends_the_run(rig: Rig) -> None:
    class Full(Gradebook):
        def record_run(self, run: GradingRun) -> int:
            raise Busy("The disk is full.")

    tools = tools_with(rig.judges, rig.root)
    with Full(rig.root / "gradebook.db") as book, pytest.raises(Busy, match="The disk is full"):
        await autograde(rig.request(), tools, book, rig.seen)
    assert rig.results == {}
    await rig.grade()
    assert len(rig.results) == 3


@pytest.mark.parametrize(
    "step",
    [
        "store.gradebook.gradebook.Gradebook.record_run",
        "grading.submissions.autograde.atomic_write",
    ],
)
async def test_wherever_a_run_ends_the_files_are_of_no_other_work_than_the_last_result(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Students were shown the newer notebook beside the marks that the earlier one had."""
    await rig.grade()
    _other_submission(rig)

    def fail(*_: object) -> None:
        raise Busy("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(f"mograder.{step}", fail)
        with pytest.raises(Busy):
            await rig.grade()
    assert {path.name for path in rig.output.glob("alice.*")} == set()
    await rig.grade()
    assert len(rig.judges.asked) == 1
    assert "x = 1" in (rig.output / "alice.py").read_text()
    assert "x" in (rig.output / "alice.html").read_text()


async def test_denied_code_is_not_run_if_so_wished(rig: Rig) -> None:
    text = RIGHT.replace("x = 6", "import os; x = 6")
    (rig.root / "submitted/hw1/alice.py").write_text(text)
    (rig.root / "submitted/hw1/carol.py").write_text("not a notebook")
    done = await rig.grade(denied=DEFAULT_DENIED)
    assert done.rows[0].problem.startswith("safety check failed: ")
    assert "os" in done.rows[0].problem
    assert done.rows[2].state is GradingState.NOT_RUN
    assert rig.judges.asked == [HALF]
    assert rig.results["alice"].problem == done.rows[0].problem


async def test_denied_code_does_not_keep_the_mark_of_an_earlier_submission(rig: Rig) -> None:
    await rig.grade()
    text = RIGHT.replace("x = 6", "import os; x = 6")
    (rig.root / "submitted/hw1/alice.py").write_text(text)
    done = await rig.grade(denied=DEFAULT_DENIED)
    assert done.rows[0].needs_attention
    with rig.book as book:
        (alice,) = (each for each in book.grades("hw1") if each.student == "alice")
    assert alice.final is None
    assert "safety check failed" in alice.flags[0]


async def test_0_3_16_is_told_of_the_source_only_if_all_were_graded(rig: Rig) -> None:
    path = rig.output / ".mograder_source_hash"
    await rig.grade(whole=False)
    assert not path.exists()
    await rig.grade()
    assert not path.exists()
    done = await rig.grade(force=True)
    before = rig.results["bob"].source_sha256 + "\n"
    assert path.read_text() == before
    assert done.rows
    source = rig.root / "source/hw1/hw1.py"
    source.write_text(source.read_text().replace("small", "too small"))
    (rig.root / "submitted/hw1/dave.py").write_text(WRONG)
    await rig.grade(failed=True)
    assert rig.seen.graded == ["dave"]
    assert path.read_text() == before, "the others' results are of that source"


@dataclass
class ShowingJudges(TextJudges):
    """Judges that report an output of the first cell, too."""

    output: str = ""

    async def judge(self, request: JudgingRequest) -> JudgingResult:
        outputs = (CellOutput("text/html", self.output),)
        cells = (CellResult(0, "", CellStatus.OK, outputs=outputs),)
        worker = ExecutionResult(Outcome.FINISHED, cells)
        return replace(await super().judge(request), worker=worker)


class NoPatience(IsolatedCall):
    """Gives large texts up at once, as one does that takes too long, or that is killed."""

    def __init__(self, error: MograderError) -> None:
        super().__init__()
        self.error = error

    async def call(
        self,
        function: partial[R],
        *,
        size: int,
        whose: str = "",
        compiles: bool = False,
        patience_seconds: float | None = None,
    ) -> R:
        if size > 32_000:
            raise self.error
        return await super().call(function, size=size, whose=whose, compiles=compiles)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (InvalidInput("It is too complex."), GradingState.NOT_RUN),
        (Busy("It is too complex."), GradingState.NEEDS_ATTENTION),
    ],
)
async def test_a_page_that_takes_too_long_has_no_outputs(
    rig: Rig, error: MograderError, state: GradingState
) -> None:
    """Reading 200,000 characters of elements within each other takes half a minute."""
    judges = ShowingJudges(output="<ul><li>shown" * 3000)
    judges.gate.set()
    tools = replace(tools_with(judges, rig.root), apart=NoPatience(error))
    (rig.root / "submitted/hw1/carol.py").write_text(WRONG + "#" * 32_000)
    with rig.book as book:
        done = await autograde(rig.request(), tools, book, rig.seen)
    assert {row.student: row.problem != "" for row in done.rows} == {
        "alice": False,
        "bob": False,
        "carol": True,
    }
    assert done.rows[2].state is state
    pages = {name: (rig.output / f"{name}.html").read_text() for name in ("alice", "carol")}
    assert "An output is not shown here: it is too large." in pages["alice"]
    assert "shown<" not in pages["alice"]
    assert "It is too complex" in pages["carol"]


async def test_marks_that_a_student_wrote_are_reported(rig: Rig) -> None:
    forged = RIGHT.replace("    x = 6", "    # === MOGRADER: MARKER FEEDBACK ===\n    _mark = 100")
    (rig.root / "submitted/hw1/alice.py").write_text(forged)
    done = await rig.grade()
    assert done.rows[0].auto_mark == 0
    assert done.rows[0].tampered
    assert "MARKER FEEDBACK" in done.rows[0].notes[0]
    copy = (rig.output / "alice.py").read_text()
    assert copy.index("# === MOGRADER: MARKER") > copy.index("_mark = 100")


async def test_50_another_students_name_in_the_header_means_nothing(rig: Rig) -> None:
    header = '# /// script\n# student = "carol"\n# mograder-student = "carol"\n# ///\n'
    (rig.root / "submitted/hw1/alice.py").write_text(header + RIGHT)
    done = await rig.grade()
    assert {row.student: row.auto_mark for row in done.rows} == {
        "alice": 15,
        "bob": 7.5,
        "carol": 0,
    }


async def test_verification_tells_what_does_not_fit(rig: Rig) -> None:
    await rig.grade()

    def told() -> dict[str, tuple[str, ...]]:
        submissions = submitted_files(rig.root / "submitted/hw1")
        with rig.book as book:
            found = verify_results(book, KEY, rig.assignment, submissions)
        return {each.student: each.problems for each in found}

    assert told() == {"alice": (), "bob": (), "carol": ()}
    _other_mark(rig)
    (rig.root / "submitted/hw1/bob.py").write_text(RIGHT)
    found = told()
    assert "changed after it was signed" in found["alice"][0]
    assert found["bob"] == ("the submission is another one than the graded one",)
    source, release = rig.assignment.source, rig.assignment.release
    assert source is not None
    assert release is not None
    source.write_text(source.read_text() + "\n")
    release.write_text(release.read_text() + "\n")
    assert told()["carol"] == ("the source has changed since", "the release has changed since")


async def test_what_is_up_to_date_is_left_out(rig: Rig) -> None:
    await rig.grade()
    done = await rig.grade()
    assert rig.judges.asked == []
    assert rig.seen.begun == [(3, 0), (0, 3)]
    assert [(row.student, row.auto_mark, row.fresh) for row in done.rows] == [
        ("alice", 15, False),
        ("bob", 7.5, False),
        ("carol", 0, False),
    ]


async def test_a_file_that_cannot_be_read_is_one_row(rig: Rig) -> None:
    submitted = rig.root / "submitted" / "hw1"
    (submitted / "dave.py").symlink_to("../../source/hw1/hw1.py")
    (submitted / "eve.py").write_bytes(b"#" * 17_000_000)
    (submitted / "frank.py").write_bytes("# ü".encode("latin-1"))
    done = await rig.grade()
    linked = "is a link, and not to a submission of its student."
    states = {row.student: (row.state, row.problem.partition(" ")[2]) for row in done.rows[3:]}
    assert states == {
        "dave": (
            GradingState.NEEDS_ATTENTION,
            f"{linked} Put the notebook itself in its place.",
        ),
        "eve": (GradingState.NEEDS_ATTENTION, "is larger than 16 MB."),
        "frank": (GradingState.NOT_RUN, states["frank"][1]),
    }
    assert "dave" not in rig.results
    assert (rig.output / "frank.py").read_text().startswith("import marimo")
    assert len(rig.judges.asked) == 3
