"""A platform registers in a frame of its administrator's page; an instructor links a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import from_proxy
from tests.support.looks import faults
from tests.support.lti_platform import lti_platform
from tests.support.two_sites import PUBLIC, TwoSites, strict_profile

pytestmark = pytest.mark.full
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


async def test_the_frame_registers_and_tells_the_platforms_page_to_close_it(
    sites: TwoSites, tmp_path: Path, artifacts: Path
) -> None:
    address = invited(sites)
    async with strict_profile(tmp_path / "administrator") as context:
        page = await context.new_page()
        await page.goto(sites.platform.registration_address(address))
        assert await faults(page, artifacts, "register") == []
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
        assert await faults(page, artifacts, "sign-in") == []
        await page.get_by_role("button", name="Unlink alice").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("status")).to_contain_text("all tokens and logins")
        await expect(page.get_by_text("Nobody yet.")).to_be_visible()
