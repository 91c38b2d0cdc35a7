"""The hub's own pages in real Chromium: by keyboard, on a phone, in the dark, without scripts.

Screenshots of every state are left as artefacts for people to look at.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.support.browser import BUILT_WITHIN, People
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import SECRET, from_proxy, token
from tests.support.looks import SMALL_PHONE, faults

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

ITEMS = ("A1-Measuring-Pi", "A2-Cooling-Coffee", "L01-Random-Numbers")


@pytest.fixture
def hub(start_hub: Callable[..., HubProcess]) -> HubProcess:
    """A hub with the example course released."""
    hub = start_hub()
    for item in ITEMS:
        shutil.copytree(hub.course / "release" / item, hub.course / "hub-release" / item)
    return hub


async def test_every_page_fits_a_phone_in_light_and_dark(
    hub: HubProcess, people: People, artifacts: Path
) -> None:
    signed_in = await people.person("alice", headers=from_proxy("alice"))
    nobody = await people.person("nobody")
    looks = (*SMALL_PHONE, (360, "light"))
    for person, path in (
        (signed_in, "/"),
        (signed_in, "/edit/no-such-item"),
        (signed_in, "/api/docs"),
        (signed_in, "/nowhere"),
        (nobody, "/"),
        (nobody, "/login"),
    ):
        page = await person.open(hub.url + path)
        if path == "/api/docs":  # Swagger UI runs under our policy
            await expect(page.get_by_text("List assignments, then lectures")).to_be_visible()
        name = f"{person.name}-{path.strip('/').replace('/', '-') or 'home'}"
        assert await faults(page, artifacts, name, looks, axe=False) == []
        await page.close()


async def test_without_scripts_the_way_to_the_editor_says_what_it_needs(
    hub: HubProcess, people: People
) -> None:
    alice = await people.person("alice", headers=from_proxy("alice"), javascript=False)
    page = await alice.open(f"{hub.url}/")
    await page.get_by_role("button", name="Download A2-Cooling-Coffee").click()
    await expect(page.get_by_text("downloaded")).to_be_visible()
    await page.goto(f"{hub.url}/edit/A2-Cooling-Coffee")
    assert "Notebooks need JavaScript." in await page.content()  # in <noscript>
    await page.get_by_role("link", name="Back to the course").click()
    await page.wait_for_url(f"{hub.url}/")


async def test_signing_in_by_token_and_by_link_and_out_again(
    hub: HubProcess, people: People
) -> None:
    """Whoever follows a deep link first ends up where it led."""
    nobody = await people.person("nobody")
    page = await nobody.open(f"{hub.url}/run/L01-Random-Numbers")
    await page.get_by_label("Token").fill("alice:0000")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await page.get_by_label("Token").fill(token("alice"))
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/run/user/alice/L01-Random-Numbers/?*", timeout=BUILT_WITHIN)
    await page.goto(f"{hub.url}/")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("Sign out")).to_have_count(0)
    link = run_mograder(
        *("hub", "login-link", "bob", "--url", hub.url),
        env={"MOGRADER_HUB_SECRET": SECRET},
        cwd=hub.course,
    ).output.strip()
    await page.goto(link)
    await _press_twice(page, "**/login/link")  # it works once
    await expect(page.get_by_text("bob")).to_be_visible()
    await page.goto(link)
    await page.get_by_role("main").get_by_role("button").click()
    await expect(page.get_by_role("alert")).to_be_visible()


async def _press_twice(page: Page, address: str) -> None:
    """Press a form's button a second time before the hub has answered."""
    sent, pressed_twice = asyncio.Queue[str](), asyncio.Event()

    async def held(route: Route) -> None:
        sent.put_nowait(route.request.method)
        await pressed_twice.wait()
        await route.continue_()

    async def told(route: Route) -> None:
        pressed_twice.set()
        await route.fulfill(status=204)

    await page.route(address, held)
    await page.route("**/pressed-twice", told)
    # By the page itself: Playwright waits for the navigation that is held.
    await (
        page.get_by_role("main")
        .get_by_role("button")
        .evaluate(
            """button => {
          button.click();
          setTimeout(() => { button.click(); fetch("pressed-twice"); }, 300);
        }"""
        )
    )
    assert await sent.get() == "POST"
    await page.wait_for_url(lambda url: "login" not in url)
    await page.unroute(address)
    assert sent.empty()


async def test_a_link_that_leads_nowhere_says_so_and_offers_to_try_again(
    hub: HubProcess, people: People
) -> None:
    alice = await people.person("alice", headers=from_proxy("alice"))
    page = await alice.open(f"{hub.url}/edit/A9-Later")
    await expect(page.get_by_role("alert")).to_contain_text("Assignment not found")
    retry = page.get_by_role("button", name="Retry")
    await expect(retry).to_be_focused()
    release = hub.course / "hub-release" / "A9-Later"
    shutil.copytree(hub.course / "hub-release" / ITEMS[0], release)
    (release / f"{ITEMS[0]}.py").rename(release / "A9-Later.py")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/edit/user/alice/A9-Later/", timeout=BUILT_WITHIN)


async def test_a_time_is_told_in_words_of_the_page_and_with_the_hours_of_the_reader(
    hub: HubProcess, browser: Browser
) -> None:
    context = await browser.new_context(
        locale="de-DE", timezone_id="Asia/Kolkata", extra_http_headers=from_proxy("alice")
    )
    page = await context.new_page()
    await page.goto(f"{hub.url}/login")
    sheet = await page.locator("link[rel=stylesheet]").first.get_attribute("href")
    told = await page.evaluate(
        """async (words) => {
          const { short_time } = await import(words), now = new Date("2026-11-26T10:00:00Z");
          const at = ["2026-11-26T12:00:00Z", "2026-11-28T12:00:00Z"];
          return at.map((each) => short_time(new Date(each), true, now));
        }""",
        (sheet or "").replace("app.css", "words.js"),
    )
    assert told == ["today 17:30", "Sa., 17:30, in 2 days"]
    spoken = await page.evaluate(
        """async (times) => {
          document.body.innerHTML = `<p role="status">Graded <time datetime="2026-11-26T12:00Z">`;
          (await import(times)).tell_times(document);
          return document.querySelector("time").closest("[aria-live]")?.getAttribute("aria-live");
        }""",
        (sheet or "").replace("app.css", "times.js"),
    )
    assert spoken == "off", "else the sentence is spoken again each minute"
    near = await page.evaluate(
        """async (times) => {
          const at = new Date(Date.now() + 1170000).toISOString();
          const each = [
            `<time datetime="${at}">`,
            `until <time datetime="${at}" data-at>`,
            '<time datetime="2026-11-26T12:00:07Z" data-seconds>',
          ];
          document.body.innerHTML = each.map((one) => `<p>${one}</time></p>`).join("");
          (await import(times)).tell_times(document);
          return [...document.querySelectorAll("p")].map((one) => one.textContent);
        }""",
        (sheet or "").replace("app.css", "times.js"),
    )
    assert near[0] == "in 19 min."
    assert re.fullmatch(r"until (tomorrow )?\d\d:\d\d", near[1]), near[1]
    assert near[2] == "26.11.2026, 17:30:07", "seconds decide there whether work is late"
    await context.close()
