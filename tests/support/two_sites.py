"""A hub and a learning platform on two sites of this machine, and a Chromium as people have it.

The platform is at ``localhost``, the hub at ``127.0.0.1``: for browsers these are two sites, and
two ports of one name are not. Both count as safe, so that Secure cookies are kept without TLS.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import BrowserContext, Page, async_playwright

from tests.support.browser import FLAGS, executable
from tests.support.hub import HubProcess
from tests.support.lti_platform import LtiPlatform, lti_platform
from tests.support.shared_hub import Prepare, SharedCaches, module_hub

PUBLIC = "http://127.0.0.1:{port}"
_BLOCKING = {"profile": {"cookie_controls_mode": 1, "block_third_party_cookies": True}}
_TIMEOUT_MS = 60_000


@dataclass(frozen=True, slots=True)
class TwoSites:
    """A hub that a platform starts."""

    hub: HubProcess
    platform: LtiPlatform


@contextmanager
def two_sites(
    name: str,
    shared: SharedCaches,
    *,
    prepare: Prepare = lambda _: None,
    settings: Mapping[str, object] | None = None,
    **platform_settings: object,
) -> Iterator[TwoSites]:
    """Start both; ``platform_settings`` are members of the ``[[lti.platform]]`` table."""
    with lti_platform(host="localhost") as platform:
        told = {
            "hub.public_url": PUBLIC,
            "lti.platform": [platform.settings(**platform_settings)],
            **(settings or {}),
        }
        with module_hub(name, shared, prepare=prepare, settings=told) as hub:
            platform.serve(hub.url)
            yield TwoSites(hub, platform)


@asynccontextmanager
async def strict_profile(directory: Path) -> AsyncIterator[BrowserContext]:
    """Run a Chromium of its own with an empty profile that blocks third-party cookies."""
    preferences = directory / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text(json.dumps(_BLOCKING))
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            directory,
            executable_path=executable(),
            headless=True,
            args=list(FLAGS),
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(_TIMEOUT_MS)
        try:
            yield context
        finally:
            await context.close()


async def come_to_course(context: BrowserContext, sites: TwoSites, username: str) -> Page:
    """Sign in at the platform; return the tab with the course's page."""
    page = await context.new_page()
    await page.goto(f"{sites.platform.url}/login?as={username}")
    return page


async def launched(course: Page, title: str) -> Page:
    """Open an activity in its frame on the course page, and follow the link to a tab."""
    await course.get_by_role("link", name=title).click()
    link = course.frame_locator("iframe[name=tool]").get_by_role("link")
    async with course.context.expect_page() as opened:
        await link.click()
    return await opened.value
