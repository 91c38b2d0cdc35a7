"""Batches: everybody's work is done once, in the order of coming, by one thread at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from mograder.store.filesystem.group_commit import GroupCommit


def test_everything_is_done_once_and_never_by_two_at_once() -> None:
    batches: list[list[int]] = []
    busy = threading.Lock()

    def do(batch: Sequence[int]) -> None:
        assert busy.acquire(blocking=False), "two lead at once"
        batches.append(list(batch))
        busy.release()

    together = GroupCommit(do)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(together.add, range(2000)))
    assert sorted(each for batch in batches for each in batch) == list(range(2000))


def test_who_comes_meanwhile_waits_for_one_batch_together() -> None:
    batches: list[list[int]] = []
    first, goes_on = threading.Event(), threading.Event()

    def do(batch: Sequence[int]) -> None:
        batches.append(list(batch))
        first.set()
        assert goes_on.wait(60)

    together = GroupCommit(do)
    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(together.add, 0)]
        assert first.wait(60)
        done += [threads.submit(together.add, number) for number in range(1, 8)]
        while len(together._waiting) < 7:
            threading.Event().wait(0.001)
        assert not any(each.done() for each in done)
        goes_on.set()
        for each in done:
            each.result(60)
    assert [len(batch) for batch in batches] == [1, 7]


def test_a_batch_that_fails_is_told_and_the_next_one_is_done() -> None:
    done: list[int] = []

    def do(batch: Sequence[int]) -> None:
        if 13 in batch:
            raise OSError("no space left")
        done.extend(batch)

    together = GroupCommit(do)
    with pytest.raises(OSError, match="no space"):
        together.add(13)
    together.add(14)
    assert done == [14]
