"""The harness itself: what the journeys rely on is asserted on the real parts once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub import outside
from tests.support.marimo import Address, open_editor
from tests.support.notebooks import notebook
from tests.support.process import ServerProcess, accepts, free_port

pytestmark = pytest.mark.full

NOTEBOOK = notebook(
    """
    answer = 6 * 7
    answer
    """,
)


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
