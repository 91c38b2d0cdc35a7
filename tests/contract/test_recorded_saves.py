"""Saves through the session proxy: each is a version before the page learns that it is saved."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from mograder.core.errors import Busy
from mograder.core.names import ItemName, Username
from mograder.notebook import MAX_NOTEBOOK
from mograder.store.versions.versions import Origin, Version
from tests.support.proxy_session import A1, RunningProxy
from tests.support.session_proxy import cookie

ALICE, ITEM = Username("alice"), ItemName("A1")
SAVE = "/api/kernel/save"


async def saved(
    proxied: RunningProxy, text: bytes, path: str = SAVE, user: str = "alice"
) -> httpx.Response:
    return await proxied.http.post(A1 + path, content=text, headers=cookie(user))


def versions(proxied: RunningProxy) -> list[tuple[Origin, bytes]]:
    """The versions of the copy, the oldest first."""
    kept = proxied.rig.services.recorder.versions
    found = reversed(kept.all("alice", "A1"))
    return [(each.origin, kept.text("alice", "A1", each.number)) for each in found]


def put(proxied: RunningProxy, text: bytes) -> None:
    """Write the copy's file, as a program in the session does."""
    path = proxied.rig.hub.course / "hub-notebooks/alice/A1/A1.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)


@pytest.mark.parametrize("path", [SAVE, "/api/kernel/save_app_config", "/api//kernel/%73ave/"])
async def test_a_save_is_recorded_and_its_answer_passed_on(
    proxied: RunningProxy, path: str
) -> None:
    answer = await saved(proxied, b"a = 1\n", path)
    assert answer.status_code == 200
    assert b"a = 1" in answer.content
    assert versions(proxied) == [(Origin.EDITOR, answer.content)]


async def test_the_version_is_there_before_the_answer(
    proxied: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it is recorded, nothing of the answer is sent."""
    recorder = proxied.rig.services.recorder
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    record = recorder.saved

    def slowly(user: Username, item: ItemName, text: bytes) -> Version:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return record(user, item, text)

    monkeypatch.setattr(type(recorder), "saved", lambda _, *given: slowly(*given))
    saving = asyncio.ensure_future(saved(proxied, b"a = 1\n"))
    await begun.wait()
    other = await proxied.http.get(A1 + "/health", headers=cookie("alice"))
    assert other.status_code == 200  # the event loop goes on
    assert not saving.done()
    go_on.set()
    assert (await saving).status_code == 200


async def test_a_save_that_cannot_be_recorded_is_an_error(
    proxied: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Version:
        raise Busy("The hub's database does not answer.", hint="Try again in a moment.")

    monkeypatch.setattr(type(proxied.rig.services.recorder), "saved", fails)
    answer = await saved(proxied, b"a = 1\n")
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert "a = 1" not in answer.text


async def test_what_marimo_refuses_is_no_version(proxied: RunningProxy) -> None:
    answer = await saved(proxied, b"a = 1\n", SAVE + "?400")
    assert (answer.status_code, answer.content) == (400, b"a = 1\n")
    assert versions(proxied) == []


async def test_a_save_of_a_text_that_cannot_be_opened_again_is_an_error(
    proxied: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_NOTEBOOK > 2_000_000
    monkeypatch.setattr("mograder.web.hub.proxy.http_relay.MAX_NOTEBOOK", 1000)
    text = b"x" * 2_000_000
    answer = await saved(proxied, text)
    assert answer.status_code == 413
    assert "could not be opened again" in answer.text
    assert versions(proxied) == []
    assert proxied.rig.services.recorder.tally.too_large == 1


async def test_of_an_answer_that_cannot_be_read_the_file_counts(proxied: RunningProxy) -> None:
    put(proxied, b"a = 2\n")
    request = proxied.http.stream(
        "POST", A1 + SAVE + "?gzip", content=b"no gzip", headers=cookie("alice")
    )
    async with request as answer:
        assert answer.status_code == 200
    assert versions(proxied) == [(Origin.EDITOR, b"a = 2\n")]


async def test_the_file_browser_changes_the_copy_too(proxied: RunningProxy) -> None:
    put(proxied, b"a = 3\n")
    answer = await saved(proxied, b"{}", "/api/files/update")
    assert answer.json()["method"] == "POST"
    assert versions(proxied) == [(Origin.FOUND, b"a = 3\n")]


async def test_a_session_that_saves_without_end_is_slowed(
    proxied: RunningProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its own saves only, and beyond a number of them it is refused."""
    monkeypatch.setattr("mograder.hub.save_recording._MOST_WAITING", 3)
    flood = [saved(proxied, b"a = %d\n" % number) for number in range(20)]
    statuses = [answer.status_code for answer in await asyncio.gather(*flood)]
    assert set(statuses) <= {200, 503}
    assert len(versions(proxied)) == statuses.count(200) >= 3
