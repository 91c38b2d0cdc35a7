"""The guard of processes: none outlives its test, and tests without a marker start none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full


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
