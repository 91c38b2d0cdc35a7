"""The table of `make bench`: medians, budgets, goals."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench.report import Budget, Row, Verdict, append_history, broken, render

pytestmark = pytest.mark.full


def _row(ours: tuple[float, ...], theirs: tuple[float, ...], budget: Budget | None) -> Row:
    return Row("start", "s", ours, budget, reference="plain marimo", theirs=theirs)


@pytest.mark.parametrize(
    ("ours", "budget", "verdict"),
    [
        (1.0, Budget(0.5), Verdict.HOLDS),
        (1.1, Budget(0.5), Verdict.FAILS),
        (1.0, Budget(0.5, goal=True), Verdict.HOLDS),
        (1.1, Budget(0.5, goal=True), Verdict.MISSED),
        (1.0, Budget(0.5, at_most=False), Verdict.HOLDS),
        (0.9, Budget(0.5, at_most=False), Verdict.FAILS),
        (0.4, Budget(0.5, unit="s"), Verdict.HOLDS),
        (0.6, Budget(0.5, unit="s"), Verdict.FAILS),
        (9.0, None, Verdict.NONE),
    ],
)
def test_a_budget_bounds_the_ratio_of_medians_or_our_own_median(
    ours: float, budget: Budget | None, verdict: Verdict
) -> None:
    assert _row((ours, ours, 99.0), (2.0, 2.0, 0.1), budget).verdict is verdict


def test_what_has_no_reference_is_held_to_a_budget_with_a_unit() -> None:
    lost = Row("restart", "sessions", (0,), Budget(0, unit="sessions"))
    assert lost.ratio is None
    assert lost.verdict is Verdict.HOLDS
    assert Row("restart", "s", (6,), Budget(5, unit="s")).verdict is Verdict.FAILS


def test_a_ratio_that_nobody_could_measure_holds_no_budget() -> None:
    assert _row((1.0,), (), Budget(0.5)).verdict is Verdict.FAILS
    assert _row((1.0,), (0.0,), Budget(0.5)).verdict is Verdict.FAILS


def test_the_table_shows_minimum_and_median_and_the_notes_below_it() -> None:
    row = Row(
        "start",
        "s",
        (3.0, 1.0, 2.0),
        Budget(0.1),
        "cold",
        reference="plain marimo",
        theirs=(4.0, 4.0, 2.0),
    )
    text = render([row, Row("who failed", "students", (7,), None)])
    assert "1/2" in text
    assert "2/4 plain marimo" in text
    assert "≤ 0.1 ×" in text
    assert text.endswith("start: cold")
    assert [line for line in text.splitlines() if line.startswith("who failed  students  7")]


def test_a_run_is_appended_to_the_history_with_a_line_for_each_row(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    rows = [_row((1.0, 3.0), (4.0,), Budget(1)), Row("lost", "", (math.inf,), None)]
    for _ in range(2):
        append_history(rows, 0.25, history)
    lines = [json.loads(line) for line in history.read_text("utf-8").splitlines()]
    assert [each["row"] for each in lines] == ["start", "lost"] * 2
    assert lines[0]["ours"] == {"samples": 2, "min": 1.0, "median": 2.0}
    assert lines[0]["theirs"] == {"samples": 1, "min": 4.0, "median": 4.0}
    assert (lines[0]["ratio"], lines[0]["verdict"], lines[0]["load"]) == (0.5, "holds", 0.2)
    assert lines[1]["ours"]["median"] is None
    assert lines[1]["theirs"] is None


def test_what_could_not_be_measured_fails_and_says_why() -> None:
    row = broken("assets", RuntimeError("no Chromium"))
    assert row.verdict is Verdict.FAILS
    assert "assets: could not be measured: RuntimeError: no Chromium" in render([row])
