"""A student's copy over HTTP, sent and taken along.

See compatibility-0.3.16.md 2.3, 2.4; B55, B56, B117-B122.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from mograder.core.files.disk import Disk, Place
from mograder.core.names import ItemName
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.store.copies.workspaces import Saved, Workspaces
from mograder.web.hub.app import create_app
from tests.support.hub_app import NOTEBOOK, Hub, running
from tests.support.hub_copies import OTHER, WORK, ask, begin, folder, kept, read, send
from tests.support.notebooks import notebook


class NoRoom(Disk):
    """A disk on which nothing new finds a place."""

    def rename(self, source: Place, target: Place) -> None:
        raise OSError(errno.ENOSPC, "no space left")


def write_long_ago(notebook: Path, text: str) -> None:
    """Write a notebook with a time at which nothing that saves it still runs."""
    notebook.write_text(text)
    os.utime(notebook, (1_700_000_000, 1_700_000_000))


# ---- copies ----


async def test_b69_a_notebook_that_code_has_renamed_stays_and_is_named_to_the_student(
    hub: Hub,
) -> None:
    (await begin(hub)).rename(folder(hub) / "alice homework.py")
    stream = {"Accept": "application/x-ndjson"}
    answer = await ask(hub, "POST", "/start-edit-deep/A1", headers=stream)
    note = "There was no A1.py in your folder any more, so it was copied anew."
    assert note in answer.text
    assert "such as alice homework.py." in answer.text
    assert (folder(hub) / "A1.py").read_text() == NOTEBOOK
    assert (folder(hub) / "alice homework.py").read_text() == WORK
    assert "note" not in (await ask(hub, "POST", "/start-edit-deep/A1")).json()


# ---- status ----


async def test_b121_status_tells_how_a_copy_stands(hub: Hub) -> None:
    blank = {"file_status": "not_started", "session_active": False, "has_release": True}
    assert (await ask(hub, "GET", "/status/alice/A1")).json() == blank
    await begin(hub)
    hub.start("alice", "A1")
    assert (await ask(hub, "GET", "/status/alice/A1")).json() == {
        "file_status": "modified",
        "session_active": True,
        "has_release": True,
    }


@pytest.mark.parametrize("item", ["zz", ".hidden", "a..b"])
async def test_b121_of_an_unknown_item_nothing_has_happened(hub: Hub, item: str) -> None:
    response = await ask(hub, "GET", f"/status/alice/{item}")
    assert (response.status_code, response.json()) == (
        200,
        {"file_status": "not_started", "session_active": False, "has_release": False},
    )


async def test_b121_a_hidden_item_does_not_show_in_a_students_status(hub: Hub) -> None:
    (hub.course / "hub-release" / ".visibility.json").write_text('{"A1": {"hidden": true}}')
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["has_release"] is False
    response = await ask(hub, "GET", "/status/alice/A1", user="prof")
    assert response.json()["has_release"] is True


# ---- upload ----


async def test_b117_an_upload_takes_the_copys_place_and_keeps_the_old(hub: Hub) -> None:
    notebook = await begin(hub)
    response = await send(hub, OTHER)
    assert response.json() == {"status": "ok", "path": str(notebook)}
    assert notebook.read_text() == OTHER
    assert kept(hub) == [WORK]
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["file_status"] == "uploaded"


async def test_b115_b117_a_first_upload_can_be_opened(hub: Hub) -> None:
    await send(hub, OTHER, "/upload/alice/own")
    assert (folder(hub, item="own") / "own.py").read_text() == OTHER
    opened = await ask(hub, "POST", "/start-edit/alice/own")
    assert opened.json() == {"status": "ok", "url": "edit/user/alice/own/", "port": 0}


async def test_a_first_upload_gets_the_data_files_of_its_item(hub: Hub) -> None:
    hub.publish("A1", files={"data.csv": b"1"})
    assert (await send(hub, OTHER)).status_code == 200
    assert (folder(hub) / "data.csv").read_text() == "1"
    assert (folder(hub) / "A1.py").read_text() == OTHER
    assert kept(hub) == []


async def test_a_student_has_ten_copies_of_items_that_are_not_published(hub: Hub) -> None:
    """Each may have ``workspace_mb`` of the disk."""
    for number in range(10):
        assert (await send(hub, OTHER, f"/upload/alice/own{number}")).status_code == 200
    await ask(hub, "POST", "/mark-exported/alice/more")  # a folder without a notebook
    refused = await send(hub, OTHER, "/upload/alice/more")
    assert refused.status_code == 409
    assert "11 notebooks that are no items of this course" in refused.json()["detail"]
    assert (await send(hub, WORK, "/upload/alice/own3")).status_code == 200
    assert (await send(hub, WORK, "/upload/alice/A1")).status_code == 200
    assert (await send(hub, OTHER, "/upload/alice/more", "prof")).status_code == 200


async def test_a_person_has_four_uploads_under_way_at_most(hub: Hub) -> None:
    """Each is held in memory until it is stored, or refused."""
    for body in (WORK, "no notebook"):
        answers = await asyncio.gather(
            *(send(hub, body) for _ in range(6)), send(hub, body, "/upload/bob/A1", "bob")
        )
        refused = [each for each in answers if each.status_code == 429]
        assert len(refused) == 2
        assert refused[0].json() == {"detail": "4 uploads of yours are under way. Wait for them."}


async def test_an_instructor_may_upload_for_a_class_at_once(hub: Hub) -> None:
    paths = [f"/upload/student{number}/own" for number in range(8)]
    answers = await asyncio.gather(*(send(hub, OTHER, path, "prof") for path in paths))
    assert {each.status_code for each in answers} == {200}


async def test_b117_an_upload_ends_the_session_that_would_save_over_it(hub: Hub) -> None:
    await begin(hub)
    hub.start("alice", "A1")
    assert (await send(hub, OTHER)).status_code == 200
    assert hub.pool.find(SessionKey("alice", "A1", Mode.EDIT)) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"print('hello')\n", "not a marimo notebook"),
        (b"", "empty"),
        (b"PK\x03\x04\x00\x00", "null byte"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8"),
        (NOTEBOOK.encode("utf-16"), "UTF-16"),
        (NOTEBOOK.encode("utf-32"), "UTF-32"),
        (NOTEBOOK.replace("1 + 1", "'größe'").encode("latin-1"), "A1.py:8: the file is not UTF-8"),
        (b"# coding: latin-1\n" + NOTEBOOK.encode(), "latin-1"),
        (NOTEBOOK.replace("1 + 1", "1 +").encode(), "A1.py:8"),
        (NOTEBOOK.encode()[:50], "A1.py"),
    ],
)
async def test_b117_what_is_no_notebook_is_refused_and_nothing_changes(
    hub: Hub, content: bytes, says: str
) -> None:
    notebook = await begin(hub)
    response = await send(hub, content)
    assert response.status_code == 400
    assert says in response.json()["detail"]
    assert notebook.read_text() == WORK
    assert kept(hub) == []


async def test_b117_a_byte_order_mark_is_left_out_since_marimo_cannot_open_it(hub: Hub) -> None:
    assert (await send(hub, b"\xef\xbb\xbf" + NOTEBOOK.encode())).status_code == 200
    assert (folder(hub) / "A1.py").read_bytes() == NOTEBOOK.encode()


async def test_b117_line_endings_stay_as_they_were_sent(hub: Hub) -> None:
    content = NOTEBOOK.replace("\n", "\r\n").encode()
    assert (await send(hub, content)).status_code == 200
    assert (folder(hub) / "A1.py").read_bytes() == content


async def test_b117_two_hundred_megabytes_are_refused_before_they_are_read(hub: Hub) -> None:
    notebook = await begin(hub)
    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": str(200 << 20)}
    response = await ask(hub, "POST", "/upload/alice/A1", headers=headers, content=b"--x\r\n")
    assert response.status_code == 413
    assert "16 MB" in response.json()["detail"]
    assert notebook.read_text() == WORK


@pytest.mark.parametrize(
    "more",
    [
        {"content": b"x", "headers": {"content-type": "text/plain"}},
        {"files": {"other": ("A1.py", b"x")}},
        {"files": [("file", ("A1.py", b"x")), ("file", ("A2.py", b"x"))]},
        {"content": b"--x\r\nnonsense", "headers": {"content-type": "multipart/form-data"}},
    ],
)
async def test_b117_other_forms_are_refused(hub: Hub, more: dict[str, Any]) -> None:
    response = await ask(hub, "POST", "/upload/alice/A1", **more)
    assert response.status_code in (400, 413)


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/upload/alice/D1", 400, "Demos can only be run"),
        ("/upload/alice/user", 400, "reserved"),
        ("/upload/alice/.x", 400, "dot"),
    ],
)
async def test_b117_refusals(hub: Hub, path: str, status: int, detail: str) -> None:
    response = await send(hub, NOTEBOOK, path)
    assert response.status_code == status
    assert detail in response.json()["detail"]


async def test_b117_a_hidden_item_takes_no_uploads_of_who_has_no_copy(hub: Hub) -> None:
    (hub.course / "hub-release" / ".visibility.json").write_text('{"A1": {"hidden": true}}')
    response = await send(hub, NOTEBOOK)
    assert (response.status_code, response.json()["detail"]) == (404, "Not available")


# ---- export ----


async def test_b118_export_sends_the_notebook_and_marks_it(hub: Hub) -> None:
    notebook = await begin(hub)
    response = await ask(hub, "GET", "/export/alice/A1")
    assert response.text == WORK
    assert response.headers["content-type"] == "text/x-python; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="A1.py"'
    assert response.headers["etag"].startswith('"')
    modified = parsedate_to_datetime(response.headers["last-modified"]).timestamp()
    assert abs(modified - notebook.stat().st_mtime) < 2
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["file_status"] == "exported"
    os.utime(notebook, (time.time() + 5, time.time() + 5))
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["file_status"] == "modified"


@pytest.mark.parametrize(
    ("method", "user", "site"),
    [("GET", "prof", "none"), ("GET", "alice", "cross-site"), ("HEAD", "alice", "none")],
    ids=["an instructor", "a link of another site", "a head"],
)
async def test_b118_only_who_takes_the_work_home_marks_it(
    hub: Hub, method: str, user: str, site: str
) -> None:
    await begin(hub)
    headers = {"Sec-Fetch-Site": site}
    answer = await ask(hub, method, "/export/alice/A1", user, headers=headers)
    assert (answer.status_code, answer.text) == (200, "" if method == "HEAD" else WORK)
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["file_status"] == "modified"


@pytest.mark.parametrize(
    ("asked", "action", "what"),
    [
        ("POST /start-edit/alice/A1", "start session", "alice/A1 (edit)"),
        ("POST /stop-edit/alice/A1", "stop session", "alice/A1 (edit)"),
        ("GET /look/alice/A1", "read", "alice/A1"),
        ("GET /export/alice/A1", "export", "alice/A1"),
        ("POST /validate/alice/A1", "validate", "alice/A1"),
        ("GET /validate-report/alice/A1", "read report", "alice/A1"),
        ("POST /reset/alice/A1", "reset", "alice/A1"),
        ("POST /download-release/alice/A1", "download release", "alice/A1"),
        ("GET /archives/alice/A1/A1.bak.20250901T101112.py", "export", None),
        ("POST /restore/alice/A1/A1.bak.20250901T101112.py", "restore", None),
    ],
)
async def test_what_an_instructor_does_with_a_students_copy_is_in_the_log(
    hub: Hub, asked: str, action: str, what: str | None
) -> None:
    """B118, B120; what students do with their own copies is not in it."""
    await begin(hub)
    hub.start("alice", "A1")
    archive = "A1.bak.20250901T101112.py"
    for name, text in ((archive, OTHER), ("A1.html", "<p>report</p>")):
        (folder(hub) / name).write_text(text)
    method, path = asked.split()
    assert (await ask(hub, method, path, "prof")).status_code == 200
    line = ("prof", action, what or f"alice/{archive}", "ok")
    assert hub.audit() == [line]
    (folder(hub) / archive).write_text(OTHER)
    assert (await ask(hub, method, path)).status_code == 200
    assert hub.audit() == [line]


async def test_b118_work_can_be_taken_home_though_the_disk_is_full(hub: Hub) -> None:
    """What is left out is the mark that it was exported."""
    await begin(hub)
    full = Workspaces(hub.course / "hub-notebooks", disk=NoRoom())
    later = replace(hub, app=create_app(replace(hub.services, workspaces=full)))
    async with running(later.app):
        response = await ask(later, "GET", "/export/alice/A1")
        refused = await ask(later, "POST", "/mark-exported/alice/A1")
    assert (response.status_code, response.text) == (200, WORK)
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["file_status"] == "modified"
    assert refused.status_code == 503
    assert "disk is full" in refused.json()["detail"]


async def test_b118_a_save_that_is_half_written_is_waited_for(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = await begin(hub)
    notebook.write_text(WORK[:60])
    read = Workspaces.read

    def read_before(*which: Any) -> Saved:
        saved = read(*which)
        notebook.write_text(OTHER)
        return saved

    monkeypatch.setattr(Workspaces, "read", read_before)
    assert (await ask(hub, "GET", "/export/alice/A1")).text == OTHER


async def test_b118_half_a_notebook_is_never_exported(hub: Hub) -> None:
    write_long_ago(await begin(hub), WORK[:100])
    response = await ask(hub, "GET", "/export/alice/A1")
    assert response.status_code == 409
    assert "incomplete" in response.json()["detail"]
    assert not (folder(hub) / ".exported").exists()
    handed_in = (await ask(hub, "POST", "/submit/alice/A1")).json()["detail"]
    assert "incomplete as it was saved last" in handed_in
    assert "export" not in handed_in
    assert not re.search(r'"/export/[^"]+"[^>]* download', await read(hub, "/")), "errors are read"


@pytest.mark.parametrize(("text", "lines"), [(WORK[:100], 12), ("", 0), ("x = (\n", 1)])
async def test_a_broken_notebook_can_be_read_as_text_at_once(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, text: str, lines: int
) -> None:
    monkeypatch.setattr("mograder.sessions.student_copies._SAVING_SECONDS", 600)
    write_long_ago(await begin(hub), text)
    for user, query in (("alice", ""), ("prof", ""), ("prof", "?check=Q1")):
        assert f"{lines} lines." in await read(hub, f"/look/alice/A1{query}", user)


async def test_b118_a_name_that_headers_cannot_hold_is_encoded(hub: Hub) -> None:
    hub.publish("A3 Größe")
    await ask(hub, "POST", "/download/A3 Größe")
    response = await ask(hub, "GET", "/export/alice/A3 Größe")
    disposition = response.headers["content-disposition"]
    assert disposition == "attachment; filename*=utf-8''A3%20Gr%C3%B6%C3%9Fe.py"


async def test_b122_a_copy_can_be_marked_as_exported(hub: Hub) -> None:
    await begin(hub)
    response = await ask(hub, "POST", "/mark-exported/alice/A1")
    assert response.json() == {"status": "ok"}
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["file_status"] == "exported"


async def test_b122_the_directory_is_made_even_without_a_notebook(hub: Hub) -> None:
    assert (await ask(hub, "POST", "/mark-exported/alice/A1")).json() == {"status": "ok"}
    assert (folder(hub) / ".exported").is_file()


# ---- items that are not open ----

_CHECKED = NOTEBOOK.replace("1 + 1", 'check("Secret: Newton", [(True, "one")])')


def _correct(hub: Hub, item: str) -> None:
    release = hub.services.releases.get(ItemName(item))
    assert release is not None
    release.notebook.write_text(_CHECKED)


@pytest.fixture
async def hidden(hub: Hub) -> Hub:
    """Alice has begun A2, and uploaded a notebook named A3 before it was published; both hidden."""
    await ask(hub, "POST", "/download/A2")
    await send(hub, OTHER, "/upload/alice/A3")
    hub.publish("A3")
    _correct(hub, "A3")
    rules = {"items": {name: {"hidden": True} for name in ("A2", "A3")}}
    assert (await ask(hub, "POST", "/visibility", "prof", json=rules)).status_code == 200
    return hub


@pytest.mark.parametrize("path", ["/reset/alice/A1", "/download-release/alice/A1"])
async def test_an_item_that_is_hidden_while_the_editor_closes_replaces_no_copy(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    notebook, without_session = await begin(hub), hub.pool.without_session

    @asynccontextmanager
    async def hidden_meanwhile(key: SessionKey) -> AsyncIterator[None]:
        async with without_session(key):
            rules = {"items": {"A1": {"hidden": True}}}
            await ask(hub, "POST", "/visibility", "prof", json=rules)
            yield

    monkeypatch.setattr(hub.pool, "without_session", hidden_meanwhile)
    assert (await ask(hub, "POST", path)).status_code == 404
    assert notebook.read_text() == WORK


async def test_a_copy_from_before_the_release_shows_nothing_of_a_hidden_item(hidden: Hub) -> None:
    assert (await ask(hidden, "GET", "/help/bob/A3", "bob")).json()["labels"] == []
    assert (await ask(hidden, "GET", "/help/alice/A3")).json()["labels"] == []
    assert (await ask(hidden, "GET", "/help/alice/A3", "prof")).json()["labels"] != []
    assert (await ask(hidden, "GET", "/reset/alice/A3")).status_code == 404
    assert (await ask(hidden, "POST", "/validate/alice/A3")).json()["checks"] == []
    assert (await ask(hidden, "POST", "/hand-in/alice/A3")).json()["words"] == [
        "It was not validated as it is now."
    ]
    assert (await ask(hidden, "POST", "/submit/alice/A3")).json()["tampered_checks"] == []


async def test_a_copy_from_before_the_release_tells_no_title_or_date_of_a_hidden_item(
    hidden: Hub,
) -> None:
    titled = notebook("import marimo as mo", 'mo.md("# Exam on Riemann sums")')
    files = {"files": ("A3.py", titled.encode())}
    assert (await ask(hidden, "POST", "/publish/A3", "prof", files=files)).status_code == 200
    due = {"due": "2026-12-24T10:00:00+00:00"}
    assert (await ask(hidden, "POST", "/dates/A3", "prof", json=due)).status_code == 200
    assert "Riemann" in await read(hidden, "/", "prof")
    (entry,) = (e for e in (await ask(hidden, "GET", "/assignments")).json() if e["name"] == "A3")
    assert entry["updated"] is False
    for path in ("/", "/submissions/alice/A3", "/versions/alice/A3"):
        text = await read(hidden, path)
        assert "A3" in text
        assert "Riemann" not in text
        assert "2026-12-24" not in text
    assert (await ask(hidden, "GET", "/standing/alice/A3")).json()["due"] is None


async def test_a_copy_that_its_session_takes_away_brings_nothing_of_a_hidden_item(
    hidden: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder(hidden, item="A3") / "A3.py").unlink()
    monkeypatch.setattr(Workspaces, "has_copy", lambda *_: True)  # it was there a moment ago
    await ask(hidden, "POST", "/download/A3")
    assert not (folder(hidden, item="A3") / "A3.py").exists()


async def test_who_has_begun_a_hidden_item_goes_on(hidden: Hub) -> None:
    _correct(hidden, "A2")
    answer = (await ask(hidden, "POST", "/validate/alice/A2")).json()
    assert [each["label"] for each in answer["checks"]] == ["Secret: Newton"]


async def test_a_copy_from_before_the_release_gets_no_update_of_a_hidden_item(hidden: Hub) -> None:
    assert (await ask(hidden, "POST", "/updates/A3", "prof")).status_code == 200
    for method in ("GET", "POST"):
        assert (await ask(hidden, method, "/update/alice/A3")).status_code == 404
    assert (await ask(hidden, "POST", "/start-edit-deep/A3")).status_code == 200
    assert (folder(hidden, item="A3") / "A3.py").read_text() == OTHER
    assert "take update" not in {action for _, action, *_ in hidden.audit()}
    assert (await ask(hidden, "GET", "/standing/alice/A3")).json().get("update") is None
    for path in ("/", "/versions/alice/A3"):
        assert "/update/alice/A3" not in await read(hidden, path)
    rules = {"items": {"A3": {"hidden": False}}}
    assert (await ask(hidden, "POST", "/visibility", "prof", json=rules)).status_code == 200
    assert (await ask(hidden, "GET", "/update/alice/A3")).status_code == 200
