"""What a page that was open says when its session ends: real Chromium, the proxy in between.

It must tell why and lead back, and must not cry wolf while a hub restarts. Screenshots of what it
shows are left as artefacts for people to look at.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, Route, WebSocket, expect

from mograder.auth.cookies import COOKIE, Login, make_cookie
from mograder.auth.roles import Role
from mograder.sessions.endings import EndReason
from mograder.sessions.live import LiveSession
from tests.contract.proxy_rig import SECRET, Rig, running_rig, served_on_unix
from tests.contract.proxy_upstream import Upstream
from tests.contract.sandbox_rig import until
from tests.e2e.support.browser import People, Person
from tests.e2e.support.hub import HubProcess
from tests.e2e.support.identity import from_proxy

_CONNECT = """new Promise(done => {
    window.s = new WebSocket(new URL("ws", document.baseURI));
    s.onopen = () => done(1);
})"""
_ITEM = "A1-Measuring-Pi"
_LOGIN = "login-of-alice-xxxxxxxx"


@dataclass
class Tab:
    """A page of alice's with an open socket to her session."""

    rig: Rig
    session: LiveSession
    alice: Person
    page: Page

    @property
    def alert(self) -> Locator:
        return self.page.get_by_role("alert")


@asynccontextmanager
async def open_tab(
    people: People, isolation: str = "sandbox", user: str = "alice"
) -> AsyncIterator[Tab]:
    overrides: dict[str, object] = {"hub.session_isolation": isolation}
    async with (
        served_on_unix(Upstream()) as path,
        running_rig(overrides=overrides, base_url="/live/hub") as rig,
    ):
        session = rig.session(path)
        role = Role.STUDENT if user == "alice" else Role.INSTRUCTOR
        now = int(datetime.now(UTC).timestamp())
        cookie = make_cookie(SECRET, Login(user, role, _LOGIN, now, 0))
        person = await people.person(user)
        await person.context.add_cookies([{"name": COOKIE, "value": cookie, "url": rig.url}])
        page = await person.open(f"{rig.url}/live/hub/edit/user/alice/A1/")
        await page.evaluate(_CONNECT)
        yield Tab(rig, session, person, page)


@pytest.mark.parametrize(
    "isolation", ["sandbox", pytest.param("same-origin", marks=pytest.mark.long)]
)
async def test_a_page_says_why_its_session_ended_and_leads_back(
    people: People, isolation: str
) -> None:
    async with open_tab(people, isolation) as tab:
        tab.rig.pool.stop(tab.session, EndReason.MEMORY)
        await expect(tab.alert).to_contain_text("used too much memory")
        await expect(tab.alert).to_contain_text("2 GB")
        link = tab.page.get_by_role("link", name="Open it again")
        await tab.page.keyboard.press("Tab")
        await expect(link).to_be_focused()
        async with tab.page.expect_navigation(url="**/live/hub/edit/A1"):
            await tab.page.keyboard.press("Enter")


async def test_a_request_that_finds_no_session_is_enough_to_ask(people: People) -> None:
    async with open_tab(people) as tab:
        await tab.page.evaluate("s.onclose = null, 0")
        tab.rig.services.capabilities.forget_session(tab.session.id)
        del tab.rig.pool.live[tab.session.key]
        await tab.page.evaluate("fetch('x').then(() => 1)")
        await expect(tab.alert).to_contain_text("This session has ended.")


async def test_signing_out_elsewhere_is_not_told_as_the_sessions_end(people: People) -> None:
    async with open_tab(people) as tab:
        tab.rig.services.capabilities.revoke_login(_LOGIN)
        await expect(tab.alert).to_contain_text("no longer signed in")


async def test_an_instructor_is_led_to_the_course_and_not_into_the_students_editor(
    people: People,
) -> None:
    async with open_tab(people, user="prof") as tab:
        tab.rig.pool.stop(tab.session, EndReason.IDLE)
        link = tab.page.get_by_role("link", name="Back to the course")
        assert await link.get_attribute("href") == "/live/hub/"


async def test_a_hub_that_restarts_is_no_end(people: People) -> None:
    """The socket is cut and nobody answers for a while; then it goes on as if nothing was."""
    async with open_tab(people) as tab:
        asked = 0

        async def away(route: Route) -> None:
            nonlocal asked
            asked += 1
            if asked % 2:
                await route.abort("connectionrefused")
            else:
                await route.fulfill(status=502, body="<h1>Bad gateway</h1>")

        await tab.page.route("**/_mograder/ended*", away)
        await tab.page.evaluate("s.close()")
        await until(lambda: asked >= 3)
        assert await tab.alert.count() == 0
        await tab.page.unroute("**/_mograder/ended*")
        async with tab.page.expect_response("**/_mograder/ended*") as answered:
            pass
        assert await (await answered.value).json() == {"state": "running", "title": "", "text": ""}
        await tab.page.evaluate(_CONNECT)
        assert await tab.alert.count() == 0
        # And when it does end, later, that is told.
        tab.rig.pool.stop(tab.session, EndReason.IDLE)
        await expect(tab.alert).to_contain_text("nobody used it")


async def test_what_it_says_fits_a_phone_and_the_dark(people: People, artifacts: Path) -> None:
    async with open_tab(people) as tab:
        tab.rig.pool.stop(tab.session, EndReason.WORKSPACE)
        await expect(tab.alert).to_be_visible()
        for width, scheme in ((1200, "light"), (1200, "dark"), (360, "light"), (360, "dark")):
            await tab.page.set_viewport_size({"width": width, "height": 700})
            await tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            await tab.page.screenshot(path=artifacts / f"ended-{width}-{scheme}.png")
            box = await tab.alert.bounding_box()
            assert box is not None
            assert box["width"] <= width
            wide = await tab.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width


async def test_a_crashs_last_words_are_shown_as_text(people: People) -> None:
    async with open_tab(people) as tab:
        tab.rig.pool.stop(tab.session, EndReason.CRASHED, detail="<img src=x onerror=alert(1)>")
        await expect(tab.alert).to_contain_text("<img src=x onerror=alert(1)>")
        assert await tab.alert.locator("img").count() == 0


async def test_a_page_without_a_socket_asks_less_and_less_and_then_no_more(
    people: People,
) -> None:
    """No busy polling: a page that lost its socket for good must not ask for ever."""
    async with open_tab(people) as tab:
        await tab.page.clock.install()
        await tab.page.evaluate("s.close()")
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url))
        for _ in range(40):
            await tab.page.clock.run_for(31_000)
            await asyncio.sleep(0.05)
        assert 3 <= sum("_mograder/ended" in url for url in asked) <= 12
        assert await tab.alert.count() == 0


@pytest.mark.timeout(400)
async def test_marimos_page_outlives_a_restart_of_the_hub_and_then_tells_its_end(
    people: People, artifacts: Path, start_hub: Callable[..., HubProcess], run_directory: Path
) -> None:
    """The real hub, supervisor and marimo: a killed hub is no end, and a Stop elsewhere is one."""
    hub = start_hub(settings={"hub.runtime_dir": tempfile.mkdtemp(prefix="r-", dir=run_directory)})
    release = hub.course / "release" / _ITEM
    shutil.copytree(release, hub.course / "hub-release" / _ITEM)
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{hub.url}/edit/{_ITEM}")
    # The first start builds the environment.
    await page.wait_for_url(f"**/edit/user/alice/{_ITEM}/", timeout=200_000)
    await expect(page.locator(".cm-content").first).to_be_visible(timeout=60_000)
    sockets: list[WebSocket] = []

    def note(opened: WebSocket) -> None:
        sockets.append(opened)

    page.on("websocket", note)

    hub.kill()
    await asyncio.sleep(0.5)
    await asyncio.to_thread(hub.restart)
    await until(lambda: any(not each.is_closed() for each in sockets))
    assert await page.locator("mograder-ended").count() == 0

    with hub.client(from_proxy("alice")) as client:
        assert client.post(f"/stop-edit/alice/{_ITEM}").json()["terminated"]
    alert = page.locator("mograder-ended").get_by_role("alert")
    await expect(alert).to_contain_text("The notebook was stopped.", timeout=90_000)
    for width, scheme in ((1200, "light"), (1200, "dark"), (360, "light")):
        await page.set_viewport_size({"width": width, "height": 800})
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await page.screenshot(path=artifacts / f"marimo-{width}-{scheme}.png")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("link", name="Open it again").click()
    await page.wait_for_url(f"**/edit/user/alice/{_ITEM}/")
    await expect(page.locator(".cm-content").first).to_be_visible(timeout=60_000)
    assert await page.locator("mograder-ended").count() == 0
