"""The student's pages without scripts: forms, their redirects and messages (B52-B61)."""

from __future__ import annotations

import asyncio
import re
import threading
import time

import pytest

from mograder.core.names import ItemName, Username
from mograder.notebook import MAX_NOTEBOOK
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    ExecutionResult,
    Outcome,
)
from mograder.store.hub.board import Board, CheckRow
from mograder.store.submissions.submissions import Submissions
from mograder.web.hub.copies import copy_pages
from mograder.web.hub.copies.copy_pages import Extract, extract
from tests.support.hub_app import NOTEBOOK, Hub, HubOf
from tests.support.hub_copies import WORK, begin, folder, kept, press, read, see
from tests.support.notebooks import notebook

GRADED = notebook(
    """
    # === MOGRADER: MARKS ===
    from mograder.runtime import Grader

    _marks = {"Q1": 10, "Q2": 5}
    grader = Grader(_marks)
    check = grader.check
    return (check,)
    """,
    """
    @app.cell
    def area():
        1 / 0
        return
    """,
    """
    check("Q1: shape", [(True, "sign"), (True, "form")])
    check("Q2: size", [(True, "size")])
    """,
)


async def test_b54_b57_before_a_reset_a_page_says_what_is_kept_and_where(hub: Hub) -> None:
    await begin(hub)
    page = await read(hub, "/reset/alice/A1")
    assert "<code>A1.bak.<i>time</i>.py</code>" in page
    assert "Under Versions" in page
    assert 'method="post" action="/reset/alice/A1"' in page
    assert kept(hub) == []
    answer = await press(hub, "/reset/alice/A1")
    told = await read(hub, answer.headers["location"])
    assert "A1 begins anew." in told
    assert kept(hub) == [WORK]


async def test_a_reset_of_an_open_notebook_says_that_its_editor_is_closed(hub: Hub) -> None:
    await begin(hub)
    hub.start("alice", "A1")
    assert "Its editor is closed first." in await read(hub, "/reset/alice/A1")


async def test_what_was_not_begun_or_is_unknown_cannot_be_reset(hub: Hub) -> None:
    assert "There is nothing to reset" in await read(hub, "/reset/alice/A1")
    assert (await see(hub, "/reset/alice/zz")).status_code == 404


async def test_an_earlier_version_is_looked_at_and_put_back(hub: Hub) -> None:
    await begin(hub)
    await press(hub, "/reset/alice/A1")
    page = await read(hub, "/versions/alice/A1")
    look = re.search(r'href="(/look/alice/A1/A1.bak[^"]+)"', page)
    back = re.search(r'action="(/restore/alice/A1/[^"]+)"', page)
    assert look is not None
    assert back is not None
    assert "2 + 2" in await read(hub, look[1])
    answer = await press(hub, back[1])
    assert "The earlier version of A1 is back." in await read(hub, answer.headers["location"])
    assert (folder(hub) / "A1.py").read_text() == WORK


async def test_a_copy_that_never_was_has_no_versions_and_says_so(hub: Hub) -> None:
    assert "There are none." in await read(hub, "/versions/alice/A1")


async def test_b55_a_result_names_the_failing_cell_and_why_marks_are_partial(hub: Hub) -> None:
    (hub.course / "hub-release" / "A1" / "A1.py").write_text(GRADED)
    await begin(hub, GRADED)
    hub.runs.result = ExecutionResult(
        Outcome.FINISHED,
        (
            CellResult(0, "_", CellStatus.OK),
            CellResult(1, "area", CellStatus.ERROR, "ZeroDivisionError", "division by zero", 1),
            CellResult(2, "_", CellStatus.OK),
        ),
        (
            CheckResult("Q1: shape", "partial", ("<b>Right shape</b>, wrong sign",), 1.0, 2.0, 2),
            CheckResult("Q2: size", "success", (), 1.0, 1.0, 2),
        ),
    )
    answer = await press(hub, "/validate/alice/A1")
    assert answer.headers["location"] == "/validation/alice/A1"
    page = await read(hub, "/validation/alice/A1")
    assert "Not there yet." in page
    assert "<code>ZeroDivisionError</code>: division by zero" in page
    assert "Partial credit" in page
    assert "5 of 10 marks" in page
    assert "&lt;b&gt;Right shape&lt;/b&gt;, wrong sign" in page
    assert "Passed" in page
    home = await read(hub, "/")
    assert "1 of 2 checks pass" in home
    assert (await read(hub, "/versions/alice/A1")).count("1 of 2 checks passed") == 1
    await press(hub, "/reset/alice/A1")
    assert "1 of 2 checks pass" not in await read(hub, "/")
    (folder(hub) / "A1.py").write_text(f"{GRADED}# better\n")
    labels = ("Q1: shape", "Q2: size")
    checks = tuple(CheckResult(each, "success", (), 1.0, 1.0, 2) for each in labels)
    hub.runs.result = ExecutionResult(Outcome.FINISHED, (), checks)
    await press(hub, "/validate/alice/A1")
    versions = await read(hub, "/versions/alice/A1")
    assert re.findall(r"\d of \d checks passed", versions) == [
        "2 of 2 checks passed",
        "1 of 2 checks passed",
    ]


async def test_the_first_page_tells_progress_before_a_validation(hub: Hub) -> None:
    (hub.course / "hub-release" / "A1" / "A1.py").write_text(GRADED)
    notebook = await begin(hub, GRADED)
    now = hub.clock.now()
    reports = {"Q1: shape": "danger", "Q2: size": "success", "Q9: my own": "success"}
    Board(hub.engine).record(
        [
            CheckRow("A1", "alice", label, status, 0.0, 1.0, 1, now, now, None)
            for label, status in reports.items()
        ]
    )
    notebook.write_text(f"{GRADED}# mine\n")
    assert "1 of 2 checks passed when it ran last." in await read(hub, "/")
    assert "when it ran last" not in await read(hub, "/", "bob")


async def test_a_form_of_a_validation_that_takes_long_is_answered_by_its_result(hub: Hub) -> None:
    await begin(hub)
    hub.runs.hold = asyncio.Event()
    pressed = asyncio.create_task(press(hub, "/validate/alice/A1"))
    await hub.runs.reached.wait()
    assert not pressed.done()
    hub.runs.hold.set()
    assert (await pressed).headers["location"] == "/validation/alice/A1"


async def test_b59_the_page_says_that_nothing_goes_to_moodle_and_links_to_it(
    hub_of: HubOf,
) -> None:
    settings = """
[hub]
collect = true
[moodle]
url = "https://moodle.test"
course_id = 7
[[assignments]]
name = "First sheet"
dir = "A1"
cmid = 42
duedate = 4102444800
"""
    made = hub_of(settings, "A1")
    await begin(made)
    text = await read(made, "/")
    submitted = await press(made, "/submit/alice/A1")
    told = await read(made, submitted.headers["location"])
    assert "The hub does not submit to Moodle" in text
    assert 'href="https://moodle.test/course/view.php?id=7"' in text
    assert 'href="https://moodle.test/mod/assign/view.php?id=42"' in text
    assert 'due <time datetime="2100-01-01T00:00:00+00:00" data-ahead>' in text
    assert 'action="/hand-in/alice/A1"' in text
    assert "A1 was handed in" in told
    assert '<span class="dot submitted">' in told
    assert "Hand in again" in told


async def test_submit_is_not_offered_where_the_course_collects_elsewhere(hub: Hub) -> None:
    await begin(hub)
    text = await read(hub, "/")
    assert "/hand-in/" not in text
    assert "The hub does not submit to Moodle" in text


async def test_a_message_of_a_link_is_text_and_unknown_ones_say_nothing(hub: Hub) -> None:
    told = await read(hub, "/?done=stopped&item=<script>x</script>")
    assert "&lt;script&gt;x&lt;/script&gt; has stopped." in told
    assert "note good" not in await read(hub, "/?done=zz")


def test_the_header_of_a_notebook_stands_apart_and_hides_no_code() -> None:
    header = '# /// script\n# dependencies = ["marimo"]\n# ///\n'
    found = extract(f"{header}import marimo\n", 1)
    assert (found.header, found.text) == (header.rstrip(), "import marimo")
    for text in ("import marimo", "# /// script\nprint(1)\n# ///\n", "# /// script\n# x"):
        assert (extract(text, 1).header, extract(text, 1).total > 0) == ("", True)


@pytest.mark.parametrize("text", ["", "\n", "a", "a\r\nb\rc\n", "\n\nx", "l\n" * 70_000 + "end"])
def test_the_lines_of_a_notebook_are_counted_as_an_editor_counts_them(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")
    lines = lines if text else []
    for first in (1, 2, len(lines) - 1, len(lines), len(lines) + 1):
        found, start = extract(text, first), min(max(first, 1), max(len(lines), 1))
        assert (found.first, found.total) == (start, len(lines))
        assert found.text == "\n".join(lines[start - 1 : found.last])


def test_a_page_of_a_large_notebook_is_found_at_once() -> None:
    text = "\n" * MAX_NOTEBOOK
    began = time.process_time()
    found = extract(text, 1)
    assert time.process_time() - began < 0.2
    assert (found.total, found.following) == (MAX_NOTEBOOK, 401)


async def test_the_lines_of_a_page_are_looked_for_in_a_thread(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until they are found in a large text, the event loop would do nothing else."""
    work, now = f"{'# more' * 200_000}\n{WORK}".encode(), hub.clock.now()
    (await begin(hub)).write_bytes(work)
    hub.services.recorder.look(Username("alice"), ItemName("A1"))
    archive = "A1.bak.20260101T000000.py"
    (folder(hub) / archive).write_bytes(work)
    Submissions(hub.course / "submitted").add(Username("alice"), ItemName("A1"), work, now)
    found: list[threading.Thread] = []

    def extract_here(text: str, first: int) -> Extract:
        found.append(threading.current_thread())
        return extract(text, first)

    monkeypatch.setattr(copy_pages, "extract", extract_here)
    for path in ("look/alice/A1", f"look/alice/A1/{archive}", "look/alice/A1/1"):
        assert "app = marimo.App()" in await read(hub, f"/{path}")
    assert "app = marimo.App()" in await read(hub, "/submissions/alice/A1/1")
    assert len(found) == 4
    assert threading.current_thread() not in found


@pytest.mark.full
async def test_a_notebook_of_any_size_makes_a_small_page(hub: Hub) -> None:
    await begin(hub, NOTEBOOK + "x = 1\n" * 100_000)
    page = await see(hub, "/look/alice/A1")
    assert len(page.content) < 60_000
    assert "?from=401" in page.text
    assert (await see(hub, "/look/alice/A1?from=99999999")).status_code == 200
    assert extract("y" * 1_000_000, 1).text.endswith(" …")


async def test_thirty_assignments_are_a_page_under_sixty_kilobytes_with_its_assets(
    hub: Hub,
) -> None:
    for number in range(30):
        hub.publish(f"A{number:02}-A-name-of-usual-length")
        await press(hub, f"/download/A{number:02}-A-name-of-usual-length")
    total = 0
    async with hub.client("alice", browser=True) as client:
        page = await client.get("/")
        scripts = ["home.js", "live.js", "progress.js", "times.js", "words.js"]
        names = [*scripts, "app.css", "icon.svg"]
        version = re.findall(r"/static/([0-9a-f]+)/", page.text)[0]
        for answer in [page, *[await client.get(f"/static/{version}/{name}") for name in names]]:
            assert answer.headers["content-encoding"] == "gzip"
            total += int(answer.headers["content-length"])
    assert total < 60_000
