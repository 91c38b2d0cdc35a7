"""The session proxy under a path prefix."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import (
    DOCUMENT,
    FRAME,
    Rig,
    cookie,
    running_rig,
    served_on_unix,
)

A1 = "/edit/user/alice/A1"


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
