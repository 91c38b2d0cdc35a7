"""What nginx is told, in one process: when it may carry a request by itself, and to where.

Decision 0034: one answer for each request, "here" or "let the hub answer it", and never elsewhere.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.support.session_proxy import FRAMES, RigServices, services
from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import LiveSession
from mograder.web.context import ContextMiddleware
from mograder.web.hub.app import Dispatcher
from mograder.web.hub.proxy.front_auth import FrontAuthorizer, open_to_its_group
from mograder.web.hub.proxy.session_proxy import SessionProxy
from mograder.web.hub.support.metrics import ProxyCounters

PREFIX = "/live/hub"
ALICE = Identity("alice", Role.STUDENT, Method.COOKIE, "a-login-of-alices-1", None)


@dataclass
class RunningProxy:
    """A hub with one session of alice's and one of bob's, and a front that asks."""

    services: RigServices
    session: LiveSession
    cap: str
    http: httpx.AsyncClient
    cut: list[str]
    able: bool = True

    async def ask(self, uri: str, method: str = "GET", **headers: str) -> httpx.Response:
        """Ask about one request; header names are written with underscores."""
        told = {"X-Mograder-Uri": uri, "X-Mograder-Method": method}
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.get(f"{PREFIX}/_front/session", headers=told)

    def own(self, rest: str) -> str:
        """An address below alice's capability."""
        return f"{PREFIX}/s/{self.cap}/{rest}"


@asynccontextmanager
async def opened(directory: Path, client: str = "127.0.0.1") -> AsyncIterator[RunningProxy]:
    made = services(directory)
    socket = directory / "s.sock"
    socket.touch()
    socket.chmod(0o660)  # as the supervisor does for nginx's group
    session = made.pool.add("alice", "L 1", Mode.EDIT, socket)
    session.base_url = "/edit/user/alice/L%201"
    cap = made.capabilities.issue(made.capabilities.visit(session.id, "alice", ALICE))
    cut: list[str] = []

    async def hang_up(session_id: str) -> bool:
        cut.append(session_id)
        return opened_house.able

    proxy = SessionProxy(made.as_services, ProxyCounters(), FRAMES)
    route = FrontAuthorizer(
        proxy, made.capabilities, trusts=lambda peer: peer == "127.0.0.1", hang_up=hang_up
    )
    app = ContextMiddleware(
        Dispatcher(proxy, proxy, proxy, route),
        base_url=PREFIX,
        public_url="https://hub.example.org",
        trusts=lambda peer: peer == "127.0.0.1",
    )
    transport = httpx.ASGITransport(app, client=(client, 5000))
    async with httpx.AsyncClient(transport=transport, base_url="https://hub.example.org") as http:
        opened_house = RunningProxy(made, session, cap, http, cut)
        yield opened_house
    await proxy.aclose()


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    async with opened(tmp_path) as there:
        yield there


@pytest.mark.parametrize("name", ["a:80", "a b", "[a]"])
async def test_a_socket_that_nginx_could_take_for_another_is_the_hubs(
    tmp_path: Path, name: str
) -> None:
    """Decision 34: nginx ends a socket's path at a colon."""
    place = tmp_path / name
    place.mkdir()
    async with opened(place) as proxied:
        assert (await proxied.ask(proxied.own("x"))).status_code == 403


async def test_a_session_on_a_node_is_the_hubs(proxied: RunningProxy) -> None:
    """The node may name any path; on the hub's machine it could be another session's socket."""
    proxied.session.endpoint = replace(proxied.session.endpoint, node="node-1")
    assert (await proxied.ask(proxied.own("api/x"))).status_code == 403
    upgrade = {"X_Mograder_Upgrade": "websocket"}
    assert (await proxied.ask(proxied.own("ws"), **upgrade)).status_code == 403


async def test_a_plain_request_is_told_where_to_go(proxied: RunningProxy) -> None:
    answer = await proxied.ask(proxied.own("api/x?a=%2F&b=c"))
    assert answer.status_code == 200
    told = {name: value for name, value in answer.headers.items() if name.startswith("x-mog")}
    assert told == {
        "x-mograder-socket": str(proxied.session.endpoint.socket),
        "x-mograder-target": "/edit/user/alice/L%201/api/x?a=%2F&b=c",
        "x-mograder-base": "/edit/user/alice/L%201",
        "x-mograder-root": f"{PREFIX}/s/{proxied.cap}",
    }
    assert proxied.services.pool.touches == 1


@pytest.mark.parametrize(
    ("rest", "method", "headers"),
    [
        ("", "GET", {}),
        ("x", "OPTIONS", {}),
        ("x", "TRACE", {}),
        ("public/a.png", "GET", {}),
        ("api/kernel/save", "POST", {"X_Mograder_Length": "5"}),
        ("terminal/ws", "GET", {}),
        ("api/packages/add", "POST", {"X_Mograder_Length": "5"}),
        ("x", "GET", {"Sec_Fetch_Dest": "document"}),
        ("@file/1-a.html", "GET", {"Sec_Fetch_Dest": "document"}),
        ("x", "GET", {"Sec_Fetch_Dest": "iframe"}),
        ("x", "POST", {}),
        ("x", "POST", {"X_Mograder_Length": "99999999999"}),
        ("x", "POST", {"X_Mograder_Length": "5x"}),
        ("x", "POST", {"Content_Length": "5"}),
        ("x", "GET", {"X_Mograder_Upgrade": "h2c"}),
        ("ws", "POST", {"X_Mograder_Upgrade": "websocket"}),
        ("ws", "GET", {"X_Mograder_Upgrade": "websocket", "Origin": "https://evil.example"}),
        ("x?" + "a" * 3000, "GET", {}),
    ],
)
async def test_the_hub_keeps_what_it_answers_itself(
    proxied: RunningProxy, rest: str, method: str, headers: dict[str, str]
) -> None:
    answer = await proxied.ask(proxied.own(rest), method, **headers)
    assert answer.status_code == 403
    assert not any(name.startswith("x-mograder") for name in answer.headers)


async def test_a_capability_that_ended_is_worth_nothing_at_once(proxied: RunningProxy) -> None:
    assert (await proxied.ask(proxied.own("x"))).status_code == 200
    proxied.services.roster.kept_out.add("alice")
    assert (await proxied.ask(proxied.own("x"))).status_code == 403
    proxied.services.roster.kept_out.clear()
    proxied.services.revocations.logins.add(ALICE.login_id)
    assert (await proxied.ask(proxied.own("x"))).status_code == 403
    proxied.services.revocations.logins.clear()
    proxied.services.pool.stop(proxied.session)
    assert (await proxied.ask(proxied.own("x"))).status_code == 403


async def test_only_a_trusted_peer_is_answered(tmp_path: Path) -> None:
    async with opened(tmp_path, client="192.0.2.1") as proxied:
        assert (await proxied.ask(proxied.own("x"))).status_code == 403


async def test_a_question_that_is_asked_twice_is_none(proxied: RunningProxy) -> None:
    told = [("X-Mograder-Uri", proxied.own("x")), ("X-Mograder-Method", "GET")]
    for double in told:
        headers = [*told, double]
        answer = await proxied.http.get(f"{PREFIX}/_front/session", headers=headers)
        assert answer.status_code == 403
    for path in (f"{PREFIX}/_front/session/", f"{PREFIX}//_front/session", "/_front/x"):
        assert (await proxied.http.get(path, headers=told)).status_code != 200


async def test_a_socket_that_no_front_reaches_is_the_hubs(proxied: RunningProxy) -> None:
    """One that a supervisor made before the group was named."""
    path = proxied.session.endpoint.socket
    assert open_to_its_group(path)
    path.chmod(0o600)
    assert not open_to_its_group(path)
    assert (await proxied.ask(proxied.own("x"))).status_code == 403
    path.unlink()
    assert not open_to_its_group(path)


async def test_what_a_page_asks_by_itself_is_no_activity(proxied: RunningProxy) -> None:
    assert (await proxied.ask(proxied.own("api/usage"))).status_code == 200
    assert proxied.services.pool.touches == 0


async def test_a_websocket_is_cut_when_its_capability_ends(proxied: RunningProxy) -> None:
    """security.md: sign-out closes the sockets of a capability; once more for one on its way."""
    for _ in range(3):
        answer = await proxied.ask(proxied.own("ws"), X_Mograder_Upgrade="WebSocket", Origin="null")
        assert answer.status_code == 200
    assert proxied.cut == []
    proxied.services.capabilities.revoke_login(ALICE.login_id)
    async with asyncio.timeout(40):
        while len(proxied.cut) < 2:  # noqa: ASYNC110 - the second comes by a timer
            await asyncio.sleep(0.05)
    assert proxied.cut == [proxied.session.id] * 2


async def test_where_none_can_be_cut_websockets_go_by_the_hub(proxied: RunningProxy) -> None:
    proxied.able = False
    socket = {"X_Mograder_Upgrade": "websocket", "Origin": "null"}
    assert (await proxied.ask(proxied.own("ws"), **socket)).status_code == 200
    proxied.services.capabilities.revoke_login(ALICE.login_id)
    async with asyncio.timeout(40):
        while len(proxied.cut) < 2:  # noqa: ASYNC110 - the second comes by a timer
            await asyncio.sleep(0.05)
    await asyncio.sleep(0)
    proxied.cap = proxied.services.capabilities.issue(
        proxied.services.capabilities.visit(proxied.session.id, "alice", ALICE)
    )
    assert (await proxied.ask(proxied.own("ws"), **socket)).status_code == 403
    assert (await proxied.ask(proxied.own("x"))).status_code == 200


SEGMENTS = st.sampled_from(
    [
        "..",
        ".",
        "%2e%2e",
        "%2E.",
        "",
        "a",
        "s",
        "edit",
        "%2f",
        "%5c",
        "\\",
        ";",
        "..;",
        "%00",
        "@file",
    ]
)
REST = st.one_of(st.lists(SEGMENTS, max_size=6).map("/".join), st.text(max_size=20))


@given(rest=REST)
def test_no_address_leads_out_of_the_session(
    rest: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the rest, where it is told to go stays below the session's base when decoded."""

    async def asked() -> None:
        async with opened(tmp_path_factory.mktemp("door")) as proxied:
            raw = proxied.own(rest).encode("utf-8", "replace")
            headers = [(b"x-mograder-uri", raw), (b"x-mograder-method", b"GET")]
            try:
                answer = await proxied.http.get(f"{PREFIX}/_front/session", headers=headers)
            except (httpx.HTTPError, ValueError):
                return
            if answer.status_code != 200:
                return
            target = answer.headers["x-mograder-target"].partition("?")[0]
            base = unquote(proxied.session.base_url)
            assert posixpath.normpath(unquote(target)).startswith(base + "/")
            assert "%" not in target.removeprefix(proxied.session.base_url)

    asyncio.run(asked())
