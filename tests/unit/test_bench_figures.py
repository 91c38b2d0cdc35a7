"""The arithmetic of `make bench`: percentiles, slopes, arrivals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import arrivals, percentile, slope, steps

pytestmark = pytest.mark.full

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
