"""One notebook, from its author to a student's report: the whole of authoring in real Chromium.

``mograder new``, ``generate`` and ``hub publish`` by the real commands, a deep link, solving in the
browser, validating on the hub, and the report that says why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Frame, Locator, Page, expect

from tests.support.browser import BUILT_WITHIN, People, Person, notebook
from tests.support.hub import HubProcess
from tests.support.identity import from_proxy
from tests.support.shared_hub import SharedCaches, module_hub, until, workspace
from tests.support.tutorial_course import ITEM, author, publish, write

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

SUM = "total = sum(range(1, 101))"
MIDDLE = "def mean(numbers):\n    return sorted(numbers)[1]"
"""Right for three numbers; a list of one has no second."""


@pytest.fixture(scope="module")
def hub(caches: SharedCaches) -> Iterator[HubProcess]:
    """A hub on which an author has published what ``mograder new`` begins a course with."""
    with module_hub("author", caches, prepare=author(caches.uv_cache)) as hub:
        publish(hub)
        yield hub


async def test_a_student_solves_a_part_and_the_report_says_which_and_why(
    hub: HubProcess, people: People, fresh_name: Callable[[str], str]
) -> None:
    name = fresh_name("ada")
    ada = await people.person(name, headers=from_proxy(name))
    page = await arrive(ada, hub)
    await expect(box(page, "Q1: The sum — waiting for your code")).to_be_visible()
    await write(page, "total = ...", f"{SUM}\ntotal")
    await expect(page.get_by_text("5050")).to_be_visible()
    await expect(box(page, "Q1: The sum — all checks passed")).to_be_visible()
    await write(page, "def mean(numbers)", MIDDLE)
    await expect(box(page, "Q2: The mean — some checks failed")).to_be_visible()
    saved = workspace(hub, ada.name, ITEM) / f"{ITEM}.py"
    until(lambda: SUM in saved.read_text() and "sorted(numbers)[1]" in saved.read_text())
    before = saved.read_bytes()
    answer = await validate(ada, hub)
    assert [each["status"] for each in answer["checks"]] == ["success", "partial"]
    assert (answer["ok"], answer["integrity_level"], answer["cell_errors"]) == (False, "source", 0)
    report = await read_report(ada, hub)
    await expect(report.get_by_role("heading", level=1)).to_have_text(
        f"{ITEM}.py does not pass yet"
    )
    await expect(report.get_by_text("1 of 2 checks pass, 7.5 of 10 marks")).to_be_visible()
    line = row(report, "Q1: The sum")
    await expect(line).to_contain_text("PASS")
    await expect(line).to_contain_text("5/5 marks")
    line = row(report, "Q2: The mean")
    for words in ("PARTIAL", "2.5/5 marks", "a single number is its own mean", "IndexError"):
        await expect(line).to_contain_text(words)
    call = line_of(saved, "Q2: The mean") - 1
    assert saved.read_text().splitlines()[call - 1].strip() == "check("
    await expect(line).to_contain_text(f"Line {call}")
    await expect(line).not_to_contain_text("the mean of 1, 2 and 3 is 2")
    assert saved.read_bytes() == before
    await expect(box(page, "Q1: The sum — all checks passed")).to_be_visible()


async def test_a_cell_that_fails_is_named_with_what_it_says(
    hub: HubProcess, people: People, fresh_name: Callable[[str], str]
) -> None:
    name = fresh_name("bob")
    bob = await people.person(name, headers=from_proxy(name))
    page = await arrive(bob, hub)
    await write(page, "total = ...", 'print("so far")\ntotal = sun(range(1, 101))')
    await expect(page.get_by_text("name 'sun' is not defined").first).to_be_visible()
    saved = workspace(hub, bob.name, ITEM) / f"{ITEM}.py"
    until(lambda: "sun(range" in saved.read_text())
    answer = await validate(bob, hub)
    (error,) = answer["errors"]
    assert error["line"] == line_of(saved, "sun(range")
    report = await read_report(bob, hub)
    line = row(report, "NameError")
    for words in (f"Line {error['line']}", "total = sun(range(1, 101))", "so far"):
        await expect(line).to_contain_text(words)
    await expect(row(report, "Q1: The sum")).to_contain_text("not run: a cell that it needs")
    await expect(row(report, "Q2: The mean")).to_contain_text("WAIT")
    await write(page, "sun(range", SUM)
    await write(page, "def mean(numbers)", "def mean(numbers):\n    return 2")
    await expect(box(page, "Q2: The mean — some checks failed")).to_be_visible()
    until(lambda: "return 2" in saved.read_text())
    assert [each["status"] for each in (await validate(bob, hub))["checks"]] == [
        "success",
        "partial",
    ]


async def arrive(person: Person, hub: HubProcess) -> Frame:
    """Follow the deep link into the editor; the frame with marimo's page."""
    page = await person.open(f"{hub.url}/edit/{ITEM}")
    await page.wait_for_url(f"**/edit/user/{person.name}/{ITEM}/", timeout=BUILT_WITHIN)
    editor = await notebook(page)
    await expect(editor.locator(".cm-content").first).to_be_visible()
    return editor


def box(editor: Frame, words: str) -> Locator:
    """The box of a check."""
    return editor.get_by_role("status").filter(has_text=words)


async def validate(person: Person, hub: HubProcess) -> dict[str, Any]:
    """Ask the hub as a page of its own does, with the browser's cookie."""
    home = await person.open(f"{hub.url}/")
    said = await home.evaluate(
        "async path => (await fetch(path, {method: 'POST'})).text()",
        f"/validate/{person.name}/{ITEM}",
    )
    await home.close()
    answer: dict[str, Any] = json.loads(said)
    assert "checks" in answer, said
    return answer


async def read_report(person: Person, hub: HubProcess) -> Page:
    """Open the page of the last validation."""
    return await person.open(f"{hub.url}/validate-report/{person.name}/{ITEM}")


def row(report: Page, words: str) -> Locator:
    """Return the report's text for one check or one cell."""
    return report.locator(".rows > li").filter(has_text=words)


def line_of(path: Path, words: str) -> int:
    """Return the line number of a text in a file."""
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if words in line)
