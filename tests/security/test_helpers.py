"""Who may be in a student's session: its owner, instructors, and the helper of its owner."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest_asyncio

from mograder.auth.credentials import Role
from mograder.store.hub.board import Board
from tests.support.hub_app import ORIGIN, Hub, hub
from tests.support.hub_copies import ask
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import served_on_unix

__all__ = ["hub"]

SESSION = "/edit/user/alice/A1/"
OTHER = "/edit/user/alice/A2/"


@pytest_asyncio.fixture
async def asked(hub: Hub) -> AsyncIterator[Hub]:
    """A hub on which alice works on two items and asks for help with A1; bob works as well."""
    (hub.course / "allowed_users.txt").write_text("alice\nbob\n")
    async with served_on_unix(Upstream()) as socket:
        hub.start("alice", "A1", server=socket)
        hub.start("alice", "A2", server=socket)
        hub.start("bob", "A1", server=socket)
        assert (await ask(hub, "POST", "/help/alice/A1", json={})).status_code == 200
        yield hub


async def status(hub: Hub, user: str, path: str = SESSION) -> int:
    """The answer to a program's request to a session."""
    return (await ask(hub, "GET", path, user)).status_code


async def act(hub: Hub, helper: str, what: str, user: str = "alice") -> int:
    """Do something with a request; return the answer's status."""
    role = Role.INSTRUCTOR if helper == "prof" else Role.STUDENT
    async with hub.client(helper, role=role) as client:
        return (await client.post(f"/board/A1/help/{user}/{what}")).status_code


@asynccontextmanager
async def browser(hub: Hub, user: str) -> AsyncIterator[httpx.AsyncClient]:
    """A person whom the proxy in front has signed in."""
    transport = httpx.ASGITransport(hub.app, client=("127.0.0.1", 5000))
    headers = {"X-Remote-User": user, "Accept": "text/html"}
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers) as client:
        yield client


async def test_a_marker_enters_only_after_taking_the_request_and_saying_so(asked: Hub) -> None:
    assert await status(asked, "marta") == 403
    assert await act(asked, "marta", "together") == 404
    assert await status(asked, "marta") == 403
    assert await act(asked, "marta", "take") == 303
    assert await status(asked, "marta") == 403
    assert await act(asked, "marta", "together") == 303
    assert await status(asked, "marta") == 200
    assert await status(asked, "marta", OTHER) == 403
    assert await status(asked, "marta", "/edit/user/bob/A1/") == 403
    assert await status(asked, "marta", "/run/user/alice/A1/") == 403
    assert await status(asked, "bob") == 403
    assert await act(asked, "marta", "close") == 303
    assert await status(asked, "marta") == 403


async def test_another_marker_does_not_enter_with_the_request_of_one(asked: Hub) -> None:
    await act(asked, "prof", "take")
    assert await act(asked, "marta", "take") == 409
    assert await act(asked, "marta", "together") == 404
    assert await act(asked, "marta", "close") == 409
    assert await status(asked, "marta") == 403


async def test_a_marker_who_reads_before_taking_the_request_is_told_what_comes_first(
    asked: Hub,
) -> None:
    told = await ask(asked, "GET", "/look/alice/A1", "marta")
    assert told.status_code == 403
    assert "You do not help there. Take the request on the board first." in told.text
    await act(asked, "marta", "take")
    assert (await ask(asked, "GET", "/look/alice/A1", "marta")).status_code != 403


async def test_a_student_who_is_no_marker_is_no_helper_even_in_the_database(asked: Hub) -> None:
    """A helper who was taken off the list of markers meanwhile."""
    board = Board(asked.engine)
    board.take("A1", "alice", "bob")
    board.join("A1", "alice", "bob")
    await ask(asked, "POST", "/help/alice/A1", json={})
    assert await status(asked, "bob") == 403
    assert await act(asked, "bob", "take") == 403
    assert (await ask(asked, "GET", "/look/alice/A1", "bob")).status_code == 403
    assert (await ask(asked, "GET", "/standing/alice/A1", "bob")).status_code == 403


async def test_a_marker_may_do_nothing_else_with_the_notebook(asked: Hub) -> None:
    await act(asked, "marta", "take")
    await act(asked, "marta", "together")
    for method, path in (
        ("POST", "/stop-edit/alice/A1"),
        ("POST", "/start-edit/alice/A1"),
        ("POST", "/reset/alice/A1"),
        ("POST", "/submit/alice/A1"),
        ("GET", "/export/alice/A1"),
        ("POST", "/help/alice/A1"),
        ("DELETE", "/help/alice/A1"),
    ):
        assert (await ask(asked, method, path, "marta")).status_code == 403, path
    assert ("alice", "A1") in {(key.user, key.item) for key in asked.pool.running}


async def test_a_helpers_page_ends_with_the_help(asked: Hub) -> None:
    """The page's address works for a marker who is not on the access list, until then."""
    await act(asked, "marta", "take")
    await act(asked, "marta", "together")
    async with browser(asked, "marta") as client:
        shown = await client.get(SESSION)
        [root] = re.findall(r'<iframe[^>]* src="([^"]+)"', shown.text)
        framed = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate"}
        assert (await client.get(root, headers=framed)).status_code == 200
        assert "Close the request" in shown.text
        assert "Stop</button>" not in shown.text
        await ask(asked, "DELETE", "/help/alice/A1")
        ended = await client.get(root, headers=framed)
        assert ended.status_code == 404
        assert "This session has ended" in ended.text


async def test_the_tab_of_a_marker_who_does_not_help_leads_to_the_board(asked: Hub) -> None:
    async with browser(asked, "marta") as client:
        led = await client.get(SESSION)
        told = "/board/A1?done=not-open&item=alice"
        assert (led.status_code, led.headers["location"]) == (303, told)
        assert "You are not in the notebook of alice." in (await client.get(told)).text
        assert (await client.get("/run/user/alice/A1/")).status_code == 403
    async with browser(asked, "bob") as client:
        assert (await client.get(SESSION)).status_code == 403


async def test_the_owner_ends_the_page_of_an_instructor_as_well(asked: Hub) -> None:
    await act(asked, "prof", "take")
    await act(asked, "prof", "together")
    async with browser(asked, "prof") as client:
        [root] = re.findall(r'<iframe[^>]* src="([^"]+)"', (await client.get(SESSION)).text)
        framed = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate"}
        assert (await client.get(root, headers=framed)).status_code == 200
        await ask(asked, "DELETE", "/help/alice/A1")
        assert (await client.get(root, headers=framed)).status_code == 404
    done = [(who, what) for who, what, *_ in asked.audit()]
    assert ("prof", "work together") in done
    assert ("prof", "open session") in done
    assert ("alice", "end help") in done
