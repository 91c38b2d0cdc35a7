"""Editors on a student's own machine: real marimo, with a token of its own, gone when it should."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

import httpx
import psutil
import pytest

from mograder.processes.local_editor import EditorFailed, LocalEditors, saves_by_itself
from tests.support.processes import processes_now

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]

NOTEBOOK = "import marimo\n\napp = marimo.App()\n"
VARIABLES = {"PATH": os.defpath}
DASHBOARD = """\
import asyncio, sys
from pathlib import Path
from mograder.processes.local_editor import LocalEditors

async def main():
    editors = LocalEditors(Path(sys.argv[1]), {"PATH": "/usr/bin:/bin", "HOME": sys.argv[1]})
    editor = await editors.open("hw1", Path(sys.argv[2]), Path(sys.argv[3]))
    print(editor.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("path", "saves"),
    [("/home/ada/hw1/hw1.py", True), ("/tmp/hw1/hw1.py", False), ("/var/folders/x/hw1.py", False)],
)
def test_marimos_page_has_the_rule_by_which_a_notebook_is_not_saved(path: str, saves: bool) -> None:
    """The three prefixes, as the page's scripts of the pinned marimo have them."""
    pages = Path(str(files("marimo"))) / "_static" / "assets"
    told = [each for each in pages.glob("*.js") if "var/folders" in each.read_text("utf-8")]
    for prefix in ("/tmp/", "/var/folders", "AppData\\\\Local\\\\Temp"):
        assert any(f"`{prefix}`" in each.read_text("utf-8") for each in told), prefix
    assert saves_by_itself(Path(path)) is saves


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment in our layout, whose python is the one that runs the tests."""
    place = tmp_path / "environment"
    place.mkdir()
    (place / "env").symlink_to(sys.prefix)
    return place


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "hw1" / "hw1.py"
    path.parent.mkdir()
    path.write_text(NOTEBOOK)
    return path


@asynccontextmanager
async def editors(place: Path) -> AsyncIterator[LocalEditors]:
    """Editors that are all gone afterwards."""
    own = LocalEditors(place / "editors", {**VARIABLES, "HOME": str(place)})
    try:
        yield own
    finally:
        await own.close()


def servers(notebook: Path) -> list[psutil.Process]:
    """The processes that have this notebook among their arguments."""
    found = processes_now("cmdline")
    return [each for each in found if str(notebook) in (each.info["cmdline"] or [])]


async def test_an_editor_answers_its_token_only_and_no_list_of_processes_shows_it(
    tmp_path: Path, environment: Path, notebook: Path
) -> None:
    async with editors(tmp_path) as own, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        editor = await own.open("hw1", notebook, environment)
        assert await own.open("hw1", notebook, environment) is editor, "one for each notebook"
        bare, _, token = editor.url.partition("?access_token=")
        assert token
        assert token not in repr(editor)
        refused = await client.get(bare, headers={"accept": "text/html"})
        assert refused.status_code in (303, 401, 403)
        assert (await client.get(editor.url, follow_redirects=True)).status_code == httpx.codes.OK
        [server] = [each for each in servers(notebook) if each.ppid() == os.getpid()]
        arguments = [each.cmdline() for each in [server, *server.children(recursive=True)]]
        assert token not in str(arguments)
        assert server.environ()["MOGRADER_DASHBOARD"] == "1"
        assert await own.stop("hw1")
        assert own.find("hw1") is None
        assert not server.is_running()
        assert not await own.stop("hw1")


async def test_an_editor_that_cannot_start_says_why(
    tmp_path: Path, environment: Path, notebook: Path
) -> None:
    (environment / "env").unlink()
    program = environment / "env" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho no marimo here >&2\nexit 1\n")
    program.chmod(0o755)
    async with editors(tmp_path) as own:
        with pytest.raises(EditorFailed, match="no marimo here"):
            await own.open("hw1", notebook, environment)
        assert own.find("hw1") is None


async def test_editors_end_when_their_dashboard_is_killed(
    tmp_path: Path, environment: Path, notebook: Path
) -> None:
    dashboard = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DASHBOARD, str(tmp_path / "e"), str(notebook), str(environment)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert dashboard.stdout is not None
    assert (await dashboard.stdout.readline()).startswith(b"http://127.0.0.1:")
    running = [each for each in servers(notebook) if each.ppid() == dashboard.pid]
    assert running
    dashboard.send_signal(signal.SIGKILL)
    await dashboard.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, running, 15)
    assert not alive
