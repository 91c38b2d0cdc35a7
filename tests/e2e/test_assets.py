"""marimo's static files come from one shared address: real Chromium, the whole hub.

sessions.md, "The editor's files".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support.browser import BUILT_WITHIN, ONE_PROCESS, People, Person, chromium
from tests.support.browser import notebook as framed
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.shared_hub import ORIGIN_EACH, TALK, notebook
from tests.support.traffic import Traffic

pytestmark = [pytest.mark.full, pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]


ITEMS = ("A1", "A2")
HARMLESS = ("ERR_ABORTED", "Service workers are not supported", "preloaded intentionally")
"""Console messages of marimo's page in an opaque origin, and of a page that was left."""


def course(work_directory: Path) -> Path:
    directory = work_directory / "course"
    directory.mkdir()
    for item in ITEMS:
        put_release(directory, item, notebook('f"it runs {6 * 7}"'))
    put_release(directory, TALK, notebook('f"it runs {6 * 7}"'), "lecture")
    return directory


async def opened(person: Person, url: str) -> Traffic:
    """Open a session and wait until its cell has run; return what the tab loaded."""
    page = await person.context.new_page()
    traffic = Traffic()
    await traffic.listen(page)
    await page.goto(url, wait_until="domcontentloaded")
    await page.wait_for_url("**/user/**", timeout=BUILT_WITHIN)
    await expect((await framed(page)).get_by_text("it runs 42")).to_be_visible()
    async with asyncio.timeout(60):
        await page.wait_for_load_state("networkidle")
    await page.close()
    return traffic


@pytest.fixture
async def people_of_one_process() -> AsyncIterator[People]:
    """Open a page and record its traffic, including that of a sandboxed frame."""
    async with chromium(*ONE_PROCESS) as browser:
        people = People(browser)
        yield people
        await people.close()


async def test_all_of_an_editors_files_come_compressed_from_the_shared_address(
    start_hub: Callable[..., HubProcess], people_of_one_process: People, work_directory: Path
) -> None:
    """In an opaque origin and below a prefix, for editors and for lectures."""
    settings = {"hub.base_url": "/live/hub"}
    hub = start_hub(course(work_directory), dev=True, settings=settings)
    guest = await people_of_one_process.person("guest")
    for where in ("edit/A1", f"run/{TALK}"):
        traffic = await opened(guest, f"{hub.url}/live/hub/{where}")
        (shared,) = traffic.shared([*traffic.fetched, *traffic.cached])
        assert "/live/hub/s/_marimo/0." in shared
        assert not [url for url in traffic.fetched if "/assets/" in url]
        assert traffic.encodings == {"br"}
        assert traffic.bytes < 6_000_000
    assert not [note for note in guest.notes if not any(word in note for word in HARMLESS)]


async def test_a_second_assignment_fetches_none_of_them_again(
    start_hub: Callable[..., HubProcess],
    people_of_one_process: People,
    work_directory: Path,
) -> None:
    """Sessions with an origin each share the files of the hub's own: nothing of a session's."""
    hub = start_hub(course(work_directory), dev=True, settings=ORIGIN_EACH)
    guest = await people_of_one_process.person("guest")
    first, second = [await opened(guest, f"{hub.url}/edit/{item}") for item in ITEMS]
    assert len(first.shared(first.fetched)) > 200
    assert second.shared(second.fetched) == []
    assert len(second.shared(second.cached)) == len(first.shared(first.fetched))
    assert second.bytes == 0
    assert not [note for note in guest.notes if "CORS" in note or "Content Security" in note]


async def test_a_second_opening_in_an_opaque_origin_costs_few_bytes(
    start_hub: Callable[..., HubProcess], people_of_one_process: People, work_directory: Path
) -> None:
    """The next assignment, and the same one again."""
    hub = start_hub(course(work_directory), dev=True)
    guest = await people_of_one_process.person("guest")
    for item, most in ((ITEMS[0], 6_000_000), (ITEMS[1], 100_000), (ITEMS[0], 100_000)):
        traffic = await opened(guest, f"{hub.url}/edit/{item}")
        assert traffic.total < most, traffic.fetched
    assert not [note for note in guest.notes if not any(word in note for word in HARMLESS)]
