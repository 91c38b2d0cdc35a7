"""The origins of sessions, in one process: who gets in, by what, and to nothing else.

security.md, "Stronger, optional"; decision 0034.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import websockets
from starlette.types import ASGIApp
from websockets.asyncio.client import connect

from mograder.core.clock import SystemClock
from mograder.core.session_url import SessionUrl
from mograder.sessions.live import LiveSession
from mograder.web.context import ContextMiddleware
from mograder.web.hub.handover import Handovers
from mograder.web.hub.proxy import SessionProxy
from mograder.web.hub.session_origin import Apart, SessionOrigins
from mograder.web.hub.traffic import Traffic
from mograder.web.templating import load_pages
from tests.contract import proxy_rig
from tests.contract.proxy_rig import (
    DOCUMENT,
    RigServices,
    bearer,
    served,
    served_on_unix,
    services,
)
from tests.contract.proxy_upstream import Upstream

HUB = "https://hub.uni.example"
A1 = "/edit/user/alice/A1"
OWN = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}


def cookie(username: str) -> dict[str, str]:
    """Somebody's login, as it is called where the hub has https."""
    plain = proxy_rig.cookie(username)["Cookie"]
    return {"Cookie": plain.replace("mograder_session=", "__Host-mograder_session=")}


URL = SessionUrl("https", "example.net", None)


@dataclass
class House:
    """A hub with sessions' origins, a client, and one session of alice's."""

    app: ASGIApp
    services: RigServices
    upstream: Upstream
    session: LiveSession
    http: httpx.AsyncClient

    async def hand_over(self, user: str = "alice") -> tuple[str, str]:
        """Where the form of a viewer's page goes, and its code."""
        page = await self.http.get(f"{HUB}{A1}/?x=1", headers={**cookie(user), **DOCUMENT})
        assert page.status_code == 200, page.text
        action = re.search(
            r'action="(https://[a-z2-7]{32}\.example\.net/_mograder/enter)"', page.text
        )
        code = re.search(r'name="code" value="([\w-]{32})"', page.text)
        assert action
        assert code
        return action[1], code[1]

    async def enter(self) -> str:
        """The origin of alice's page; the client has its cookie then."""
        action, code = await self.hand_over()
        answer = await self.http.post(action, data={"code": code}, headers={"Origin": HUB})
        assert answer.status_code == 303
        assert answer.headers["location"] == f"{A1}/?x=1"
        return action.removesuffix("/_mograder/enter")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    upstream = Upstream()
    async with served_on_unix(upstream) as socket, _open(tmp_path, upstream, socket) as opened:
        yield opened


@asynccontextmanager
async def _open(directory: Path, upstream: Upstream, socket: Path) -> AsyncIterator[House]:
    made = services(directory)
    session = made.pool.add("alice", "A1", "edit", socket)  # type: ignore[arg-type]
    handovers = Handovers(URL, SystemClock(), load_pages(), "Numerics")
    proxy = SessionProxy(made, Traffic(), handovers=handovers)
    origins = SessionOrigins(URL, handovers, proxy, made.capabilities)
    app = ContextMiddleware(
        Apart(origins, proxy, proxy), base_url="", public_url=HUB, trusts=lambda _: True
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        yield House(app, made, upstream, session, http)
    await proxy.aclose()


async def test_a_tab_is_handed_over_by_a_form_of_the_hubs(house: House) -> None:
    page = await house.http.get(f"{HUB}{A1}/", headers={**cookie("alice"), **DOCUMENT})
    policy = page.headers["content-security-policy"]
    assert re.search(r"form-action https://[a-z2-7]{32}\.example\.net;", policy)
    assert "script-src https://hub.uni.example/static/;" in policy
    assert "sandbox" not in policy
    assert page.headers["referrer-policy"] == "origin"
    assert not house.upstream.seen
    program = await house.http.get(f"{HUB}{A1}/x", headers=bearer("alice"))
    assert program.json()["path"] == f"{A1}/x", "a program stays where it is"


async def test_the_page_is_served_there_as_it_is_with_its_own_cookie_only(house: House) -> None:
    origin = await house.enter()
    page = await house.http.get(f"{origin}{A1}/", headers=DOCUMENT)
    assert page.status_code == 200
    assert "<title>marimo</title>" in page.text
    assert "<base" not in page.text
    assert page.headers["content-security-policy"] == "frame-ancestors 'self'"
    (jar,) = [each for each in house.http.cookies.jar if each.domain.endswith("example.net")]
    assert (jar.name, jar.secure, jar.path) == ("__Host-mograder_view", True, "/")
    said = (await house.http.get(f"{origin}{A1}/x", headers=OWN)).json()
    assert not {"cookie", "origin"} & {name for name, _ in said["headers"]}
    hostile = await house.http.get(f"{origin}{A1}/hostile", headers=OWN)
    assert "set-cookie" not in hostile.headers
    assert "access-control-allow-origin" not in hostile.headers


async def test_a_code_works_once_at_its_own_origin_and_from_the_hub_only(house: House) -> None:
    action, code = await house.hand_over()
    other = re.sub("//[a-z2-7]+", "//" + "a" * 32, action)
    for where, origin in (
        (action, "https://evil.example"),
        (action, "null"),
        (action, ""),
        (other, HUB),
    ):
        answer = await house.http.post(where, data={"code": code}, headers={"Origin": origin})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers
    again = await house.http.post(action, data={"code": code}, headers={"Origin": HUB})
    assert again.status_code == 403, "it was tried at another origin"
    action, code = await house.hand_over()
    first = await house.http.post(action, data={"code": code}, headers={"Origin": HUB})
    second = await house.http.post(action, data={"code": code}, headers={"Origin": HUB})
    assert (first.status_code, second.status_code) == (303, 403)
    assert (await house.http.get(action)).status_code == 404


async def test_each_viewer_has_a_label_of_their_own_and_no_cookie_fits_another(
    house: House,
) -> None:
    origin = await house.enter()
    alices = house.http.cookies.get("__Host-mograder_view")
    house.http.cookies.clear()
    house.services.pool.add("bob", "A1", "edit", house.session.endpoint.socket)  # type: ignore[arg-type]
    page = await house.http.get(f"{HUB}/edit/user/bob/A1/", headers={**cookie("bob"), **DOCUMENT})
    bobs = re.search(r"https://[a-z2-7]{32}\.example\.net", page.text)
    assert bobs
    assert bobs[0] != origin
    headers = {**OWN, "Cookie": f"__Host-mograder_view={alices}"}
    for where in (
        f"{bobs[0]}{A1}/x",
        f"{bobs[0]}/edit/user/bob/A1/x",
        f"{origin}/edit/user/bob/A1/x",
    ):
        assert (await house.http.get(where, headers=headers)).status_code == 404
    twice = {**OWN, "Cookie": f"__Host-mograder_view={alices}; __Host-mograder_view={alices}"}
    assert (await house.http.get(f"{origin}{A1}/x", headers=twice)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/assignments",
        "/login",
        "/sessions",
        "/health",
        "/s/probe",
        "/_front/session",
        "/edit/A1",
    ],
)
async def test_nothing_of_the_hub_is_there_whoever_asks(house: House, path: str) -> None:
    origin = await house.enter()
    for headers in (OWN, {**cookie("alice"), **OWN}, bearer("alice"), {"X-Remote-User": "alice"}):
        for host in (origin, "https://example.net", "https://x.example.net"):
            assert (await house.http.get(host + path, headers=headers)).status_code == 404
    assert not house.upstream.seen


async def test_a_sibling_and_any_other_site_reaches_nothing(house: House) -> None:
    """Origins below one domain are of the same site, so cookies come along."""
    origin = await house.enter()
    evil = f"https://{'b' * 32}.example.net"
    for marks in (
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"},
        {"Origin": evil},
        {"Origin": HUB},
        {"Origin": "null"},
    ):
        answer = await house.http.post(f"{origin}{A1}/api/kernel/execute", headers=marks)
        assert answer.status_code == 403, marks
        assert (await house.http.get(f"{origin}{A1}/x", headers=marks)).status_code == 403
    assert not house.upstream.seen
    own = await house.http.post(f"{origin}{A1}/api/x", headers={**OWN, "Origin": origin})
    assert own.status_code == 200


async def test_signing_out_and_stopping_end_it(house: House) -> None:
    origin = await house.enter()
    house.services.capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
    gone = await house.http.get(f"{origin}{A1}/x", headers=OWN)
    assert (gone.status_code, gone.headers["x-mograder-session"]) == (404, "gone")
    reload = {**DOCUMENT, "Sec-Fetch-Site": "none"}
    tab = await house.http.get(f"{origin}{A1}/", headers=reload)
    assert (tab.status_code, tab.headers["location"]) == (303, f"{HUB}{A1}/")
    from_the_hub = {**DOCUMENT, "Sec-Fetch-Site": "cross-site"}
    assert (await house.http.get(f"{origin}{A1}/", headers=from_the_hub)).status_code == 404


async def test_an_ambiguous_host_is_nobodys(house: House) -> None:
    origin = await house.enter()
    headers = {**OWN, "X-Forwarded-Host": "hub.uni.example"}
    assert (await house.http.get(f"{origin}{A1}/x", headers=headers)).status_code == 404
    told = {**cookie("alice"), "X-Forwarded-Host": origin.removeprefix("https://")}
    assert (await house.http.get(f"{HUB}/assignments", headers=told)).status_code == 404


async def test_a_websocket_opens_for_its_own_page_only_and_ends_with_the_login(
    house: House,
) -> None:
    origin = await house.enter()
    host = origin.removeprefix("https://")
    jar = house.http.cookies.get("__Host-mograder_view")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    url = f"ws://{host}{A1}/ws?session_id=s_1"
    own = {"Cookie": f"__Host-mograder_view={jar}"}

    def dial(said: str, headers: dict[str, str]) -> connect:
        return connect(
            url,
            host="127.0.0.1",
            port=port,
            additional_headers=headers,
            origin=websockets.Origin(said),
            proxy=None,
        )

    async with served(house.app, listening):
        for said, headers in (
            (f"https://{'b' * 32}.example.net", own),
            (HUB, own),
            ("null", own),
            (origin, {}),
        ):
            with pytest.raises(websockets.InvalidStatus):
                await dial(said, headers)
        async with dial(origin, {**own, "Sec-Fetch-Site": "same-origin"}) as line:
            await line.send("hello")
            assert await line.recv() == "hello"
            house.services.capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
            async with asyncio.timeout(40):
                await line.wait_closed()
            assert line.close_code == 1008
