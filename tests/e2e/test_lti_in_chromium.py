"""A platform on another site starts the hub, in Chromium with third-party cookies blocked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, FrameLocator, Page, expect

from tests.support.browser import wait_in_page
from tests.support.course import put_release
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults
from tests.support.lti_platform import lti_platform
from tests.support.shared_hub import TINY, notebook
from tests.support.two_sites import PUBLIC, TwoSites, come_to_course, launched, strict_profile

pytestmark = pytest.mark.full


@pytest.fixture
def sites(start_hub: Callable[..., HubProcess], work_directory: Path) -> Iterator[TwoSites]:
    """A hub with one assignment, of which no session is started."""
    course = work_directory / "course"
    course.mkdir()
    put_release(course, TINY, notebook())
    with ExitStack() as stack:
        platform = stack.enter_context(lti_platform(host="localhost"))
        told = {"hub.public_url": PUBLIC, "lti.platform": [platform.settings(names="same")]}
        hub = start_hub(course, settings={**told, "hub.instructors": ["prof"]})
        platform.serve(hub.url)
        yield TwoSites(hub, platform)


async def test_a_frame_leads_to_a_tab_that_is_signed_in(
    sites: TwoSites, tmp_path: Path, artifacts: Path
) -> None:
    activity = sites.platform.state.add_activity("All notebooks")
    async with strict_profile(tmp_path / "alice") as context:
        course = await come_to_course(context, sites, "alice")
        tab = await launched(course, activity.title)
        await expect(tab.get_by_text("Signed in as alice")).to_be_visible()
        assert tab.url == f"{sites.hub.url}/"
        # The frame has no login of its own, and says what happened.
        await expect(tool(course).get_by_text("opened in a new tab")).to_be_visible()
        # Moodle's page makes a new launch each time, and the next one is as good.
        await course.bring_to_front()
        await course.reload()
        async with context.expect_page() as opened:
            await tool(course).get_by_role("link").click()
        again = await opened.value
        await expect(again.get_by_text("Signed in as alice")).to_be_visible()
        await course.bring_to_front()
        await course.reload()
        await expect(tool(course).get_by_role("link")).to_be_visible()
        assert await faults(course, artifacts, "frame", EVERY_LOOK, whole=False, axe=False) == []


async def test_a_teacher_picks_assignments_in_the_platforms_dialogue(
    sites: TwoSites, tmp_path: Path, artifacts: Path
) -> None:
    platform = sites.platform
    async with strict_profile(tmp_path / "teach1") as context:
        page = await come_to_course(context, sites, "teach1")
        await page.goto(f"{platform.url}/course/modedit.php?course=4")
        await tool(page).get_by_label(TINY).check()
        assert await faults(page, artifacts, "pick", EVERY_LOOK, whole=False, axe=False) == []
        await tool(page).get_by_role("button", name="Add the links").click()
        await expect(page.locator("#told")).to_have_text(TINY)
        assert [each["custom"] for each in platform.picked] == [{"item": TINY}]
        assert "url" not in platform.picked[0]
        assert await context.cookies(sites.hub.url) == [], "picking signs nobody in"
    async with strict_profile(tmp_path / "alice") as context:
        course = await come_to_course(context, sites, "alice")
        tab = await launched(course, TINY)
        await tab.wait_for_url(f"**/edit/{TINY}")


async def test_a_student_is_told_why_there_is_nothing_to_pick(
    sites: TwoSites, tmp_path: Path
) -> None:
    async with strict_profile(tmp_path / "alice") as context:
        page = await come_to_course(context, sites, "alice")
        await page.goto(f"{sites.platform.url}/course/modedit.php?course=4")
        await expect(tool(page).get_by_text("Only instructors of the course")).to_be_visible()
        await expect(tool(page).get_by_role("checkbox")).to_have_count(0)


async def test_a_platform_registers_in_its_administrators_frame_and_launches_then(
    sites: TwoSites, tmp_path: Path, artifacts: Path
) -> None:
    platform, hub = sites.platform, sites.hub
    options = ("--course", "4", "--same-names", "--private-network")
    made = run_mograder("hub", "lti", "register", platform.url, *options, cwd=hub.course)
    address = re.search(r"http://\S+/lti/register/\S+", made.output)
    assert address is not None, made.output + made.errors
    async with strict_profile(tmp_path / "admin") as context:
        page = await come_to_course(context, sites, "admin")
        await page.goto(platform.registration_address(address[0]))
        assert await faults(page, artifacts, "register") == []
        await page.goto(f"{platform.url}/admin/register?page={address[0]}")
        button = tool(page).get_by_role("button", name="Register")
        await button.focus()
        await wait_in_page(page, "document.activeElement?.name === 'tool'")  # so do keys now
        assert platform.registered == [], "nothing is fetched or sent before the button"
        await page.keyboard.press("Enter")
        await expect(page.locator("#told")).to_have_text("org.imsglobal.lti.close")
        await page.reload()
        await expect(tool(page).get_by_role("button")).to_have_count(0)
        (told,) = platform.registered
        assert told["initiate_login_uri"] == f"{hub.url}/lti/login"
        page = await instructor(context)
        await page.goto(f"{hub.url}/course/people/sign-in")
        await expect(page.get_by_text("client-dynamic")).to_be_visible()
    log = hub.log.read_text()
    assert address[0].rpartition("/")[2] not in log
    assert "registration_token" not in log
    activity = platform.state.add_activity("Registered", client_id="client-dynamic")
    async with strict_profile(tmp_path / "alice") as context:
        page = await come_to_course(context, sites, "alice")
        tab = await launched(page, activity.title)
        await expect(tab.get_by_text("Signed in as alice")).to_be_visible()


async def instructor(context: BrowserContext) -> Page:
    page = await context.new_page()
    await page.set_extra_http_headers(from_proxy("prof"))
    return page


async def test_an_instructor_links_and_unlinks_a_person_by_keyboard(
    sites: TwoSites, tmp_path: Path, artifacts: Path
) -> None:
    async with strict_profile(tmp_path / "prof") as context:
        page = await instructor(context)
        await page.goto(f"{sites.hub.url}/course/people")
        await page.get_by_role("link", name="Sign-in", exact=True).click()
        await page.get_by_label("The person's id there").fill("13")
        await page.get_by_label("User name here").fill("alice")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("alice is linked")
        assert await faults(page, artifacts, "sign-in") == []
        await page.get_by_role("button", name="Unlink alice").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("all tokens and logins")
        await expect(page.get_by_text("Nobody yet.")).to_be_visible()


async def test_no_other_page_of_the_hub_and_no_other_site_gets_a_frame(
    sites: TwoSites, tmp_path: Path
) -> None:
    with lti_platform(host="localhost") as stranger:
        stranger.serve(sites.hub.url)
        async with strict_profile(tmp_path / "alice") as context:
            page = await context.new_page()
            await page.goto(f"{stranger.url}/login?as=alice")
            form = sites.platform.initiation("alice", sites.platform.state.activities[1])
            query = "&".join(f"{name}={value}" for name, value in form.items())
            for address in ("/", "/login", f"/edit/{TINY}", f"/lti/login?{query}"):
                await page.evaluate(_FRAME, f"{sites.hub.url}{address}")
                frame = page.frames[-1]
                await frame.wait_for_load_state()
                assert frame.url.startswith("chrome-error:"), address


_FRAME = """address => new Promise((done) => {
  document.querySelectorAll("iframe").forEach((each) => each.remove());
  const frame = document.createElement("iframe");
  frame.src = address;
  frame.onload = () => done();
  document.body.append(frame);
})"""


def tool(page: Page) -> FrameLocator:
    """The platform's frame for the hub."""
    return page.frame_locator("iframe[name=tool]")
