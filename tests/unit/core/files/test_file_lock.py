"""Locks between processes: taken, refused, waited for, given back."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mograder.core.files import file_lock


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two descriptors that do not share a lock, as those of two processes."""
    with ExitStack() as stack:
        pair = [file_lock.open_lock(tmp_path / "lock") for _ in range(2)]
        for descriptor in pair:
            stack.callback(os.close, descriptor)
        yield pair[0], pair[1]


def test_a_lock_has_one_holder_until_it_is_released(two: tuple[int, int], tmp_path: Path) -> None:
    one, other = two
    assert file_lock.acquire(one)
    assert not file_lock.acquire(other)
    assert not file_lock.acquire(other, shared=True)
    file_lock.release(one)
    assert file_lock.acquire(other, shared=True)
    assert file_lock.acquire(one, shared=True)
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("seconds", [60.0, None])
def test_a_lock_is_waited_for(two: tuple[int, int], seconds: float | None) -> None:
    one, other = two
    assert file_lock.acquire(one)
    timer = threading.Timer(0.1, file_lock.release, (one,))
    timer.start()
    assert file_lock.acquire(other, seconds=seconds)
    timer.join()


def test_a_link_is_no_lock_file(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        file_lock.open_lock(tmp_path / "lock")
    assert not (tmp_path / "target").exists()
