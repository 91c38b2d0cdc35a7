"""marimo's files come from the page around a notebook, which has a cache: real Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.support.browser import ONE_PROCESS, People, Person, chromium, notebook, wait_in_page
from tests.support.framed_session import ITEM, Framed
from tests.support.handed_files import REST, START, handed
from tests.support.identity import from_proxy
from tests.support.traffic import Traffic

pytestmark = pytest.mark.full

STARTED = "window.started === 42 && getComputedStyle(document.body).color === 'rgb(1, 2, 3)'"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Framed]:
    async with chromium(*ONE_PROCESS) as browser:
        people = People(browser)
        async with handed(tmp_path, people) as opened:
            yield opened
        await people.close()


@pytest.fixture
async def alice(scene: Framed) -> Person:
    return await scene.people.person("alice", headers=from_proxy("alice"))


async def opened(scene: Framed, person: Person) -> tuple[Page, Traffic]:
    page = await person.context.new_page()
    traffic = Traffic()
    await traffic.listen(page)
    await page.goto(f"{scene.address}/edit/user/alice/{ITEM}/")
    await (await notebook(page)).wait_for_function(STARTED)
    return page, traffic


def loaded(traffic: Traffic) -> list[str]:
    """The names of marimo's files that came over the network."""
    return sorted(url.rpartition("/")[2] for url in traffic.shared(traffic.fetched))


async def test_a_second_opening_and_a_reload_load_none_of_them(
    scene: Framed, alice: Person
) -> None:
    page, first = await opened(scene, alice)
    assert loaded(first) == [START]
    frame = await notebook(page)
    assert str(await frame.evaluate("window.resolved")).startswith("blob:null/")
    assert await frame.evaluate("window.binary()") == len("binary")
    _, second = await opened(scene, alice)
    assert loaded(second) == []
    await page.reload()
    await (await notebook(page)).wait_for_function(STARTED)
    assert loaded(first) == [START]


async def test_what_few_notebooks_use_is_kept_once_one_has_used_it(
    scene: Framed, alice: Person
) -> None:
    page, first = await opened(scene, alice)
    async with page.expect_response(f"**/{REST}"):
        assert await (await notebook(page)).evaluate("window.plot()") == 43
    await wait_in_page(page, "localStorage.getItem('mograder-rest')")
    assert set(loaded(first)) == {"plot-1.js", REST, START}
    page, second = await opened(scene, alice)
    assert await (await notebook(page)).evaluate("window.plot()") == 43
    assert loaded(second) == []


@pytest.mark.parametrize("body", [None, b'00000016{"elsewhere":[]}', b"no pack"])
async def test_without_a_pack_that_works_each_file_comes_from_its_address(
    scene: Framed, alice: Person, body: bytes | None
) -> None:
    """No pack is there, or what is in it does not start."""
    if body is None:
        await alice.context.route("**/*.pack", lambda route: route.abort())
    else:
        await alice.context.route("**/*.pack", lambda route: route.fulfill(body=body))
    page, traffic = await opened(scene, alice)
    assert {"a-1.css", "a-1.js", "index-1.js"} <= set(loaded(traffic))
    assert await (await notebook(page)).evaluate("window.plot()") == 43
