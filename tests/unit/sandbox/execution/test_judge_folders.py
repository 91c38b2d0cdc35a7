"""The directory of a judge: made once for all submissions, and again when a file has changed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from mograder.core.errors import TooLarge
from mograder.notebook.grading.grading_plan import GradingPlan
from mograder.sandbox.execution.item_limits import CopyBounds
from mograder.sandbox.execution.judging import JudgeFiles
from mograder.sandbox.execution.sandboxed_runner import JudgeFolders
from mograder.sandbox.inside.grading_contract import Contract


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "judges"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a.csv").write_text("1")
    (folder / "A1.py").write_text("import marimo\napp = marimo.App()\n# the solution")
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def files_for(
    plan: str = "plan", contract: str | None = "contract", folder: Path | None = None
) -> JudgeFiles:
    """Return files of a plan and a contract that differ by these texts."""
    made = GradingPlan(source_sha256=plan, cells=(), answers=(), template=(), judged=())
    return JudgeFiles(made, None if contract is None else Contract(contract, (), ()), folder)


def folders(place: Path, files: int = 100) -> JudgeFolders:
    return JudgeFolders(place, shutil.rmtree, CopyBounds(files=files))


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def modes_of(folder: Path) -> set[int]:
    return {mode_of(path) for path in folder.rglob("*")}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_it_has_plan_contract_and_plain_files_without_notebooks(
    place: Path, source: Path
) -> None:
    async with folders(place).folder(files_for(folder=source)) as folder:
        assert files_of(folder) == {"plan.json", "contract.json", "files/data/a.csv"}
        assert json.loads((folder / "plan.json").read_text())["source_sha256"] == "plan"
        assert json.loads((folder / "contract.json").read_text())["source_sha256"] == "contract"
    assert mode_of(place) == 0o700
    assert modes_of(folder) == {0o755, 0o644}


async def test_it_is_the_same_until_something_changes(place: Path, source: Path) -> None:
    made = folders(place)

    async def of(plan: str = "plan", contract: str | None = "contract") -> Path:
        async with made.folder(files_for(plan, contract, source)) as folder:
            return folder

    first = await of()
    os.utime(first, (0, 0))
    assert await of() == first
    assert first.stat().st_mtime == 0
    others = [await of("other"), await of(contract=None)]
    (source / "data" / "a.csv").write_text("22")
    others.append(await of())
    assert len({first, *others}) == 4
    assert (others[-1] / "files/data/a.csv").read_text() == "22"


async def test_those_not_used_for_long_are_removed(place: Path) -> None:
    made = folders(place)
    async with made.folder(files_for("used")) as used:
        for number in range(40):
            async with made.folder(files_for(str(number))):
                pass
        assert used.name in names_in(place)
    assert len(names_in(place)) <= 18


async def test_nothing_is_left_of_one_that_cannot_be_made(place: Path, source: Path) -> None:
    with pytest.raises(TooLarge):
        async with folders(place, files=0).folder(files_for(folder=source)):
            pass
    assert names_in(place) == set()


async def used(made: JudgeFolders, plan: str) -> set[str]:
    """Return what a judge of a plan finds in its directory."""
    async with made.folder(files_for(plan)) as folder:
        return files_of(folder)


async def test_one_that_is_being_removed_is_made_anew(place: Path) -> None:
    """A cancelled call must leave no directory that looks complete and is not."""
    removing, go_on = threading.Event(), threading.Event()

    def remove(path: Path) -> None:
        (path / "contract.json").unlink()
        removing.set()
        go_on.wait()
        shutil.rmtree(path)

    made = JudgeFolders(place, remove, CopyBounds())
    for number in range(16):
        await used(made, str(number))
    cancelled = asyncio.create_task(used(made, "one more"))
    await asyncio.to_thread(removing.wait)
    cancelled.cancel()
    again = asyncio.create_task(used(made, "0"))
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await again == {"plan.json", "contract.json"}
    assert len(names_in(place)) <= 16
