"""sandbox.execution.runner: what is beside a notebook, and what a cancelled run leaves."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from mograder.core.errors import TooLarge
from mograder.sandbox.execution.runner import folder_digest, in_thread_to_its_end


async def test_a_cancelled_call_returns_after_the_end_of_its_thread() -> None:
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go_on.wait()
        ended.set()

    working = asyncio.create_task(in_thread_to_its_end(work))
    await asyncio.to_thread(began.wait)
    working.cancel()
    done, _ = await asyncio.wait({working}, timeout=0)
    assert not done
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()


async def test_an_error_in_the_thread_is_raised() -> None:
    def work() -> None:
        raise TooLarge("too many files")

    with pytest.raises(TooLarge):
        await in_thread_to_its_end(work)


def test_the_digest_of_a_folder_is_of_names_and_contents_of_what_a_run_gets(tmp_path: Path) -> None:
    folder = tmp_path / "hw1"
    (folder / "data").mkdir(parents=True)
    days = folder / "data" / "days.csv"
    days.write_text("1")
    first = folder_digest(folder)
    (folder / "other.py").write_text("app = marimo.App()")
    (folder / ".hidden").write_text("1")
    (folder / "link").symlink_to(days)
    os.mkfifo(folder / "pipe")
    os.utime(days, ns=(0, 0))
    assert folder_digest(folder) == first
    moved = days.rename(folder / "days.csv")
    assert folder_digest(folder) != first
    moved.rename(days)
    (folder / "helper.py").write_text("x = 1")
    assert folder_digest(folder) != first
