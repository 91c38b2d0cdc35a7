"""A hub's requirements of its machine, and the secret as the guide makes it (B9, B10)."""

from __future__ import annotations

import re
import secrets
import tomllib
from pathlib import Path

import pytest

from mograder.auth.tokens import make_token
from mograder.core.settings import load_settings, read_environ
from mograder.operations.preflight import secret_of
from mograder.operations.report import Level
from tests.support.course import REPOSITORY


def test_b9_python_3_11_is_enough_and_uv_and_marimo_come_along() -> None:
    """B9; bubblewrap is a system package, and recommended: see B83."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"
    names = {re.split(r"[^a-z0-9_-]", text)[0] for text in project["dependencies"]}
    assert {"uv", "marimo"} <= names


def test_b10_b11_the_secret_of_the_guide_is_a_good_one(tmp_path: Path) -> None:
    """B10, B11: `python -c "import secrets; print(secrets.token_hex(32))" > hub-secret`."""
    text = secrets.token_hex(32)
    (tmp_path / "hub-secret").write_text(f"{text}\n")
    for environ in ({"CREDENTIALS_DIRECTORY": str(tmp_path)}, {"MOGRADER_HUB_SECRET": text}):
        found = read_environ(environ)
        assert [line.level for line in secret_of(found)] == [Level.OK]
        assert found.hub_secret is not None
        assert make_token(found.hub_secret.get_secret_value(), "alice") == make_token(text, "alice")


@pytest.mark.parametrize("name", ["MOGRADER_COURSE_DIR"])
def test_b14_b16_the_units_course_is_found_without_an_option(tmp_path: Path, name: str) -> None:
    """B16: the variable; B14, B17: no -C."""
    assert load_settings(environ={name: str(tmp_path)}).course_dir == tmp_path.resolve()
