"""A course folder of mograder 0.3.16 on this hub (compatibility-0.3.16.md 3), with real sessions.

It is laid out as 0.3.16 left it, with markers, archives, a ``.venv`` and keys. In which shapes the
hub answers is tested in ``test_hub_api`` and ``test_proxy``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub import HubProcess
from tests.support.identity import instructor, student
from tests.support.shared_hub import TALK, TINY, SharedCaches, module_hub, notebook

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

LATER, HIDDEN, BARE, DEMO, PLAIN = "B2-Later", "B3-Hidden", "L0-Bare", "D0-Demo", "B1-Plain"
TOML = """\
title = "Autumn"
[hub]
port = 8080
session_ttl = 3600
[security]
use_bubblewrap = true
[moodle]
url = "https://moodle.example"
"""


def lay_out(course: Path) -> None:
    """Fill a course directory as 0.3.16 left it, modification times included.

    See compatibility-0.3.16.md 3.
    """
    (course / "mograder.toml").write_text(TOML)
    (course / "session_mb.json").write_text('{"default": 200}')
    (course / "session_memory.json").write_text('{"B1-Plain": 180}')
    (course / "marking.json").write_text("[]")
    release = course / "hub-release"
    _release(release, PLAIN, notebook(), {"files": [f"{PLAIN}.py", "data.csv"], "type": None})
    (release / PLAIN / "data.csv").write_text("x,y\n1,2\n")
    (release / PLAIN / "keys.json").write_text("{}")
    (release / PLAIN / "keys_all.json").write_text("{}")
    (release / PLAIN / ".venv" / "bin").mkdir(parents=True)
    (release / PLAIN / ".venv" / "bin" / "python").write_text("#!/bin/sh\n")
    (release / PLAIN / ".venv" / "requirements.txt").write_text("marimo\n")
    _release(release, LATER, notebook(), None)
    _release(release, HIDDEN, notebook(), None)
    lecture = notebook(header='# /// script\n# mograder-type = "lecture"\n# ///\n')
    _release(release, BARE, lecture, None)
    _release(release, DEMO, notebook(), {"files": [f"{DEMO}.py"], "type": "demo"})
    rules = {LATER: {"visible_from": "2030-01-01T09:00:00+00:00"}, HIDDEN: {"hidden": True}}
    (release / ".visibility.json").write_text(json.dumps(rules))
    for user in ("alice", "carol"):
        _workspace(course / "hub-notebooks" / user / PLAIN, PLAIN)
    age(course / "hub-notebooks" / "alice" / PLAIN, uploaded=100, notebook=200, fetched=100)
    age(course / "hub-notebooks" / "carol" / PLAIN, uploaded=100, notebook=200, exported=300)
    _workspace(course / "hub-notebooks" / "alice" / HIDDEN, HIDDEN)


def _release(root: Path, item: str, text: str, manifest: dict[str, object] | None) -> None:
    (root / item).mkdir(parents=True)
    (root / item / f"{item}.py").write_text(text)
    if manifest is not None:
        kept = {key: value for key, value in manifest.items() if value is not None}
        (root / item / "files.json").write_text(json.dumps(kept, indent=2))


def _workspace(place: Path, item: str) -> None:
    place.mkdir(parents=True)
    (place / f"{item}.py").write_text(notebook("'my own work'"))
    (place / f"{item}.html").write_text("<html>")
    (place / f"{item}.bak.20250101T120000.py").write_text("# an archive\n")
    (place / ".config" / "marimo").mkdir(parents=True)
    (place / ".config" / "marimo" / "marimo.toml").write_text(
        "[runtime]\nauto_instantiate = false\n"
    )
    (place / "__marimo__").mkdir()


def age(place: Path, **seconds: int) -> None:
    """Make the markers, and set the times of them and of the notebook."""
    for what, moment in seconds.items():
        path = place / (f"{place.name}.py" if what == "notebook" else f".{what}")
        path.touch()
        os.utime(path, (moment, moment))


@pytest.fixture(scope="module")
def hub(uv_cache: Path, run_directory: Path) -> Iterator[HubProcess]:
    shared = SharedCaches(uv_cache, run_directory)
    with module_hub("compat-hub", shared, prepare=lay_out) as hub:
        yield hub


def items(hub: HubProcess, headers: dict[str, str]) -> dict[str, dict[str, object]]:
    with hub.client(headers) as client:
        return {row["name"]: row for row in client.get("/assignments").json()}


def test_an_old_courses_items_are_listed(hub: HubProcess) -> None:
    listed = items(hub, student("alice"))
    assert list(listed) == [PLAIN, HIDDEN, TINY, BARE, TALK]
    assert (listed[PLAIN]["file_status"], listed[PLAIN]["updated"]) == ("modified", True)
    assert (listed[BARE]["type"], listed[BARE]["file_status"]) == ("lecture", "n/a")
    assert listed[HIDDEN]["visible"] is False, "kept: alice has a copy"
    seen = items(hub, instructor())
    assert {LATER, HIDDEN} <= seen.keys()
    assert str(seen[LATER]["visible_from"]).startswith("2030-01-01T09:00:00")
    assert DEMO not in seen


def test_an_old_copy_opens_in_place_and_nothing_of_it_is_touched(hub: HubProcess) -> None:
    place = hub.course / "hub-notebooks" / "carol" / PLAIN
    before = _snapshot(place)
    with hub.client(student("carol")) as client:
        answer = client.post(f"/start-edit-deep/{PLAIN}")
        assert answer.json() == {"status": "ok", "url": f"edit/user/carol/{PLAIN}/", "port": 0}
        page = client.get("/" + answer.json()["url"])
    assert page.status_code == 200
    assert before.items() <= _snapshot(place).items()
    assert items(hub, student("carol"))[PLAIN]["file_status"] == "exported"


def _snapshot(place: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(place)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in place.rglob("*")
        if path.is_file()
    }
