"""The table of `make bench`: medians, budgets, and what is over for now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import Budget, Row, Verdict, render, write_json


def _row(ours: tuple[float, ...], theirs: tuple[float, ...], budget: Budget | None) -> Row:
    return Row("start", "s", "plain marimo", ours, theirs, budget)


@pytest.mark.parametrize(
    ("ours", "budget", "verdict"),
    [
        (1.0, Budget(0.5), Verdict.HOLDS),
        (1.1, Budget(0.5), Verdict.FAILS),
        (1.1, Budget(0.5, later="the next issue"), Verdict.LATER),
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


def test_the_table_shows_minimum_and_median_and_explains_what_comes_later() -> None:
    text = render([_row((3.0, 1.0, 2.0), (4.0, 4.0, 2.0), Budget(0.1, later="it is warm"))])
    assert "1/2" in text
    assert "2/4 plain marimo" in text
    assert "≤ 0.1 ×" in text
    assert "start: over its budget until it is warm" in text


def test_a_run_is_kept_as_json_with_its_samples(tmp_path: Path) -> None:
    run = json.loads(write_json([_row((1.0,), (2.0,), Budget(1))], tmp_path).read_text("utf-8"))
    assert run["rows"][0]["ours"] == [1.0]
    assert run["rows"][0]["ratio"] == 0.5
    assert run["rows"][0]["verdict"] == "holds"
