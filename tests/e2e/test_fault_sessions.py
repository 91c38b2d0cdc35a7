"""Sessions that fail: at start, afterwards, never answering; workspaces that are no workspaces.

Each has a clear message and the right status, affects no other, and loses nothing (security.md,
"The workspace is theirs"; B66-B69, B72, B114-B116, B123, B124, B132).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.hub import HubProcess
from tests.support.identity import from_proxy, student
from tests.support.marimo import EditorFailed, open_editor
from tests.support.shared_hub import (
    TINY,
    SharedCaches,
    editor,
    module_hub,
    servers_of,
    start,
    stop,
    until,
    workspace,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

_NAVIGATION = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none"}


@pytest.fixture(scope="module")
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    settings = {"limits.start_timeout": 30}
    with module_hub("fault-sessions", caches, settings=settings) as hub:
        yield hub


@pytest.fixture
def alice(fresh_name: Callable[[str], str]) -> str:
    return fresh_name("alice")


def deep_link(hub: HubProcess, user: str, item: str = TINY) -> httpx.Response:
    with hub.client(student(user)) as client:
        return client.post(f"/start-edit-deep/{item}")


def hang_at_start(hub: HubProcess, user: str) -> Path:
    """Leave a pipe in the workspace that marimo reads for ever; returns it, to be removed."""
    start(hub, user)
    assert stop(hub, user)
    pipe = workspace(hub, user) / "pyproject.toml"
    os.mkfifo(pipe)
    return pipe


@contextlib.contextmanager
def being_read(pipe: Path) -> Iterator[None]:
    """Wait until marimo reads the pipe; it goes on waiting there while the context lasts.

    Its server is in the process list before it has entered the sandbox. A session that dies in
    between is started once more, without the zygote.
    """
    writers: list[int] = []
    until(lambda: _open_for_writing(pipe, writers))
    try:
        yield
    finally:
        os.close(*writers)


def _open_for_writing(pipe: Path, writers: list[int]) -> bool:
    """Open a pipe and add its descriptor; return False if it has no reader yet."""
    try:
        writers.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return False
    return True


def _let_go(pipe: Path) -> None:
    """Let readers of the pipe read its end, and remove it, so that no other reader waits."""
    descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    pipe.unlink()
    os.close(descriptor)


def sessions_of(hub: HubProcess, user: str) -> list[str]:
    with hub.client(student(user)) as client:
        return [row["assignment"] for row in client.get("/sessions").json()]


def test_a_session_that_never_answers_is_given_up_and_starts_when_asked_again(
    hub: HubProcess, alice: str
) -> None:
    pipe = hang_at_start(hub, alice)
    before = (workspace(hub, alice) / f"{TINY}.py").read_bytes()
    answer = deep_link(hub, alice)
    assert answer.status_code == 504
    assert answer.json() == {
        "detail": "The notebook did not start within 30 seconds. "
        "Try again; if it happens again, tell your instructor."
    }
    assert servers_of(alice) == [], "what did not answer is gone"
    assert sessions_of(hub, alice) == []
    pipe.unlink()
    assert deep_link(hub, alice).status_code == 200
    assert (workspace(hub, alice) / f"{TINY}.py").read_bytes() == before


def test_a_session_that_dies_at_start_says_so_at_once_and_can_be_retried(
    hub: HubProcess, alice: str
) -> None:
    pipe = hang_at_start(hub, alice)
    with ThreadPoolExecutor() as threads:
        starting = threads.submit(deep_link, hub, alice)
        with being_read(pipe):
            (server,) = servers_of(alice)
            server.kill()
            answer = starting.result()
    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("The notebook ended while it was starting (status ")
    assert sessions_of(hub, alice) == []
    pipe.unlink()
    assert deep_link(hub, alice).status_code == 200


async def test_a_session_that_dies_later_tells_the_page_and_the_next_link_starts_another(
    hub: HubProcess, alice: str
) -> None:
    start(hub, alice)
    first = servers_of(alice)
    with hub.client({**from_proxy(alice), **_NAVIGATION}) as browser:
        page = browser.get(f"/edit/user/{alice}/{TINY}/").text
    cap = page.partition("<iframe ")[2].partition(' src="')[2].partition('"')[0]
    async with open_editor(editor(hub, alice)) as tab:
        await tab.edit(0, "kept = 17")
        await tab.save()
        first[0].kill()
        with pytest.raises(EditorFailed, match="closed the connection"):
            await tab.until(lambda: False)
    until(lambda: sessions_of(hub, alice) == [])
    with hub.client() as client:
        gone = client.get(cap)
        assert (gone.status_code, gone.text) == (
            404,
            "What was saved is safe. This session has ended.",
        )
        assert gone.headers["x-mograder-session"] == "gone"
        direct = client.get(f"/edit/user/{alice}/{TINY}/", headers=student(alice))
        assert (direct.status_code, direct.text) == (404, "No active session")
        tab_again = client.get(
            f"/edit/user/{alice}/{TINY}/", headers={**from_proxy(alice), **_NAVIGATION}
        )
        assert (tab_again.status_code, tab_again.headers["location"]) == (303, f"/edit/{TINY}")
    start(hub, alice)
    second = servers_of(alice)
    assert len(second) == 1
    assert second[0].pid != first[0].pid
    assert "kept = 17" in (workspace(hub, alice) / f"{TINY}.py").read_text()


@pytest.mark.parametrize("content", [b"this is ( no python", b"caf\xe9 = 1", b""])
async def test_a_copy_that_does_not_parse_still_opens_and_is_kept(
    hub: HubProcess, alice: str, content: bytes
) -> None:
    """What a student broke, a student must be able to see and repair."""
    place = workspace(hub, alice)
    place.mkdir(parents=True)
    (place / f"{TINY}.py").write_bytes(content)
    start(hub, alice)
    with hub.client(student(alice)) as client:
        page = client.get(f"/edit/user/{alice}/{TINY}/")
    assert page.status_code == 200
    assert (place / f"{TINY}.py").read_bytes() == content


def test_a_client_that_leaves_during_a_start_does_not_stop_it_for_the_others(
    hub: HubProcess, alice: str
) -> None:
    """B72: everybody who asks meanwhile waits for the same start."""
    pipe = hang_at_start(hub, alice)
    with (
        ThreadPoolExecutor() as threads,
        hub.client({**student(alice), "Accept": "application/x-ndjson"}) as leaver,
    ):
        with leaver.stream("POST", f"/start-edit-deep/{TINY}") as news:
            assert next(news.iter_lines()).startswith('{"event": "progress"')
            until(lambda: len(servers_of(alice)) == 1)
            pid = servers_of(alice)[0].pid
            other = threads.submit(deep_link, hub, alice)
        _let_go(pipe)
        assert other.result().status_code == 200
    assert [process.pid for process in servers_of(alice)] == [pid]


async def test_a_client_that_leaves_a_download_or_an_upload_half_done_harms_nothing(
    hub: HubProcess, alice: str
) -> None:
    start(hub, alice)
    public = workspace(hub, alice) / "public"
    public.mkdir()
    big = os.urandom(1 << 16) * 320  # 20 MB
    (public / "big.bin").write_bytes(big)
    path = f"/edit/user/{alice}/{TINY}/public/big.bin"
    with hub.client(student(alice)) as client:
        with client.stream("GET", path) as answer:
            assert answer.status_code == 200
            assert next(answer.iter_bytes())
        await _break_off_an_upload(hub, alice)
        assert client.get(path).content == big
    async with open_editor(editor(hub, alice)) as tab:
        assert "42" in (await tab.edit(0, "6 * 7")).data


async def _break_off_an_upload(hub: HubProcess, user: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    head = [
        f"POST /edit/user/{user}/{TINY}/api/kernel/save HTTP/1.1",
        "Host: hub",
        f"Authorization: {student(user)['Authorization']}",
        "Content-Type: application/json",
        "Content-Length: 1000000",
        "",
        '{"cellIds": [',
    ]
    writer.write("\r\n".join(head).encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert reader is not None
