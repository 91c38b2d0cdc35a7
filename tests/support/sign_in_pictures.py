"""The screenshots of signing in by other systems in the guides: started by the script for all.

``python -m tests.support.sign_in_pictures DIRECTORY`` writes them, as ``scripts.docs_screenshots``
does with ``--only sign-in``.

A fake learning platform opens the hub's pages, as Moodle does. Addresses of this machine are shown
as those of the guides.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page

from tests.support.browser import People, chromium
from tests.support.course import put_release
from tests.support.hub import HubConfig, HubProcess, run_mograder
from tests.support.identity import from_proxy
from tests.support.lti_platform import LtiPlatform, lti_platform
from tests.support.shared_hub import notebook
from tests.support.two_sites import PUBLIC

_TEACHER = "teacher"
_ITEMS = ("A1-Measuring-Pi", "A2-Cooling-Coffee", "A3-Counting-Bicycles")
_PEOPLE = (("13", "alice"), ("14", "bob"))
_PLATFORM, _HUB = "https://moodle.example.org", "https://hub.example.org"
_RENAME = """([from, to]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    walker.currentNode.data = walker.currentNode.data.replaceAll(from, to);
  }
}"""


@dataclass(frozen=True, slots=True)
class _Scene:
    """A hub, the platform that opens it, and where the pictures go."""

    hub: HubProcess
    platform: LtiPlatform
    course: Path
    into: Path

    async def take(self, page: Page, name: str) -> None:
        """Write a picture with the addresses of the guides."""
        for ours, shown in ((self.platform.url, _PLATFORM), (self.hub.url, _HUB)):
            await page.evaluate(_RENAME, [ours, shown])
        picture = page.locator("main")
        await picture.screenshot(path=self.into / name, animations="disabled", caret="hide")


def take_pictures(into: Path) -> None:
    """Write the pictures into a directory."""
    with (
        tempfile.TemporaryDirectory(prefix="mograder-pictures-", dir="/var/tmp") as directory,
        lti_platform(host="localhost") as platform,
    ):
        course = Path(directory) / "course"
        course.mkdir()
        for name in _ITEMS:
            put_release(course, name, notebook())
        told = platform.settings(names="same", scores="released", roster="show")
        settings = {
            "title": "Numerical Experiments",
            "hub.public_url": PUBLIC,
            "hub.instructors": [_TEACHER],
            "lti.platform": [told],
        }
        config = HubConfig(settings=settings)
        with HubProcess(course, Path(directory) / "hub.log", config) as hub:
            platform.serve(hub.url)
            asyncio.run(_take(_Scene(hub, platform, course, into)))


async def _take(scene: _Scene) -> None:
    lti = ("hub", "lti")
    for subject, name in _PEOPLE:
        await _run(scene, *lti, "link", scene.platform.url, subject, name)
    options = ("--course", "4", "--roster", "show", "--scores", "--private-network")
    address = await _run(scene, *lti, "register", scene.platform.url, *options)
    async with chromium() as browser:
        people = People(browser)
        administrator = await people.person("administrator")
        page = await administrator.open(scene.platform.registration_address(address))
        await page.set_viewport_size({"width": 800, "height": 700})
        await scene.take(page, "lti-register.png")
        await page.goto(f"{scene.platform.url}/login?as=teach1")
        await page.goto(f"{scene.platform.url}/course/modedit.php?course=4")
        frame = page.frame_locator("iframe[name=tool]")
        await frame.get_by_label(_ITEMS[0]).check()
        dialogue = frame.locator("main")
        await dialogue.screenshot(path=scene.into / "lti-pick.png", animations="disabled")
        teacher = await people.person(_TEACHER, headers=from_proxy(_TEACHER))
        page = await teacher.open(f"{scene.hub.url}/course/people/sign-in")
        await page.set_viewport_size({"width": 820, "height": 900})
        await scene.take(page, "lti-sign-in.png")


async def _run(scene: _Scene, *arguments: str) -> str:
    """Run a command in the course, and return its first line."""
    done = await asyncio.to_thread(run_mograder, *arguments, cwd=scene.course, seconds=120.0)
    if done.status != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with status {done.status}: {done.errors}")
    return done.output.strip().partition("\n")[0]


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]))
