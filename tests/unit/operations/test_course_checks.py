"""Findings of `hub check` about a course's secrets and environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from mograder.notebook.pep723 import read_script
from mograder.operations.course_checks import environment_lines, secret_lines
from mograder.operations.report import Level
from mograder.sandbox.environments.builder import REQUESTS, request_name
from mograder.sandbox.environments.interpreters import find_interpreter
from mograder.sandbox.environments.record import EnvironmentRecord

NOTEBOOK = '# /// script\n# dependencies = ["marimo"]\n# ///\nimport marimo\n'


def test_b11_a_secret_that_others_can_read_is_a_problem(tmp_path: Path) -> None:
    """B11: chmod 600."""
    secret = tmp_path / "hub-secret"
    secret.write_text("x")
    secret.chmod(0o644)
    settings = load_settings(tmp_path, environ={})
    (line,) = secret_lines(settings, kept=(secret,))
    assert (line.level, line.hint) == (Level.PROBLEM, f"chmod 600 {secret}")
    secret.chmod(0o600)
    (line,) = secret_lines(settings, kept=(secret,))
    assert line.level is Level.OK


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("[database]\nurl = 'postgresql://u:p@db/hub'\n", Level.PROBLEM),
        ("[https]\ntoken = 'alice:00'\n", Level.PROBLEM),
        ("title = 'Spring'\n", Level.OK),
    ],
)
def test_settings_with_a_password_in_them_are_a_secret_too(
    tmp_path: Path, text: str, level: Level
) -> None:
    (tmp_path / "mograder.toml").write_text(text)
    (tmp_path / "mograder.toml").chmod(0o644)
    (line,) = secret_lines(load_settings(tmp_path, environ={}), kept=())
    assert line.level is level


def environment(root: Path, key: str) -> Path:
    """A finished environment, as far as the doctor looks."""
    python = root / key / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    record = EnvironmentRecord(key=key, python="3.11", marimo="", interpreter_roots=())
    (root / key / "environment.json").write_text(record.model_dump_json())
    return root / key


async def test_environments_that_nobody_needs_or_that_cannot_run_are_told(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, environ={})
    root = tmp_path / ".mograder" / "environments"
    assert [each.text for each in await environment_lines(settings)] == ["environments: none yet"]
    (tmp_path / ".mograder" / "wheels").mkdir(parents=True)
    (tmp_path / ".mograder" / "wheels" / "w.whl").write_text("")
    release = tmp_path / "hub-release" / "A1" / "A1.py"
    release.parent.mkdir(parents=True)
    release.write_text(NOTEBOOK)
    interpreter = await find_interpreter("")
    wanted = request_name(read_script(NOTEBOOK), interpreter.version, "w.whl")
    (root / REQUESTS).mkdir(parents=True)
    (root / REQUESTS / wanted).write_text("used")
    environment(root, "used")
    (line,) = await environment_lines(settings)
    assert (line.level, line.text) == (Level.OK, "environments: 1, all in use")
    environment(root, "old")
    (line,) = await environment_lines(settings)
    assert line.level is Level.NOTE
    assert "1 of 2 belong to no published item" in line.text
    assert "mograder hub prune (up to " in line.hint
    (environment(root, "dead") / "env" / "bin" / "python").unlink()
    broken, stale = await environment_lines(settings)
    assert (broken.level, stale.level) == (Level.NOTE, Level.NOTE)
    assert "dead" in broken.text
    assert "2 of 3" in stale.text
