"""sandbox.execution.sandboxed_runner: runs that wait, or whose machine is lost meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from mograder.sandbox.client.supervisor_client import ConnectionLost
from mograder.sandbox.execution.report import ExecutionRequest
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.protocol import Execute, Executed, Judged, JudgeSubmission, Limits
from mograder.store.filesystem.files import remove_tree

LIMITS = Limits(processes=8, open_files=64, file_size_mb=8, tmp_mb=8)


class Runs:
    """Machines of which the first ``losses`` are lost under their run; runs end when they may."""

    def __init__(self, losses: int = 0) -> None:
        self.losses = losses
        self.asked: list[Execute] = []
        self.may_end = asyncio.Event()

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        assert (request.directory / request.notebook).is_file()
        self.asked.append(request)
        on_line("half of a report")
        if len(self.asked) <= self.losses:
            raise ConnectionLost("The connection was lost.")
        await self.may_end.wait()
        return Executed(status=0, log_tail="", seconds=0.5)

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        raise AssertionError("these tests judge nothing")


async def test_a_run_whose_machine_is_lost_is_tried_once_more_with_a_new_copy(
    tmp_path: Path,
) -> None:
    lost_once, lost_twice = Runs(1), Runs(5)
    lost_once.may_end.set()
    request = ExecutionRequest("x = 1\n", "A1.py", tmp_path, LIMITS, 10)
    result = await SandboxedRunner(lost_once, tmp_path / "copies", remove_tree).execute(request)
    assert result.seconds == 0.5
    first, second = lost_once.asked
    assert first.directory != second.directory, "the lost one may go on until its lease is over"
    assert first.session_id != second.session_id
    with pytest.raises(ConnectionLost):
        await SandboxedRunner(lost_twice, tmp_path / "copies", remove_tree).execute(request)
    assert len(lost_twice.asked) == 2


async def test_a_run_that_waits_for_another_has_not_begun(tmp_path: Path) -> None:
    runs, begun = Runs(), asyncio.Queue[str]()
    executor, other = [SandboxedRunner(runs, tmp_path, remove_tree, at_once=1) for _ in range(2)]

    def request(name: str) -> ExecutionRequest:
        return ExecutionRequest(
            "", f"{name}.py", tmp_path, LIMITS, 10, begun=lambda: begun.put_nowait(name)
        )

    both = [asyncio.create_task(executor.execute(request(each))) for each in ("first", "second")]
    assert await begun.get() == "first"
    both.append(asyncio.create_task(other.execute(request("one that waits for none"))))
    assert await begun.get() == "one that waits for none"
    runs.may_end.set()
    assert await begun.get() == "second"
    await asyncio.gather(*both)
