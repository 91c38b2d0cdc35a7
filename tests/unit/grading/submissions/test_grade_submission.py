"""grading.grade_submission: states, reasons and marks for every way a submission may end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mograder.core.errors import MograderError, SandboxUnavailable
from mograder.grading.submissions.grade_submission import (
    GradedNotebook,
    SubmittedNotebook,
    grade_submission,
)
from mograder.grading.submissions.graded_assignment import GradedAssignment
from mograder.grading.submissions.grading_result import GradedQuestion, GradingState, render_result
from mograder.grading.submissions.grading_tools import GradingTools
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.sandbox.execution.judging import JudgingRequest, JudgingResult
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.protocol import COMMANDS_SLOT
from tests.support.fake_judges import (
    FINISHED,
    SOURCE,
    UNPROTECTED,
    Answer,
    FakeJudges,
    FakeRunner,
    FakeRuns,
    answered,
    everything_passed,
    fake_tools,
    judged_label,
    passing,
    prepared,
    release_of,
)

S = GradingState
HONEST = answered(SOURCE, ("area = ...", "area = abs"), ("total = ...", "total = 6"))
Marks = list[tuple[str, float | None, GradingState]]


async def grade(
    place: Path,
    answer: Answer = passing,
    text: str | bytes = HONEST,
    *,
    source: str | None = SOURCE,
    runs: FakeRuns | None = None,
    **more: Any,
) -> GradedNotebook:
    """Grade a submission, of which the judge says what the test wants."""
    tools = fake_tools(place)
    assignment = await prepared(place, tools, source)
    runner = FakeRunner(FakeJudges(answer), runs or FakeRuns())
    tools = replace(tools, runner=runner)
    return await graded(assignment, tools, text, **more)


async def graded(
    assignment: GradedAssignment, tools: GradingTools, text: str | bytes = HONEST, **more: Any
) -> GradedNotebook:
    data = text.encode() if isinstance(text, str) else text
    submitted = SubmittedNotebook("alice", Path("/nowhere/alice.py"), data, **more)
    return await grade_submission(assignment, submitted, tools)


def marks(found: GradedNotebook) -> Marks:
    return [(each.key, each.earned, each.state) for each in found.result.questions]


def saying(*changed: tuple[int, dict[str, Any]], **result: Any) -> Answer:
    """A judge that says of everything that it passed, but for changes of the checks by number."""

    def answer(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
        checks = list(everything_passed(plan))
        for number, fields in changed:
            checks[number] = replace(checks[number], **fields)
        known = JudgingResult("", tuple(checks), FINISHED, protected=True)
        return replace(known, **result)

    return answer


async def test_an_honest_submission_gets_its_marks_and_their_reasons(tmp_path: Path) -> None:
    received = datetime(2026, 11, 1, 8, tzinfo=UTC)
    found = await grade(tmp_path, received=received, receipt=7)
    assert marks(found) == [
        ("Q1", 10.0, S.JUDGED),
        ("Q2", 5.0, S.JUDGED),
        ("Essay", None, S.MANUAL),
    ]
    result = found.result
    assert (result.auto_mark, result.auto_available, result.max_mark) == (15.0, 15.0, 20.0)
    assert (result.state, result.problem, result.tampered) == (S.JUDGED, "", ())
    assert (result.student, result.filename, result.assignment) == ("alice", "alice.py", "hw1")
    assert result.received == "2026-11-01T08:00:00.000Z"
    assert result.receipt == 7
    assert result.at == "2026-11-22T12:00:00.000Z"
    assert all(
        len(each) == 64
        for each in (
            *(result.submission_sha256, result.source_sha256),
            *(result.contract_sha256, result.release_sha256),
        )
    )
    assert result.protected
    first = result.checks[0].labels[0]
    assert [(each.message, each.weight) for each in first.conditions] == [("two", 2), ("three", 2)]
    assert found.text == HONEST


async def test_hidden_tests_are_marked_by_label(tmp_path: Path) -> None:
    found = await grade(tmp_path)
    hidden = {e.label: e.hidden for check in found.result.checks for e in check.labels}
    assert hidden == {"Q1: area": False, "Q1: more": True, "Q2: total": False}
    assert [check.hidden for check in found.result.checks] == [True, False]


UNDEFINED = "`area` is not defined: its cell failed (ZeroDivisionError)"
NO_MEMORY = "the judge has no more memory"
AREA, MORE = judged_label("Q1: area"), judged_label("Q1: more")
SOME, SECRET = judged_label("Q1: area", "three"), judged_label("Q1: more", "secret ten")
LONGER = replace(AREA, earned=6.0, total=8.0, passed=False)  # it has more conditions
MINE = replace(judged_label("Q2: total"), label="Q2: mine", earned=50.0, total=50.0)


@pytest.mark.parametrize(
    ("number", "said", "mark", "auto", "reason"),
    [
        (0, {"labels": (SOME, SECRET)}, ("Q1", 2.5, S.JUDGED), 7.5, ""),
        (0, {"labels": (LONGER, MORE)}, ("Q1", 7.5, S.JUDGED), 12.5, ""),
        (0, {"labels": (AREA,)}, ("Q1", 5.0, S.JUDGED), 10.0, "this check did not run to its end"),
        (1, {"labels": (judged_label("Q2: total", "six"), MINE)}, ("Q2", 0.0, S.JUDGED), 10.0, ""),
        (0, {"state": "not run", "reason": UNDEFINED}, ("Q1", 0.0, S.NOT_RUN), 5.0, UNDEFINED),
        (1, {"claims": ("isinstance(r, Rect)",)}, ("Q2", 5.0, S.CLAIMED), 15.0, ""),
        (
            *(1, {"state": "needs attention", "reason": NO_MEMORY}),
            *(("Q2", None, S.NEEDS_ATTENTION), None, NO_MEMORY),
        ),
    ],
)
async def test_a_mark_is_the_share_of_the_weights_that_the_judge_says_was_earned(
    tmp_path: Path, number: int, said: dict[str, Any], mark: Any, auto: float | None, reason: str
) -> None:
    result = (await grade(tmp_path, saying((number, said)))).result
    question, available = result.questions[number], None if auto is None else 15.0
    assert (question.key, question.earned, question.state) == mark
    assert (question.reason, result.auto_mark, result.auto_available) == (reason, auto, available)
    assert result.state is (S.JUDGED if mark[2] is S.NOT_RUN else mark[2])
    assert result.checks[number].claims == said.get("claims", ())
    if LONGER in said.get("labels", ()):
        weights = [(each.earned, each.total) for each in result.checks[0].labels]
        assert weights == [(2.0, 4.0), (4.0, 4.0)], "those that the marks follow from"


async def test_without_a_sandbox_nothing_is_better_than_unprotected(tmp_path: Path) -> None:
    claims = (1, {"claims": ("x",)})
    found = await grade(tmp_path, saying(claims, protected=False))
    assert [state for _, _, state in marks(found)] == [S.UNPROTECTED, S.UNPROTECTED, S.MANUAL]
    assert not found.result.protected


@pytest.mark.parametrize("lost", ["problem", "check"])
async def test_a_judge_without_a_whole_report_leaves_no_mark(tmp_path: Path, lost: str) -> None:
    def answer(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
        result = passing(request, plan)
        if lost == "problem":
            return replace(result, problem="The judge was killed.")
        return replace(result, checks=result.checks[1:])

    found = await grade(tmp_path, answer)
    assert marks(found)[0] == ("Q1", None, S.NEEDS_ATTENTION)
    assert found.result.auto_mark is None
    assert found.result.state is S.NEEDS_ATTENTION


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SandboxUnavailable("There is no sandbox.", hint="Install it."), "no sandbox. Install it."),
        (MograderError("The supervisor is gone."), "supervisor is gone"),
        (KeyError("a bug"), "mograder failed (KeyError)"),
        (OSError(28, "No space left on device"), "mograder failed (OSError)"),
    ],
)
async def test_failures_of_ours_are_no_marks(tmp_path: Path, error: Exception, said: str) -> None:
    def answer(request: JudgingRequest, plan: GradingPlan) -> JudgingResult:
        raise error

    found = await grade(tmp_path, answer)
    assert [each.earned for each in found.result.questions] == [None, None, None]
    assert found.result.state is S.NEEDS_ATTENTION
    assert said in found.result.problem


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "empty"),
        (b" \n\t\n", "empty"),
        (b"\xff\xfe", "UTF-16"),
        (b"import marimo\ncaf\xe9\n", "hw1.py:2: the file is not UTF-8"),
        ("print(1)\n", "not a marimo notebook"),
        ("import marimo\n", "hw1.py:1"),
        ("\f\x1a\n", "hw1.py:1"),
        ("def f(:\n", "hw1.py:1"),
        ("(" * 30_000, "hw1.py:1"),
        ("import marimo\n\0", "hw1.py:1"),
        ("# coding: latin-1\n", "latin-1"),
        (b"x" * 16_000_001, "at most"),
    ],
)
async def test_what_is_no_notebook_earns_nothing_and_is_never_run(
    tmp_path: Path, text: str | bytes, why: str
) -> None:
    judges = FakeJudges()
    tools = fake_tools(tmp_path, judges=judges)
    assignment = await prepared(tmp_path, tools)
    judges.asked.clear()
    found = await graded(assignment, tools, text)
    assert judges.asked == []
    assert marks(found) == [
        ("Q1", 0.0, S.NOT_RUN),
        ("Q2", 0.0, S.NOT_RUN),
        ("Essay", None, S.MANUAL),
    ]
    assert found.result.state is S.NOT_RUN
    assert (found.result.auto_mark, found.result.auto_available) == (0.0, 15.0)
    assert why in found.result.problem
    assert "alice" not in found.result.problem, "markers read it, and may not know the name"


async def test_the_worker_runs_the_text_by_the_authors_terms(tmp_path: Path) -> None:
    judges = FakeJudges()
    tools = fake_tools(tmp_path, judges=judges)
    assignment = await prepared(tmp_path, tools)
    own = HONEST.replace('["marimo"]', '["evil @ file:///tmp/evil"]')
    own = own.replace("marimo.App()", 'marimo.App(html_head_file="/etc/passwd")')
    await graded(assignment, tools, own)
    request = judges.asked[-1]
    assert request.environment == assignment.environment
    assert request.name == "hw1.py"
    assert request.text == own
    assert request.folder == tmp_path / "release" / "hw1"
    assert assignment.source is not None
    assert request.files is assignment.source.files
    assert request.interface == ("area", "total")
    assert {3, 5} < set(request.skip)
    assert request.uid_slot != request.judge_slot


async def test_the_seed_is_of_this_text_and_course_and_stays(tmp_path: Path) -> None:
    judges = FakeJudges()
    tools = fake_tools(tmp_path, judges=judges)
    assignment = await prepared(tmp_path, tools)
    for text, key in ((HONEST, b"k"), (HONEST, b"k"), (HONEST + "\n", b"k"), (HONEST, b"other")):
        await graded(assignment, replace(tools, key=key), text)
    seeds = [each.seed for each in judges.asked[-4:]]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 3


async def test_cells_that_failed_are_told_with_their_line(tmp_path: Path) -> None:
    cells = (
        CellResult(0, "_", CellStatus.OK),
        CellResult(2, "_", CellStatus.ERROR, "NameError", "no name", 2),
        CellResult(4, "_", CellStatus.INTERRUPTED),
        CellResult(900, "_", CellStatus.ERROR, "X", "of a cell that the text has not"),
    )
    worker = ExecutionResult(Outcome.FINISHED, cells)
    found = await grade(tmp_path, saying(worker=worker))
    lines = HONEST.splitlines()
    errors = found.result.cell_errors
    assert [(each.index, each.error_type) for each in errors] == [
        (2, "NameError"),
        (4, "Interrupted"),
        (900, "X"),
    ]
    assert errors[0].line is not None
    assert lines[errors[0].line - 2].strip() == "area = abs"
    assert errors[2].line is None
    assert found.cells == cells


async def test_a_notebook_without_end_says_so_if_nothing_was_judged(tmp_path: Path) -> None:
    interrupted = (CellResult(2, "_", CellStatus.INTERRUPTED),)
    worker = ExecutionResult(Outcome.TIMED_OUT, interrupted)
    lost: dict[str, Any] = {"state": "not run", "reason": "no answer"}
    found = await grade(tmp_path, saying((0, lost), (1, lost), worker=worker))
    assert found.result.state is S.NOT_RUN
    assert "ended after 300 seconds in the cell at line" in found.result.problem
    found = await grade(tmp_path / "b", saying((0, lost), worker=worker))
    assert found.result.problem == ""


async def test_changes_of_the_release_are_told(tmp_path: Path) -> None:
    text = HONEST.replace('(total == 6, "six")', '(True, "six")').replace('"Q1": 10', '"Q1": 99')
    found = await grade(tmp_path, text=text)
    assert found.result.tampered == ("check(Q2)", "marks")
    assert found.result.max_mark == 20.0


async def test_the_cells_that_graders_write_are_told_and_not_read(tmp_path: Path) -> None:
    cell = (
        "@app.cell\ndef _():\n    # === MOGRADER: MARKER FEEDBACK ===\n    _mark = 100\n"
        '    _feedback = "excellent"\n    return\n\n\nif __name__'
    )
    failed = (judged_label("Q1: area", "two", "three"), judged_label("Q1: more", "secret ten"))
    found = await grade(
        tmp_path, saying((0, {"labels": failed})), HONEST.replace("if __name__", cell)
    )
    assert found.result.tampered == ("cell: added: # === MOGRADER: MARKER FEEDBACK ===",)
    assert marks(found)[0] == ("Q1", 0.0, S.JUDGED)
    assert "excellent" not in render_result(found.result)


def run_of(*checks: CheckResult) -> FakeRuns:
    """A run of the notebook of seven cells in which these checks have reported."""
    cells = tuple(CellResult(index, "_", CellStatus.OK) for index in range(7))
    return FakeRuns(ExecutionResult(Outcome.FINISHED, cells, checks))


async def test_unprotected_questions_are_proposed_by_a_second_run(tmp_path: Path) -> None:
    runs = run_of(
        CheckResult("Q1: area", "success", (), 1.0, 1.0, 3),
        CheckResult("Q2: total", "success", (), 1.0, 1.0, 5),
        CheckResult("Q2: secret", "partial", ("even",), 1.0, 2.0, 5),
    )
    found = await grade(tmp_path, text=HONEST, source=UNPROTECTED, runs=runs)
    assert marks(found)[1] == ("Q2", 3.3, S.UNPROTECTED)
    assert marks(found)[0] == ("Q1", 10.0, S.JUDGED)
    assert found.result.state is S.UNPROTECTED
    [asked] = runs.asked
    assert '"even"' in asked.text
    assert "secret ten" not in asked.text
    check = found.result.checks[1]
    assert [(each.label, each.hidden) for each in check.labels] == [
        ("Q2: total", False),
        ("Q2: secret", True),
    ]
    assert check.labels[1].conditions[0].message == "even"


async def test_a_reason_that_an_answer_could_write_is_kept_for_staff_and_marked(
    tmp_path: Path,
) -> None:
    """Students' pages leave it out: it may be any text of the file, in which the tests stand."""
    runs = run_of()
    failed = CellResult(5, "_", CellStatus.ERROR, error_type="canary")
    cells = (*runs.result.cells[:5], failed, *runs.result.cells[6:])
    runs = FakeRuns(replace(runs.result, cells=cells))
    found = await grade(tmp_path, text=HONEST, source=UNPROTECTED, runs=runs)
    check = found.result.checks[1]
    assert (check.state, check.beside) == (S.NOT_RUN, True)
    assert "canary" in check.reason
    assert [each.beside for each in found.result.checks] == [False, True]


async def test_an_unprotected_label_has_at_most_its_authors_weight(tmp_path: Path) -> None:
    runs = run_of(
        CheckResult("Q2: total", "success", (), 1e9, 1e9, 5),
        CheckResult("Q2: mine", "success", (), 1e9, 1e9, 5),
    )
    found = await grade(tmp_path, text=HONEST, source=UNPROTECTED, runs=runs)
    assert marks(found)[1] == ("Q2", 1.7, S.UNPROTECTED)


COMPUTED = SOURCE.replace(
    '    check("Q2: total", [(total == 6, "six")])',
    "    # mograder: unprotected\n    for _n in (1, 2):\n"
    '        check(f"Q2: part {_n}", [(total == 6, "six")] * _n)',
)


async def test_computed_labels_of_an_unprotected_check_count_for_its_own_question_only(
    tmp_path: Path,
) -> None:
    """An answer can report any label beside those of the check that called it."""
    ordinary = (
        CheckResult("Q2: part 1", "success", (), 1.0, 1.0, 5),
        CheckResult("Q2: part 2", "danger", ("six",), 0.0, 2.0, 5),
    )
    forged = (f"{key}: extra" for key in ("Q1", "Essay", "Z"))
    runs = run_of(*ordinary, *(CheckResult(each, "success", (), 1e9, 1e9, 5) for each in forged))
    wrong = saying((0, {"labels": (judged_label("Q1: area", "two", "three"),)}))
    found = await grade(tmp_path, wrong, release_of(COMPUTED), source=COMPUTED, runs=runs)
    assert marks(found) == [
        ("Q1", 0.0, S.JUDGED),
        ("Q2", 2.5, S.UNPROTECTED),
        ("Essay", None, S.MANUAL),
    ]


@pytest.mark.parametrize(
    ("told", "mark"),
    [((1.0, 3.0), 2.6), ((3.0, 3.0), 3.3), ((1e9, 1e9), 3.3), ((0.0, 1e9), 2.2), (None, 2.2)],
)
async def test_an_unprotected_label_of_unknown_weight_weighs_1_beside_judged_ones(
    tmp_path: Path, told: tuple[float, float] | None, mark: float
) -> None:
    unprotected = "    # mograder: unprotected\n"
    source = SOURCE.replace(
        '    check("Q2: total", [(total == 6, "six")])',
        f'{unprotected}    check("Q1: plot", [(total == 6, "six") for _ in range(3)])',
    )
    results = [] if told is None else [CheckResult("Q1: plot", "partial", (), *told, 5)]
    poor = judged_label("Q1: area", "two"), judged_label("Q1: more", "secret ten")
    judged, runs = saying((0, {"labels": poor})), run_of(*results)
    found = await grade(tmp_path, judged, release_of(source), source=source, runs=runs)
    assert marks(found)[0] == ("Q1", mark, S.UNPROTECTED if results else S.JUDGED)


async def test_a_second_run_that_fails_leaves_no_mark_of_its_questions(tmp_path: Path) -> None:
    class Broken(FakeRuns):
        async def execute(self, request: object) -> ExecutionResult:
            raise MograderError("no supervisor")

    found = await grade(tmp_path, source=UNPROTECTED, runs=Broken())
    assert marks(found)[:2] == [("Q1", 10.0, S.JUDGED), ("Q2", None, S.NEEDS_ATTENTION)]


STARTED = (CellResult(0, "_", CellStatus.INTERRUPTED),)


@pytest.mark.parametrize("source", [UNPROTECTED, None])
@pytest.mark.parametrize(
    "result",
    [
        ExecutionResult(Outcome.KILLED, STARTED, reason="disk"),
        ExecutionResult(Outcome.KILLED, STARTED, reason="shortage"),
        ExecutionResult(Outcome.EXITED, log_tail="bwrap: No such file"),
    ],
    ids=["disk", "shortage", "nothing"],
)
async def test_a_second_run_that_the_machine_ended_leaves_no_mark(
    tmp_path: Path, source: str | None, result: ExecutionResult
) -> None:
    """As of the judge's worker: it is not the student's doing."""
    found = await grade(tmp_path, source=source, runs=FakeRuns(result))
    assert marks(found)[1] == ("Q2", None, S.NEEDS_ATTENTION)
    assert found.result.auto_mark is None


async def test_without_a_source_everything_is_proposed(tmp_path: Path) -> None:
    runs = run_of(
        CheckResult("Q1: area", "partial", ("three",), 1.0, 2.0, 3),
        CheckResult("Q2: total", "success", (), 1.0, 1.0, 5),
    )
    found = await grade(tmp_path, source=None, runs=runs)
    assert [(each.key, each.state) for each in found.result.questions] == [
        ("Q1", S.UNPROTECTED),
        ("Q2", S.UNPROTECTED),
        ("Essay", S.MANUAL),
    ]
    assert found.result.auto_mark == 7.5
    assert not found.result.protected
    assert found.result.source_sha256 == ""


async def test_without_a_source_what_is_no_notebook_earns_nothing(tmp_path: Path) -> None:
    found = await grade(tmp_path, text="print(1)\n", source=None)
    assert [each.earned for each in found.result.questions] == [0.0, 0.0, None]
    assert found.result.state is S.NOT_RUN


async def test_an_assignment_without_marks_has_questions_without(tmp_path: Path) -> None:
    begin = SOURCE.index("    # === MOGRADER: MARKS ===")
    source = SOURCE[:begin] + "    pass\n" + SOURCE[SOURCE.index("    return\n", begin) :]
    found = await grade(tmp_path, text=release_of(source), source=source)
    none = {"available": None, "earned": None}
    assert [each.key for each in found.result.questions] == ["Q1", "Q2"]
    assert all(
        each == each.model_copy(update=none) and isinstance(each, GradedQuestion)
        for each in found.result.questions
    )
    result = found.result
    assert (result.auto_mark, result.auto_available, result.max_mark) == (None, None, 100.0)


async def test_slots_are_given_back(tmp_path: Path) -> None:
    judges = FakeJudges()
    tools = fake_tools(tmp_path, judges=judges)
    assignment = await prepared(tmp_path, tools)
    for _ in range(3):
        await graded(assignment, tools)
    with tools.slots.pair() as first, tools.slots.pair() as second:
        assert sorted((*first, *second)) == [COMMANDS_SLOT + each for each in range(4)]
    assert {(each.uid_slot, each.judge_slot) for each in judges.asked} == {
        (COMMANDS_SLOT, COMMANDS_SLOT + 1)
    }
