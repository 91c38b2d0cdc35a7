"""The kernel's count of time that processes waited for a processor."""

from __future__ import annotations

import os

import pytest

from bench.cpu_waits import Spent, parse_schedstat, spent, told

pytestmark = pytest.mark.full


def test_a_threads_line_is_read() -> None:
    assert parse_schedstat("1500000000 250000000 17\n") == Spent(1.5, 0.25)


@pytest.mark.parametrize("line", ["", "1 2", "a b c"])
def test_nonsense_is_an_error(line: str) -> None:
    with pytest.raises(ValueError):
        parse_schedstat(line)


def test_this_process_has_run() -> None:
    before = spent([os.getpid()])
    sum(range(10**6))
    assert (spent([os.getpid()]) - before).ran > 0


def test_one_that_has_ended_counts_as_nothing() -> None:
    assert spent([1 << 22]) == Spent()


def test_it_is_told_in_milliseconds() -> None:
    assert told({"hub": Spent(0.02, 0.005)}) == "hub 5 + 20 ms"
