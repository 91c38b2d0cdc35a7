"""From a platform's course page to the student's own notebook, its marks, and back, in Chromium.

The platform is another site, and third-party cookies are blocked. The hub, the sandbox, marimo and
grading are real.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.shared_hub import SharedCaches
from tests.support.tutorial_course import ITEM, author, publish, solve_and_submit
from tests.support.two_sites import TwoSites, come_to_course, launched, strict_profile, two_sites

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def sites(uv_cache: Path, run_directory: Path) -> Iterator[TwoSites]:
    """A hub with the tutorial's assignment, which a platform starts and which sends it marks."""
    shared = SharedCaches(uv_cache, run_directory)
    told = {"hub.collect": True, "hub.instructors": ["prof"]}
    made = two_sites("lti", shared, prepare=author(uv_cache), settings=told, scores="released")
    with made as sites:
        publish(sites.hub)
        yield sites


async def test_a_student_goes_from_the_frame_to_a_tab_with_the_own_notebook(
    sites: TwoSites, tmp_path: Path, artifacts: Path
) -> None:
    activity = sites.platform.state.add_activity("Tutorial", ITEM, 20)
    async with strict_profile(tmp_path / "alice") as context:
        course = await come_to_course(context, sites, "alice")
        await course.screenshot(path=artifacts / "course.png")
        editor = await launched(course, activity.title)
        await course.screenshot(path=artifacts / "frame.png")
        await editor.wait_for_url(f"**/edit/user/alice/{ITEM}/**")
        await solve_and_submit(editor, sites.hub, "alice")
        await editor.screenshot(path=artifacts / "editor.png")
    assert (sites.hub.course / "submitted" / ITEM / "alice.py").exists()
