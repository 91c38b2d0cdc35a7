"""A class at work: the board, requests for help, one notebook for two, and messages.

The hub, its supervisor, marimo, bubblewrap and Chromium are real.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Frame, Locator, Page, expect

from tests.support import notebooks
from tests.support.browser import People, Person, notebook, saved_on_disk, type_over
from tests.support.course import put_release
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy, instructor
from tests.support.looks import faults
from tests.support.marimo import open_editor
from tests.support.node_processes import nodes_hub
from tests.support.shared_hub import (
    HEADER,
    ORIGIN_EACH,
    SharedCaches,
    editor,
    module_hub,
    start,
    until,
    workspace,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

ITEM = "A1-Signs"
NOTEBOOK = HEADER + notebooks.notebook(
    """
    # === MOGRADER: MARKS ===
    from mograder.runtime import Grader

    _marks = {"Q1": 10, "Q2": 5}
    grader = Grader(_marks)
    check = grader.check
    return (check,)
    """,
    "sign = 0",
    'check("Q1: the sign", [(sign == 1, "The sign is wrong.")])',
    'check("Q2: the size", [(abs(sign) > 5, "It is too small.")])',
)
WORDS = "A2-Words"
_WORDS = (
    HEADER
    + '''\
import marimo

__generated_with = "{version}"
app = marimo.App()

with app.setup(hide_code=True):
    import marimo as mo


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    # Words, and *more* of them

    Let `total` be 100. Write two sentences.
    """)
    return


@app.cell
def _():
    mo.md("""
    ## Question 1: a sum (5 marks)

    Let $x$ be what `total` holds, "as it is", and no more than 100.
    """)
    return


@app.cell
def _():
    total = 0
    return (total,)


@app.cell(hide_code=True)
def _(total):
    mo.md(f"""
    The sum is {{total}}.
    """)
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    *Double-click the text to write.*
    """)
    return


@app.cell(hide_code=True)
def _():
    hidden_value = 5
    return


@app.cell(hide_code=True)
def _():
    mo.md(r"""
    ## The end

    This was all.
    """)
    return


if __name__ == "__main__":
    app.run()
'''
)
CELLS, TEXT = 8, "Double-click the text to write."
ANSWER, RIGHT = "sign = 0", "sign = 1"
_IS_SHARED = """() => document.readyState === "complete"
  && [...document.scripts].some((each) => /"rtc_v2":\\s*true/.test(each.textContent))"""


def _prepare(course: Path) -> None:
    put_release(course, ITEM, NOTEBOOK)
    put_release(course, WORDS, _WORDS.format(version=version("marimo")))


@pytest.fixture(scope="module", params=["opaque", "origin-each", "node"])
def hub(request: pytest.FixtureRequest, caches: SharedCaches) -> Iterator[HubProcess]:
    """A hub with an assignment of two checks; ``prof`` instructs, ``marta`` marks.

    Its sessions have an opaque origin, an origin each, or run on a node.
    """
    settings: dict[str, object] = {"hub.instructors": ["prof"], "marking.markers": ["marta"]}
    if request.param == "node":
        with nodes_hub("board", caches, _prepare, settings) as nodes, nodes.node("one"):
            until(lambda: nodes.warm() == {"one"}, 300)
            yield nodes.hub
        return
    if request.param == "origin-each":
        settings |= ORIGIN_EACH
    with module_hub("board", caches, prepare=_prepare, settings=settings) as hub:
        yield hub


async def a_person(people: People, name: str) -> Person:
    """A person who is signed in."""
    return await people.person(name, headers=from_proxy(name))


async def work(hub: HubProcess, person: Person) -> tuple[Page, Frame]:
    """Open the notebook as its student, and wait until its checks have run."""
    page = await person.open(f"{hub.url}/edit/{ITEM}")
    await page.wait_for_url(f"**/edit/user/{person.name}/{ITEM}/", timeout=120_000)
    frame = await notebook(page)
    await expect(frame.locator("li", has_text="The sign is wrong.")).to_be_visible()
    return page, frame


def line_of(board: Page, name: str) -> Locator:
    """The line of a student on a board."""
    return board.locator("#lines tr").filter(has_text=name)


async def test_a_class_at_work_on_the_board_with_help_in_one_notebook(
    hub: HubProcess, people: People, artifacts: Path
) -> None:
    students = [await a_person(people, name) for name in ("alice", "bob", "carol")]
    pages = [await work(hub, each) for each in students]
    prof = await a_person(people, "prof")
    board = await prof.open(f"{hub.url}/board/{ITEM}")
    for each in students:
        await expect(line_of(board, each.name).locator("td.failed")).to_have_count(2)
    await type_over(pages[1][1], ANSWER, RIGHT)
    await expect(line_of(board, "bob").locator("td.passed")).to_have_count(1)
    await expect(board.locator("#heads")).to_contain_text("1 of 3 passed")
    alice = pages[0][0]
    await ask(alice, "What is a <b>sign</b>?")
    await expect(alice.get_by_text("You asked for help with Q1: the sign.")).to_be_visible()
    await expect(board.locator("#queue")).to_contain_text("What is a <b>sign</b>?")
    await board.screenshot(path=artifacts / "board.png", full_page=True)
    # A helper takes it, and both type in one notebook.
    await board.get_by_role("button", name="Take the request of alice").click()
    await expect(alice.get_by_text("prof has seen that you ask for help")).to_be_visible()
    async with prof.context.expect_page() as opened:
        await board.get_by_role("button", name="Work in it together").click()
    helping = await opened.value
    await helping.wait_for_url(f"**/edit/user/alice/{ITEM}/")
    theirs = await notebook(helping)
    await expect(alice.get_by_text("prof works in your notebook with you")).to_be_visible()
    await together(alice, theirs, helping, artifacts)
    saved = workspace(hub, "alice", ITEM) / f"{ITEM}.py"
    await saved_on_disk(saved, "sign = 7")
    # The student ends it, and the queue is empty.
    await alice.get_by_role("button", name="End it").click()
    await expect(helping.get_by_text("You are not in this notebook any more.")).to_be_visible()
    await expect(board.locator("#queue")).to_contain_text("Nobody asks for help.")
    await expect(line_of(board, "alice").locator("td.passed")).to_have_count(1)


async def test_a_red_cell_of_the_board_shows_the_students_cells_with_their_outputs(
    hub: HubProcess, people: People, artifacts: Path
) -> None:
    await work(hub, await a_person(people, "erin"))
    prof = await a_person(people, "prof")
    board = await prof.open(f"{hub.url}/board/{ITEM}")
    failed = line_of(board, "erin").locator("td.failed a")
    await expect(failed).to_have_count(2)  # else the line is replaced while it is clicked
    await failed.first.click()
    inside = board.frame_locator("iframe")
    await expect(inside.get_by_text("sign = 0")).to_be_visible()
    await expect(inside.get_by_text("The sign is wrong.", exact=True)).to_be_visible()
    await expect(inside.get_by_text("It is too small.")).to_have_count(0)
    assert await faults(board, artifacts, "red-cell", axe=False) == []


def cursor_of(person: str) -> str:
    """The selector of another person's cursor, which marimo labels with the name."""
    return f""".loro-cursor[style*='"{person}"']"""


async def together(alice: Page, theirs: Frame, helping: Page, artifacts: Path) -> None:
    """Have the helper type, then the student; each sees and runs what the other typed."""
    await expect(theirs.locator(".cm-content", has_text=ANSWER)).to_be_visible()
    own = await notebook(alice)
    await own.wait_for_function(_IS_SHARED)
    await expect(own.locator(".cm-content", has_text=ANSWER)).to_be_visible()
    await type_over(theirs, ANSWER, "sign = 1  # by the helper")
    await expect(own.locator(".cm-content", has_text="by the helper")).to_be_visible()
    await expect(own.locator(cursor_of("prof"))).not_to_have_count(0)
    await expect(theirs.get_by_text("all checks passed").first).to_be_visible()
    await expect(own.get_by_text("all checks passed").first).to_be_visible()
    await helping.screenshot(path=artifacts / "together-helper.png")
    await alice.screenshot(path=artifacts / "together-student.png")
    await type_over(own, "by the helper", "sign = 7  # by the student")
    await expect(theirs.locator(".cm-content", has_text="by the student")).to_be_visible()
    await expect(theirs.get_by_text("all checks passed")).to_have_count(1)
    await expect(alice.locator("#saved")).to_contain_text(re.compile("Saved"))


async def ask(page: Page, words: str = "") -> None:
    """Have a student ask for help; by mouse, since marimo may take the focus and with it a key."""
    await page.get_by_role("button", name="Ask for help").click()
    await page.get_by_label("In a few words").fill(words)
    # Not at its place: Chromium sends clicks there to the frame until it has heard that the form
    # has moved the frame down.
    await page.get_by_role("button", name="Ask", exact=True).dispatch_event("click")
    await expect(page.get_by_text("You asked for help")).to_be_visible()


async def asks(student: Person, page: Page, prof: Person, url: str) -> Page:
    """Have a student ask for help and an instructor take the request; return the board."""
    await ask(page)
    board = await prof.open(url)
    await board.get_by_role("button", name=f"Take the request of {student.name}").click()
    return board


async def begins(page: Page) -> Frame:
    """Wait until a page that shares a notebook has all its cells: those that are hidden, too."""
    frame = await notebook(page)
    await frame.wait_for_function(_IS_SHARED)
    await expect(frame.locator(".cm-content", has_text="total = 0")).to_be_visible()
    await expect(frame.locator(".cm-content")).to_have_count(CELLS)
    return frame


@pytest.mark.parametrize("first", ["student", "helper", "both"])
async def test_the_students_file_is_what_the_two_of_them_typed(
    hub: HubProcess, people: People, first: str, artifacts: Path
) -> None:
    """Neither page changes a cell in which nobody types, and nothing that was typed is lost."""
    student, prof = await a_person(people, f"writer-{first}"), await a_person(people, "prof")
    address = f"{hub.url}/edit/user/{student.name}/{WORDS}/"
    page = await student.open(f"{hub.url}/edit/{WORDS}")
    await page.wait_for_url(address, timeout=120_000)
    alone = await notebook(page)
    await expect(alone.locator(".paragraph", has_text="This was all.")).to_be_visible()
    copy = workspace(hub, student.name, WORDS) / f"{WORDS}.py"
    text = await asyncio.to_thread(copy.read_text)
    board = await asks(student, page, prof, f"{hub.url}/board/{WORDS}")
    typed = ""
    typing: asyncio.Task[None] | None = None
    if first == "helper":
        await page.close()
    elif first == "both":
        # The student types before the helper comes and goes on; the helper's page waits for that.
        typed = " + 1 + 2 + 3 + 4 + 5"
        typing = asyncio.create_task(append(alone, "total = 0", typed, delay=100))
        await expect(alone.locator(".cm-content", has_text="total = 0 +")).to_be_visible()
    async with prof.context.expect_page() as opened:
        await board.get_by_role("button", name=f"together with {student.name}").click()
    helping = await opened.value
    await helping.wait_for_url(address)
    if first == "student":
        await helping.close()  # it comes back when the student's page has loaded again
    elif typing is not None:
        await typing
    else:
        await begins(helping)
        page = await student.open(address)
    own = await begins(page)
    if first == "student":
        helping = await prof.open(address)
    theirs = await begins(helping)
    await type_over(theirs, "total = 0", f"total = 7{typed}")
    await expect(own.locator(".cm-content", has_text="total = 7")).to_be_visible()
    await saved_on_disk(copy, "total = 7")
    expected = text.replace("total = 0", f"total = 7{typed}")
    assert await asyncio.to_thread(copy.read_text) == expected
    await page.screenshot(path=artifacts / f"words-{first}.png")
    await answers(own, page, copy)
    await append(theirs, "total = 7", " + 8")
    await saved_on_disk(copy, " + 8")
    expected = expected.replace(f"7{typed}", f"7{typed} + 8").replace("Double", "Twice")
    assert await asyncio.to_thread(copy.read_text) == expected


async def append(frame: Frame, cell: str, text: str, *, delay: float = 0) -> None:
    """Type at the end of a cell that holds some code, with so many milliseconds between keys."""
    await frame.locator(".cm-content", has_text=cell).click()
    await frame.page.keyboard.press("ControlOrMeta+End")
    await frame.page.keyboard.type(text, delay=delay)


async def answers(own: Frame, page: Page, copy: Path) -> None:
    """Have the student change the first word of a text cell.

    The keys are pressed again until the word is selected: marimo may be drawing the cell anew.
    """
    cell = own.locator(".cm-content", has_text=TEXT)
    async with asyncio.timeout(60):
        while await own.evaluate("String(getSelection())") != "Double":
            await cell.focus()
            for key in (
                "ControlOrMeta+Home",
                "ArrowDown",
                "Home",
                "ArrowRight",
                "ControlOrMeta+Shift+ArrowRight",
            ):
                await page.keyboard.press(key)
    await page.keyboard.type("Twice")
    await saved_on_disk(copy, "Twice")


LIES = """
import json, os
_end = os.open(os.environ["MOGRADER_CHECKS_PATH"], os.O_WRONLY | os.O_NONBLOCK)
_lies = [
    {"label": "Q1: the sign", "status": "success", "earned": 1, "total": 1, "username": "honest"},
    {"label": "<b>forged</b>", "status": "success", "earned": 1, "total": 1},
    {"label": "Q2: the size", "status": "<script>", "earned": 1e308, "total": -1},
]
for _n in range(20_000):
    try:
        os.write(_end, json.dumps(_lies[_n % 3]).encode() + b"\\n")
    except BlockingIOError:
        pass
sign = 1
"""


async def test_a_flood_of_lies_shows_nothing_but_its_own_line(hub: HubProcess) -> None:
    """The course goes on: another student's check is on the board while the flood lasts."""
    for name in ("honest", "mallory"):
        start(hub, name, ITEM)
    async with (
        open_editor(editor(hub, "mallory", ITEM)) as mallory,
        open_editor(editor(hub, "honest", ITEM)) as honest,
    ):
        await mallory.edit(1, LIES)
        await honest.edit(1, "sign = -1")
        with hub.client(instructor()) as prof:
            line = await shown(prof, "honest", "failed, 2 attempts", failed=2)
            assert line.count('class="failed"') == 2
            assert 'class="passed"' in await shown(prof, "mallory", "passed")
            answer = await asyncio.to_thread(prof.get, f"/board/{ITEM}")
            assert "forged" not in answer.text


async def shown(prof: httpx.Client, name: str, words: str, failed: int | None = None) -> str:
    """Wait until the line of a student has these words, and return it.

    With ``failed``, until all of a run's reports have arrived and so many checks have failed.
    """
    lines: list[str] = []
    for _ in range(1200):
        answer = await asyncio.to_thread(prof.get, f"/board/{ITEM}")
        rows = re.findall("<tr.*?</tr>", answer.text, re.DOTALL)
        lines = [each for each in rows if f">{name}</a>" in each]
        if lines and words in lines[0] and failed in (None, lines[0].count('class="failed"')):
            return lines[0]
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} has no {words}: {lines}")
