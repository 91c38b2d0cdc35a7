"""The table of `make bench`: medians, budgets, goals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import Budget, Row, Verdict, broken, render, write_json

pytestmark = pytest.mark.full


def _row(ours: tuple[float, ...], theirs: tuple[float, ...], budget: Budget | None) -> Row:
    return Row("start", "s", "plain marimo", ours, theirs, budget)


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
    lost = Row("restart", "sessions", "", (0,), (), Budget(0, unit="sessions"))
    assert lost.ratio is None
    assert lost.verdict is Verdict.HOLDS
    assert Row("restart", "s", "", (6,), (), Budget(5, unit="s")).verdict is Verdict.FAILS


def test_a_ratio_that_nobody_could_measure_holds_no_budget() -> None:
    assert _row((1.0,), (), Budget(0.5)).verdict is Verdict.FAILS
    assert _row((1.0,), (0.0,), Budget(0.5)).verdict is Verdict.FAILS


def test_the_table_shows_minimum_and_median_and_the_notes_below_it() -> None:
    row = Row("start", "s", "plain marimo", (3.0, 1.0, 2.0), (4.0, 4.0, 2.0), Budget(0.1), "cold")
    text = render([row, Row("who failed", "students", "", (7,), (), None)])
    assert "1/2" in text
    assert "2/4 plain marimo" in text
    assert "≤ 0.1 ×" in text
    assert text.endswith("start: cold")
    assert [line for line in text.splitlines() if line.startswith("who failed  students  7")]


def test_a_run_is_kept_as_json_with_its_samples(tmp_path: Path) -> None:
    run = json.loads(write_json([_row((1.0,), (2.0,), Budget(1))], tmp_path).read_text("utf-8"))
    assert run["rows"][0]["ours"] == [1.0]
    assert run["rows"][0]["ratio"] == 0.5
    assert run["rows"][0]["verdict"] == "holds"


def test_what_could_not_be_measured_fails_and_says_why() -> None:
    row = broken("assets", RuntimeError("no Chromium"))
    assert row.verdict is Verdict.FAILS
    assert "assets: could not be measured: RuntimeError: no Chromium" in render([row])
