"""The contract of every launcher: one suite for the fake and the real one.

The real one is the supervisor with bubblewrap, where sessions start cold or from a zygote. Its
sessions are shell scripts where the contract does not depend on what runs (no zygote comes of
those: each start falls back to a cold one), and a real marimo below that. All of it lies below
pytest's own directories, which nobody else may enter (0700), as a private home or course does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mograder.core.errors import Conflict
from mograder.notebook.pep723 import Script
from mograder.sandbox.machines import Launcher
from mograder.sandbox.protocol import Ended, Mode
from mograder.sandbox.supervisor.config import SupervisorConfig
from tests.support.launchers import (
    InMemory,
    LauncherSetup,
    Local,
    address_of,
    make_spec,
    open_local,
    shown,
    soon_healthy,
)
from tests.support.marimo import open_editor
from tests.support.notebooks import notebook
from tests.support.supervisors import (
    UID_BASE,
    real_config,
    real_environments,
)

REAL = [pytest.param(start, marks=pytest.mark.full) for start in ("cold", "warm")]

ENVIRONMENT = os.environ.get("MOGRADER_TEST_ENVIRONMENT", "")
"""A finished environment to use in place of one built here (``test_launcher_unprivileged``)."""


@pytest.fixture
def config(runtime: Path, tmp_path: Path, uv_cache: Path) -> SupervisorConfig:
    assert _nobody_else_may_enter(tmp_path)
    return real_config(runtime, tmp_path, uv_cache)


@pytest.fixture(params=REAL)
async def local(
    request: pytest.FixtureRequest, config: SupervisorConfig, tmp_path: Path
) -> AsyncIterator[Local]:
    async with open_local(_kept(config, request.param), tmp_path) as local:
        yield local


@pytest.fixture(params=["in memory", *REAL])
async def setup(
    request: pytest.FixtureRequest, config: SupervisorConfig, tmp_path: Path
) -> AsyncIterator[LauncherSetup]:
    async with AsyncExitStack() as stack:
        setup: LauncherSetup = InMemory(tmp_path)
        if request.param != "in memory":
            setup = await stack.enter_async_context(
                open_local(_kept(config, request.param), tmp_path)
            )
        setup.launcher.watch(setup.recorder.ended, setup.recorder.lose)
        yield setup


def _kept(config: SupervisorConfig, start: str) -> SupervisorConfig:
    return config.model_copy(update={"warm_environments": 2 if start == "warm" else 0})


async def ids(launcher: Launcher) -> list[str]:
    """Return the ids of the sessions that it lists."""
    return sorted(launched.session_id for launched in await launcher.sessions())


async def test_a_session_runs_from_start_to_stop(setup: LauncherSetup) -> None:
    one, two = setup.spec("one"), setup.spec("two")
    assert await setup.launcher.stop("session-unknown") is False
    first, second = await setup.launcher.start(one), await setup.launcher.start(two)
    assert first.session_id == one.session_id
    assert first.endpoint != second.endpoint
    assert await ids(setup.launcher) == ["session-one", "session-two"]
    assert first in await setup.launcher.sessions()
    assert await setup.launcher.stop(one.session_id)
    assert await setup.launcher.stop(one.session_id) is False
    assert await ids(setup.launcher) == ["session-two"]
    await setup.recorder.wait_until(
        lambda: [e.session_id for e in setup.recorder.exits] == ["session-one"]
    )
    assert await setup.launcher.stop(two.session_id)


async def test_an_id_is_in_use_until_its_session_has_ended_which_is_told_once(
    setup: LauncherSetup,
) -> None:
    spec = setup.spec("one")
    await setup.launcher.start(spec)
    with pytest.raises(Conflict):
        await setup.launcher.start(spec)
    assert await ids(setup.launcher) == ["session-one"]
    await setup.crash(spec, "out of patience\n")
    await setup.recorder.wait_until(lambda: bool(setup.recorder.exits))
    assert setup.recorder.exits == [
        Ended(session_id="session-one", status=3, log_tail="out of patience\n")
    ]
    assert await ids(setup.launcher) == []
    assert await setup.launcher.stop(spec.session_id) is False
    assert len(setup.recorder.exits) == 1
    await setup.launcher.start(spec)
    assert await setup.launcher.stop(spec.session_id)


async def test_its_own_end_is_told_and_takes_all_along(setup: LauncherSetup) -> None:
    await setup.launcher.start(setup.spec("one"))
    await setup.lose()
    await setup.recorder.wait_until(lambda: setup.recorder.lost)
    assert await ids(setup.launcher) == []


# --- the real one, with a real marimo -------------------------------------------------------


@pytest.fixture
async def environment(local: Local, run_directory: Path) -> Path:
    """marimo and nothing else, built once in a run."""
    if ENVIRONMENT:
        return Path(ENVIRONMENT)
    source = real_environments(run_directory / "environments", local.launcher, local.place)
    return (await source.prepare(Script(), lambda _: None)).directory


NOTEBOOK = notebook(
    """
    from pathlib import Path

    try:
        Path("made.txt").write_text("made by the notebook")
        tried = "written"
    except OSError as error:
        tried = f"refused: {error.strerror}"
    tried
    return
    """,
)


@pytest.mark.timeout(300)
async def test_an_edit_session_serves_marimo_and_writes_its_workspace(
    local: Local, environment: Path
) -> None:
    """B24"""
    warm = await _warmed(local, environment)
    spec = make_spec("alice", local.place, environment, notebook=NOTEBOOK)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    async with open_editor(address_of(endpoint, spec)) as editor:
        assert (await shown(editor)).count("written") == 1
        said = (await editor.edit(0, "import os; 6 * 7, os.getuid(), os.getcwd()")).data
        assert "42" in said
        assert "1000" in said
        assert "/home/student/work" in said
        await editor.save()
    made = spec.directory / "made.txt"
    assert made.read_text() == "made by the notebook"
    assert made.stat().st_uid == (UID_BASE + 7 if os.geteuid() == 0 else os.geteuid())
    assert "6 * 7" in (spec.directory / "A1.py").read_text()
    await local.launcher.stop(spec.session_id)
    assert await local.starts() == warm


@pytest.mark.timeout(300)
async def test_a_lecture_is_served_and_its_files_stay_as_they_are(
    local: Local, environment: Path
) -> None:
    warm = await _warmed(local, environment)
    spec = make_spec("bob", local.place, environment, mode=Mode.RUN, notebook=NOTEBOOK)
    before = _contents(spec.directory)
    endpoint = (await local.launcher.start(spec)).endpoint
    await soon_healthy(endpoint, spec)
    async with open_editor(address_of(endpoint, spec), run=False) as editor:
        assert "Read-only file system" in await shown(editor)
    await local.launcher.stop(spec.session_id)
    assert _contents(spec.directory) == before
    assert await local.starts() == warm


async def _warmed(local: Local, environment: Path) -> dict[str, int]:
    """Warm the environment up if sessions here are to start warm; returns how one will start."""
    if local.kept:
        await local.warm(environment)
    return {"warm": 1} if local.kept else {}


def _contents(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def _nobody_else_may_enter(path: Path) -> bool:
    return any(not parent.stat().st_mode & 0o077 for parent in (path, *path.parents))
