"""``mograder config show``: every setting with its value and origin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mograder.cli.config import config
from mograder.core.errors import InvalidInput

FILE = """
[https]
token = "alice:secret-token"
[hub]
instructors = ["prof"]
"""


@pytest.fixture
def course(tmp_path: Path) -> Path:
    (tmp_path / "mograder.toml").write_text(FILE, encoding="utf-8")
    return tmp_path


def test_each_setting_is_shown_with_its_value_and_where_it_came_from(course: Path) -> None:
    result = CliRunner(env={"MOGRADER_HUB_PORT": "9000"}).invoke(
        config, ["show", "-C", str(course)]
    )
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["hub.port", "9000", "environment"] in rows
    assert ["hub.instructors", '["prof"]', "file"] in rows
    assert ["hub.session_ttl", "3600", "default"] in rows
    assert ["security.use_bubblewrap", "(unset)", "default"] in rows
    assert ["https.token", '"***"', "file"] in rows
    assert "secret-token" not in result.output


def test_json_has_the_same_for_programs(course: Path) -> None:
    result = CliRunner().invoke(config, ["show", "--json", "--course-dir", str(course)])
    answer = json.loads(result.stdout)
    settings = {row["key"]: row for row in answer["settings"]}
    assert answer["course_dir"] == str(course.resolve())
    assert settings["hub.instructors"] == {
        "key": "hub.instructors",
        "value": ["prof"],
        "origin": "file",
        "note": "",
    }
    assert settings["https.token"]["value"] == "***"
    assert answer["warnings"] == []


def test_a_missing_course_is_left_to_the_error_boundary(tmp_path: Path) -> None:
    result = CliRunner().invoke(config, ["show", "-C", str(tmp_path / "missing")])
    assert isinstance(result.exception, InvalidInput)
