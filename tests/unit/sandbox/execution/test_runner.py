"""sandbox.execution.runner: what is beside a notebook."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mograder.core.errors import TooLarge
from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.report import ExecutionRequest
from mograder.sandbox.execution.runner import Executor, FolderCopy, folder_digest
from mograder.sandbox.protocol import Execute, Executed, Judged, JudgeSubmission, Limits
from mograder.store.filesystem.files import remove_tree

LIMITS = Limits(processes=8, open_files=64, file_size_mb=8, tmp_mb=8)


class HeldRuns:
    """Runs that end when they may."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        await self.may_end.wait()
        return Executed(status=0, log_tail="", seconds=0.1)

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        raise NotImplementedError


async def test_a_run_that_waits_for_another_has_not_begun(tmp_path: Path) -> None:
    runs, begun = HeldRuns(), asyncio.Queue[str]()
    executor = Executor(runs, tmp_path, remove_tree, at_once=1)

    def request(name: str) -> ExecutionRequest:
        return ExecutionRequest(
            "", f"{name}.py", tmp_path, LIMITS, 10, begun=lambda: begun.put_nowait(name)
        )

    both = [asyncio.create_task(executor.execute(request(each))) for each in ("first", "second")]
    assert await begun.get() == "first"
    await asyncio.sleep(0.05)
    assert begun.empty()
    runs.may_end.set()
    assert await begun.get() == "second"
    await asyncio.gather(*both)


def test_empty_files_count_too_where_a_copy_has_a_most_number_of_files(tmp_path: Path) -> None:
    (tmp_path / "hw1").mkdir()
    for number in range(3):
        (tmp_path / "hw1" / f"{number}.csv").touch()
    FolderCopy(tmp_path / "enough", CopyBounds(files=3), notebooks=False).copy(tmp_path / "hw1")
    with pytest.raises(TooLarge, match="more than 2 files"):
        FolderCopy(tmp_path / "few", CopyBounds(files=2), notebooks=False).copy(tmp_path / "hw1")


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
