"""Validations: their limits, and stored results in the file and with the keys of 0.3.16.

See compatibility-0.3.16.md 5.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from mograder.grading import workbench
from mograder.sandbox.client.bootstrap import TemporarySupervisor
from mograder.sandbox.protocol import Execute, Executed
from mograder.store.copies.student_folder import Notebook
from mograder.web.student import notebook_runner
from tests.support.dashboard_app import Dashboard, dashboard
from tests.support.fake_judges import FakeJudges, FakeRuns, fake_workbench
from tests.support.notebooks import SCRIPT_HEAD, notebook

OLD = {
    "notebook": "hw1.py",
    "checks": [
        {"label": "Q1: the sum", "status": "success", "details": []},
        {"label": "Q2: the product", "status": "danger", "details": ["It is too small."]},
    ],
    "export_ok": True,
    "export_error": None,
    "cell_errors": 0,
}


def put(shown: Dashboard, record: dict[str, object] | str) -> Notebook:
    """A notebook, and what is remembered of it."""
    root = shown.app.course.folder.root
    (root / "hw1").mkdir()
    (root / "hw1" / "hw1.py").write_text("import marimo\n")
    notebook = shown.app.course.folder.notebook("hw1")
    assert notebook is not None
    cache = root / ".mograder" / "check_cache"
    cache.mkdir(parents=True)
    if isinstance(record, dict):
        record = json.dumps({"file_mtime": notebook.mtime, **record})
    (cache / "hw1.py.json").write_text(record)
    return notebook


async def test_a_validation_of_0_3_16_is_shown(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "w") as shown:
        notebook = put(shown, OLD)
        result = shown.app.runner.result(notebook)
        assert result is not None
        assert not result.answer.ok
        assert result.answer.summary == "1 of 2 checks pass."
        assert [check.passed for check in result.answer.checks] == [True, False]
        assert result.answer.checks[1].details == ("It is too small.",)
        assert not shown.app.runner.stale(notebook)


async def test_a_notebook_that_was_saved_since_is_told_apart(tmp_path: Path) -> None:
    async with dashboard(tmp_path / "w") as shown:
        notebook = put(shown, {**OLD, "file_mtime": 1.0})
        assert shown.app.runner.stale(notebook)


@pytest.mark.parametrize("text", ["", "[]", '{"checks": 3}', "\x00"])
async def test_a_damaged_record_is_no_result(tmp_path: Path, text: str) -> None:
    async with dashboard(tmp_path / "w") as shown:
        notebook = put(shown, text)
        assert shown.app.runner.result(notebook) is None


async def test_a_validation_has_the_limits_of_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = "# [tool.mograder.limits]\n# memory_mb = 512\n# ///\n\nimport"
    released = notebook("x = 1", head=SCRIPT_HEAD.replace("# ///\n\nimport", limits))
    executor = FakeRuns()
    opened = partial(fake_workbench, executor, FakeJudges())
    monkeypatch.setattr(notebook_runner, "open_workbench", opened)
    async with dashboard(tmp_path / "w") as shown:
        mine = put(shown, OLD)
        place = shown.app.course.folder.state / "release" / "hw1"
        place.mkdir(parents=True)
        (place / "hw1.py").write_text(released)
        mine.path.write_text(notebook("x = 1"))
        await shown.app.runner.validate(mine, lambda _: None)
    assert [each.limits.memory_mb for each in executor.asked] == [512]


class CountingMachines:
    """A supervisor that runs nothing, and counts the pictures beside each notebook."""

    def __init__(self) -> None:
        self.pictures: list[int] = []

    async def warm(self, environment: Path) -> None:
        """Nothing starts faster."""

    async def execute(self, asked: Execute, on_line: Callable[[str], None]) -> Executed:
        self.pictures.append(len(list(asked.directory.glob("*.png"))))
        return Executed(status=0, log_tail="", seconds=0.5)


async def test_a_notebook_is_validated_with_as_many_files_as_an_author_may_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Linux only, an assignment with more than 500 files was refused, which `fetch` brings."""
    machines = CountingMachines()

    @asynccontextmanager
    async def supervisor(*_: object, **__: object) -> AsyncIterator[TemporarySupervisor]:
        yield TemporarySupervisor(machines, tmp_path)  # type: ignore[arg-type]

    @asynccontextmanager
    async def no_environments(*_: object) -> AsyncIterator[None]:
        yield None

    monkeypatch.setattr(workbench, "momentary_supervisor", supervisor)
    monkeypatch.setattr(workbench, "_environments_of", no_environments)
    async with dashboard(tmp_path / "w") as shown:
        mine = put(shown, OLD)
        mine.path.write_text(notebook("x = 1"))
        for number in range(501):
            (mine.path.parent / f"{number}.png").touch()
        await shown.app.runner.validate(mine, lambda _: None)
    assert machines.pictures == [501]
