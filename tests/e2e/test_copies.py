"""Copies and access while real sessions run: upload, submit, a student who is taken off.

B54, B56, B117, B118, B37, B43. The hub, its supervisor, marimo and bubblewrap are real.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import tomlkit

from mograder.sandbox.environments.builder import LOCK
from mograder.sandbox.environments.pruning import finished_environments
from mograder.sandbox.environments.record import RECORD
from tests.support.course import put_release
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import instructor, instructor_token, student
from tests.support.marimo import Address, EditorFailed, open_editor
from tests.support.shared_hub import (
    TINY,
    SharedCaches,
    editor,
    module_hub,
    notebook,
    servers_of,
    start,
    until,
    workspace,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]


ODD, ODD_TALK = "Übung 1 (A & B), it's @+", "Week 2 & 3"


@pytest.fixture(scope="module")
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    with module_hub("copies", caches, prepare=add_odd_names) as hub:
        yield hub


def add_odd_names(course: Path) -> None:
    put_release(course, ODD, notebook())
    put_release(course, ODD_TALK, notebook(), "lecture")


def ask(hub: HubProcess, method: str, path: str, user: str) -> httpx.Response:
    """One request of a student's client."""
    with hub.client(student(user)) as client:
        return client.request(method, path)


def file_of(hub: HubProcess, user: str) -> str:
    """A file in a student's folder."""
    return (workspace(hub, user) / f"{TINY}.py").read_text("utf-8")


def handed_in_of(hub: HubProcess, user: str) -> str:
    """The latest submission of a student."""
    return (hub.course / "submitted" / TINY / f"{user}.py").read_text("utf-8")


async def test_b56_b117_b118_what_was_uploaded_is_edited_and_exported(hub: HubProcess) -> None:
    start(hub, "upload")
    text = notebook("2 + 3")
    with hub.client(student("upload")) as client:
        path = f"/upload/upload/{TINY}"
        client.post(path, files={"file": (f"{TINY}.py", text.encode())}).raise_for_status()
    assert servers_of("upload") == []
    start(hub, "upload")
    async with open_editor(editor(hub, "upload")) as tab:
        assert tab.cells.codes == ["2 + 3"]
        await tab.edit(0, "2 + 40")
        await tab.save()
        exported = ask(hub, "GET", f"/export/upload/{TINY}", "upload")
        handed_in = ask(hub, "POST", f"/submit/upload/{TINY}", "upload")
    assert "2 + 40" in exported.text
    assert ask(hub, "GET", f"/status/upload/{TINY}", "upload").json()["file_status"] == "exported"
    assert handed_in.status_code == 200
    assert "2 + 40" in handed_in_of(hub, "upload")


@pytest.mark.journey
async def test_names_that_addresses_encode_open_editors_and_lectures(hub: HubProcess) -> None:
    """B48, B62, B66, B114; single sign-on sends names such as this."""
    user = "ann+1@x.edu"
    with hub.client(student(user)) as client:
        client.post(f"/start-edit-deep/{ODD}").raise_for_status()
        async with open_editor(editor(hub, user, ODD)) as tab:
            assert "42" in (await tab.edit(0, "6 * 7")).data
            await tab.save()
        talk = client.post(f"/start-run/{ODD_TALK}").raise_for_status().json()["url"]
        assert client.get(f"/{talk}").status_code == 200
        bare = client.get(f"/{talk.rstrip('/')}", follow_redirects=False)
        assert bare.headers["location"].endswith(f"/{talk}")
    assert "6 * 7" in (workspace(hub, user, ODD) / f"{ODD}.py").read_text("utf-8")


def test_b117_two_hundred_megabytes_are_refused_and_never_in_memory(hub: HubProcess) -> None:
    """Of a client that does not say how much there will be; one that does is refused at once."""
    start(hub, "large")
    before, resident = file_of(hub, "large"), psutil.Process(hub.pid).memory_info().rss
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.py"\r\n\r\n'
    form = {**student("large"), "Content-Type": "multipart/form-data; boundary=b"}
    with hub.client(form) as client:
        answer = client.post(f"/upload/large/{TINY}", content=_megabytes(head, 200))
    assert answer.status_code == 413
    assert "16 MB" in answer.json()["detail"]
    assert file_of(hub, "large") == before
    assert psutil.Process(hub.pid).memory_info().rss - resident < 60 << 20


def _megabytes(head: bytes, count: int) -> Iterator[bytes]:
    """The body of a form, a megabyte at a time."""
    yield head
    for _ in range(count):
        yield b"x" * (1 << 20)


async def test_b37_b43_a_student_who_is_taken_off_in_mid_session_loses_it_and_keeps_the_work(
    hub: HubProcess,
) -> None:
    start(hub, "removed")
    with hub.client(instructor()) as client:
        async with open_editor(editor(hub, "removed")) as tab:
            await tab.edit(0, "kept = 1")
            await tab.save()
            users = {"users": ["reset", "upload", "first"]}
            client.post("/sync-users", json=users).raise_for_status()
            until(lambda: servers_of("removed") == [])
        assert ask(hub, "GET", "/assignments", "removed").status_code == 403
        with pytest.raises(EditorFailed):
            async with open_editor(editor(hub, "removed")):
                pass
        saved = client.get(f"/export/removed/{TINY}")
        assert "kept = 1" in saved.text
        (hub.course / "allowed_users.txt").unlink()
    assert ask(hub, "GET", "/assignments", "removed").status_code == 200


async def test_a_lectures_layout_and_data_folder_reach_its_student(
    hub: HubProcess, tmp_path: Path
) -> None:
    source = tmp_path / "source" / "L09"
    code = "from pathlib import Path\nPath('data/x.csv').read_text()"
    text = notebook(code).replace(".App()", '.App(layout_file="layouts/L09.slides.json")')
    layout = '{"type": "slides", "data": {}}'
    files = {"L09.py": text, "layouts/L09.slides.json": layout, "data/x.csv": "4711"}
    for name, content in {**files, "old/L09.py": text}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(content)
    made = run_mograder("generate", "--lecture", "L09", cwd=tmp_path)
    assert "LEFT-OUT: source/L09/old/: the notebook does not name this folder." in made.output
    address = ["--url", hub.url, "--token", instructor_token()]
    sent = run_mograder("hub", "publish", "L09", *address, cwd=tmp_path)
    assert "data/x.csv, layouts/L09.slides.json" in sent.output, sent
    with hub.client(student("slides")) as client:
        url = client.post("/start-run/L09").json()["url"].rstrip("/")
    where = Address(base_url=f"{hub.url}/{url}", headers=student("slides"))
    async with open_editor(where, run=False) as tab:
        await tab.until(lambda: tab.progress.completed_runs > 0)
        assert tab.cells.layout == {"type": "slides", "data": {}}
        assert "4711" in tab.progress.outputs[tab.cells.ids[0]].data
    with hub.client(student("slides")) as client:
        client.post("/download-release/slides/L09").raise_for_status()
    mine = hub.course / "hub-notebooks" / "slides" / "L09"
    assert {name for name in files if (mine / name).is_file()} == set(files)


def _stale_environment(environments: Path, like: Path) -> Path:
    """An environment that no release has asked for and nothing has used for two days."""
    stale = environments / "0123456789-of-an-earlier-version"
    stale.mkdir()
    shutil.copy(like / RECORD, stale)
    (stale / LOCK).write_text("")
    then = time.time() - 2 * 86_400
    os.utime(stale / LOCK, (then, then))
    return stale


async def test_hub_prune_removes_what_nothing_needs_and_leaves_a_running_session_alone(
    hub: HubProcess,
) -> None:
    start(hub, "pruned")
    settings = tomlkit.parse((hub.course / "mograder.toml").read_text("utf-8")).unwrap()
    environments = Path(settings["hub"]["environments_dir"])
    needed = finished_environments(environments)
    for path in needed:
        (path / LOCK).touch()  # other hubs of this run use them, too
    stale = _stale_environment(environments, needed[0])
    prune = ("hub", "prune", "-C", str(hub.course))
    would = run_mograder(*prune, "--dry-run", env=hub.environment())
    assert (would.status, stale.name in would.output, stale.exists()) == (0, True, True), would
    done = run_mograder(*prune, env=hub.environment())
    assert (done.status, stale.name in done.output, stale.exists()) == (0, True, False), done
    assert all(path.is_dir() for path in needed)
    async with open_editor(editor(hub, "pruned"), run=False) as tab:
        await tab.edit(0, "import marimo; mine = 4713")
        await tab.save()
