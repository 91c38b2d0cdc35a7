"""Scientific programs work inside the sandbox in spite of its restrictions.

The other half of the system-call filter's contract (security.md, "The sandbox"): numpy, pandas,
matplotlib, native threads and process pools work in a real session, started cold and forked from a
zygote. What it refuses there is in ``tests/security/test_sandbox.py``.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mograder.notebook.pep723 import Script
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support import library_probe
from tests.support.launchers import Local, address_of, make_spec, open_local, soon_healthy
from tests.support.marimo import MarimoClient, open_editor
from tests.support.supervisors import real_config, real_environments

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

EMPTY = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    return\n"
PROCESSES, OPEN_FILES = 180, 333
"""An item's own limits, different from the ordinary ones."""

TORCH = "torch==2.13.0"


@pytest.fixture
def config(runtime: Path, tmp_path: Path, uv_cache: Path) -> SupervisorConfig:
    return real_config(runtime, tmp_path, uv_cache)


@pytest.fixture(params=["cold", pytest.param("warm", marks=pytest.mark.long)])
async def local(
    request: pytest.FixtureRequest, config: SupervisorConfig, tmp_path: Path
) -> AsyncIterator[Local]:
    kept = 1 if request.param == "warm" else 0
    config = config.model_copy(update={"warm_environments": kept})
    async with open_local(config, tmp_path) as local:
        yield local


@pytest.fixture
async def environment(local: Local, run_directory: Path) -> Path:
    """numpy, pandas and matplotlib; built once in a run."""
    return await local.environment(run_directory, "marimo", "numpy", "pandas", "matplotlib")


@asynccontextmanager
async def session(local: Local, environment: Path) -> AsyncIterator[MarimoClient]:
    """An editor of a workspace that holds the probe as a module, started as it should be."""
    spec = make_spec("alice", local.place, environment, notebook=EMPTY)
    more = {"processes": PROCESSES, "open_files": OPEN_FILES}
    spec = spec.model_copy(update={"limits": spec.limits.model_copy(update=more)})
    (spec.directory / "library_probe.py").write_text(inspect.getsource(library_probe))
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    assert await local.starts() == ({"warm": 1} if local.kept else {})
    async with open_editor(address_of(endpoint, spec)) as editor:
        yield editor
    await local.launcher.stop(spec.session_id)


async def told(editor: MarimoClient, expression: str) -> object:
    """Return the value of an expression with the probe in the kernel."""
    code = f"import json, library_probe, resource\nprint('TOLD' + json.dumps({expression}))"
    editor.progress.console.clear()
    await editor.edit(0, code)
    said = editor.progress.console.get(editor.cells.ids[0], "")
    assert "TOLD" in said, said
    answer: object = json.loads(said.partition("TOLD")[2].partition("\n")[0])
    return answer


@pytest.mark.parametrize("group", [name for name in library_probe.GROUPS if name != "libraries"])
async def test_what_programs_do_all_day_works(local: Local, environment: Path, group: str) -> None:
    async with session(local, environment) as editor:
        assert await told(editor, f"library_probe.run({group!r})") == {}


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_large_libraries_work(local: Local, run_directory: Path) -> None:
    """polars, scikit-learn, duckdb, pyarrow and torch; numpy, pandas and matplotlib are above.

    torch comes by pip, from wherever pip is told to look: its wheel for the CPU is on an index of
    its own (PIP_INDEX_URL), and the one of the usual index brings a gigabyte of CUDA with it.
    """
    source = real_environments(run_directory / "environments", local.launcher, local.place)
    others = ("numpy", "pandas", "matplotlib", "polars", "scikit-learn", "duckdb", "pyarrow")
    script = Script(dependencies=("marimo", "pip", *others))
    directory = (await source.prepare(script, lambda _: None)).directory
    pip = [str(directory / "env" / "bin" / "python"), "-m", "pip", "install", "-q", TORCH]
    await asyncio.to_thread(subprocess.run, pip, check=True)
    if local.kept:
        await local.warm(directory)
    async with session(local, directory) as editor:
        assert await told(editor, "library_probe.run('libraries')") == {}
        assert await told(editor, "library_probe.run('numbers')") == {}


async def test_the_limits_of_the_item_are_those_inside(local: Local, environment: Path) -> None:
    async with session(local, environment) as editor:
        for name, expected in (("NPROC", PROCESSES), ("NOFILE", OPEN_FILES)):
            limit = f"resource.getrlimit(resource.RLIMIT_{name})"
            assert await told(editor, limit) == [expected, expected]
