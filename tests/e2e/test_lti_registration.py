"""A platform registers in a frame of its administrator's page; an instructor links a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # no stubs
from playwright.async_api import BrowserContext, Page, expect

from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import from_proxy
from tests.support.lti_platform import lti_platform
from tests.support.two_sites import PUBLIC, TwoSites, strict_profile

pytestmark = pytest.mark.full
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_OTHER = {"issuer": "https://other.example.org", "client_id": "c"}


@pytest.fixture
def sites(start_hub: Callable[..., HubProcess], work_directory: Path) -> Iterator[TwoSites]:
    """A hub, and a platform that it does not know yet."""
    course = work_directory / "course"
    course.mkdir()
    with ExitStack() as stack:
        platform = stack.enter_context(lti_platform(host="localhost"))
        told = {"hub.public_url": PUBLIC, "lti.platform": [_OTHER], "hub.instructors": ["prof"]}
        hub = start_hub(course, settings=told)
        platform.serve(hub.url)
        yield TwoSites(hub, platform)


def invited(sites: TwoSites) -> str:
    """Return the address that the command prints."""
    options = ("--course", "4", "--private-network")
    done = run_mograder(
        "hub", "lti", "register", sites.platform.url, *options, cwd=sites.hub.course
    )
    assert done.status == 0, done.errors
    return done.output.strip()


async def instructor(context: BrowserContext) -> Page:
    page = await context.new_page()
    await page.set_extra_http_headers(from_proxy("prof"))
    return page


async def look(page: Page, path: Path) -> None:
    """Let axe look at a page on a phone, and wide in the dark, and take its pictures."""
    for width, scheme in ((390, "light"), (1280, "dark")):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not wide, f"{width} px"
        await page.screenshot(path=path.with_suffix(f".{width}.png"), full_page=True)
        found = await Axe().run(page, options={"runOnly": _RULES, "resultTypes": ["violations"]})
        assert not found.violations_count, found.generate_report()


async def test_the_frame_registers_and_tells_the_platforms_page_to_close_it(
    sites: TwoSites, tmp_path: Path, artifacts: Path
) -> None:
    address = invited(sites)
    async with strict_profile(tmp_path / "administrator") as context:
        page = await context.new_page()
        await page.goto(sites.platform.registration_address(address))
        await look(page, artifacts / "register")
        await page.set_viewport_size({"width": 1280, "height": 900})
        await page.goto(f"{sites.platform.url}/admin/register?page={address}")
        button = page.frame_locator("iframe").get_by_role("button", name="Register")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#told")).to_have_text("org.imsglobal.lti.close")
        (told,) = sites.platform.registered
        assert told["initiate_login_uri"] == f"{sites.hub.url}/lti/login"
        page = await instructor(context)
        await page.goto(f"{sites.hub.url}/course/people/sign-in")
        await expect(page.get_by_text("client-dynamic")).to_be_visible()
    log = sites.hub.log.read_text()
    assert address.rpartition("/")[2] not in log
    assert "registration_token" not in log


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
        await look(page, artifacts / "sign-in")
        await page.get_by_role("button", name="Unlink alice").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("all tokens and logins")
        await expect(page.get_by_text("Nobody yet.")).to_be_visible()
