"""Notebooks on an author's own machine: other editors' files, and uv without any of us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from uv import find_uv_bin

from tests.support.command_line import cli

pytestmark = [pytest.mark.full, pytest.mark.timeout(120)]


@pytest.mark.parametrize("place", ["source", "release"])
def test_uv_runs_a_new_notebook_with_our_runtime(
    tmp_path: Path, authors_uv_cache: Path, place: str
) -> None:
    """Decision 5: on PyPI the name is another project's; the header says where ours is."""
    cli("new", str(tmp_path))
    cli("generate A1 -C", str(tmp_path), "--no-validate")
    notebook = tmp_path / place / "A1-First-Steps/A1-First-Steps.py"
    sidecar = tmp_path / "checks.jsonl"
    own = {"UV_CACHE_DIR": str(authors_uv_cache), "MOGRADER_SIDECAR_PATH": str(sidecar)}
    command = [find_uv_bin(), "run", "--python", sys.executable, "--script", str(notebook)]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, env={**kept, **own}, cwd=tmp_path, timeout=100)
    lines = [json.loads(line) for line in sidecar.read_text().splitlines()]
    expected = {"source": "success", "release": "warn"}[place]
    assert [line["status"] for line in lines] == [expected] * 2


def test_what_an_editor_of_another_system_writes_comes_out_as_it_was(tmp_path: Path) -> None:
    """CRLF and tabs stay; the byte order mark goes, with which marimo opens nothing."""
    course = tmp_path / "course"
    cli("new", str(course))
    name = "A1-First-Steps"
    notebook = course / f"source/{name}/{name}.py"
    plain = ["generate", "A1", "-C", str(course), "--own-python"]
    cli(*plain, "-o", str(tmp_path / "plain"))
    tabs = notebook.read_text().replace("\n    ", "\n\t").replace("\n", "\r\n")
    notebook.write_bytes(b"\xef\xbb\xbf" + tabs.encode())
    out = cli(*plain, "-o", str(tmp_path / "made")).out
    assert f"{name}.py:1: the file begins with a byte order mark" in out
    assert "runs without errors, 2 of 2 checks wait\n" in out
    made = (tmp_path / f"made/{name}/{name}.py").read_bytes().decode()
    expected = (tmp_path / f"plain/{name}/{name}.py").read_text()
    assert made.replace("\r\n", "\n").replace("\n\t", "\n    ") == expected
    assert made.count("\n") == made.count("\r\n") == expected.count("\n")
    assert "\n\t" in made
