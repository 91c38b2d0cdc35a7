"""A save leaves the old notebook or the new one, never half of either (security.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support.launchers import Local, address_of, make_spec, open_local, soon_healthy
from tests.support.marimo import EditorFailed, open_editor
from tests.support.notebooks import notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

NOTEBOOK = notebook("1", end="")


@pytest.fixture
async def local(cold_or_warm: SupervisorConfig, tmp_path: Path) -> AsyncIterator[Local]:
    async with open_local(cold_or_warm, tmp_path) as local:
        yield local


async def test_a_save_puts_a_whole_notebook_in_the_old_ones_place(
    local: Local, run_directory: Path
) -> None:
    """Who had the old file open, a backup or an export, still reads all of it."""
    environment = await local.environment(run_directory)
    made = make_spec("alice", local.place, environment, notebook=NOTEBOOK)
    limits = made.limits.model_copy(update={"file_size_mb": 1})
    spec = made.model_copy(update={"limits": limits})
    notebook = spec.directory / spec.notebook
    notebook.chmod(0o640)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    async with open_editor(address_of(endpoint, spec), run=True) as editor:
        with notebook.open() as before:
            await editor.edit(0, "6 * 7")
            await editor.save()
            assert "6 * 7" in notebook.read_text()
            assert "6 * 7" not in before.read()
        assert notebook.stat().st_mode & 0o777 == 0o640
        assert [path.name for path in spec.directory.glob("*.saving")] == []

        occupied = spec.directory / f".{spec.notebook}.saving"
        occupied.mkdir()
        saved = notebook.read_text()
        await editor.edit(0, "7 * 8")
        with pytest.raises(EditorFailed):
            await editor.save()
        assert notebook.read_text() == saved
        occupied.rmdir()

        # Simulates a full disk: writes fail beyond one megabyte.
        await editor.edit(0, f"{'x' * (2 << 20)!r}")
        with pytest.raises(EditorFailed):
            await editor.save()
        assert notebook.read_text() == saved
        assert not occupied.exists()
        await editor.edit(0, "8 * 9")
        await editor.save()
        assert "8 * 9" in notebook.read_text()
    assert await local.launcher.stop(spec.session_id)
