"""The origins of sessions, in one process: access by which credential, and to what.

security.md, "Our own pages"; decision 0034.
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

from mograder.core.web_origin import SessionUrl
from mograder.web.context import ContextMiddleware
from mograder.web.hub.app import Dispatcher
from mograder.web.hub.core.audit import AuditTrail
from mograder.web.hub.core.metrics import ProxyCounters
from mograder.web.hub.proxy.replies import FramePages
from mograder.web.hub.proxy.session_origins import SessionOrigins
from mograder.web.hub.proxy.session_proxy import SessionProxy
from mograder.web.pages import load_pages
from tests.support import session_proxy
from tests.support.hub_app import Hub
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import (
    DOCUMENT,
    FRAME,
    a_hub,
    bearer,
    served,
    served_on_unix,
)

HUB = "https://hub.uni.example"
A1 = "/edit/user/alice/A1"
OWN = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "empty"}


def cookie(username: str) -> dict[str, str]:
    """Return a login cookie with its name under https."""
    plain = session_proxy.cookie(username)["Cookie"]
    return {"Cookie": plain.replace("mograder_session=", "__Host-mograder_session=")}


URL = SessionUrl("https", "example.net", None)


@dataclass
class RunningProxy:
    """A hub with sessions' origins, a client, and one session of alice's."""

    app: ASGIApp
    hub: Hub
    upstream: Upstream
    socket: Path
    http: httpx.AsyncClient

    async def frame(self, user: str = "alice", query: str = "") -> str:
        """Where the frame of a viewer's page leads: the capability path at its own origin."""
        page = await self.http.get(f"{HUB}{A1}/{query}", headers={**cookie(user), **DOCUMENT})
        assert page.status_code == 200, page.text
        found = re.search(r' src="(https://[a-z2-7]{32}\.example\.net/s/[\w-]{32}/)', page.text)
        assert found, page.text
        return found[1]


@pytest.fixture
async def proxied(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    upstream = Upstream()
    async with served_on_unix(upstream) as socket, _open(tmp_path, upstream, socket) as opened:
        yield opened


@asynccontextmanager
async def _open(directory: Path, upstream: Upstream, socket: Path) -> AsyncIterator[RunningProxy]:
    hub = a_hub(directory)
    hub.start("alice", "A1", server=socket)
    pages = FramePages(load_pages(), "Numerics", url=URL)
    audit = AuditTrail(hub.services.state, hub.services.clock)
    proxy = SessionProxy(hub.services, ProxyCounters(), pages, on_visit=audit.visited)
    origins = SessionOrigins(URL, proxy)
    app = ContextMiddleware(
        Dispatcher(proxy, proxy, proxy, origins),
        base_url="",
        public_url=HUB,
        sessions=URL,
        trusts=lambda _: True,
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        yield RunningProxy(app, hub, upstream, socket, http)
    await proxy.aclose()
    hub.close()


async def test_a_tab_stays_at_the_hub_and_the_frame_has_an_origin_of_its_own(
    proxied: RunningProxy,
) -> None:
    page = await proxied.http.get(f"{HUB}{A1}/?x=1", headers={**cookie("alice"), **DOCUMENT})
    root = await proxied.frame()
    assert f'src="{root}?x=1" sandbox="' in page.text
    assert "allow-same-origin" in page.text
    policy = page.headers["content-security-policy"]
    assert policy.endswith(f"; frame-src {root}")
    assert "script-src https://hub.uni.example/static/;" in policy
    assert not proxied.upstream.seen
    program = await proxied.http.get(f"{HUB}{A1}/x", headers=bearer("alice"))
    assert program.json()["path"] == f"{A1}/x", "a program stays where it is"


async def test_the_page_is_served_there_as_it_is_to_the_hubs_page_only(
    proxied: RunningProxy,
) -> None:
    root = await proxied.frame()
    page = await proxied.http.get(root, headers={**FRAME, "Sec-Fetch-Site": "cross-site"})
    assert page.status_code == 200
    assert "<title>marimo</title>" in page.text
    assert "<base" not in page.text
    assert f'data-page="{HUB}{A1}/"' in page.text
    assert page.headers.get_list("content-security-policy") == [f"frame-ancestors 'self' {HUB}"]
    assert "set-cookie" not in page.headers
    said = (await proxied.http.get(f"{root}x", headers=OWN)).json()
    assert not {"cookie", "origin"} & {name for name, _ in said["headers"]}
    hostile = await proxied.http.get(f"{root}hostile", headers=OWN)
    assert "set-cookie" not in hostile.headers
    assert "access-control-allow-origin" not in hostile.headers
    tab = await proxied.http.get(f"{root}?x=1", headers=DOCUMENT)
    assert (tab.status_code, tab.headers["location"]) == (303, f"{HUB}{A1}/?x=1")


async def test_each_viewer_has_a_label_of_their_own_and_no_capability_fits_another(
    proxied: RunningProxy,
) -> None:
    root = await proxied.frame()
    origin, cap = root.split("/s/")
    proxied.hub.start("bob", "A1", server=proxied.socket)
    page = await proxied.http.get(f"{HUB}/edit/user/bob/A1/", headers={**cookie("bob"), **DOCUMENT})
    bobs = re.search(r"(https://[a-z2-7]{32}\.example\.net)/s/([\w-]+/)", page.text)
    assert bobs
    assert bobs[1] != origin
    for where in (f"{bobs[1]}/s/{cap}x", f"{origin}/s/{bobs[2]}x", f"{origin}/s/{'a' * 32}/x"):
        gone = await proxied.http.get(where, headers=OWN)
        assert (gone.status_code, gone.headers["x-mograder-session"]) == (404, "gone")
    assert not proxied.upstream.seen


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/assignments",
        "/login",
        "/sessions",
        "/health",
        "/edit/A1",
        "/edit/user/alice/A1/x",
        "/_mograder/enter",
    ],
)
async def test_nothing_of_the_hub_is_there_whoever_asks(proxied: RunningProxy, path: str) -> None:
    origin = (await proxied.frame()).split("/s/")[0]
    for headers in (OWN, {**cookie("alice"), **OWN}, bearer("alice"), {"X-Remote-User": "alice"}):
        for host in (origin, "https://example.net", "https://x.example.net"):
            assert (await proxied.http.get(host + path, headers=headers)).status_code == 404
    assert not proxied.upstream.seen


async def test_a_sibling_and_any_other_site_reaches_nothing(proxied: RunningProxy) -> None:
    """Origins below one domain are of the same site, so cookies come along."""
    root = await proxied.frame()
    origin = root.split("/s/")[0]
    evil = f"https://{'b' * 32}.example.net"
    for marks in (
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "object"},
        {"Origin": evil},
        {"Origin": HUB},
        {"Origin": "null"},
    ):
        answer = await proxied.http.post(f"{root}api/kernel/execute", headers=marks)
        assert answer.status_code == 403, marks
        assert (await proxied.http.get(f"{root}x", headers=marks)).status_code == 403
    assert not proxied.upstream.seen
    own = await proxied.http.post(f"{root}api/x", headers={**OWN, "Origin": origin})
    assert own.status_code == 200


async def test_signing_out_and_stopping_end_it(proxied: RunningProxy) -> None:
    root = await proxied.frame()
    assert (await proxied.http.get(f"{root}x", headers=OWN)).status_code == 200
    proxied.hub.services.capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
    gone = await proxied.http.get(f"{root}x", headers=OWN)
    assert (gone.status_code, gone.headers["x-mograder-session"]) == (404, "gone")


async def test_an_ambiguous_host_is_nobodys(proxied: RunningProxy) -> None:
    root = await proxied.frame()
    origin = root.split("/s/")[0]
    headers = {**OWN, "X-Forwarded-Host": "hub.uni.example"}
    assert (await proxied.http.get(f"{root}x", headers=headers)).status_code == 404
    told = {**cookie("alice"), "X-Forwarded-Host": origin.removeprefix("https://")}
    assert (await proxied.http.get(f"{HUB}/assignments", headers=told)).status_code == 404


async def test_a_websocket_opens_for_its_own_page_only_and_ends_with_the_login(
    proxied: RunningProxy,
) -> None:
    root = await proxied.frame()
    origin = root.split("/s/")[0]
    host = origin.removeprefix("https://")
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]

    def connect_websocket(said: str, cap: str, site: str = "same-origin") -> connect:
        return connect(
            f"ws://{host}/s/{cap}/ws?session_id=s_1",
            host="127.0.0.1",
            port=port,
            additional_headers={"Sec-Fetch-Site": site},
            origin=websockets.Origin(said),
            proxy=None,
        )

    async with served(proxied.app, listening):
        cap = root.split("/")[-2]
        for said, known, site in (
            (f"https://{'b' * 32}.example.net", cap, "same-site"),
            (HUB, cap, "cross-site"),
            ("null", cap, "cross-site"),
            (origin, "a" * 32, "same-origin"),
            (origin, cap, "same-site"),
        ):
            with pytest.raises(websockets.InvalidStatus):
                await connect_websocket(said, known, site)
        async with connect_websocket(origin, cap) as line:
            await line.send("hello")
            assert await line.recv() == "hello"
            proxied.hub.services.capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
            async with asyncio.timeout(40):
                await line.wait_closed()
            assert line.close_code == 1008
