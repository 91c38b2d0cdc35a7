"""The student's and the instructor's journey from end to end, by mouse and by keyboard alone.

The hub, marimo, the sandbox and Chromium are real. Screenshots of every station, wide, at 360 px
and in the dark, are left in ``artifacts`` for people to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.support.browser import People, Person
from tests.support.browser import notebook as notebook_of
from tests.support.course import EXAMPLE_COURSE
from tests.support.hub import HubProcess, run_mograder
from tests.support.identity import from_proxy, instructor_token
from tests.support.looks import EVERY_LOOK, faults
from tests.support.page_input import Keyboard, Mouse, PageInput
from tests.support.shared_hub import SharedCaches, module_hub, start, until
from tests.support.shared_hub import notebook as of_class

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

A1, A2, L01 = "A1-Measuring-Pi", "A2-Cooling-Coffee", "L01-Random-Numbers"
HANDS: dict[str, Callable[[], PageInput]] = {"mouse": Mouse, "keyboard": Keyboard}
SETTINGS = {"hub.instructors": ["prof"], "hub.collect": True, "title": "Numerical Experiments"}
BOTH = (pytest.param("mouse", marks=pytest.mark.long), "keyboard")


@pytest.fixture(scope="module")
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    """A hub with the example course published."""
    with module_hub("journeys", caches, settings=SETTINGS) as hub:
        for item in (A1, A2, L01):
            done = run_mograder(
                *("hub", "publish", item, "--force", "--url", hub.url),
                *("--token", instructor_token()),
                cwd=EXAMPLE_COURSE,
                env={"HOME": str(hub.course)},  # marimo writes a log there
            )
            assert done.status == 0, done.errors
        yield hub


class Album:
    """Takes a page's picture in every look; the page is as it was afterwards."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = 0

    async def take(self, page: Page, name: str) -> None:
        self._number += 1
        name = f"{self._number:02}-{name}"
        assert await faults(page, self._directory, name, EVERY_LOOK, axe=False) == []


def text_of(file: Path) -> str:
    return file.read_text("utf-8")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def link(page: Page, name: str) -> Locator:
    return page.get_by_role("link", name=name, exact=True)


async def new_tab(person: Person, page_input: PageInput, page: Page, what: Locator) -> Page:
    """Follow what opens a tab of its own."""
    async with person.context.expect_page() as opened:
        await page_input.press(page, what)
    return await opened.value


async def come_from_moodle(person: Person, page_input: PageInput, hub: HubProcess) -> Page:
    """Follow a deep link in a page of another site, as Moodle's are."""
    moodle = "http://moodle.test/course/view.php"
    body = f'<title>Moodle</title><a href="{hub.url}/edit/{A1}" target="_blank">Open A1</a>'

    async def answer(route: Route) -> None:
        await route.fulfill(body=body, content_type="text/html")

    await person.context.route("http://moodle.test/**", answer)
    page = await person.open(moodle)
    editor = await new_tab(person, page_input, page, link(page, "Open A1"))
    await editor.wait_for_url(f"**/edit/user/{person.name}/{A1}/")
    await page.close()
    return editor


async def work(page_input: PageInput, editor: Page, notebook: Path) -> None:
    """Write something into a cell; it saves itself (B54)."""
    await expect((await notebook_of(editor)).get_by_text("Your Score").first).to_be_visible()
    await page_input.enter_editor(editor)
    await editor.keyboard.press("Control+End")
    await editor.keyboard.type("\n# by my own hand")
    until(lambda: "# by my own hand" in text_of(notebook), 60)


@pytest.mark.parametrize("hands", BOTH)
async def test_b52_b58_b71_a_student_works_from_the_first_visit_to_handing_in(
    hub: HubProcess, people: People, artifacts: Path, hands: str
) -> None:
    page_input, album, name = HANDS[hands](), Album(artifacts), f"student-{hands}"
    student = await people.person(name, headers=from_proxy(name))
    notebook = hub.course / "hub-notebooks" / name / A1 / f"{A1}.py"
    editor = await come_from_moodle(student, page_input, hub)
    await work(page_input, editor, notebook)
    page = await student.open(f"{hub.url}/")
    await album.take(page, "first-page")
    await check_and_take_home(page_input, album, page, notebook)
    await begin_anew_and_back(page_input, album, page, notebook)
    lecture = await new_tab(student, page_input, page, link(page, f"Run {L01} in a new tab"))
    await lecture.wait_for_url(f"**/run/user/{name}/{L01}/?*")
    await page.bring_to_front()
    await page_input.press(page, button(page, f"Stop {L01}"))
    await expect(button(page, f"Stop {L01}")).to_have_count(0)
    await page_input.press(page, button(page, f"Download {A2}"))
    await expect(page.get_by_role("status").filter(has_text="is yours now")).to_be_visible()
    await page_input.press(page, button(page, f"Hand in {A1}"))
    await page_input.press(page, button(page, "Hand in all the same"))
    await expect(page.get_by_text(f"{A1} was handed in")).to_be_visible()
    await album.take(page, "handed-in")
    submitted = hub.course / "submitted" / A1 / f"{name}.py"
    assert "# by my own hand" in text_of(submitted)
    await page_input.press(page, link(page, f"My submissions of {A1}"))
    await page_input.press(page, page.get_by_role("link", name="Read submission 1"))
    await expect(page.get_by_text("# by my own hand")).to_be_visible()


async def check_and_take_home(
    page_input: PageInput, album: Album, page: Page, notebook: Path
) -> None:
    """Validate and read the report in place; export."""
    await page_input.press(page, button(page, f"Validate {A1}"))
    close = button(page, "Close this report")
    await expect(close).to_be_visible()
    await album.take(page, "validated")
    await page_input.press(page, close)
    await expect(close).to_have_count(0)
    async with page.expect_download() as begun:
        await page_input.press(page, link(page, f"Export {A1}"))
    exported = await (await begun.value).path()
    assert text_of(exported) == text_of(notebook)
    await page.reload()
    await expect(page.get_by_text("exported")).to_be_visible()


async def begin_anew_and_back(
    page_input: PageInput, album: Album, page: Page, notebook: Path
) -> None:
    """Reset, which ends the open editor; look at what was kept, and put it back."""
    await page_input.press(page, link(page, f"Reset {A1}"))
    await expect(page.get_by_text("It is open at the moment.")).to_be_visible()
    await album.take(page, "before-a-reset")
    await page_input.press(page, button(page, "Keep mine aside and begin anew"))
    await expect(page.get_by_role("status").filter(has_text="begins anew")).to_be_visible()
    assert "# by my own hand" not in text_of(notebook)
    await page_input.press(page, link(page, f"Versions of {A1}"))
    await page.wait_for_url(f"**/versions/*/{A1}")
    await album.take(page, "earlier-versions")
    await page_input.press(page, page.get_by_role("link", name="Read A1-Measuring-Pi.bak").first)
    await expect(page.get_by_text("# by my own hand")).to_be_visible()
    await album.take(page, "an-earlier-version")
    await page_input.press(page, button(page, "Put this version back"))
    await expect(page.get_by_text(f"The earlier version of {A1} is back.")).to_be_visible()
    assert "# by my own hand" in text_of(notebook)


@pytest.mark.parametrize("hands", BOTH)
async def test_an_instructor_publishes_looks_after_the_course_and_reads_a_notebook(
    hub: HubProcess, people: People, artifacts: Path, tmp_path: Path, hands: str
) -> None:
    page_input, album = HANDS[hands](), Album(artifacts)
    pupil = f"pupil-{hands}"
    start(hub, pupil, A1)
    prof = await people.person("prof", headers=from_proxy("prof"))
    page = await prof.open(f"{hub.url}/")
    await page_input.press(page, link(page, "Items"))
    await publish_and_hide(page_input, album, page, tmp_path, f"A9-New-{hands}")
    await page_input.press(page, link(page, "See it as a student"))
    await expect(page.get_by_role("heading", name="as a student sees it")).to_be_visible()
    await expect(page.get_by_role("heading", name=f"A9-New-{hands}")).to_have_count(0)
    await album.take(page, "preview")
    await page_input.press(page, link(page, "Students"))
    await page.wait_for_url("**/course/students")  # a key does not wait for where it leads
    await album.take(page, "students")
    await page_input.press(page, link(page, pupil))
    await page.wait_for_url(f"**/course/students/{pupil}")
    await album.take(page, "a-student")
    await read_and_open(prof, page_input, album, page, pupil)
    await page_input.press(page, link(page, "Sessions"))
    await expect(button(page, f"Stop {A1} of {pupil}")).to_be_visible()
    await album.take(page, "sessions")
    await page_input.press(page, button(page, f"Stop {A1} of {pupil}"))
    await expect(page.get_by_text(f"{A1} has stopped")).to_be_visible()
    await let_in(page_input, album, page, hub, pupil)
    await page_input.press(page, link(page, "Problems"))
    await page.wait_for_url("**/course/problems")
    await album.take(page, "problems")
    await page_input.press(page, link(page, "Log"))
    await expect(page.get_by_text("open session").first).to_be_visible()
    await album.take(page, "log")


async def publish_and_hide(
    page_input: PageInput, album: Album, page: Page, place: Path, item: str
) -> None:
    """Publish a notebook by the form, then hide it from students."""
    notebook = place / f"{item}.py"
    notebook.write_text(of_class())
    chooser = await page_input.pick(page, page.get_by_label("Files"))
    await chooser.set_files(str(notebook))
    await page_input.press(page, button(page, "Publish"))
    await expect(page.get_by_role("status").filter(has_text="is published")).to_be_visible()
    row = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=item))
    await page_input.press(page, row.locator("summary", has_text="Who sees it"))
    await page_input.choose(page, row.get_by_label("Instructors only"))
    await album.take(page, "items")
    await page_input.press(page, button(page, f"Save who sees {item}"))
    await expect(page.get_by_text(f"Who sees {item} was changed")).to_be_visible()


async def read_and_open(
    prof: Person, page_input: PageInput, album: Album, page: Page, pupil: str
) -> None:
    """Read a student's notebook as text, and only then open its editor on purpose."""
    await page_input.press(page, link(page, f"Read {A1} of {pupil}"))
    await expect(page.get_by_text("none of it runs")).to_be_visible()
    await album.take(page, "a-students-notebook")
    await page_input.press(page, page.locator("summary", has_text="Open it in the editor"))
    await page_input.press(page, button(page, f"Open the editor of {pupil}"))
    await page.wait_for_url(f"**/edit/user/{pupil}/{A1}/")
    editor = await notebook_of(page)
    await expect(editor.locator(".cm-content:visible").first).to_be_visible()
    await page.goto(page.url.partition("/edit/")[0] + "/")


async def let_in(
    page_input: PageInput, album: Album, page: Page, hub: HubProcess, pupil: str
) -> None:
    """Write the allowlist."""
    await page_input.press(page, link(page, "Access"))
    field = page.get_by_label("Who may come in")
    await page_input.write(page, field, f"\n{pupil}\nstudent-mouse\nstudent-keyboard\n")
    await album.take(page, "access")
    await page_input.press(page, button(page, "Save the access list"))
    await expect(page.get_by_text("The access list was saved.")).to_be_visible()
    assert pupil in text_of(hub.course / "allowed_users.txt").splitlines()
    (hub.course / "allowed_users.txt").unlink()
