"""What is open in a session ends with what admitted it: role, list, request, token, login, time.

Each is tried on the WebSockets that a notebook's page uses and on an HTTP answer without end, by
programs, which a browser's checks do not stop, and by pages.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from starlette.types import Message

from mograder.auth.credentials import COOKIE, LIFETIME, Login, Role, make_cookie, make_token
from mograder.hub.capabilities import Capabilities
from mograder.store.hub.hub_tables import CapabilityRow
from tests.support.hub_app import ORIGIN, SECRET, Hub, hub
from tests.support.hub_copies import ask
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import served_on_unix

__all__ = ["hub"]

SESSION = "/edit/user/alice/A1"
FRAMED = {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate"}
Headers = dict[str, str]


def by_token(user: str, role: Role = Role.STUDENT) -> Headers:
    return {"authorization": f"Bearer {make_token(SECRET, user, role)}"}


def by_login(hub: Hub, user: str, left: int = LIFETIME, role: Role = Role.STUDENT) -> Headers:
    """A login that lasts so many seconds more."""
    issued = int(hub.clock.now().timestamp()) - LIFETIME + left
    login = Login(user, role, f"login-of-{user}-{'x' * 12}", issued, 0)
    return {"cookie": f"{COOKIE}={make_cookie(SECRET, login)}"}


@dataclass
class Line:
    """One request or WebSocket to the app, held open."""

    sent: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    heard: asyncio.Queue[Message] = field(default_factory=lambda: asyncio.Queue(4))

    async def say(self, text: str) -> None:
        await self.sent.put({"type": "websocket.receive", "text": text})

    async def hear(self) -> Message:
        async with asyncio.timeout(60):
            return await self.heard.get()

    async def ended(self) -> Message:
        """Wait for the end of it: of a WebSocket, or of a response that breaks off."""
        while (message := await self.hear())["type"] not in ("websocket.close", "app ended"):
            pass
        return message


@asynccontextmanager
async def opened(hub: Hub, path: str, headers: Headers, kind: str) -> AsyncIterator[Line]:
    """Open a WebSocket or send a request, and wait until it is accepted."""
    line = Line()
    raw = [(b"host", ORIGIN.removeprefix("http://").encode())]
    raw += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": kind,
        "method": "GET",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": raw,
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 8080),
        "subprotocols": [],
    }
    first = {"type": "http.request"} if kind == "http" else {"type": "websocket.connect"}
    await line.sent.put(first)

    async def serve() -> None:
        await hub.app(scope, line.sent.get, line.heard.put)
        await line.heard.put({"type": "app ended"})

    serving = asyncio.create_task(serve())
    try:
        begun = await line.hear()
        assert begun["type"] in ("websocket.accept", "http.response.start"), begun
        yield line
    finally:
        serving.cancel()
        await asyncio.wait((serving,))


@pytest_asyncio.fixture
async def asked(hub: Hub) -> AsyncIterator[Hub]:
    """A hub on which alice works on A1; marta, who helps, works with her."""
    (hub.course / "allowed_users.txt").write_text("alice\nbob\n")
    async with served_on_unix(Upstream()) as socket:
        hub.start("alice", "A1", server=socket)
        assert (await ask(hub, "POST", "/help/alice/A1", json={})).status_code == 200
        for what in ("take", "together"):
            assert (
                await ask(hub, "POST", f"/board/A1/help/alice/{what}", "marta")
            ).status_code == 303
        yield hub


async def withdraw(hub: Hub) -> None:
    assert (await ask(hub, "DELETE", "/help/alice/A1")).status_code == 200


async def revoke(hub: Hub) -> None:
    assert (await ask(hub, "POST", "/revoke-token/alice", "prof")).status_code == 200


async def sign_out(hub: Hub) -> None:
    async with hub.client() as client:
        headers = by_login(hub, "alice")
        assert (await client.post("/logout", headers=headers)).status_code in (200, 303)


async def take_off_the_list(hub: Hub) -> None:
    """Somebody else looks at her session, so that it goes on."""
    async with hub.client() as client:
        headers = {**by_login(hub, "prof"), "Accept": "text/html"}
        assert "<iframe" in (await client.get(SESSION + "/", headers=headers)).text
    assert (
        await ask(hub, "POST", "/sync-users", "prof", json={"users": ["bob"]})
    ).status_code == 200
    assert hub.pool.running


async def nothing(hub: Hub) -> None:
    """Time passes."""


End = Callable[[Hub], Awaitable[None]]
CASES: list[tuple[Callable[[Hub], Headers], End]] = [
    (lambda _: by_token("marta"), withdraw),
    (lambda hub: by_login(hub, "marta"), withdraw),
    (lambda _: {"x-remote-user": "marta"}, withdraw),
    (lambda _: by_token("alice"), revoke),
    (lambda hub: by_login(hub, "alice"), revoke),
    (lambda hub: by_login(hub, "alice"), sign_out),
    (lambda hub: by_login(hub, "alice"), take_off_the_list),
    (lambda hub: by_login(hub, "prof", 1), nothing),
]
IDS = [f"{number} {end.__name__}" for number, (_, end) in enumerate(CASES)]


@pytest.mark.parametrize(("who", "end"), CASES, ids=IDS)
async def test_sockets_and_answers_by_login_end_with_it(
    asked: Hub, who: Callable[[Hub], Headers], end: End
) -> None:
    headers = who(asked)
    async with (
        opened(asked, f"{SESSION}/ws", headers, "websocket") as socket,
        opened(asked, f"{SESSION}/ws_sync", headers, "websocket") as sync,
        opened(asked, f"{SESSION}/forever", headers, "http") as answer,
    ):
        await sync.say("typed")
        assert (await sync.hear())["text"] == "typed"
        await end(asked)
        assert (await socket.ended())["code"] == 1008
        assert (await sync.ended())["code"] == 1008
        assert (await answer.ended())["type"] == "app ended"
    assert asked.services.state.capabilities() == () or end is take_off_the_list, "no row for them"


async def page_of(hub: Hub, headers: Headers) -> str:
    """Open the page around a session's; return the address of the frame in it."""
    async with hub.client() as client:
        shown = await client.get(SESSION + "/", headers={**headers, "Accept": "text/html"})
    [root] = re.findall(r'<iframe[^>]* src="([^"]+)"', shown.text)
    return str(root)


async def status(hub: Hub, root: str) -> int:
    async with hub.client() as client:
        return (await client.get(root, headers=FRAMED)).status_code


@pytest.mark.parametrize("end", [withdraw, nothing])
async def test_a_pages_sockets_and_its_address_end_with_the_login(asked: Hub, end: End) -> None:
    who = by_login(asked, "prof", 1) if end is nothing else by_login(asked, "marta")
    root = await page_of(asked, who)
    assert await status(asked, root) == 200
    async with opened(asked, f"{root}ws", {"origin": "null"}, "websocket") as socket:
        await end(asked)
        assert (await socket.ended())["code"] == 1008
    asked.clock.advance(2)
    assert await status(asked, root) == 404


async def test_ones_own_page_lasts_a_day_from_its_opening(asked: Hub) -> None:
    """A class that meets at the same time each day is not thrown out a day after signing in."""
    root = await page_of(asked, by_login(asked, "alice", 60))
    asked.clock.advance(LIFETIME - 60)
    assert await status(asked, root) == 200
    asked.clock.advance(61)
    assert await status(asked, root) == 404


async def test_a_page_that_is_opened_again_has_its_own_day(asked: Hub) -> None:
    """Where the session has run since yesterday, as with a page that was left open."""
    login = by_login(asked, "alice")
    first = await page_of(asked, login)
    asked.clock.advance(LIFETIME - 60)
    again = await page_of(asked, login)
    asked.clock.advance(61)
    assert await status(asked, first) == 404
    assert await status(asked, again) == 200


async def test_a_page_that_opens_while_its_tokens_are_revoked_does_not_outlive_them(
    asked: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, login = asked.services.state, by_login(asked, "alice")
    store = state.add_capability

    def store_and_revoke(row: CapabilityRow) -> None:
        store(row)
        asked.services.revocations.bump_epoch("alice")
        asked.services.capabilities.revoke_user("alice")

    monkeypatch.setattr(state, "add_capability", store_and_revoke)
    async with asked.client() as client:
        shown = await client.get(SESSION + "/", headers={**login, "Accept": "text/html"})
    assert shown.status_code == 404
    assert asked.services.capabilities.all() == ()
    assert state.capabilities() == ()


async def test_who_was_taken_off_the_instructors_while_the_hub_was_down_is_none(asked: Hub) -> None:
    """Sessions and their pages' addresses may go on over a restart; the settings count now."""
    root = await page_of(asked, by_login(asked, "prof"))
    cap = root.split("/")[2]
    found = asked.services.capabilities.resolve(cap)
    assert found is not None
    assert found.role is Role.STUDENT, "what his login proves, not what the settings make of it"
    assert await status(asked, root) == 200
    object.__setattr__(asked.services.policy, "instructors", frozenset())
    assert await status(asked, root) == 404


async def test_whose_tokens_were_revoked_while_the_hub_was_down_has_no_page(asked: Hub) -> None:
    """The command writes into the database; the next hub reads the addresses of pages there."""
    root = await page_of(asked, by_login(asked, "alice"))
    asked.services.state.bump_epoch("alice")
    next_one = Capabilities(asked.services.state, asked.clock)
    next_one.load()
    assert next_one.resolve(root.split("/")[2]) is None
