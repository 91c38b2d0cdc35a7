"""A notebook runs cell by cell in a real sandbox, and always produces a report."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from mograder.sandbox.execution.report import (
    CellStatus,
    ExecutionRequest,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.execution.sandboxed_runner import SandboxedRunner
from mograder.sandbox.protocol import Measured, News
from mograder.sandbox.supervisor.config import SupervisorConfig
from mograder.store.filesystem.files import remove_tree
from tests.support import judging_rig
from tests.support.judging_rig import LIMITS
from tests.support.launchers import Local, open_local
from tests.support.supervisors import inside_of, until

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

notebook = partial(judging_rig.notebook, setup="import os\nfrom mograder.runtime import check")


@dataclass
class Rig:
    """An executor with an environment to run notebooks in."""

    local: Local
    executor: SandboxedRunner
    environment: Path
    copies: Path

    async def run(self, *cells: str, seconds: float = 120, text: str = "") -> ExecutionResult:
        return await self.executor.execute(
            ExecutionRequest(text or notebook(*cells), "A1.py", self.environment, LIMITS, seconds)
        )

    async def is_clean(self) -> bool:
        """Whether nothing of a run is left."""
        return not list(self.copies.iterdir()) and not await self.local.launcher.sessions()


@pytest.fixture
async def rig(
    cold_or_warm: SupervisorConfig, tmp_path: Path, run_directory: Path
) -> AsyncIterator[Rig]:
    async with open_local(cold_or_warm, tmp_path) as local:
        directory = await local.environment(run_directory)
        copies = tmp_path / "copies"
        rig = Rig(local, SandboxedRunner(local.launcher, copies, remove_tree), directory, copies)
        yield rig
        assert await rig.is_clean()


only_cold = pytest.mark.parametrize("cold_or_warm", [0], indirect=True)


@only_cold
async def test_the_memory_of_runs_is_reported_apart_from_that_of_sessions(rig: Rig) -> None:
    """A hub counts it while it grades, since those runs are no sessions."""
    news: list[Measured] = []

    def hear(each: News) -> None:
        if isinstance(each, Measured):
            news.append(each)

    rig.local.launcher.watch(lambda _: None, lambda: None, hear)
    result = await rig.run('x = b"x" * (200 << 20)', "import time\ntime.sleep(600)", seconds=25)
    assert result.outcome is Outcome.TIMED_OUT
    assert max(each.runs for each in news) > 200 << 20
    assert news[-1].runs == 0


async def test_cells_checks_and_errors_are_told_one_by_one(rig: Rig) -> None:
    broken = 'app._unparsable_cell(\n    r"""\n    a = (\n    """,\n    name="_"\n)\n'
    text = notebook(
        'print("said")\nx = 1',
        'check("Q1: one", [(x == 1, "not one")])',
        'check("Q2: two", [(x == 2, "not two"), (True, "", 3)])',
        "y = 1\nz = y / 0",
        "z",
        "first = second",
        "second = first",
        "twice = 1",
        "twice = 2",
        "import sys\nsys.exit(3)",
        "import asyncio\nawait asyncio.sleep(0)",
    ).replace("def _():\n    import asyncio", "async def _():\n    import asyncio")
    result = await rig.run(text=f"{text}\n\n{broken}")
    assert result.outcome is Outcome.FINISHED, result
    by_index = {cell.index: cell for cell in result.cells}
    assert sorted(by_index) == list(range(13))
    assert (by_index[0].name, by_index[0].status) == ("setup", CellStatus.OK)
    assert by_index[1].output_tail == "said\n"
    assert (by_index[4].error_type, by_index[4].line) == ("ZeroDivisionError", 2)
    assert by_index[5].status is CellStatus.SKIPPED
    assert by_index[6].error_type == by_index[7].error_type == "CycleError"
    assert by_index[8].error_type == by_index[9].error_type == "MultipleDefinitionError"
    assert by_index[10].error_type == "SystemExit"
    assert by_index[11].status is CellStatus.OK
    assert by_index[12].error_type == "SyntaxError"
    one, two = result.checks
    assert (one.label, one.status, one.index) == ("Q1: one", "success", 2)
    assert (two.status, two.details, two.earned_weight, two.index) == (
        "partial",
        ("not two",),
        3.0,
        3,
    )
    if rig.local.kept:
        assert (await rig.local.starts())["warm"] == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (r"half \ud800 a pair", "half ? a pair"),
        (r"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        (r"nothing\0", "nothing\0"),
    ],
)
async def test_an_error_is_told_whatever_characters_are_in_its_text(
    rig: Rig, text: str, told: str
) -> None:
    """No text makes the report unreadable, in which all errors and checks would be lost."""
    result = await rig.run(f"raise ValueError('{text}')", f"print('{text}')")
    assert result.outcome is Outcome.FINISHED
    assert [(each.error_type, each.message) for each in result.cells[1:2]] == [("ValueError", told)]
    assert result.cells[2].output_tail == f"{told}\n"


def _is_sleep(process: psutil.Process) -> bool:
    try:
        return process.name() == "sleep"
    except psutil.NoSuchProcess:  # others begin and end meanwhile
        return False


def _runs_cells(process: psutil.Process) -> bool:
    try:
        return process.is_running() and "cell_runner" in str(process.cmdline())
    except psutil.NoSuchProcess:
        return False


async def test_a_cancelled_run_has_ended_before_its_copy_is_removed(rig: Rig) -> None:
    def asleep() -> list[psutil.Process]:
        return [p for p in inside_of(rig.local.launcher) if _is_sleep(p)]

    sleeping = 'import subprocess\nsubprocess.run(["sleep", "600"])'
    await rig.local.launcher.open()
    running = asyncio.create_task(rig.run(sleeping))
    await until(lambda: bool(asleep()))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not asleep()
    assert await rig.is_clean()


async def test_an_endless_loop_names_its_cell(rig: Rig) -> None:
    result = await rig.run('check("Q1", [(True, "")])', "while True: pass", seconds=20)
    assert result.outcome is Outcome.TIMED_OUT
    assert result.cells[-1].status is CellStatus.INTERRUPTED
    assert result.cells[-1].index == 2
    spinning = [p for p in inside_of(rig.local.launcher) if _runs_cells(p)]
    await until(lambda: not any(map(_runs_cells, spinning)))


async def test_one_that_leaves_early_is_not_finished(rig: Rig) -> None:
    result = await rig.run('check("Q1", [(True, "")])', "os._exit(0)")
    assert result.outcome is Outcome.EXITED
    assert (result.cells[-1].index, result.cells[-1].status) == (2, CellStatus.INTERRUPTED)


BOMBS: dict[str, tuple[str, Callable[[ExecutionResult], bool]]] = {
    "one large array": (
        "kept = bytearray(4 << 30)",
        lambda r: r.cells[-1].error_type == "MemoryError",
    ),
    "a gigabyte of prints": (
        "for _ in range(1000): print('x' * (1 << 20))",
        lambda r: r.outcome is Outcome.FINISHED and len(r.cells[-1].output_tail) < 5000,
    ),
    "a flooded report": (
        (
            "import stat\n"
            "for fd in range(3, 64):\n"
            "    try: pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)\n"
            "    except OSError: continue\n"
            "    while pipe: os.write(fd, b'{}' * 4000 + b'\\n')"
        ),
        lambda r: r.outcome is Outcome.UNREADABLE and not r.checks,
    ),
}


@only_cold
@pytest.mark.parametrize("name", BOMBS)
async def test_what_a_hostile_notebook_does_ends_in_a_report(rig: Rig, name: str) -> None:
    code, holds = BOMBS[name]
    result = await rig.run(code)
    assert holds(result), result


@only_cold
async def test_files_beside_the_notebook_are_there_and_stay_as_they_are(
    rig: Rig, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "numbers.csv").write_text("1,2")
    (folder / ".secret").write_text("not copied")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "A2.py").write_text(notebook("x = 'of somebody else'"))
    text = notebook(
        "assert open('data/numbers.csv').read() == '1,2'",
        "seen = sorted(name for name in os.listdir() if name != '.config')",
        "assert seen == ['A1.py', 'data'], seen",
        "open('data/numbers.csv', 'w').write('changed')\nos.chmod('data', 0)",
        "for _ in range(3000):\n    os.mkdir('deep')\n    os.chdir('deep')",
    )
    result = await rig.executor.execute(
        ExecutionRequest(text, "A1.py", rig.environment, LIMITS, 60, folder=folder)
    )
    assert [cell.message for cell in result.cells if cell.status is not CellStatus.OK] == []
    assert (folder / "data" / "numbers.csv").read_text() == "1,2"
