"""The screenshots of the guides that need a scene of their own, for ``scripts.docs_screenshots``.

``python -m tests.support.guide_pictures NAME DIRECTORY`` takes one set of :data:`PICTURES`. The hub
of ``hub`` and ``sign-in`` is a real one; the others show the tests' hub, which has the real pages.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import httpx
from playwright.async_api import Page, expect

from mograder.auth.credentials import Role, make_token
from tests.support.browser import People, Person, chromium, insert, notebook
from tests.support.course import REPOSITORY, put_release
from tests.support.framed_session import ITEM, framed
from tests.support.hub import HubConfig, HubProcess, run_mograder, write_settings
from tests.support.hub_app import SECRET, make_hub
from tests.support.hub_pages import course as course_in_term
from tests.support.hub_pages import serving, work
from tests.support.identity import from_proxy
from tests.support.joined_nodes import GIGABYTE, connected, lapse
from tests.support.lti_platform import LtiPlatform, lti_platform
from tests.support.shared_hub import notebook as tiny_notebook
from tests.support.timeline import live_through
from tests.support.two_sites import PUBLIC
from tests.support.updated_course import ITEM as UPDATED
from tests.support.updated_course import OLD, STAGES, correct, publish, take_copy

_ASSIGNMENT, _LECTURE = "A1-Measuring-Pi", "L01-Random-Numbers"
_TITLE = "Numerical Experiments"


@dataclass(frozen=True, slots=True)
class _Studio:
    """Chromium, a directory for the scene, and the directory of the pictures."""

    people: People
    place: Path
    into: Path

    async def person(self, name: str) -> Person:
        """A person who is signed in."""
        return await self.people.person(name, headers=from_proxy(name))

    async def page(self, name: str, url: str, width: int, height: int) -> Page:
        """A page of a person who is signed in, in a window of this size."""
        page = await (await self.person(name)).context.new_page()
        await page.set_viewport_size({"width": width, "height": height})
        await page.goto(url, wait_until="load")
        return page

    async def take(self, page: Page, name: str) -> None:
        """Write a picture of a page below its head."""
        picture = page.locator("main")
        await picture.screenshot(path=self.into / name, animations="disabled", caret="hide")


async def _board(studio: _Studio) -> None:
    hub = await course_in_term(studio.place / "course")
    async with serving(hub) as address:
        await work(hub, address)
        page = await studio.page("prof", f"{address}/board/{_ASSIGNMENT}", 1000, 1140)
        await expect(page.locator("#lines tr")).to_have_count(12)
        await page.screenshot(path=studio.into / "board.png")
        await studio.people.close()  # an open stream of news would hold up the end
    hub.close()


async def _machines(studio: _Studio) -> None:
    settings = "[nodes]\nenabled = true\n"
    async with framed(studio.place, studio.people, settings=settings) as scene:
        engine = scene.hub.engine
        for name, count, used, load in (("node-1", 47, 5.1, 2.3), ("node-2", 12, 1.4, 0.4)):
            connected(
                engine,
                name,
                version="1.4.0",
                sessions=tuple(f"{name}-{each}" for each in range(count)),
                memory=58 * GIGABYTE,
                used=int(used * GIGABYTE),
                processors=8,
                load=load,
                draining=name == "node-2",
            )
        connected(engine, "node-3", version="1.4.0")
        lapse(engine, "node-3")
        page = await studio.page("prof", f"{scene.address}/course/machines", 1000, 870)
        await page.screenshot(path=studio.into / "machines.png")
        await studio.people.close()


async def _timeline(studio: _Studio) -> None:
    async with framed(studio.place, studio.people) as scene:
        live_through(scene)
        address = f"{scene.address}/versions/alice/{ITEM}"
        for name, path in (("versions", ""), ("version-changes", "/3?to=now")):
            await studio.take(await studio.page("alice", address + path, 960, 800), f"{name}.png")
        await studio.people.close()


async def _updates(studio: _Studio) -> None:
    settings = f'title = "{_TITLE}"\n[hub]\ninstructors = ["teacher"]\n'
    hub = make_hub(studio.place / "course", settings)
    publish(hub, OLD)
    names = ("alice", "bob", "cleo", "dan", "emma", "finn", "gil", "hana", "ivo")
    for name, text in zip(names, STAGES.values(), strict=True):
        take_copy(hub, name, text)
    correct(hub)
    headers = {"Authorization": f"Bearer {make_token(SECRET, 'teacher', Role.INSTRUCTOR)}"}
    async with serving(hub) as address:
        async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as client:
            (await client.post(f"/updates/{UPDATED}/preview")).raise_for_status()
        page = await studio.page("teacher", f"{address}/course/updates/{UPDATED}", 1120, 900)
        await studio.take(page, "update-page.png")
        await studio.people.close()
    hub.close()


# ---- A student's first page, and a notebook with two people in it ----

_DAYS = {_ASSIGNMENT: 2, "A2-Cooling-Coffee": 9}
"""The assignments, and in how many days each is due."""

_ANSWER = "inside = (points ** 2).sum(axis=1) <= 1"
_BUILD_MS = 400_000
"""The environment may have to be built."""


async def _hub(studio: _Studio) -> None:
    course = studio.place / "course"
    _lay_out(course)
    config = HubConfig(settings={"hub.instructors": ["prof"], "hub.collect": True})
    with HubProcess(course, studio.place / "hub.log", config) as hub:
        alice, prof = await studio.person("alice"), await studio.person("prof")
        page = await _opened(hub, alice)
        home = await alice.open(f"{hub.url}/")
        await home.wait_for_load_state("load")
        await home.screenshot(path=studio.into / "hub.png", animations="disabled")
        await page.get_by_role("button", name="Ask for help").click()
        await page.get_by_label("In a few words").press("Enter")
        await expect(page.get_by_text("You asked for help")).to_be_visible()
        await _helps(hub, prof)
        own = await notebook(page)
        await expect(own.get_by_text("all checks passed")).to_be_visible()
        answer = own.locator(".cm-content", has_text="inside = (points")
        await expect(own.locator(".loro-cursor")).not_to_have_count(0)
        await answer.evaluate("cell => cell.scrollIntoView({ block: 'center' })")
        await expect(answer).to_be_in_viewport()
        await page.screenshot(path=studio.into / "together.png", animations="disabled")


def _lay_out(course: Path) -> None:
    """Lay out a part of the example course, with dates."""
    course.mkdir()
    example = REPOSITORY / "examples" / "course" / "release"
    for item in (*_DAYS, _LECTURE):
        released = course / "hub-release" / item
        shutil.copytree(example / item, released, ignore=shutil.ignore_patterns("__pycache__"))
        kind = "lecture" if item == _LECTURE else "assignment"
        files = [str(each.relative_to(released)) for each in released.rglob("*") if each.is_file()]
        (released / "files.json").write_text(json.dumps({"files": files, "type": kind}))
    (course / "mograder.toml").write_text(f'title = "{_TITLE}"\n')
    write_settings(course, {"hub.uv_cache_dir": str(REPOSITORY / ".tools" / "test-uv-cache")})
    now = datetime.now(UTC).replace(hour=18, minute=0, second=0, microsecond=0)
    dates = (f'\n[items."{item}"]\ndue = {now + timedelta(days)}\n' for item, days in _DAYS.items())
    with (course / "mograder.toml").open("a", encoding="utf-8") as file:
        file.write("".join(dates))


async def _opened(hub: HubProcess, student: Person) -> Page:
    page = await student.open(f"{hub.url}/edit/{_ASSIGNMENT}")
    await page.wait_for_url(f"**/edit/user/{student.name}/{_ASSIGNMENT}/", timeout=_BUILD_MS)
    frame = await notebook(page)
    # The code of its cell has the same words.
    await expect(frame.locator("em", has_text="The picture appears here once")).to_be_visible()
    return page


async def _helps(hub: HubProcess, prof: Person) -> None:
    """Take alice's request, and write the answer in her notebook."""
    board = await prof.open(f"{hub.url}/board/{_ASSIGNMENT}")
    await board.get_by_role("button", name="Take the request of alice").click()
    async with prof.context.expect_page() as opened:
        await board.get_by_role("button", name="Work in it together").click()
    helper = await opened.value
    helping = await notebook(helper)
    await helping.locator(".cm-content", has_text="inside = ...").click()
    await helper.keyboard.press("ControlOrMeta+a")
    await insert(helping, _ANSWER)
    await helper.keyboard.press("Control+Enter")


# ---- Signing in by other systems: a fake learning platform opens the pages, as Moodle does ----

_ITEMS = (_ASSIGNMENT, "A2-Cooling-Coffee", "A3-Counting-Bicycles")
_LINKED = (("13", "alice"), ("14", "bob"))
_RENAME = """([from, to]) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    walker.currentNode.data = walker.currentNode.data.replaceAll(from, to);
  }
}"""


async def _sign_in(studio: _Studio) -> None:
    course = studio.place / "course"
    course.mkdir()
    for name in _ITEMS:
        put_release(course, name, tiny_notebook())
    with lti_platform(host="localhost") as platform:
        settings = {
            "title": _TITLE,
            "hub.public_url": PUBLIC,
            "hub.instructors": ["teacher"],
            "lti.platform": [platform.settings(names="same", scores="released", roster="show")],
        }
        log = studio.place / "hub.log"
        with HubProcess(course, log, HubConfig(settings=settings)) as hub:
            platform.serve(hub.url)
            await _register_and_pick(studio, hub, platform)
            page = await studio.page("teacher", f"{hub.url}/course/people/sign-in", 820, 900)
            await _with_the_guides_addresses(page, hub, platform)
            await studio.take(page, "lti-sign-in.png")


async def _register_and_pick(studio: _Studio, hub: HubProcess, platform: LtiPlatform) -> None:
    for subject, name in _LINKED:
        await _run(hub, "link", platform.url, subject, name)
    options = ("--course", "4", "--roster", "show", "--scores", "--private-network")
    address = await _run(hub, "register", platform.url, *options)
    administrator = await studio.people.person("administrator")
    page = await administrator.open(platform.registration_address(address))
    await page.set_viewport_size({"width": 800, "height": 700})
    await _with_the_guides_addresses(page, hub, platform)
    await studio.take(page, "lti-register.png")
    await page.goto(f"{platform.url}/login?as=teach1")
    await page.goto(f"{platform.url}/course/modedit.php?course=4")
    frame = page.frame_locator("iframe[name=tool]")
    await frame.get_by_label(_ITEMS[0]).check()
    dialogue = frame.locator("main")
    await dialogue.screenshot(path=studio.into / "lti-pick.png", animations="disabled")


async def _with_the_guides_addresses(page: Page, hub: HubProcess, platform: LtiPlatform) -> None:
    """Show the addresses of the guides in the place of this machine's."""
    shown = {platform.url: "https://moodle.example.org", hub.url: "https://hub.example.org"}
    for ours, theirs in shown.items():
        await page.evaluate(_RENAME, [ours, theirs])


async def _run(hub: HubProcess, *arguments: str) -> str:
    """Run a command of ``hub lti`` in the course, and return its first line."""
    words = ("hub", "lti", *arguments)
    done = await asyncio.to_thread(run_mograder, *words, cwd=hub.course, seconds=120.0)
    if done.status != 0:
        raise SystemExit(f"{' '.join(words)} ended with status {done.status}: {done.errors}")
    return done.output.strip().partition("\n")[0]


PICTURES: Mapping[str, Callable[[_Studio], Awaitable[None]]] = MappingProxyType(
    {
        "sign-in": _sign_in,
        "timeline": _timeline,
        "updates": _updates,
        "board": _board,
        "machines": _machines,
        "hub": _hub,
    }
)
"""What takes each set of pictures."""


@asynccontextmanager
async def _studio(into: Path) -> AsyncIterator[_Studio]:
    with tempfile.TemporaryDirectory(prefix="mograder-pictures-", dir="/var/tmp") as place:
        async with chromium() as browser:
            yield _Studio(People(browser), Path(place), into)


async def _main(name: str, into: Path) -> None:
    async with _studio(into) as studio:
        await PICTURES[name](studio)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2])))
