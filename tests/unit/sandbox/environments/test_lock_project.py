"""The packages locked for a notebook: its own and marimo, never the other ``mograder``."""

from __future__ import annotations

import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from uv import find_uv_bin

from mograder.notebook.pep723 import Script
from mograder.sandbox.environments.builder import NO_MOGRADER, lock_project
from tests.support.programs import printed_by


def test_marimo_is_added_unless_it_is_asked_for() -> None:
    assert _dependencies(Script()) == ["marimo"]
    assert _dependencies(Script(dependencies=("numpy>=2",))) == ["numpy>=2", "marimo"]
    assert _dependencies(Script(dependencies=("Marimo[lsp]==0.25.2",))) == ["Marimo[lsp]==0.25.2"]


def test_the_python_and_uvs_own_settings_are_kept() -> None:
    options = '{"exclude-newer":"2026-01-01T00:00:00Z","override-dependencies":["numpy==2.1"]}'
    project = tomllib.loads(lock_project(Script(requires_python=">=3.12", tool_uv=options)))
    assert project["project"]["requires-python"] == ">=3.12"
    assert project["tool"]["uv"]["exclude-newer"] == "2026-01-01T00:00:00Z"
    assert project["tool"]["uv"]["override-dependencies"] == ["numpy==2.1"]


@pytest.mark.full
@pytest.mark.parametrize(
    "asked",
    [
        "mograder",
        "mograder[x]==1",
        "Mograder>=0.3",
        "mograder @ https://index.invalid/mograder-1-py3-none-any.whl",
        "mograder_hub[server]>=1",
    ],
)
def test_mograder_is_taken_out_however_it_is_asked_for(asked: str, tmp_path: Path) -> None:
    """On the index the name is another project's (decision 5)."""
    lock = _lock(Script(dependencies=(asked, "needs-mograder")), tmp_path)
    assert lock == ["marimo==1.0", "needs-mograder==1.0"]


def _dependencies(script: Script) -> list[str]:
    found: list[str] = tomllib.loads(lock_project(script))["project"]["dependencies"]
    return found


def _lock(script: Script, place: Path) -> list[str]:
    """Let the real uv resolve it, from a directory of wheels that are nothing but a name."""
    wheels = place / "wheels"
    wheels.mkdir()
    _wheel(wheels, "marimo")
    _wheel(wheels, "needs-mograder", "mograder>=7")
    (place / "pyproject.toml").write_text(lock_project(script))
    (place / "overrides.txt").write_text(NO_MOGRADER)
    printed = printed_by(
        *(find_uv_bin(), "pip", "compile", "pyproject.toml", "--override", "overrides.txt"),
        *("--no-index", "--find-links", wheels, "--offline", "--no-config", "--quiet"),
        *("--no-header", "--no-annotate", "--python", sys.executable),
        *("--cache-dir", place / "cache"),
        cwd=place,
    )
    return printed.split()


def _wheel(directory: Path, name: str, needs: str = "") -> None:
    escaped = name.replace("-", "_")
    info = f"{escaped}-1.0.dist-info"
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(directory / f"{escaped}-1.0-py3-none-any.whl", "w") as wheel:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needed}"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
