"""A lecture is each student's own: B62, B63, decision 26.

The notebook leaves traces wherever a process that students share would keep them.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mograder.sandbox.protocol import Mode, StartSession
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support.launchers import Local, address_of, make_spec, open_local, soon_healthy
from tests.support.marimo import EditorFailed, MarimoClient, open_editor
from tests.support.notebooks import notebook
from tests.support.supervisors import real_config

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

LECTURE = notebook(
    """
    import os, random, sys
    from pathlib import Path
    import marimo as mo
    slider = mo.ui.slider(0, 10)
    slider
    """,
    """
    sys.visits = getattr(sys, "visits", 0) + 1
    os.environ["VISITS"] = os.environ.get("VISITS", "") + "x"
    with Path("/tmp/visits").open("a") as _file:
        _file.write("x")
    random.seed(1)
    _numbers = [random.randint(0, 99) for _ in range(3)]
    f"traces {sys.visits} {os.environ['VISITS']} {Path('/tmp/visits').read_text()} {_numbers}"
    """,
    'f"chosen: {slider.value * 100}"',
    end="",
)


@pytest.fixture(params=["cold", pytest.param("warm", marks=pytest.mark.long)])
async def local(
    request: pytest.FixtureRequest, runtime: Path, tmp_path: Path, uv_cache: Path
) -> AsyncIterator[Local]:
    config: SupervisorConfig = real_config(runtime, tmp_path, uv_cache)
    kept = 1 if request.param == "warm" else 0
    config = config.model_copy(update={"warm_environments": kept})
    async with open_local(config, tmp_path) as local:
        yield local


@pytest.fixture
async def lecture(local: Local, run_directory: Path) -> StartSession:
    """One release for all students."""
    environment = await local.environment(run_directory)
    return make_spec("lecture", local.place, environment, mode=Mode.RUN, notebook=LECTURE)


@asynccontextmanager
async def viewing(local: Local, lecture: StartSession, name: str) -> AsyncIterator[MarimoClient]:
    """A student with the lecture open."""
    own = {"session_id": f"session-{name}", "base_url": f"/run/user/{name}/A1"}
    spec = lecture.model_copy(update=own)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    async with open_editor(address_of(endpoint, spec), run=False) as viewer:
        await viewer.until(lambda: viewer.progress.completed_runs > 0)
        yield viewer
    await local.launcher.stop(spec.session_id)


def seen(viewer: MarimoClient, position: int) -> str:
    """Return a cell's output as a student sees it."""
    return viewer.progress.outputs[viewer.cells.ids[position]].data


async def test_b63_two_students_share_neither_widgets_nor_anything_of_a_process(
    local: Local, lecture: StartSession
) -> None:
    async with viewing(local, lecture, "alice") as alice, viewing(local, lecture, "bob") as bob:
        for viewer in (alice, bob):
            assert "traces 1 x x [17, 72, 97]" in seen(viewer, 1), "the first and only visitor"
        found = re.search(r"object-id='([^']+)'", seen(alice, 0))
        assert found
        body = {"objectIds": [found[1]], "values": [7]}
        await alice.post("/api/kernel/set_ui_element_value", body)
        await alice.until(lambda: "chosen: 700" in seen(alice, 2))
        assert "chosen: 0" in seen(bob, 2)


async def test_b62_a_lecture_shows_its_code_and_runs_no_other(
    local: Local, lecture: StartSession
) -> None:
    async with viewing(local, lecture, "alice") as alice:
        assert "random.seed(1)" in alice.cells.codes[1]
        for path, body in (
            ("/api/kernel/run", {"cellIds": alice.cells.ids[:1], "codes": ["1/0"]}),
            ("/api/kernel/execute", {"code": "1/0"}),
            ("/api/kernel/save", {}),
        ):
            with pytest.raises(EditorFailed, match=f"{path}: 40[13]"):
                await alice.post(path, body)
