"""The harness itself: what the journeys rely on is asserted on the real parts once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.browser import People
from tests.support.http_server import Quiet, answering
from tests.support.hub import outside, write_settings
from tests.support.marimo import Address, open_editor
from tests.support.notebooks import notebook
from tests.support.prefix_proxy import FrontConfig, PrefixProxy
from tests.support.process import ServerProcess, accepts, free_port

pytestmark = pytest.mark.full

NOTEBOOK = notebook(
    """
    answer = 6 * 7
    answer
    """,
)


class _Echo(Quiet):
    """Answers with the path and headers that arrived."""

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def echo_port() -> Iterator[int]:
    with answering(_Echo) as url:
        yield int(url.rpartition(":")[2])


@pytest.mark.parametrize("strips", [True, False])
def test_the_front_mounts_a_server_below_a_prefix_and_names_the_person(
    strips: bool, echo_port: int, tmp_path: Path
) -> None:
    config = FrontConfig(hub_port=echo_port, strips=strips, remote_user="alice")
    with PrefixProxy(tmp_path, config) as front:
        arrived = httpx.get(
            f"{front.url}/edit/A1?x=1", headers={"X-Remote-User": "mallory"}, trust_env=False
        ).json()
    assert arrived["path"] == ("/edit/A1?x=1" if strips else "/live/hub/edit/A1?x=1")
    assert arrived.get("x-forwarded-prefix") == ("/live/hub" if strips else None)
    assert arrived["x-remote-user"] == "alice"
    assert arrived["x-forwarded-proto"] == "http"


async def test_chromium_shows_a_page_to_a_person_with_an_empty_profile(
    people: People, echo_port: int
) -> None:
    alice = await people.person("alice", headers={"X-Test": "yes"})
    page = await alice.open(f"http://127.0.0.1:{echo_port}/hello")
    assert '"x-test": "yes"' in await page.inner_text("body")


async def test_the_editor_client_types_runs_and_saves_in_a_plain_marimo(
    work_directory: Path,
) -> None:
    notebook = work_directory / "nb.py"
    notebook.write_text(NOTEBOOK)
    port = free_port()
    marimo = ServerProcess("marimo", work_directory / "marimo.log")
    options = ["--headless", "--no-token", "--skip-update-check", "--host", "127.0.0.1"]
    command = [sys.executable, "-m", "marimo", "-q", "edit", *options, "-p", str(port)]
    env = {**outside(), "HOME": str(work_directory)}
    try:
        marimo.launch([*command, str(notebook)], env, work_directory)
        marimo.wait_until(lambda: accepts(port), 60)
        async with open_editor(Address(base_url=f"http://127.0.0.1:{port}")) as editor:
            first = editor.progress.outputs[editor.cells.ids[0]]
            edited = await editor.edit(0, "answer = 6 * 8\nanswer")
            await editor.save()
            assert await editor.round_trip() > 0
    finally:
        marimo.stop()
    assert "42" in first.data
    assert "48" in edited.data
    assert "6 * 8" in notebook.read_text()


def test_settings_are_added_to_the_courses_own(tmp_path: Path) -> None:
    (tmp_path / "mograder.toml").write_text('title = "Spring"\n[hub]\nport = 1\n')
    write_settings(tmp_path, {"hub.session_ttl": 5, "security.safety_scan": "off"})
    text = (tmp_path / "mograder.toml").read_text()
    assert 'title = "Spring"' in text
    assert "port = 1\nsession_ttl = 5" in text
    assert 'safety_scan = "off"' in text


def test_a_process_that_a_test_leaves_behind_is_named_and_ended(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    said = run_a_test(
        tmp_path / "test_orphan.py",
        "import pytest, subprocess\n"
        "@pytest.mark.full\n"
        "def test_leaves_an_orphan():\n"
        f"    subprocess.run(['sh', '-c', 'sleep 300 & echo $! > {marker}'])\n",
    )
    orphan = marker.read_text().strip()
    assert f"{orphan}: sleep 300" in said
    assert not Path(f"/proc/{orphan}/cmdline").exists()


@pytest.mark.parametrize(
    "start",
    ["subprocess.run(['true'])", "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"],
)
def test_a_test_without_a_marker_may_not_start_a_process(tmp_path: Path, start: str) -> None:
    said = run_a_test(
        tmp_path / "test_quick.py",
        f"import os, subprocess\ndef test_starts_one():\n    {start}\n",
    )
    assert "not marked `full` started a process" in said


def run_a_test(file: Path, text: str) -> str:
    """Return pytest's output for a test under the conftest of these suites."""
    file.write_text(text)
    repository = Path(__file__).parents[2]
    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-p", "tests.conftest"]
    where = ["--rootdir", str(repository), "-c", str(repository / "pyproject.toml")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *where, str(file)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=repository,
    )
    return done.stdout
