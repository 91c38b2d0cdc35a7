"""Statistics and similar submissions in Chromium: from a pair to its verdict, and axe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import expect

from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry
from mograder.web.marking.context import Reports
from tests.support.browser import People
from tests.support.gradebooks import AT
from tests.support.hub_pages import serving
from tests.support.identity import from_proxy
from tests.support.looks import EVERY_LOOK, faults_at
from tests.support.marking_course import A, MarkingCourse, open_marking_course
from tests.support.similar_submissions import a_class

pytestmark = [pytest.mark.full, pytest.mark.timeout(240)]


@pytest_asyncio.fixture(loop_scope="session")
async def course(tmp_path: Path) -> AsyncIterator[MarkingCourse]:
    """30 students with marks, of whom three handed in copies."""
    students, _ = a_class(30, 3)
    async with open_marking_course(tmp_path / "course", *students) as course:
        (course.hub.course / "submitted" / A).mkdir(parents=True)
        with course.book() as book:
            for number, (student, text) in enumerate(students.items()):
                _hand_in(course, book, student, text, number)
            book.put_students({"s000": "Alice <b>Ångström</b>"})
        yield course


def _hand_in(course: MarkingCourse, book: Gradebook, student: str, text: str, number: int) -> None:
    (course.hub.course / "submitted" / A / f"{student}.py").write_text(text)
    if number % 3:
        course.grade(student, points=10, later=5)
    marks = {"Essay": MarkEntry(number % 11, ""), "Q4": MarkEntry(number % 6, "")}
    book.record_marks(A, student, marks, marker="mia", at=AT)


async def test_an_instructor_goes_from_a_pair_to_its_lines_and_its_verdict(
    course: MarkingCourse, people: People
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    async with serving(course.hub) as url:
        page = await prof.open(f"{url}/marking/{A}")
        await page.get_by_role("link", name="Similar submissions").click()
        pair = page.get_by_role("link", name="Alice <b>Ångström</b> (s000) and x000")
        await pair.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("region", name="Match 1, lines of s000")).to_be_visible()
        await page.get_by_label("Copied:").check()
        await page.get_by_label("Note, for staff").fill("Both say so.")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Your verdict is kept.")).to_be_visible()
        await page.get_by_role("link", name="All pairs").click()
        await expect(page.get_by_text("Copied by prof")).to_be_visible()
    # A page that is left while it loads breaks off its stream of events or its icon.
    assert [note for note in prof.notes if "ERR_ABORTED" not in note] == []


def hold_reports(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let every report take longer than a page waits; return what ends that."""
    usual = Reports.get

    async def get(*_: object) -> None:
        return None

    monkeypatch.setattr(Reports, "get", get)
    return lambda: monkeypatch.setattr(Reports, "get", usual)


async def test_a_report_that_takes_long_looks_again_by_itself_and_by_a_link_without_scripts(
    course: MarkingCourse,
    people: People,
    artifacts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page that reloads by a meta tag fails axe, and nobody can stop it."""
    release = hold_reports(monkeypatch)
    prof = await people.person("prof", headers=from_proxy("prof"))
    plain = await people.person("prof", headers=from_proxy("prof"), javascript=False)
    async with serving(course.hub) as url:
        address = f"{url}/marking/{A}/similarity"
        page = await plain.open(address)
        link = page.get_by_role("link", name="Look again")
        await expect(link).to_be_visible()
        release()
        await link.click()
        await expect(page.get_by_role("link", name="s000) and x000")).to_be_visible()
        release = hold_reports(monkeypatch)
        page = await prof.open(f"{url}/marking/{A}")
        # It stays as long as axe looks.
        await page.route("**/again.js", lambda route: route.abort())
        address = f"{url}/marking/{A}/statistics"
        assert await faults_at(page, address, artifacts, "report-waits", EVERY_LOOK) == []
        waits = page.get_by_text("The marks and results are being read.")
        await expect(waits).to_be_visible()
        await page.unroute("**/again.js")
        await page.reload()
        await expect(waits).to_be_visible()
        release()
        heading = page.get_by_role("heading", name="Statistics of")
        await expect(heading).to_be_visible()


@pytest.mark.long
async def test_the_reports_pass_axe_wide_on_a_phone_and_in_the_dark(
    course: MarkingCourse, people: People, artifacts: Path
) -> None:
    prof = await people.person("prof", headers=from_proxy("prof"))
    wrong: list[str] = []
    async with serving(course.hub) as url:
        page = await prof.open(f"{url}/marking/{A}")
        for name in ("", "/statistics", "/similarity", "/similarity/s000/x000?done=verdict"):
            what = f"report{name.replace('/', '-').partition('?')[0]}"
            wrong += await faults_at(page, f"{url}/marking/{A}{name}", artifacts, what, EVERY_LOOK)
    assert wrong == []
