"""Publishing that fails: the message to the instructor, and the old release stays.

compatibility-0.3.16.md 2.3, 2.7; B86-B99, B128; security.md, "Input". The hub, uv, marimo and the
command are real.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.course import put_release
from tests.support.hub import Answer, HubProcess, run_mograder
from tests.support.identity import instructor, instructor_token, token
from tests.support.marimo import open_editor
from tests.support.shared_hub import (
    HEADER,
    SharedCaches,
    editor,
    module_hub,
    notebook,
    start,
    workspace,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

NEW = "P0-New"
IMPOSSIBLE = HEADER.replace('"numpy"', '"numpy>=2",\n#     "numpy<2"')
UNBUILT = '# /// script\n# dependencies = ["marimo", "idna"]\n# ///\n'
Parts = list[tuple[str, tuple[str, bytes]]]
"""A multipart form: fields with file names and contents."""

NDJSON = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    settings = {"limits.upload_mb": 2, "limits.upload_files": 5}
    with module_hub("publish", caches, settings=settings) as hub:
        yield hub


@pytest.fixture
def item(hub: HubProcess, fresh_name: Callable[[str], str]) -> str:
    """An item that is published, and that only this test replaces."""
    name = fresh_name("P1-Item")
    put_release(hub.course, name, notebook("'the old one'"))
    return name


def upload(item: str, text: str | bytes, **more: bytes) -> Parts:
    """The parts of a publish: the notebook, and more files as ``data="…"`` → ``data.txt``."""
    content = text.encode() if isinstance(text, str) else text
    others = [("files", (f"{name}.txt", data)) for name, data in more.items()]
    return [("files", (f"{item}.py", content)), *others]


def publish(hub: HubProcess, path: str, parts: Parts) -> Answer:
    """Publish by HTTP as an instructor; the status, and the detail of a refusal."""
    with hub.client(instructor()) as client:
        answer = client.post(f"/publish/{path}", files=parts)
    return Answer(answer.status_code, answer.text, str(answer.json().get("detail", "")))


def release_of(hub: HubProcess, item: str) -> dict[str, bytes]:
    """All files of a release, by name."""
    directory = hub.course / "hub-release" / item
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def leavings(hub: HubProcess) -> list[str]:
    """Return the files that incomplete publishing left behind."""
    places = [hub.course / "hub-release", *(hub.course / "hub-release").glob(".staging*")]
    return [
        path.name
        for place in places
        for path in place.iterdir()
        if path.name.startswith(".") and not path.name.startswith(".staging")
    ]


async def _still_opens(hub: HubProcess, user: str, item: str) -> None:
    """Assert that a new student gets the old release."""
    start(hub, user, item)
    async with open_editor(editor(hub, user, item)) as tab:
        assert tab.cells.codes == ["'the old one'"]


async def test_an_environment_that_cannot_be_built_is_told_in_uvs_words_and_disturbs_nobody(
    hub: HubProcess, item: str, fresh_name: Callable[[str], str]
) -> None:
    """B96: uv's message comes whole; the old release stays, and its sessions go on."""
    alice = fresh_name("alice")
    before = release_of(hub, item)
    start(hub, alice, item)
    async with open_editor(editor(hub, alice, item)) as tab:
        await tab.edit(0, "kept = 21")
        answer = await asyncio.to_thread(
            publish, hub, item, upload(item, notebook(header=IMPOSSIBLE))
        )
        await tab.post("/api/kernel/run", {"cellIds": ["probe"], "codes": ["kept * 2"]})
        await tab.until(lambda: "42" in str(tab.progress.outputs.get("probe")))
    assert answer.status == 400
    assert answer.errors.startswith("The notebook's requirements cannot be met:\n")
    for said in ("numpy>=2", "numpy<2", "unsatisfiable"):
        assert said in answer.errors
    assert release_of(hub, item) == before
    assert leavings(hub) == []
    await _still_opens(hub, fresh_name("bob"), item)


async def test_an_upload_that_breaks_off_leaves_the_old_release(hub: HubProcess, item: str) -> None:
    before = release_of(hub, item)
    _, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    head = [
        f"POST /publish/{item} HTTP/1.1",
        "Host: hub",
        f"Authorization: Bearer {instructor_token()}",
        "Content-Type: multipart/form-data; boundary=b",
        "Content-Length: 100000",
        "",
        "--b",
        f'Content-Disposition: form-data; name="files"; filename="{item}.py"',
        "",
        notebook("'half"),
    ]
    writer.write("\r\n".join(head).encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert await asyncio.to_thread(hub.healthy)
    assert release_of(hub, item) == before
    done = await asyncio.to_thread(publish, hub, item, upload(item, notebook("'whole'")))
    assert done.status == 200
    assert leavings(hub) == []


def test_a_hub_that_is_killed_while_it_publishes_keeps_the_old_release(
    caches: SharedCaches,
) -> None:
    with module_hub("publish-killed", caches) as hub:
        put_release(hub.course, NEW, notebook("'the old one'"))
        before = release_of(hub, NEW)
        parts = upload(NEW, notebook(header=UNBUILT), data=b"new")
        with pytest.raises(httpx.TransportError):
            _kill_while_resolving(hub, parts)
        assert release_of(hub, NEW) == before
        hub.restart()
        assert release_of(hub, NEW) == before
        start(hub, "alice", NEW)
        assert "'the old one'" in (workspace(hub, "alice", NEW) / f"{NEW}.py").read_text()
        assert publish(hub, NEW, upload(NEW, notebook("'newer'"))).status == 200
        assert leavings(hub) == []


def _kill_while_resolving(hub: HubProcess, parts: Parts) -> None:
    with (
        hub.client({**instructor(), **NDJSON}) as client,
        client.stream("POST", f"/publish/{NEW}", files=parts) as news,
    ):
        for line in news.iter_lines():
            if "Resolving" in line:
                hub.kill()


def _by_command(hub: HubProcess, directory: Path, *options: str) -> Answer:
    where = ("--url", hub.url, "--token", instructor_token())
    return run_mograder("hub", "publish", str(directory), *where, *options, cwd=hub.course)


@pytest.fixture
def local(tmp_path: Path, item: str) -> Path:
    """A release directory of the instructor's, named like the item."""
    directory = tmp_path / item
    directory.mkdir()
    (directory / f"{item}.py").write_text(notebook("'sent by the command'"))
    return directory


def test_the_command_tells_the_hubs_refusal_and_its_exit_code(
    hub: HubProcess, item: str, local: Path
) -> None:
    before = release_of(hub, item)
    (local / f"{item}.py").write_text(notebook(header=IMPOSSIBLE))
    guess = token("__instructor__", "a-guess")
    for options, status, words in (
        ((), 2, "unsatisfiable"),
        (("--token", guess), 4, "Error: "),
        (("--url", "http://127.0.0.1:1"), 69, "Error: "),
    ):
        answer = _by_command(hub, local, "--force", *options)
        assert (answer.status, words in answer.errors) == (status, True), answer
        assert "Traceback" not in answer.errors
        assert guess.partition(":")[2] not in answer.errors
    assert release_of(hub, item) == before
