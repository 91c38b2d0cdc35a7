"""A report is read as a stranger's words: bounded, strict, and as a whole or not at all."""

from __future__ import annotations

import json

import pytest

from mograder.sandbox.execution.report import CellStatus, ExecutionResult, Outcome, read_report
from mograder.sandbox.protocol import Executed

START: dict[str, object] = {"kind": "start", "index": 0}
CHECK: dict[str, object] = {
    "kind": "check",
    "index": 0,
    "label": "Q1",
    "status": "success",
    "details": [],
    "earned_weight": 1.0,
    "total_weight": 1.0,
}
CELL: dict[str, object] = {
    "kind": "cell",
    "index": 0,
    "name": "_",
    "status": "ok",
    "error_type": "",
    "message": "",
    "line": None,
    "output_tail": "said",
    "seconds": 0.1,
}
END: dict[str, object] = {"kind": "end"}
HONEST = [START, CHECK, CELL, END]
CLEAN = Executed(status=0, log_tail="log", seconds=2.0)


def read(*lines: dict[str, object], executed: Executed = CLEAN) -> ExecutionResult:
    return read_report([json.dumps(line) for line in lines], executed)


def test_an_honest_report_is_what_it_says() -> None:
    result = read(*HONEST)
    assert result.outcome is Outcome.FINISHED
    assert (result.cells[0].status, result.cells[0].output_tail) == (CellStatus.OK, "said")
    assert (result.checks[0].label, result.checks[0].index) == ("Q1", 0)
    assert (result.log_tail, result.seconds) == ("log", 2.0)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([{"kind": "other"}, *HONEST], "an unknown line"),
        ([*HONEST, CHECK], "something after the end"),
        ([CHECK, *HONEST], "a check of a cell that does not run"),
        ([START, {**CHECK, "index": None}, CELL, END], "a check of no cell within one"),
        ([START, *HONEST], "a cell that starts twice"),
        ([*HONEST[:3], CELL, END], "a cell that ends twice"),
        ([CELL, END], "a cell that never started"),
        ([START, {**CHECK, "status": "great"}, CELL, END], "another status"),
        ([START, {**CHECK, "earned_weight": "1"}, CELL, END], "a text for a number"),
        ([START, {**CHECK, "earned_weight": -1.0}, CELL, END], "a negative weight"),
        ([START, {**CHECK, "total_weight": float("inf")}, CELL, END], "no finite weight"),
        ([START, {**CHECK, "label": "x" * 501}, CELL, END], "a long label"),
        ([START, {**CHECK, "details": ["x"] * 26}, CELL, END], "many details"),
        ([START, {**CHECK, "more": 1}, CELL, END], "an unknown key"),
        ([{"kind": "start", "index": 2000}], "a large index"),
        ([{"kind": "start", "index": True}], "a truth for a number"),
    ],
)
def test_one_odd_line_makes_all_of_it_unreadable(lines: list[dict[str, object]], why: str) -> None:
    result = read(*lines)
    assert (result.outcome, result.cells, result.checks) == (Outcome.UNREADABLE, (), ()), why


@pytest.mark.parametrize("line", ["", "null", "[" * 10_000, '{"kind": "end"', "\ud800"])
def test_what_is_no_json_is_unreadable(line: str) -> None:
    assert read_report([line], CLEAN).outcome is Outcome.UNREADABLE


def test_one_that_stops_early_has_exited_and_names_the_cell() -> None:
    result = read(START, CHECK)
    assert result.outcome is Outcome.EXITED
    assert [cell.status for cell in result.cells] == [CellStatus.INTERRUPTED]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"timed_out": True}, Outcome.TIMED_OUT),
        ({"reason": "memory"}, Outcome.OUT_OF_MEMORY),
        ({"reason": "processes"}, Outcome.KILLED),
        ({"overflow": True}, Outcome.UNREADABLE),
    ],
)
def test_what_ended_it_says_more_than_the_report(
    change: dict[str, object], outcome: Outcome
) -> None:
    executed = CLEAN.model_copy(update=change)
    assert read(*HONEST, executed=executed).outcome is outcome
