"""Take the screenshots in the guides: ``.venv/bin/python -m scripts.docs_screenshots``.

A copy of the example course is graded, marked in Chromium, given an extension and released, by
the same commands and pages as in ``docs/how-to/mark-a-course.md``. Names and dates are invented.
``--only sign-in`` takes those of signing in by other systems, ``--only timeline`` those of
versions, ``--only updates`` those of updates, ``--only board`` that of a board, ``--only machines``
that of the page of machines, ``--only hub`` those of a student's first page and of a notebook with
two people in it, ``--only marking`` the others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from playwright.async_api import Page, expect

from mograder.core.settings import load_settings
from mograder.grading.submissions.grading_result import grading_key
from mograder.web.marking.context import answer_id
from tests.support.browser import People, chromium
from tests.support.guide_pictures import PICTURES
from tests.support.hub import HubConfig, HubProcess, run_mograder, write_settings
from tests.support.identity import from_proxy

REPOSITORY = Path(__file__).parent.parent
IMAGES = REPOSITORY / "docs" / "images"
EXAMPLE = REPOSITORY / "examples" / "course"
ITEM = "A3-Counting-Bicycles"
TEACHER, STUDENT = "teacher", "bob"
_LEAVINGS = shutil.ignore_patterns(".mograder", "hub-notebooks", "hub-release", "__pycache__")
_CACHE = REPOSITORY / ".tools" / "test-uv-cache"
_MOST_BYTES = 150_000
_GRADING_SECONDS = 1800.0
_WIDTH = 1120
_DUE = datetime(2026, 2, 20, 18, 0, tzinfo=UTC)
"""Past, and the extension too: marks of questions with hidden tests are told after both."""

_BLANK = "    {name} = ...\n    # YOUR CODE HERE\n    pass\n"
_DAYS = (
    '    days = bicycles.dropna(subset=["count"])\n'
    '    days = days.assign(weekday=days["date"].dt.day_of_week)\n'
)
_MEAN = '    pattern = days.groupby("weekday")["count"].mean()\n'
_UNSORTED = '    pattern = days.groupby("weekday", sort=False)["count"].mean()\n'
_LEVEL = (
    "        if self.level is None:\n"
    "            self.level = value\n"
    "        else:\n"
    "            self.level += self.weight * (value - self.level)\n"
)
_FORGETS_ZERO = _LEVEL.replace("self.level is None", "not self.level")
_WEEKENDS = (
    "On Sundays only half as many people cross, so the forecast is too high there and too low on "
    "the Monday after. I would divide each count by the mean of its weekday, and smooth these "
    "ratios instead: the level then follows the season only. Rain lowers the counts as well."
)
_RAIN = (
    "The forecast is far off on rainy days, because few people like to cycle in the rain. I would "
    "fit a factor for the rain, $c = c_0 e^{-r/r_0}$, and use the forecast of the weather."
)
_WEAK = "It is off in many places since the level is always one day behind."


@dataclass(frozen=True, slots=True)
class Submission:
    """A student's answers, and how many hours after the due date they came."""

    student: str
    pattern: str
    level: str
    essay: str
    hours: float = -20


SUBMISSIONS = (
    Submission("alice", _MEAN, _LEVEL, _WEEKENDS),
    Submission("bob", _UNSORTED, _LEVEL, _RAIN, hours=15),
    Submission("cleo", _MEAN, _FORGETS_ZERO, _WEAK, hours=40),
    Submission("dan", _UNSORTED, _FORGETS_ZERO, _WEEKENDS),
    Submission("emma", _MEAN, _LEVEL, _RAIN),
)


def main() -> int:
    """Take the pictures into ``docs/images``, or where ``--into`` says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--into", type=Path, default=IMAGES, help="directory of the pictures")
    parser.add_argument("--only", choices=("marking", *PICTURES), help="some of them only")
    given = parser.parse_args()
    into: Path = given.into
    into.mkdir(parents=True, exist_ok=True)
    for name in PICTURES:  # processes of their own: the scenes are the tests'
        if given.only in (None, name):
            module = [sys.executable, "-m", "tests.support.guide_pictures"]
            subprocess.run([*module, name, str(into.resolve())], cwd=REPOSITORY, check=True)
    if given.only in (None, "marking"):
        _take_marking_pictures(into)
    return 0


def _take_marking_pictures(into: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mograder-pictures-", dir="/var/tmp") as directory:
        course = Path(directory) / "course"
        _prepare_course(course)
        config = HubConfig(settings={"hub.instructors": [TEACHER]})
        with HubProcess(course, Path(directory) / "hub.log", config) as hub:
            asyncio.run(_take_pictures(hub, course, into))


def _prepare_course(course: Path) -> None:
    """Copy the example course, hand the answers in, and grade them."""
    shutil.copytree(EXAMPLE, course, ignore=_LEAVINGS)
    settings = {"penalties.enabled": True, "penalties.per_day": 5.0, "penalties.grace_minutes": 5}
    write_settings(course, {**settings, "hub.uv_cache_dir": str(_CACHE)})
    due = f'\n[[assignments]]\nname = "{ITEM}"\nduedate = {int(_DUE.timestamp())}\n'
    with (course / "mograder.toml").open("a", encoding="utf-8") as file:
        file.write(due)
    release = (course / "release" / ITEM / f"{ITEM}.py").read_text("utf-8")
    submitted = course / "submitted" / ITEM
    submitted.mkdir(parents=True)
    for each in SUBMISSIONS:
        (submitted / f"{each.student}.py").write_text(_answered(release, each), "utf-8")
    times = {each.student: _DUE.timestamp() + each.hours * 3600 for each in SUBMISSIONS}
    (submitted / ".fetch_metadata.json").write_text(json.dumps(times))
    _run(course, "autograde", "A3")


def _answered(release: str, answers: Submission) -> str:
    """Return the release with a student's answers in it."""
    for place, answer in (
        (_BLANK.format(name="days"), _DAYS),
        (_BLANK.format(name="pattern"), answers.pattern),
        ("        # YOUR CODE HERE\n        pass\n", answers.level),
        (
            "        forecast = ...\n        # YOUR CODE HERE\n        pass\n",
            "        forecast = self.level\n",
        ),
        ("*Write your answer here.*", answers.essay),
    ):
        if place not in release:
            sys.exit(f"the release of {ITEM} has no place for this answer:\n{answer}")
        release = release.replace(place, answer, 1)
    return release


def _run(course: Path, *arguments: str) -> None:
    """Run a command of mograder's in the course, and show what it says."""
    print(f"$ mograder {' '.join(arguments)}", flush=True)
    done = run_mograder(*arguments, cwd=course, seconds=_GRADING_SECONDS)
    print(f"{done.output}{done.errors}", flush=True)
    if done.status != 0:
        sys.exit(f"it ended with status {done.status}")


async def _take_pictures(hub: HubProcess, course: Path, into: Path) -> None:
    async with chromium() as browser:
        people = People(browser)
        teacher = await people.person(TEACHER, headers=from_proxy(TEACHER))
        answer = answer_id(grading_key(load_settings(course)), ITEM, STUDENT)
        where = f"{hub.url}/marking/{ITEM}"
        page = await teacher.open(f"{where}/questions/Analysis?answer={answer}")
        await page.set_viewport_size({"width": _WIDTH, "height": 780})
        await _mark_by_keyboard(page)
        await _shoot(page, into / "marking-page.png")
        for student, points in (("cleo", 4), ("dan", 12), ("alice", 12), ("bob", 9), ("emma", 10)):
            await asyncio.to_thread(
                _run, course, "gradebook", "mark", "A3", student, f"Analysis={points}",
                *("--comment", "The rain is well seen; the weekends are not.", "--marker", TEACHER),
            )  # fmt: skip
        await asyncio.to_thread(
            _run, course, "extension", "add", "A3", "cleo", "--until", "2026-02-23T18:00+00:00",
            *("--reason", "flu"),
        )  # fmt: skip
        await page.goto(f"{where}/late")
        await _shoot(page, into / "late-page.png", below=True)
        await page.goto(f"{where}/release")
        await page.get_by_role("button", name="Release").click()
        await expect(page.get_by_text("5 students were released.")).to_be_visible()
        await _shoot(page, into / "release-page.png", below=True)
        reader = await people.person(STUDENT, headers=from_proxy(STUDENT))
        home = await reader.open(f"{hub.url}/marks/{STUDENT}/{ITEM}")
        await home.set_viewport_size({"width": _WIDTH, "height": 900})
        await _shoot(home, into / "student-marks.png")


async def _mark_by_keyboard(page: Page) -> None:
    """Give two items of a new rubric and a comment, as a marker does."""
    await expect(page.locator("#desk")).to_be_visible()
    for text, points in (("Names days that are far off", "4"), ("Explains the rain", "5")):
        await page.keyboard.press("i")
        await page.keyboard.type(text)
        await page.keyboard.press("Tab")
        await page.keyboard.type(points)
        await page.keyboard.press("Control+Enter")
        await expect(page.get_by_role("checkbox", name=text)).to_be_checked()
        await page.keyboard.press("Escape")
    await page.keyboard.press("c")
    await page.keyboard.type("A good idea. How large is $r_0$?")
    await page.keyboard.press("Escape")
    await expect(page.locator("#saved")).to_have_text("Saved")


async def _shoot(page: Page, path: Path, *, below: bool = False) -> None:
    """Write a picture of what is visible, or of all of the page ``below`` its head."""
    taken = page.locator("main") if below else page
    picture = await taken.screenshot(path=path, animations="disabled", caret="hide")
    print(f"{path.name}: {len(picture)} bytes", flush=True)
    if len(picture) > _MOST_BYTES:
        sys.exit(f"{path} has {len(picture)} bytes, more than {_MOST_BYTES}")


if __name__ == "__main__":
    sys.exit(main())
