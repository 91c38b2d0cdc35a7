"""From a platform's course page to the student's own notebook, its marks, and back, in Chromium.

The platform is another site, and third-party cookies are blocked. The hub, the sandbox, marimo and
grading are real.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support.identity import from_proxy
from tests.support.shared_hub import SharedCaches, until
from tests.support.tutorial_course import (
    COMMENT,
    ITEM,
    author,
    command,
    mark,
    publish,
    solve_and_submit,
)
from tests.support.two_sites import TwoSites, come_to_course, launched, strict_profile, two_sites

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def sites(caches: SharedCaches) -> Iterator[TwoSites]:
    """A hub with the tutorial's assignment, which a platform starts and which sends it marks."""
    told = {"hub.collect": True, "hub.instructors": ["prof"]}
    made = two_sites(
        "lti", caches, prepare=author(caches.uv_cache), settings=told, scores="released"
    )
    with made as sites:
        publish(sites.hub)
        yield sites


async def test_from_the_frame_over_the_own_notebook_to_the_platforms_gradebook(
    sites: TwoSites, tmp_path: Path, artifacts: Path
) -> None:
    platform, hub = sites.platform, sites.hub
    activity = platform.state.add_activity("Tutorial", ITEM, 20)
    column = platform.state.line_item_of(activity)
    assert column is not None
    async with strict_profile(tmp_path / "alice") as context:
        course = await come_to_course(context, sites, "alice")
        editor = await launched(course, activity.title)
        await editor.wait_for_url(f"**/edit/user/alice/{ITEM}/**")
        await solve_and_submit(editor, hub, "alice")
    mark(hub.course, "alice")
    assert platform.taken == [], "nothing is sent before it is released"
    command(hub.course, "gradebook", "release", "A1")
    until(lambda: platform.grade("alice", column).given is not None, 200)
    assert platform.grade("alice", column).given == 15.5
    assert COMMENT in platform.grade("alice", column).comment
    async with strict_profile(tmp_path / "prof") as context:
        await context.set_extra_http_headers(from_proxy("prof"))
        page = await context.new_page()
        await page.goto(f"{hub.url}/course/items/{ITEM}")
        await expect(page.get_by_text("1 mark is there")).to_be_visible()
        await page.screenshot(path=artifacts / "item.png", full_page=True)
    assert [status for _, status in platform.taken] == [200], "it was sent once"
