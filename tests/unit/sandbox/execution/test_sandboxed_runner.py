"""sandbox.execution.sandboxed_runner: a run whose machine is lost meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mograder.sandbox.client.supervisor_client import ConnectionLost
from mograder.sandbox.execution.report import ExecutionRequest
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.protocol import Execute, Executed, Judged, JudgeSubmission, Limits
from mograder.store.filesystem.files import remove_tree

LIMITS = Limits(processes=8, open_files=64, file_size_mb=8, tmp_mb=8)


class LostRuns:
    """Machines of which the first ``losses`` are lost under their run."""

    def __init__(self, losses: int) -> None:
        self.losses = losses
        self.asked: list[Execute] = []

    async def execute(self, request: Execute, on_line: Callable[[str], None]) -> Executed:
        assert (request.directory / "A1.py").is_file()
        self.asked.append(request)
        on_line("half of a report")
        if len(self.asked) <= self.losses:
            raise ConnectionLost("The connection was lost.")
        return Executed(status=0, log_tail="", seconds=0.5)

    async def judge(self, request: JudgeSubmission, on_line: Callable[[str], None]) -> Judged:
        raise AssertionError("these tests judge nothing")


async def test_a_run_whose_machine_is_lost_is_tried_on_another_one_with_a_new_copy(
    tmp_path: Path,
) -> None:
    runs = LostRuns(1)
    request = ExecutionRequest("x = 1\n", "A1.py", tmp_path, LIMITS, 10)
    result = await SandboxedRunner(runs, tmp_path / "copies", remove_tree).execute(request)
    assert result.seconds == 0.5
    first, second = runs.asked
    assert first.directory != second.directory, "the lost one may go on until its lease is over"
    assert first.session_id != second.session_id


async def test_a_run_that_is_lost_twice_is_given_up(tmp_path: Path) -> None:
    runs = LostRuns(5)
    request = ExecutionRequest("x = 1\n", "A1.py", tmp_path, LIMITS, 10)
    with pytest.raises(ConnectionLost):
        await SandboxedRunner(runs, tmp_path / "copies", remove_tree).execute(request)
    assert len(runs.asked) == 2
