"""The open pages that a real marimo reports in both modes, for the culler (decision 25)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mograder.sandbox.protocol import Mode
from mograder.sessions.connections import connections
from tests.support.launchers import Local, address_of, make_spec, open_local, soon_healthy
from tests.support.marimo import open_editor
from tests.support.notebooks import notebook
from tests.support.supervisors import real_config

pytestmark = pytest.mark.full

NOTEBOOK = notebook(
    "6 * 7",
)


@pytest.fixture
async def local(runtime: Path, tmp_path: Path, uv_cache: Path) -> AsyncIterator[Local]:
    async with open_local(real_config(runtime, tmp_path, uv_cache), tmp_path) as local:
        yield local


@pytest.fixture
async def environment(local: Local, run_directory: Path) -> Path:
    return await local.environment(run_directory)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", Mode)
async def test_marimo_counts_the_pages_that_are_open(
    local: Local, environment: Path, mode: Mode
) -> None:
    spec = make_spec("alice", local.place, environment, mode=mode, notebook=NOTEBOOK)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    found = [await connections(endpoint, spec.base_url)]
    async with open_editor(address_of(endpoint, spec), run=mode is Mode.EDIT) as editor:
        cell = editor.cells.ids[0]
        await editor.until(lambda: cell in editor.progress.outputs)
        found.append(await connections(endpoint, spec.base_url))
    assert found == [0, 1]
    await local.launcher.stop(spec.session_id)
