"""A class at work: the board, requests for help, and messages.

The hub, its supervisor, marimo, bubblewrap and Chromium are real.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Frame, Locator, Page, expect

from bench.support.browser import People, Person, notebook
from bench.support.course import put_release
from bench.support.hub import HubProcess
from bench.support.identity import from_proxy, instructor
from bench.support.marimo import open_editor
from tests.support.node_processes import nodes_hub
from tests.support.shared_hub import (
    HEADER,
    ORIGIN_EACH,
    SharedCaches,
    editor,
    module_hub,
    start,
    until,
)

pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]

ITEM = "A1-Signs"
NOTEBOOK = (
    HEADER
    + """\
import marimo

app = marimo.App()


@app.cell
def _():
    # === MOGRADER: MARKS ===
    from mograder.runtime import Grader

    _marks = {"Q1": 10, "Q2": 5}
    grader = Grader(_marks)
    check = grader.check
    return (check,)


@app.cell
def _():
    sign = 0
    return (sign,)


@app.cell
def _(check, sign):
    check("Q1: the sign", [(sign == 1, "The sign is wrong.")])
    return


@app.cell
def _(check, sign):
    check("Q2: the size", [(abs(sign) > 5, "It is too small.")])
    return


if __name__ == "__main__":
    app.run()
"""
)
ANSWER = "sign = 0"
LATEST_SECONDS = 1.0


def _prepare(course: Path) -> None:
    put_release(course, ITEM, NOTEBOOK)


@pytest.fixture(scope="module", params=["opaque", "origin-each", "node"])
def hub(
    request: pytest.FixtureRequest, uv_cache: Path, run_directory: Path
) -> Iterator[HubProcess]:
    """A hub with an assignment of two checks; ``prof`` instructs, ``marta`` marks.

    Its sessions have an opaque origin, an origin each, or run on a node.
    """
    caches = SharedCaches(uv_cache, run_directory)
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


async def write(frame: Frame, old: str, new: str) -> None:
    """Replace the code of a cell, and run it."""
    await frame.locator(".cm-content", has_text=old).click()
    keyboard = frame.page.keyboard
    await keyboard.press("ControlOrMeta+a")
    await keyboard.type(new)
    await keyboard.press("Control+Enter")


def line_of(board: Page, name: str) -> Locator:
    """The line of a student on a board."""
    return board.locator("#lines tr").filter(has_text=name)


async def test_a_class_at_work_on_the_board_with_help(
    hub: HubProcess, people: People, artifacts: Path
) -> None:
    students = [await a_person(people, name) for name in ("alice", "bob", "carol")]
    pages = [await work(hub, each) for each in students]
    prof = await a_person(people, "prof")
    board = await prof.open(f"{hub.url}/board/{ITEM}")
    for each in students:
        await expect(line_of(board, each.name).locator("td.failed")).to_have_count(2)
    await write(pages[1][1], ANSWER, "sign = 1")
    await expect(pages[1][1].get_by_text("all checks passed")).to_be_visible()
    began = time.monotonic()
    await expect(line_of(board, "bob").locator("td.passed")).to_have_count(1)
    assert time.monotonic() - began < LATEST_SECONDS
    await expect(board.locator("#heads")).to_contain_text("1 of 3 passed")
    # One asks for help, with the keyboard alone.
    alice = pages[0][0]
    await alice.get_by_role("button", name="Ask for help").press("Enter")
    await expect(alice.get_by_label("What is it about?")).to_be_focused()
    await alice.get_by_label("In a few words").fill("What is a <b>sign</b>?")
    await alice.get_by_label("In a few words").press("Enter")
    await expect(alice.get_by_text("You asked for help with Q1: the sign.")).to_be_visible()
    await expect(board.locator("#queue")).to_contain_text("What is a <b>sign</b>?")
    await board.screenshot(path=artifacts / "board.png", full_page=True)
    # A helper takes it; the two cannot type in one notebook.
    await board.get_by_role("button", name="Take the request of alice").click()
    await expect(alice.get_by_text("prof has seen that you ask for help")).to_be_visible()
    await expect(board.get_by_role("button", name="Work in it together")).to_have_count(0)
    # The student withdraws it, and the queue is empty.
    await alice.get_by_role("button", name="Withdraw").click()
    await expect(board.locator("#queue")).to_contain_text("Nobody asks for help.")
    await expect(line_of(board, "alice").locator("td.passed")).to_have_count(1)


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
            line = await shown(prof, "honest", "failed, 2 attempts")
            assert line.count('class="failed"') == 2
            assert 'class="passed"' in await shown(prof, "mallory", "passed")
            answer = await asyncio.to_thread(prof.get, f"/board/{ITEM}")
            assert "forged" not in answer.text


async def shown(prof: httpx.Client, name: str, words: str) -> str:
    """Wait until the line of a student has these words, and return it."""
    for _ in range(400):
        answer = await asyncio.to_thread(prof.get, f"/board/{ITEM}")
        lines = [each for each in answer.text.split("<tr ") if f">{name}</a>" in each]
        if lines and words in lines[0]:
            return lines[0]
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} has no {words}")
