"""Build commands on a machine without sandboxes: their output, their status, their end."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.plain_processes import PlainProcesses
from mograder.sandbox.protocol import RunCommand
from tests.support.processes import processes_now

pytestmark = pytest.mark.full

SLEEPS = "import time; time.sleep(300)"


def processes(variables: dict[str, str], place: Path) -> PlainProcesses:
    return PlainProcesses(variables, place, at_once=1, bounds=CopyBounds())


async def ran(place: Path, code: str, seconds: float = 60) -> tuple[int, list[str]]:
    """Run Python by a link below the directory of a build; return its status and its lines."""
    program = place / "env" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.symlink_to(sys.executable)
    command = RunCommand(
        argv=("env/bin/python", "-c", code),
        directory=place,
        variables={"MINE": "1", "UV_LINK_MODE": "copy"},
        timeout=seconds,
    )
    lines: list[str] = []
    status = await processes({"OURS": "2", "MINE": "0"}, place).run(command, lines.append)
    return status, lines


async def test_each_line_is_passed_on(tmp_path: Path) -> None:
    code = "import sys; print('one'); sys.stdout.flush(); print('grün', file=sys.stderr); exit(3)"
    assert await ran(tmp_path, code) == (3, ["one", "grün"])


async def test_a_line_beyond_all_measure_is_dropped_and_the_next_is_not(tmp_path: Path) -> None:
    status, lines = await ran(tmp_path, "print('x' * (3 << 20)); print('after')")
    assert (status, lines[-1]) == (0, "after")
    assert all(len(line) <= 1 << 20 for line in lines)


async def test_it_sees_its_variables_only(tmp_path: Path) -> None:
    code = "import os; print(*sorted(k + v for k, v in os.environ.items() if k[:2] != 'LC'))"
    assert await ran(tmp_path, code) == (0, ["MINE1 OURS2 PYTHONUTF81"])


async def test_one_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys;"
        f"subprocess.run([sys.executable, '-c', {SLEEPS!r}, {str(tmp_path)!r}])"
    )
    status, lines = await ran(tmp_path, code, seconds=2)
    assert (status, lines) == (124, ["It took too long and was ended."])
    running = processes_now("cmdline")
    left = [each for each in running if str(tmp_path) in (each.info["cmdline"] or [])]
    assert not psutil.wait_procs(left, 10)[1]


async def test_uv_is_our_own(tmp_path: Path) -> None:
    lines: list[str] = []
    command = RunCommand(argv=("uv", "--version"), directory=tmp_path, timeout=60)
    assert await processes({}, tmp_path).run(command, lines.append) == 0
    assert lines[0].startswith("uv ")
