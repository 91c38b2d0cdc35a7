"""A notebook that is open while its person signs in once more in the same browser."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from mograder.auth.credentials import make_token
from tests.support.hub_app import ORIGIN, SECRET, Hub, running_hub
from tests.support.lti_hub import LtiHub, lti
from tests.support.proxy_upstream import Upstream
from tests.support.session_proxy import DOCUMENT, served_on_unix

__all__ = ["lti"]


async def opened(hub: Hub, browser: httpx.AsyncClient, socket: Path) -> str:
    """Open alice's notebook A1 in a tab; return the address below which its page asks."""
    hub.start("alice", "A1", server=socket)
    page = await browser.get("/edit/user/alice/A1/", headers=DOCUMENT)
    found = re.search(r' src="(/s/[^/]+/)"', page.text)
    assert found, page.text[:300]
    return found[1]


async def answers(browser: httpx.AsyncClient, root: str) -> bool:
    """Whether a page that was opened before is answered; if not, it is told that it ended."""
    answer = await browser.get(f"{root}x")
    assert answer.status_code == 200 or answer.headers["x-mograder-session"] == "gone"
    return answer.status_code == 200


async def test_a_notebook_stays_open_while_its_person_launches_other_activities(
    lti: LtiHub,
) -> None:
    async with lti.tab() as tab, served_on_unix(Upstream()) as socket:
        await tab.launch("alice", lti.activity("A1"))
        root = await opened(lti.hub, tab.browser, socket)
        for item in ("A2", "L01"):
            assert (await tab.launch("alice", lti.activity(item))).status_code == 303
            assert await answers(tab.browser, root), item
        again = await tab.browser.get("/edit/user/alice/A1/", headers=DOCUMENT)
        assert root in again.text, "a new page has the same address"
        await tab.launch("bob", lti.activity("A1"))
        assert not await answers(tab.browser, root), "bob sits at alice's computer"


async def test_a_notebook_stays_open_when_its_person_signs_in_again_by_token(
    tmp_path: Path,
) -> None:
    ours = {"Origin": ORIGIN}
    async with (
        running_hub(tmp_path / "course", "", "A1") as hub,
        hub.client(browser=True) as browser,
        served_on_unix(Upstream()) as socket,
    ):
        token = {"token": make_token(SECRET, "alice")}
        await browser.post("/login", data=token, headers=ours)
        root = await opened(hub, browser, socket)
        assert (await browser.post("/login", data=token, headers=ours)).status_code == 303
        assert await answers(browser, root)
        await browser.post("/logout", headers=ours)
        assert not await answers(browser, root), "signing out ends what passed on"
