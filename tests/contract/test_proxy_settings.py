"""The session proxy under a path prefix, and with isolation "same-origin"."""

from __future__ import annotations

import re

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from bench.support.session_proxy import (
    DOCUMENT,
    FRAME,
    Rig,
    bearer,
    cookie,
    running_rig,
    served_on_unix,
)
from mograder.auth.roles import Role
from tests.support.proxy_upstream import Upstream

A1 = "/edit/user/alice/A1"
SAME_ORIGIN: dict[str, object] = {"hub.session_isolation": "same-origin"}


def client(rig: Rig) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=rig.url, trust_env=False, timeout=60)


@pytest.mark.parametrize("sent", ["/live/hub", ""])
async def test_all_addresses_carry_the_prefix_whether_or_not_the_front_strips_it(sent: str) -> None:
    async with served_on_unix(Upstream()) as path, running_rig(base_url="/live/hub") as rig:
        rig.session(path)
        async with client(rig) as http:
            page = await http.get(sent + A1 + "/", headers={**cookie("alice"), **DOCUMENT})
            found = re.search(r' src="/live/hub(/s/[^/]+/)"', page.text)
            assert found
            cap = found.group(1)
            framed = await http.get(sent + cap, headers=FRAME)
            assert f'<base href="/live/hub{cap}">' in framed.text
            assert f'data-page="/live/hub{A1}/"' in framed.text
            assert (await http.get(sent + cap + "x")).json()["path"] == A1 + "/x"
            moved = await http.get(sent + cap + "redirect")
            assert moved.headers["location"] == "/live/hub" + cap + "next?x=1"
            tab = await http.get(sent + cap + "x", headers=DOCUMENT)
            assert tab.headers["location"] == "/live/hub" + A1 + "/x"
            stranger = await http.get(sent + A1 + "/", headers=DOCUMENT)
            assert stranger.headers["location"] == "/live/hub/login?next=/live/hub" + A1 + "/"
            slash = await http.get(sent + A1)
            assert slash.headers["location"] == "/live/hub" + A1 + "/"
            gone = await http.get(sent + A1 + "9/", headers={**cookie("alice"), **DOCUMENT})
            assert gone.headers["location"] == "/live/hub/edit/A19"
            assert (await http.get(sent + "/s/probe")).status_code == 204


async def test_without_the_sandbox_the_owners_own_pages_use_the_whole_proxy() -> None:
    async with served_on_unix(Upstream()) as path, running_rig(overrides=SAME_ORIGIN) as rig:
        rig.session(path)
        async with client(rig) as http:
            page = await http.get(A1 + "/", headers={**cookie("alice"), **DOCUMENT})
            assert f' src="{A1}/_mograder/page"' in page.text
            marks = {**cookie("alice"), **FRAME, "Sec-Fetch-Site": "same-origin"}
            framed = await http.get(A1 + "/_mograder/page", headers=marks)
            assert f'<base href="{A1}/">' in framed.text
            only_by_the_hub = f"frame-ancestors {rig.url}"
            assert framed.headers.get_list("content-security-policy") == [only_by_the_hub]
            ours = {**cookie("alice"), "Origin": rig.url}
            assert (await http.post(A1 + "/x", headers=ours)).status_code == 200
            for origin in ("null", "http://evil.example"):
                theirs = {**cookie("alice"), "Origin": origin}
                assert (await http.post(A1 + "/x", headers=theirs)).status_code == 403
        url = rig.url.replace("http", "ws", 1) + A1 + "/ws"
        async with connect(
            url,
            additional_headers=cookie("alice"),
            origin=websockets.Origin(rig.url),
            proxy=None,
        ) as socket:
            await socket.send("x")
            assert await socket.recv() == "x"


async def test_without_the_sandbox_nobody_but_the_owner_is_served() -> None:
    async with served_on_unix(Upstream()) as path, running_rig(overrides=SAME_ORIGIN) as rig:
        session = rig.session(path)
        alice = rig.services.authenticator.identify(
            [(b"cookie", cookie("alice")["Cookie"].encode())],
            None,
            cookie="mograder_session",
            host_known=True,
        )
        assert alice is not None
        cap = rig.services.capabilities.issue(
            rig.services.capabilities.visit(session.id, "alice", alice)
        )
        async with client(rig) as http:
            prof = await http.get(A1 + "/", headers=cookie("prof", role=Role.INSTRUCTOR))
            assert prof.status_code == 403
            assert "session_isolation" in prof.text
            program = await http.get(A1 + "/", headers=bearer("prof", Role.INSTRUCTOR))
            assert program.status_code == 200
            assert (await http.get(f"/s/{cap}/x")).status_code == 404
