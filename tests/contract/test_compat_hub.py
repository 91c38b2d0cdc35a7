"""Clients and course folders of mograder 0.3.16 against this hub (compatibility-0.3.16.md 1, 2, 3).

The client is plain httpx with tokens made by hand; the folder is laid out as 0.3.16 left it,
with markers, archives, a ``.venv`` and keys. B37-B44, B69, B95, B105, B114-B116, B123-B128.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.support.hub import HubProcess
from tests.support.identity import from_proxy, instructor, student
from tests.support.shared_hub import TALK, TINY, SharedCaches, module_hub, notebook, servers_of

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

LATER, HIDDEN, BARE, DEMO, PLAIN = "B2-Later", "B3-Hidden", "L0-Bare", "D0-Demo", "B1-Plain"
SENT = "C1-Sent"
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
    for user in ("alice", "bob", "carol", "dave"):
        _workspace(course / "hub-notebooks" / user / PLAIN, PLAIN)
    age(course / "hub-notebooks" / "alice" / PLAIN, uploaded=100, notebook=200, fetched=100)
    age(course / "hub-notebooks" / "bob" / PLAIN, uploaded=200, notebook=100, fetched=4_000_000_000)
    age(course / "hub-notebooks" / "carol" / PLAIN, uploaded=100, notebook=200, exported=300)
    age(course / "hub-notebooks" / "dave" / PLAIN, notebook=200)
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


def refusal(answer: httpx.Response) -> tuple[int, object]:
    return answer.status_code, answer.json()


def test_an_old_courses_items_are_listed_in_the_old_shape(hub: HubProcess) -> None:
    with hub.client(student("alice")) as client:
        rows = [row for row in client.get("/assignments").json() if row["name"] != SENT]
    assert [row["name"] for row in rows] == [PLAIN, HIDDEN, TINY, BARE, TALK]
    assert rows[0] == {
        "name": PLAIN,
        "type": "assignment",
        "file_status": "modified",
        "has_release": True,
        "session_active": False,
        "updated": True,
        "visible": True,
        "visible_from": None,
    }
    assert rows[3] == {
        "name": BARE,
        "type": "lecture",
        "file_status": "n/a",
        "has_copy": False,
        "updated": False,
        "has_release": True,
        "session_active": False,
        "visible": True,
        "visible_from": None,
    }
    assert (rows[1]["visible"], rows[1]["name"]) == (False, HIDDEN), "kept: alice has a copy"
    seen = items(hub, instructor())
    assert {LATER, HIDDEN} <= seen.keys()
    assert str(seen[LATER]["visible_from"]).startswith("2030-01-01T09:00:00")
    assert DEMO not in seen


@pytest.mark.parametrize(
    ("user", "status", "updated"),
    [
        ("alice", "modified", True),
        ("bob", "uploaded", False),
        ("carol", "exported", True),
        ("dave", "not_started", False),
    ],
)
def test_the_markers_of_an_old_copy_are_read_as_they_were(
    hub: HubProcess, user: str, status: str, updated: bool
) -> None:
    row = items(hub, student(user))[PLAIN]
    assert (row["file_status"], row["updated"]) == (status, updated)


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


def test_a_login_by_header_is_kept_by_cookie_on_errors_too(hub: HubProcess) -> None:
    with hub.client() as client:
        first = client.post("/start-run/unknown", headers=from_proxy("erin"))
        assert refusal(first) == (400, {"detail": "Not a lecture"})
        shape = r"mograder_session=[^;]+; Path=/; HttpOnly; SameSite=Lax; Max-Age=86400"
        assert re.fullmatch(shape, first.headers["set-cookie"])
        assert client.get("/assignments").status_code == 200, "by the cookie alone"
        started = client.post(f"/start-edit-deep/{TINY}")
        assert started.json()["url"] == f"edit/user/erin/{TINY}/", "unsafe methods too"
        other = client.post(f"/start-edit-deep/{TINY}", headers=from_proxy("frank"))
        assert other.json()["url"] == f"edit/user/frank/{TINY}/", "the header is fresher"


def test_a_session_lives_through_the_endpoints_in_the_old_shapes(hub: HubProcess) -> None:
    with hub.client(student("gina")) as client:
        absent = client.post(f"/start-edit/gina/{TINY}")
        assert refusal(absent) == (404, {"detail": "Notebook not found"})
        deep = client.post(f"/start-edit-deep/{TINY}")
        assert deep.json() == {"status": "ok", "url": f"edit/user/gina/{TINY}/", "port": 0}
        again = client.post(f"/start-edit/gina/{TINY}")
        assert (again.json(), len(servers_of("gina"))) == (deep.json(), 1)
        row = client.get("/sessions").json()[0]
        assert isinstance(row.pop("last_seen"), float)
        assert row == {
            "username": "gina",
            "assignment": TINY,
            "port": 0,
            "url": f"edit/user/gina/{TINY}/",
            "type": "assignment",
            "mode": "edit",
        }
        assert items(hub, student("gina"))[TINY]["session_active"] is True
        stopped = client.post(f"/stop-edit/gina/{TINY}")
        assert stopped.json() == {"status": "ok", "terminated": True}
        assert client.post(f"/stop-edit/gina/{TINY}").json()["terminated"] is False
        assert client.get("/sessions").json() == []


async def test_the_proxy_answers_in_the_old_words(hub: HubProcess) -> None:
    with hub.client(student("jane")) as client:
        assert client.get(f"/edit/user/jane/{TINY}").status_code == 307
        for path, text in (
            (f"/edit/user/jane/{TINY}/", "No active session"),
            (f"/run/user/jane/{TALK}/", "No active lecture session"),
        ):
            answer = client.get(path)
            assert (answer.status_code, answer.text) == (404, text)
        other = client.get(f"/edit/user/alice/{PLAIN}/")
        assert (other.status_code, other.text) == (403, "403 Forbidden")
    url = f"ws://127.0.0.1:{hub.port}/edit/user/jane/{TINY}/ws?session_id=s_abcdef"
    with pytest.raises(websockets.InvalidStatus):
        await connect(url, additional_headers=student("jane"), proxy=None)
