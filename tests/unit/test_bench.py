"""`make bench`: which rows it measures, its arithmetic, its table and its crowds."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.__main__ import LONG, ROWS, read_command_line
from bench.crowd import gather
from bench.figures import arrivals, percentile, slope, steps
from bench.load import Target
from bench.options import Options
from bench.report import Budget, Row, Verdict, append_history, broken, render
from bench.tab import Tab
from bench.wire import Refused

pytestmark = pytest.mark.full


def test_all_rows_but_the_long_ones_are_measured_by_default() -> None:
    names, options = read_command_line([])
    assert names == list(ROWS)
    assert not set(names) & set(LONG)
    assert options == Options()


def test_a_long_row_is_measured_when_it_is_named() -> None:
    names, options = read_command_line(["hall", "--students", "20", "--stay", "1.5"])
    assert names == ["hall"]
    assert options == Options(students=20, stay=1.5)


def test_a_run_is_recorded_only_on_request() -> None:
    assert not read_command_line(["start"])[1].record
    assert read_command_line(["start", "--record"])[1].record


def test_a_row_that_there_is_not_is_told_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        read_command_line(["strat"])
    said = capsys.readouterr().err
    assert "there is no row strat" in said
    assert "start" in said
    assert "hall" in said


_SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300)


@pytest.mark.parametrize(
    ("per_cent", "expected"), [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (100, 100)]
)
def test_a_percentile_is_the_sample_of_the_nearest_rank(per_cent: float, expected: int) -> None:
    assert percentile(list(range(100, 0, -1)), per_cent) == expected


def test_one_slow_sample_in_a_hundred_is_not_the_99th_percentile() -> None:
    assert percentile([*[1.0] * 99, 50.0], 99) == 1.0
    assert percentile([*[1.0] * 98, 50.0, 50.0], 99) == 50.0


@given(_SAMPLES, st.floats(0, 100))
def test_a_percentile_is_one_of_the_samples_and_enough_are_not_above(
    samples: list[float], per_cent: float
) -> None:
    found = percentile(samples, per_cent)
    assert found in samples
    assert sum(each <= found for each in samples) >= len(samples) * per_cent / 100 - 1e-9


@pytest.mark.parametrize(("samples", "per_cent"), [([], 50), ([1.0], -1), ([1.0], 101)])
def test_a_percentile_of_nothing_or_beyond_all_is_refused(
    samples: list[float], per_cent: float
) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(samples, per_cent)


@given(st.integers(-1000, 1000), st.integers(-1000, 1000), st.integers(2, 50))
def test_the_slope_of_a_line_is_its_steepness(rise: int, start: int, count: int) -> None:
    points = [(float(at), float(start + rise * at)) for at in range(count)]
    assert slope(points) == pytest.approx(rise, abs=1e-6)


def test_noise_around_a_level_has_no_slope() -> None:
    assert slope([(0, 5), (1, 6), (2, 6), (3, 5)]) == 0


def test_one_moment_or_none_has_no_slope() -> None:
    assert slope([]) == 0
    assert slope([(3, 4), (3, 9)]) == 0


def test_steps_are_rates_between_readings_of_a_counter() -> None:
    assert steps([(0, 10), (2, 14), (2, 15), (4, 15)]) == [(2, 2), (4, 0)]
    assert steps([(0, 10)]) == []


def test_students_arrive_evenly_and_all_within_the_time() -> None:
    assert arrivals(4, 60) == [0, 15, 30, 45]
    assert arrivals(0, 60) == []


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


async def _arrives(page: float) -> Tab:
    tab = Tab(Target(path="", port=1), 0.0)
    tab.times.page = page
    return tab


async def _fails() -> Tab:
    raise Refused("503 full")


async def test_who_failed_is_counted_and_the_others_times_are_kept() -> None:
    crowd = await gather([_arrives(2.0), _fails(), _arrives(3.0)])
    assert crowd.pages == [2.0, 3.0]
    assert crowd.last_page == 3.0
    assert crowd.failures == ("Refused: 503 full",)
    assert "503 full" in crowd.why()
    crowd.close()


async def test_when_everybody_failed_the_wait_is_infinite() -> None:
    crowd = await gather([_fails()])
    assert crowd.last_page == math.inf
    assert crowd.outputs == crowd.cells == [math.inf]


async def test_an_interruption_is_no_failure_of_a_student() -> None:
    async def interrupted() -> Tab:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await gather([interrupted(), _arrives(1.0)])
