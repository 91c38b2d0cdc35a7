"""Beginning anew, earlier versions and reports, in hostile folders.

See compatibility-0.3.16.md 2.8; B57, B120.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from tests.support.hub_app import NOTEBOOK, Hub, HubOf
from tests.support.hub_copies import OTHER, WORK, ask, begin, folder, kept, press, read, send

# ---- reset and the release ----


async def test_b57_b120_reset_restores_the_release_and_archives_the_work(hub: Hub) -> None:
    notebook = await begin(hub)
    (folder(hub) / "mine.csv").write_text("1")
    await ask(hub, "GET", "/export/alice/A1")
    response = await ask(hub, "POST", "/reset/alice/A1")
    answer = response.json()
    assert (answer["status"], answer["file_status"]) == ("ok", "uploaded")
    assert (folder(hub) / answer["archive"]).read_text() == WORK
    assert notebook.read_text() == NOTEBOOK
    assert (folder(hub) / "mine.csv").read_text() == "1"
    assert not (folder(hub) / ".exported").exists()


async def test_b120_without_a_copy_nothing_is_copied(hub: Hub) -> None:
    response = await ask(hub, "POST", "/reset/alice/A1")
    assert response.json() == {"status": "ok", "file_status": "not_started", "archive": None}
    assert not folder(hub).exists()


@pytest.mark.parametrize("path", ["/reset/alice/A1", "/download-release/alice/A1"])
async def test_a_page_says_that_something_was_kept_only_where_there_was_a_copy(
    hub: Hub, path: str
) -> None:
    for kept_some in (False, True):
        answer = await press(hub, path)
        told = await read(hub, answer.headers["location"])
        assert ("What you had is kept" in told) is kept_some
        assert 'role="status"' in told
        await begin(hub)


@pytest.mark.parametrize("path", ["/reset/alice/A1", "/download-release/alice/A1"])
async def test_b120_a_hidden_release_is_not_handed_out(hub: Hub, path: str) -> None:
    await begin(hub)
    (hub.course / "hub-release" / ".visibility.json").write_text('{"A1": {"hidden": true}}')
    response = await ask(hub, "POST", path)
    assert (response.status_code, response.json()["detail"]) == (404, "Not available")
    assert (folder(hub) / "A1.py").read_text() == WORK


def sparse(notebook: Path) -> None:
    notebook.touch()
    os.truncate(notebook, 10 << 30)


@pytest.mark.parametrize(
    ("trap", "what"),
    [
        (lambda notebook: notebook.symlink_to("secret"), "a symbolic link"),
        (os.mkfifo, "a named pipe"),
        (lambda notebook: (notebook / "deep").mkdir(parents=True), "a directory"),
        (sparse, ""),
    ],
    ids=["link", "pipe", "directory", "sparse"],
)
async def test_b132_a_notebook_that_was_replaced_by_a_trap_harms_nobody_and_can_be_reset(
    hub: Hub, trap: Callable[[Path], None], what: str
) -> None:
    notebook = await begin(hub)
    notebook.unlink()
    (folder(hub) / "secret").write_text(OTHER)
    trap(notebook)
    assert (await ask(hub, "GET", "/status/alice/A1")).status_code == 200
    exported = await ask(hub, "GET", "/export/alice/A1")
    if what:
        remedy = "Rename or remove it in the workspace, then try again."
        said = f"'alice/A1/A1.py' is {what}, not a file. {remedy}"
        for answer in (exported, await ask(hub, "POST", "/start-edit-deep/A1")):
            assert (answer.status_code, answer.json()["detail"]) == (400, said)
    else:
        assert exported.status_code == 413
    for action in ("validate", "submit"):
        answer = await ask(hub, "POST", f"/{action}/alice/A1")
        assert answer.status_code == exported.status_code, action
    assert hub.runs.asked == []
    assert not (hub.course / "submitted").exists()
    assert (await ask(hub, "POST", "/mark-exported/alice/A1")).status_code == 200
    answer = (await ask(hub, "POST", "/reset/alice/A1")).json()
    assert answer["archive"] in {path.name for path in folder(hub).iterdir()}
    assert notebook.read_text() == NOTEBOOK


async def test_b132_a_folder_that_leads_elsewhere_is_not_opened(hub: Hub) -> None:
    await begin(hub)
    folder(hub).rename(folder(hub).with_name("A2"))
    folder(hub).symlink_to("A2")
    answer = await ask(hub, "POST", "/start-edit-deep/A1")
    assert answer.status_code == 400
    assert "leads through a link" in answer.json()["detail"]
    assert hub.pool.started == []


async def test_download_release_gets_the_latest_and_keeps_the_work(hub: Hub) -> None:
    first = await ask(hub, "POST", "/download-release/alice/A1")
    notebook = folder(hub) / "A1.py"
    assert first.json() == {"status": "ok", "path": str(notebook), "archive": None}
    notebook.write_text(WORK)
    second = (await ask(hub, "POST", "/download-release/alice/A1")).json()
    assert (folder(hub) / second["archive"]).read_text() == WORK
    assert notebook.read_text() == NOTEBOOK


# ---- two at once ----


async def test_two_tabs_that_reset_at_once_lose_nothing(hub: Hub) -> None:
    await begin(hub)
    answers = await asyncio.gather(*(ask(hub, "POST", "/reset/alice/A1") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["archive"] for answer in answers}) == 4
    assert WORK in kept(hub)


async def test_an_upload_and_a_reset_at_once_keep_both_works(hub: Hub) -> None:
    notebook = await begin(hub)
    await asyncio.gather(send(hub, OTHER), ask(hub, "POST", "/reset/alice/A1"))
    assert {*kept(hub), notebook.read_text()} == {WORK, OTHER, NOTEBOOK}


async def test_b120_a_reset_waits_for_a_start_and_ends_its_session(hub: Hub) -> None:
    await begin(hub)
    hub.pool.hold = asyncio.Event()
    starting = asyncio.create_task(ask(hub, "POST", "/start-edit/alice/A1"))
    await hub.pool.reached.wait()
    resetting = asyncio.create_task(ask(hub, "POST", "/reset/alice/A1"))
    await asyncio.wait_for(hub.pool.held_up.wait(), 60)
    assert (folder(hub) / "A1.py").read_text() == WORK
    hub.pool.hold.set()
    await asyncio.gather(starting, resetting)
    assert hub.pool.find(SessionKey("alice", "A1", Mode.EDIT)) is None
    assert kept(hub) == [WORK]


# ---- earlier versions ----


async def test_an_earlier_version_is_listed_read_and_put_back(hub: Hub) -> None:
    notebook = await begin(hub)
    name = (await ask(hub, "POST", "/reset/alice/A1")).json()["archive"]
    (entry,) = (await ask(hub, "GET", "/archives/alice/A1")).json()
    assert (entry["name"], entry["size"]) == (name, len(WORK))
    assert entry["kept"] == pytest.approx(hub.clock.now().timestamp(), abs=1)
    response = await ask(hub, "GET", f"/archives/alice/A1/{name}")
    assert response.text == WORK
    assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
    hub.start("alice", "A1")
    answer = (await ask(hub, "POST", f"/restore/alice/A1/{name}")).json()
    assert answer["file_status"] == "modified"
    assert (folder(hub) / answer["archive"]).read_text() == NOTEBOOK
    assert notebook.read_text() == WORK
    assert hub.pool.all() == []


@pytest.mark.parametrize("name", ["A1.py", "..%2FA1.py", ".uploaded", "A1.bak.20260901T090000.py"])
async def test_only_earlier_versions_can_be_read_or_put_back(hub: Hub, name: str) -> None:
    await begin(hub)
    assert (await ask(hub, "GET", f"/archives/alice/A1/{name}")).status_code == 404
    assert (await ask(hub, "POST", f"/restore/alice/A1/{name}")).status_code == 404


async def test_b132_an_archive_that_is_a_link_is_not_followed(hub: Hub) -> None:
    await begin(hub)
    name = "A1.bak.20260901T090000.py"
    (folder(hub) / name).symlink_to("/etc/passwd")
    for method, path in (("GET", "archives"), ("POST", "restore")):
        response = await ask(hub, method, f"/{path}/alice/A1/{name}")
        assert response.status_code == 400
        assert "root:" not in response.text


# ---- the report, forms, a course of 0.3.16, a full disk ----


async def test_a_report_is_shown_confined_since_a_student_may_have_written_it(hub: Hub) -> None:
    await begin(hub)
    (folder(hub) / "A1.html").write_text("<p onclick='alert(1)'>Fine</p>")
    response = await ask(hub, "GET", "/validate-report/alice/A1", user="prof")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policies = response.headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert policies[0].startswith("sandbox; default-src 'none';")
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_a_report_with_elements_that_ours_never_have_is_not_shown(hub: Hub) -> None:
    await begin(hub)
    (folder(hub) / "A1.html").write_text('<p>Fine</p><iframe src="//example.org"></iframe>')
    response = await ask(hub, "GET", "/validate-report/alice/A1", user="prof")
    assert response.status_code == 404
    assert response.json()["detail"] == "No validation report Validate the notebook once more."


async def test_a_form_is_answered_with_the_next_page(hub: Hub) -> None:
    await begin(hub)
    response = await press(hub, "/mark-exported/alice/A1")
    assert (response.status_code, response.headers["location"]) == (303, "/?done=exported&item=A1")


async def test_a_copy_of_0316_opens_in_place(hub: Hub) -> None:
    """Markers, archives, marimo's own folders: all as 0.3.16 left it.

    See compatibility-0.3.16.md 3.
    """
    place = folder(hub)
    (place / ".config" / "marimo").mkdir(parents=True)
    (place / "__marimo__").mkdir()
    (place / "A1.py").write_text(WORK)
    (place / "A1.html").write_text("<p>report</p>")
    (place / "A1.bak.20250901T101112.py").write_text(OTHER)
    for name, age in ((".fetched", 300), (".uploaded", 300), (".exported", 0), (".submitted", 0)):
        (place / name).touch()
        os.utime(place / name, (time.time() - age, time.time() - age))
    (hub.course / "session_mb.json").write_text('{"default": 300}')
    (hub.course / "hub-release" / "A1" / ".venv" / "bin").mkdir(parents=True)
    assert (await ask(hub, "GET", "/status/alice/A1")).json()["file_status"] == "exported"
    (entry,) = (await ask(hub, "GET", "/archives/alice/A1")).json()
    assert entry["name"] == "A1.bak.20250901T101112.py"
    assert (await ask(hub, "GET", "/validate-report/alice/A1")).text == "<p>report</p>"
    assert (await ask(hub, "POST", "/reset/alice/A1")).json()["file_status"] == "uploaded"
    assert sorted(kept(hub)) == sorted([OTHER, WORK])


async def test_a_disk_that_is_nearly_full_takes_nothing_and_loses_nothing(hub_of: HubOf) -> None:
    reserve = "disk_reserve_mb = 1000000000\ndisk_reserve_percent = 100"
    hub = hub_of(f"[limits]\n{reserve}\n", "A1")
    notebook = await begin(hub)
    for response in (await send(hub, OTHER), await ask(hub, "POST", "/reset/alice/A1")):
        assert response.status_code == 503
        assert "nearly full" in response.json()["detail"]
        assert response.headers["retry-after"] == "60"
    assert notebook.read_text() == WORK
    assert kept(hub) == []
