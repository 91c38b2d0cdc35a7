"""Counters that a page of metrics renders."""

from __future__ import annotations

from mograder.sessions.counters import BUCKETS, Counters, Histogram


def test_a_value_counts_in_the_first_bucket_that_holds_it_and_in_all_above() -> None:
    histogram = Histogram()
    for seconds in (0.01, 0.05, 0.06, 10_000.0):
        histogram.observe(seconds)
    found = list(histogram.cumulative())
    assert found[0] == (0.05, 2)
    assert found[1] == (0.1, 3)
    assert found[-1] == (float("inf"), 4)
    assert [bound for bound, _ in found] == [*BUCKETS, float("inf")]
    assert (histogram.count, histogram.total) == (4, 10_000.12)


def test_starts_are_counted_by_how_they_started() -> None:
    tally = Counters()
    for warm in (True, True, False, None):
        tally.started(warm, 1.0)
    assert tally.starts == {("warm", "ok"): 2, ("cold", "ok"): 1, ("unknown", "ok"): 1}
    assert tally.start_seconds.count == 4
