"""The verdict of a validation, for runs with results given by the test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest

from mograder.core.errors import InvalidInput
from mograder.grading.author.author_runs import run_report
from mograder.grading.validate import Submission, validate
from mograder.grading.validation_report import (
    CheckStatus,
    ValidationReport,
    answer_of,
    render_html,
    render_text,
)
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    ExecutionRequest,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.protocol import Limits
from tests.support.notebooks import notebook

LIMITS = Limits(processes=1, open_files=1, file_size_mb=1, tmp_mb=1)
ANSWER, FIRST, SECOND = 2, 3, 4
Status = Literal["success", "partial", "danger", "warn"]

RELEASE = notebook(
    "from mograder.runtime import check",
    """
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5}
    """,
    """
    # YOUR CODE HERE
    x = 0
    """,
    'check("Q1: one", [(x == 1, "not one")])',
    'check("Q2: two", [(x == 2, "not two")])',
)


@dataclass
class Scripted:
    """Returns the results of a run."""

    result: ExecutionResult
    asked: list[ExecutionRequest] = field(default_factory=list)

    async def execute(self, request: ExecutionRequest) -> ExecutionResult:
        self.asked.append(request)
        return self.result


def ran(*checks: CheckResult, count: int = 5, **cells: CellStatus) -> ExecutionResult:
    """A run of the release's five cells; ``c2=CellStatus.ERROR``."""
    statuses = [cells.get(f"c{index}", CellStatus.OK) for index in range(count)]
    told = tuple(CellResult(index, "_", status) for index, status in enumerate(statuses))
    return ExecutionResult(Outcome.FINISHED, told, checks)


def said(label: str, cell: int, status: Status = "success") -> CheckResult:
    earned = {"success": 4.0, "partial": 1.0}.get(status, 0.0)
    return CheckResult(label, status, () if status == "success" else ("no",), earned, 4.0, cell)


ALL = (said("Q1: one", FIRST), said("Q2: two", SECOND))


async def judged(
    result: ExecutionResult, text: str = RELEASE, release: str | None = RELEASE
) -> ValidationReport:
    submission = Submission(text, "A1.py", Path("environment"), LIMITS, 10, release)
    return await validate(submission, Scripted(result).execute)


def statuses(report: ValidationReport) -> list[CheckStatus]:
    return [check.status for check in report.checks]


async def test_all_checks_of_the_release_make_it_ok() -> None:
    report = await judged(ran(*ALL))
    assert report.ok
    assert report.marks == (15.0, 15.0)
    assert [check.line for check in report.checks] == [28, 34]
    assert render_text(report).startswith(
        "OK: A1.py: 2 of 2 checks pass, 15 of 15 marks by checks."
    )


async def test_a_check_that_never_ran_is_no_success() -> None:
    report = await judged(ran(ALL[0], c4=CellStatus.SKIPPED))
    assert not report.ok
    assert statuses(report) == [CheckStatus.SUCCESS, CheckStatus.NOT_RUN]
    assert report.marks == (10.0, 15.0)
    assert "its cell was skipped" in report.checks[1].messages[0]


@pytest.mark.parametrize("cell", [ANSWER, SECOND, 0, 99])
async def test_a_line_that_another_cell_wrote_does_not_count(cell: int) -> None:
    report = await judged(ran(said("Q1: one", cell), ALL[1]))
    assert not report.ok
    assert statuses(report)[0] is CheckStatus.NOT_RUN


async def test_the_worst_of_several_lines_counts() -> None:
    report = await judged(ran(said("Q1: one", FIRST, "danger"), *ALL))
    assert statuses(report) == [CheckStatus.DANGER, CheckStatus.SUCCESS]
    assert not report.ok


IDIOM = RELEASE.replace(
    'check("Q1: one", [', 'mo.stop(x is None, check("Q1: one", []))\n    check("Q1: one", ['
)
WAITS = CheckResult("Q1: one", "warn", (), 0.0, 0.0, FIRST)


async def test_a_call_that_only_waits_for_an_answer_does_not_count_beside_its_conditions() -> None:
    """0.3.16's own way, ``mo.stop(x is None, check("Q1", []))``: Python makes both calls."""
    report = await judged(ran(WAITS, *ALL), IDIOM, IDIOM)
    assert (report.ok, report.marks) == (True, (15.0, 15.0))
    report = await judged(ran(WAITS, said("Q1: one", FIRST, "danger"), ALL[1]), IDIOM, IDIOM)
    assert statuses(report) == [CheckStatus.DANGER, CheckStatus.SUCCESS]
    for told in ((WAITS, WAITS, *ALL), (WAITS, ALL[1])):
        report = await judged(ran(*told), IDIOM, IDIOM)
        assert statuses(report)[0] is CheckStatus.WARN, "there is one such call, or no other"


@pytest.mark.parametrize(
    "calls",
    [
        ('check("Q1: one", ())', 'check("Q1: one", ['),
        ('check(label="Q1: one", checks=[])', 'check("Q1: one", ['),
        ("check(_label, [])", "check(_label, ["),
        ('check(f"Q{_n}: one", [])', 'check(f"Q{_n}: one", ['),
    ],
)
async def test_a_call_that_only_waits_is_known_however_it_is_written(
    calls: tuple[str, str],
) -> None:
    both = f'_n, _label = 1, "Q1: one"\n    mo.stop(x is None, {calls[0]})\n    {calls[1]}'
    text = RELEASE.replace('check("Q1: one", [', both)
    assert (await judged(ran(WAITS, *ALL), text, text)).ok
    own = run_report(text, "A1.py", ran(WAITS, *ALL), 10)
    assert [each.status for each in own.checks] == ["success", "success"]
    report = await judged(ran(WAITS, WAITS, *ALL), text, text)
    assert not report.ok, "there is one such call"


@pytest.mark.parametrize(
    "call", ['check(label="Q1: b", checks=[(x, "b")])', 'check("Q1: b", [(y, "b") for y in [x]])']
)
async def test_a_check_that_never_ran_costs_its_weight_however_it_is_written(call: str) -> None:
    text = RELEASE.replace('check("Q2: two", [(x == 2, "not two")])', call)
    text = text.replace('(x == 1, "not one")', '(x == 1, "not one", 4)')
    report = await judged(ran(ALL[0], c4=CellStatus.SKIPPED), text, text)
    assert report.marks == (8.0, 10.0)


HELPED = notebook(
    "from mograder.runtime import check",
    """
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 5}
    """,
    """
    # YOUR CODE HERE
    x = 0
    """,
    'def ask(n):\n    return check("Q1: one", [(n, "no")]) or check(f"Q{n}: of", [(n, "")])',
    "def twice(v):\n    return ask(v)",
    "twice(x)",
)
USER = 5


async def test_a_check_through_a_helper_is_reported_by_the_cell_that_calls_it() -> None:
    right = (said("Q1: one", USER), said("Q2: of", USER))
    report = await judged(ran(*right, count=6), HELPED, HELPED)
    assert (report.ok, report.marks) == (True, (15.0, 15.0))
    wrong = (said("Q1: one", USER), said("Q2: of", USER, "danger"))
    report = await judged(ran(*wrong, count=6), HELPED, HELPED)
    assert (report.ok, report.marks) == (False, (10.0, 15.0))


async def test_a_cell_of_the_students_that_calls_a_helper_reports_nothing() -> None:
    text = HELPED.replace("x = 0", "x = 0\n    ask(1)")
    forged = (said("Q1: one", ANSWER), said("Q2: of", ANSWER))
    assert statuses(await judged(ran(*forged, count=6), text, HELPED)) == [CheckStatus.NOT_RUN]


async def test_partial_credit_is_a_share_of_the_marks() -> None:
    release = RELEASE.replace('(x == 1, "not one")', '(x == 1, "not one", 4)')
    report = await judged(ran(said("Q1: one", FIRST, "partial"), ALL[1]), release, release)
    assert report.marks == (7.5, 15.0)
    assert not report.ok


async def test_a_cell_error_is_told_with_its_line_and_is_not_ok() -> None:
    result = ran(*ALL, c2=CellStatus.ERROR)
    broken = CellResult(2, "_", CellStatus.ERROR, "ZeroDivisionError", "division", 2, "printed")
    report = await judged(replace(result, cells=(*result.cells[:2], broken, *result.cells[3:])))
    assert not report.ok
    (error,) = report.cell_errors
    assert (error.line, error.error_type, error.output) == (22, "ZeroDivisionError", "printed")
    assert error.code == "x = 0"


async def test_an_error_is_told_where_it_happened_though_another_cell_is_the_same() -> None:
    text = notebook("x = 0", "_y = 1 / x", "z = 2", "_y = 1 / x")
    failed = CellResult(3, "_", CellStatus.ERROR, "ZeroDivisionError", "division", 1)
    cells = (*(CellResult(index, "_", CellStatus.OK) for index in range(3)), failed)
    report = await judged(ExecutionResult(Outcome.FINISHED, cells, ()), text, None)
    (error,) = report.cell_errors
    assert error.index == 3
    assert text.split("\n")[: error.line].count("    _y = 1 / x") == 2


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome.TIMED_OUT, "ended after 10 seconds in the cell at line 21"),
        (Outcome.OUT_OF_MEMORY, "more memory"),
        (Outcome.KILLED, "too many processes"),
        (Outcome.EXITED, "before its last cell in the cell at line 21"),
        (Outcome.UNREADABLE, "cannot be read"),
    ],
)
async def test_no_run_that_was_cut_short_is_ok(outcome: Outcome, words: str) -> None:
    result = ran(*ALL, c2=CellStatus.INTERRUPTED)
    report = await judged(replace(result, outcome=outcome, reason="processes"))
    assert not report.ok
    assert words in report.problem


async def test_a_report_of_fewer_cells_than_there_are_is_not_ok() -> None:
    result = ran(*ALL)
    report = await judged(replace(result, cells=result.cells[:4]))
    assert not report.ok


async def test_what_runs_has_the_released_checks_and_the_students_text_stays() -> None:
    changed = RELEASE.replace("x == 1", "True")
    runs = Scripted(ran(*ALL))
    submission = Submission(changed, "A1.py", Path("environment"), LIMITS, 10, RELEASE)
    report = await validate(submission, runs.execute)
    assert "x == 1" in runs.asked[0].text
    assert submission.text == changed
    assert report.integrity.warnings
    assert "INTEGRITY: A1.py:26" in render_text(report)


@pytest.mark.parametrize("release", [RELEASE, None])
async def test_a_byte_order_mark_is_taken_away_as_when_it_is_graded(release: str | None) -> None:
    runs = Scripted(ran(*ALL))
    text = f"\ufeff{RELEASE}"
    await validate(
        Submission(text, "A1.py", Path("environment"), LIMITS, 10, release), runs.execute
    )
    assert runs.asked[0].text == RELEASE


async def test_a_check_of_the_students_own_is_not_among_them() -> None:
    own = '@app.cell\ndef _(check):\n    check("Q3: own", [(True, "")])\n    return\n\n\nif __name'
    report = await judged(ran(*ALL, said("Q3: own", 5)), RELEASE.replace("if __name", own))
    assert [check.label for check in report.checks] == ["Q1: one", "Q2: two"]


async def test_labels_that_only_a_run_can_tell_are_judged_too() -> None:
    release = RELEASE.replace('"Q2: two"', 'f"Q2: {x}"')
    checks = (ALL[0], said("Q2: 0", SECOND, "danger"), said("Q9: forged", ANSWER))
    report = await judged(ran(*checks), release, release)
    assert [(c.label, c.status) for c in report.checks] == [
        ("Q1: one", CheckStatus.SUCCESS),
        ("Q2: 0", CheckStatus.DANGER),
    ]


async def test_a_check_that_waits_for_hidden_tests_is_no_failure() -> None:
    body = 'check("Q2: two", [(x == 2, "not two")])'
    release = RELEASE.replace(
        body, 'check(\n        "Q2: two",\n        [\n            # HIDDEN TESTS\n        ],\n    )'
    )
    checks = (ALL[0], said("Q2: two", SECOND, "warn"))
    assert (await judged(ran(*checks), release, release)).ok
    assert not (await judged(ran(*checks))).ok


@pytest.mark.parametrize("given", ["[]", "[] if x is None else"])
async def test_a_question_that_has_other_tests_too_is_to_be_answered(given: str) -> None:
    body = 'check("Q2: two", [(x == 2, "not two")])'
    tests = "[]" if given == "[]" else f"{given} [(x == 2, 'not two'),\n    # HIDDEN TESTS\n    ]"
    release = RELEASE.replace(body, f'# HIDDEN TESTS\n    check("Q2: two", {tests})')
    report = await judged(ran(ALL[0], said("Q2: two", SECOND, "warn")), release, release)
    assert report.ok == (given == "[]")
    assert report.checks[1].hidden
    assert render_text(report).splitlines()[0].endswith("more tests come when it is graded.")


async def test_a_text_that_is_no_notebook_is_told_as_such() -> None:
    report = await judged(ran(*ALL), "this is ( no notebook")
    assert not report.ok
    assert "A1.py:1" in report.problem
    assert statuses(report) == [CheckStatus.NOT_RUN, CheckStatus.NOT_RUN]
    with pytest.raises(InvalidInput):
        await judged(ran(*ALL), RELEASE, "this is ( no notebook")


async def test_without_a_release_its_own_checks_count() -> None:
    report = await judged(ran(*ALL), release=None)
    assert report.ok
    assert report.integrity.level == "none"


class Counted(tuple[CheckResult, ...]):
    """Results that count how often they are gone through."""

    times = 0

    def __iter__(self) -> Iterator[CheckResult]:
        self.times += 1
        return super().__iter__()


async def test_the_results_are_not_searched_for_each_check() -> None:
    """1800 checks of a student's text and 40 000 results took 3.4 s."""
    checks = "\n".join(f'check("{number}", [])' for number in range(100))
    told = Counted((said("1", 1), said("99", 1, "partial"), said("99", 1)))
    report = await judged(replace(ran(), checks=told), notebook("x = 1", checks), None)
    assert statuses(report)[1] is CheckStatus.SUCCESS
    assert statuses(report)[99] is CheckStatus.PARTIAL
    assert told.times < 10


async def test_the_answer_has_the_words_of_old_clients_for_checks_that_did_not_run() -> None:
    report = await judged(ran(ALL[0], c4=CellStatus.SKIPPED))
    checks = answer_of(report, html_available=True).checks
    assert [check.status for check in checks] == ["success", "warn"]
    assert checks[1].details == ("not run: its cell was skipped",)


async def test_nothing_of_a_students_reaches_a_page_or_a_terminal_unescaped() -> None:
    evil = '<script>alert("x")</script>\x1b[2J'
    result = ran(*ALL, c2=CellStatus.ERROR)
    broken = CellResult(2, evil, CellStatus.ERROR, evil[:8], evil, 1, evil)
    check = replace(ALL[0], status="danger", details=(evil,))
    report = await judged(
        replace(result, cells=(*result.cells[:2], broken, *result.cells[3:]), checks=(check,))
    )
    page = render_html(report)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 4
    assert "\x1b" not in render_text(report)


TESTS = notebook(
    """
    # === MOGRADER: MARKS ===
    _marks = {"Q1": 10, "Q2": 6}
    """,
    "# YOUR CODE HERE\nx = 0",
    "@app.cell\ndef test_Q1_one(x):\n    assert x == 1\n    return",
    "@app.cell\ndef test_Q2_later(x):\n    # HIDDEN TESTS\n    return",
    "@app.function\ndef test_Q2_called():\n    assert 1 + 1 == 2",
)
CALLED = 5
"""The index of the cell behind the notebook's that calls the function."""


def of_tests(cells: dict[int, CellResult]) -> ExecutionResult:
    told = (cells.get(index, CellResult(index, "_", CellStatus.OK)) for index in range(CALLED + 1))
    return ExecutionResult(Outcome.FINISHED, tuple(told), ())


def failed(index: int, kind: str, message: str = "", line: int = 1) -> dict[int, CellResult]:
    return {index: CellResult(index, "_", CellStatus.ERROR, kind, message, line)}


@pytest.mark.parametrize(
    ("cells", "label", "message"),
    [
        (failed(2, "AssertionError"), "test_Q1_one", "assert x == 1"),
        (failed(2, "AssertionError", "not one"), "test_Q1_one", "not one"),
        (failed(2, "ValueError", "bad"), "test_Q1_one", "ValueError: bad"),
        (failed(CALLED, "AssertionError"), "test_Q2_called", "an assertion failed"),
    ],
)
async def test_a_cell_that_is_a_test_fails_by_its_error(
    cells: dict[int, CellResult], label: str, message: str
) -> None:
    report = await judged(of_tests(cells), TESTS, TESTS)
    found = [(each.label, each.messages) for each in report.checks if not each.passed]
    assert found == [(label, (message,))]
    assert not report.cell_errors
    assert not report.ok


async def test_cells_that_are_tests_pass_without_an_error_and_earn_marks() -> None:
    report = await judged(of_tests({}), TESTS, TESTS)
    assert [(each.key, each.line, each.status) for each in report.checks] == [
        ("Q1", 22, CheckStatus.SUCCESS),
        ("Q2", 28, CheckStatus.WARN),
        ("Q2", 33, CheckStatus.SUCCESS),
    ]
    assert report.ok
    assert report.marks == (13.0, 16.0)
    stopped = CellResult(2, "_", CellStatus.SKIPPED, message="stopped by mo.stop")
    report = await judged(of_tests({2: stopped}), TESTS, TESTS)
    assert report.checks[0].messages == ("not run: stopped by mo.stop",)
    assert report.marks == (3.0, 16.0)


async def test_a_function_that_is_a_test_is_called_behind_the_other_cells() -> None:
    runs = Scripted(of_tests({}))
    await validate(Submission(TESTS, "A1.py", Path("environment"), LIMITS, 10, TESTS), runs.execute)
    assert runs.asked[0].text == TESTS.replace(
        "== 2\n",
        "== 2\n\n\n@app.cell\ndef _(test_Q2_called):\n    test_Q2_called()\n    return\n",
    )


async def test_an_asynchronous_test_is_awaited() -> None:
    runs = Scripted(of_tests({}))
    text = TESTS.replace("def test_Q2_called", "async def test_Q2_called")
    await validate(Submission(text, "A1.py", Path("environment"), LIMITS, 10, text), runs.execute)
    assert runs.asked[0].text.endswith(
        "\n\n\n@app.cell\nasync def _(test_Q2_called):\n    await test_Q2_called()\n    return\n"
        + text.partition("== 2\n")[2]
    )


async def test_a_test_that_was_changed_runs_as_it_was_released() -> None:
    runs = Scripted(of_tests({}))
    changed = TESTS.replace("assert x == 1", "assert True").replace("x = 0", "x = 1")
    submission = Submission(changed, "A1.py", Path("environment"), LIMITS, 10, TESTS)
    report = await validate(submission, runs.execute)
    assert "assert x == 1" in runs.asked[0].text
    assert "x = 1" in runs.asked[0].text
    assert any("test_Q1_one" in str(each) for each in report.integrity.warnings)
