"""What pages of marking share: the gradebook, and reports that take long.

These are made once, and again when their data has changed.
"""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

from mograder.core.errors import Busy, InvalidInput
from mograder.core.settings import load_settings
from mograder.store.gradebook.gradebook import Gradebook
from mograder.web.marking.context import Reports, SharedGradebook, stamp_of


async def test_a_report_is_made_once_for_its_data() -> None:
    kept, made = Reports(), []

    async def make() -> int:
        made.append(1)
        return len(made)

    assert [await kept.get("a", 1, make) for _ in range(2)] == [1, 1]
    assert await kept.get("a", 2, make) == 2
    assert await kept.get("b", 2, make) == 3


async def test_a_report_that_takes_long_is_told_later() -> None:
    kept, ready = Reports(patience_seconds=0.001), asyncio.Event()

    async def make() -> str:
        await ready.wait()
        return "done"

    assert await kept.get("a", 1, make) is None
    assert await kept.get("a", 2, make) is None  # not begun anew while it is being made
    ready.set()
    kept.patience_seconds = 60
    assert await kept.get("a", 1, make) == "done"


async def test_a_failed_report_is_tried_again() -> None:
    kept, failing = Reports(), [ValueError("no"), None]

    async def make() -> str:
        error = failing.pop(0)
        if error is not None:
            raise error
        return "done"

    with pytest.raises(ValueError, match="no"):
        await kept.get("a", 1, make)
    assert await kept.get("a", 1, make) == "done"


def test_the_stamp_changes_with_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    paths = (tmp_path / "d", tmp_path / "f")
    empty = stamp_of(paths)
    (tmp_path / "d" / "one.py").write_text("1")
    one = stamp_of(paths)
    (tmp_path / "f").write_text("2")
    assert len({empty, one, stamp_of(paths)}) == 3


def test_the_gradebook_is_opened_once_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "gradebook.db"
    with SharedGradebook(load_settings(tmp_path, environ={})) as shared:
        assert not path.exists()
        assert shared.get() is shared.get()
        assert shared.get().assignments() == ()
    shared.close()  # twice is harmless


def test_a_gradebook_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "gradebook.db"
    path.mkdir()
    with SharedGradebook(load_settings(tmp_path, environ={})) as shared:
        with pytest.raises(InvalidInput, match="is a directory"):
            shared.get()
        path.rmdir()
        assert shared.get().students() == {}


def test_a_gradebook_that_another_program_locks_is_tried_again_after_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try waits for ten seconds, and the next request would wait as long."""
    moment, tries, locked = [100.0], [0], [True]

    def open_book(path: Path) -> Gradebook:
        tries[0] += 1
        if locked[0]:
            raise Busy("Another program locks the gradebook.")
        return Gradebook(path)

    monkeypatch.setattr("mograder.web.marking.context.Gradebook", open_book)
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    with SharedGradebook(load_settings(tmp_path, environ={})) as shared:
        for _ in range(3):
            with pytest.raises(Busy, match="Another program"):
                shared.get()
        assert tries == [1]
        locked[0] = False
        moment[0] += 10
        assert shared.get().students() == {}


def test_no_thread_waits_while_a_gradebook_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment, tried, go_on = [100.0], threading.Event(), threading.Event()

    def open_book(path: Path) -> Gradebook:
        tried.set()
        assert go_on.wait(60)
        raise Busy("Another program locks the gradebook.")

    monkeypatch.setattr("mograder.web.marking.context.Gradebook", open_book)
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    shared = SharedGradebook(load_settings(tmp_path, environ={}))

    def get() -> None:
        with pytest.raises(Busy):
            shared.get()

    go_on.set()
    get()
    moment[0] += 10
    tried.clear()
    go_on.clear()
    other = threading.Thread(target=get)
    other.start()
    assert tried.wait(60)
    get()
    assert other.is_alive()
    go_on.set()
    other.join(60)
