"""``mograder config show``: every setting with its value and origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command_line import cli

FILE = """
[https]
token = "alice:secret-token"
[hub]
instructors = ["prof"]
"""


@pytest.fixture(autouse=True)
def course(here: Path) -> Path:
    (here / "mograder.toml").write_text(FILE, encoding="utf-8")
    return here


def test_each_setting_is_shown_with_its_value_and_where_it_came_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOGRADER_HUB_PORT", "9000")
    printed = cli("config show")
    rows = [line.split() for line in printed.lines]
    assert ["hub.port", "9000", "environment"] in rows
    assert ["hub.instructors", '["prof"]', "file"] in rows
    assert ["hub.session_ttl", "3600", "default"] in rows
    assert ["security.use_bubblewrap", "(unset)", "default"] in rows
    assert ["https.token", '"***"', "file"] in rows
    assert "secret-token" not in printed.out + printed.err


def test_json_has_the_same_for_programs(course: Path) -> None:
    answer = cli("config show --json --course-dir", str(course)).json
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
