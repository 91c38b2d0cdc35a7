"""A judge's report, and that of trials, count only if all of it fits the plan and the contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from mograder.notebook.grading.grading_split import plan_source
from mograder.sandbox.execution.judging import (
    CrashedCheck,
    NeverFailed,
    PassedJunk,
    RehearsalReport,
    UnsteadyLabel,
    parse_contract,
    read_judge_report,
)
from mograder.sandbox.execution.sandboxed_runner import judging_result
from mograder.sandbox.inside.grading_contract import Contract, ExpectedLabel, Use, render_contract
from mograder.sandbox.protocol import JUDGE_LINE, WORKER_LINE, Executed, Judged
from tests.support.judging_rig import notebook

PLAN = plan_source(
    notebook(
        "from mograder.runtime import check",
        "### BEGIN SOLUTION\nx = 3\n### END SOLUTION",
        "check('Q1', [(x == 3, 'three')])",
        "check('Q2', [(x > 3, 'more')])",
    ),
    "source.py",
).plan
LABELS = (ExpectedLabel(2, "Q1", "Q1", 1.0, 1), ExpectedLabel(3, "Q2", "Q2", 2.0, 1))
CONTRACT = Contract(PLAN.source_sha256, (), LABELS)
WHOLE = Contract(
    "ab" * 32,
    (Use("area"), Use("order()", ("class", "iterator"), "a list", (0, "key"), (0,))),
    (ExpectedLabel(3, "Q1: area", "Q1", 2.5, 2),),
    True,
)
END = {"kind": "end"}


def judged(number: int, **changed: Any) -> dict[str, Any]:
    expected, part = LABELS[number], PLAN.checks[number]
    label = {"label": expected.label, "key": expected.key, "earned": 1.0, "passed": True}
    condition = {"message": "m", "weight": 1.0, "passed": True, "reason": ""}
    labels = [{**label, "total": expected.total, "conditions": [condition]}]
    facts = {"kind": "judged", "cell": part.cell, "line": part.line, "hidden": False}
    rest = {"state": "judged", "reason": "", "labels": labels, "claims": [], "calls": []}
    return {**facts, **rest, **changed}


def read(*lines: dict[str, Any], contract: Contract | None = CONTRACT) -> Any:
    return read_judge_report([json.dumps(line) for line in lines], PLAN, contract)


def test_a_whole_report_gives_the_checks_in_the_plans_order() -> None:
    report = read({"kind": "given", "cell": 0, "line": 7, "error": "e"}, judged(1), judged(0), END)
    assert [check.cell for check in report.checks] == [2, 3]
    assert report.checks[0].labels[0].earned == 1.0
    assert report.given == {0: "e"}


@pytest.mark.parametrize(
    ("worker", "judge", "problem"),
    [
        ("", "", ""),
        ("memory", "", ""),
        ("disk", "", "The worker was ended because the disk is nearly full."),
        ("shortage", "", "The worker was ended because the machine is short of memory."),
        ("", "shortage", "The judge was ended because the machine is short of memory."),
        ("", "memory", "The judge exceeded its limit of memory."),
    ],
)
def test_a_shortage_of_the_machine_is_a_problem_and_the_workers_own_limit_none(
    worker: str, judge: str, problem: str
) -> None:
    """What is no problem costs the student marks."""
    reports = (JUDGE_LINE, judged(0)), (JUDGE_LINE, judged(1)), (JUDGE_LINE, END)
    started: tuple[str, dict[str, Any]] = (WORKER_LINE, {"kind": "start", "index": 0})
    lines = [f"{whose}{json.dumps(line)}" for whose, line in (started, *reports)]
    ends = Judged(judge=_end(judge), worker=_end(worker))
    assert judging_result(lines, ends, PLAN, CONTRACT).problem == problem


def _end(reason: str) -> Executed:
    return Executed(status=-9, log_tail="", seconds=1.0, reason=reason)


def label_of(line: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return {**line, "labels": [{**line["labels"][0], **changed}]}


WRONG: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "no end": lambda: [judged(0), judged(1)],
    "nothing": list,
    "a missing check": lambda: [judged(0), END],
    "a check twice": lambda: [judged(0), judged(0), judged(1), END],
    "an unknown check": lambda: [judged(0), judged(1), judged(1, cell=9), END],
    "a given cell as a check": lambda: [judged(0), judged(1, cell=0), END],
    "another line": lambda: [judged(0, line=1), judged(1), END],
    "hidden": lambda: [judged(0, hidden=True), judged(1), END],
    "another state": lambda: [judged(0, state="passed"), judged(1), END],
    "more than the total": lambda: [label_of(judged(0), earned=1.5), judged(1), END],
    "another total": lambda: [label_of(judged(0), total=9.0, earned=9.0), judged(1), END],
    "another key": lambda: [label_of(judged(0), key="Q2"), judged(1), END],
    "another label": lambda: [label_of(judged(0), label="Q3"), judged(1), END],
    "no label": lambda: [judged(0, labels=[]), judged(1), END],
    "a label twice": lambda: [judged(0, labels=2 * judged(0)["labels"]), judged(1), END],
    "weight without judgement": lambda: [judged(0, state="not run"), judged(1), END],
    "less than nothing": lambda: [label_of(judged(0), earned=-1.0), judged(1), END],
    "a text as a number": lambda: [label_of(judged(0), earned="1"), judged(1), END],
    "another field": lambda: [judged(0, marks=5), judged(1), END],
    "something after the end": lambda: [judged(0), judged(1), END, END],
    "an unknown given cell": lambda: [
        {"kind": "given", "cell": 5, "line": 1, "error": ""},
        *(judged(0), judged(1), END),
    ],
    "a contract": lambda: [judged(0), judged(1), {"kind": "contract", **asdict(CONTRACT)}, END],
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(*WRONG[name]())


def test_no_line_may_be_anything_but_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        read_judge_report(["not JSON"], PLAN, CONTRACT)


def test_a_recorded_contract_is_of_the_same_source() -> None:
    def recorded(contract: Contract) -> Any:
        line = {"kind": "contract", **asdict(contract)}
        return read(judged(0), judged(1), line, END, contract=None)

    assert recorded(CONTRACT).contract == CONTRACT
    with pytest.raises(ValueError, match="another source"):
        recorded(Contract("0" * 64, (), LABELS))
    with pytest.raises(ValueError, match="missing"):
        read(judged(0), judged(1), END, contract=None)


def test_a_contract_is_the_same_after_its_json() -> None:
    text = render_contract(WHOLE)
    assert parse_contract(text) == WHOLE
    assert render_contract(parse_contract(text)) == text


def _changed(**more: Any) -> str:
    return json.dumps(json.loads(render_contract(WHOLE)) | more)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "null", "[" * 100_000),
        _changed(version=1),
        _changed(more=1),
        _changed(seeds=1),
        _changed(copies=["2"]),
        _changed(uses=[{"path": "x", "more": ""}]),
        _changed(uses=[dict.fromkeys(("path", "example"), "x") | {"kinds": "ab"}]),
        _changed(uses=[1]),
        _changed(
            uses=[{"path": "x", "example": "", "kinds": [1], "changes": [], "same": []}],
        ),
        _changed(
            labels=[{"cell": 1, "label": "x", "key": "x", "total": "2", "conditions": 1}],
        ),
        _changed(labels=[{"cell": 1, "label": "x", "key": "x", "total": 2.0}]),
    ],
)
def test_anything_else_is_no_contract(text: str) -> None:
    with pytest.raises(ValueError, match=r" at \("):
        parse_contract(text)


# --- trials of an author's checks ------------------------------------------------------------

ANSWERS = {"kind": "rehearsal answers", "answers": [["x", "float"], ["f", "(n) → number"]]}
AGAIN = {"kind": "rehearsal again", "cell": 3, "label": "Q1", "message": "far"}
JUNK = {
    "kind": "rehearsal junk",
    "cell": 4,
    "labels": ["Q2"],
    "name": "x",
    "junk": "nan",
    "words": "is NaN",
}
CRASH = {"kind": "rehearsal crash", "cell": 4, "name": "x", "words": "is 0"}
NEVER = {"kind": "rehearsal never", "cell": 4, "label": "Q2", "message": "there"}
LAST = {"kind": "rehearsal end", "done": 2, "trials": 5, "missed": [4]}


def tried(*told: dict[str, Any]) -> Any:
    recorded = {"kind": "contract", **asdict(CONTRACT)}
    return read(judged(0), judged(1), recorded, *told, END, contract=None).rehearsal


def test_the_trials_are_told_with_the_contract_that_was_recorded() -> None:
    assert tried(ANSWERS, AGAIN, JUNK, CRASH, NEVER, LAST) == RehearsalReport(
        {"x": "float", "f": "(n) → number"},
        (UnsteadyLabel(3, "Q1", "far"),),
        (PassedJunk(4, "x", "nan", "is NaN", ("Q2",)),),
        (NeverFailed(4, "Q2", "there"),),
        2,
        5,
        (4,),
        (CrashedCheck(4, "x", "is 0"),),
    )


def test_a_report_without_trials_has_no_rehearsal() -> None:
    assert tried() is None


def test_trials_by_a_contract_are_refused() -> None:
    with pytest.raises(ValueError, match="not asked for"):
        read(judged(0), judged(1), ANSWERS, LAST, END)


@pytest.mark.parametrize(
    "told",
    [
        (ANSWERS,),
        ({**JUNK, "more": 1}, LAST),
        ({**AGAIN, "cell": "3"}, LAST),
        ({"kind": "rehearsal of another version"}, LAST),
    ],
)
def test_any_other_line_of_trials_is_refused(told: tuple[dict[str, Any], ...]) -> None:
    with pytest.raises(ValueError, match=r" at |end of the rehearsal"):
        tried(*told)
