"""A whole term on one hub: every place that tells a number of it tells the same.

Forty students hand in six items, on time and late, with extensions, by the hub's own pages; a mail
server takes the letters. :class:`Term` computes beside it, from the plan alone, what there should
be. Three submissions are graded by judges, the others by signed results as grading records them.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import html
import io
import json
import random
import re
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest

from mograder.auth.credentials import Role
from mograder.core.settings import load_settings
from mograder.grading.pages.notebook_page import render_notebook_page
from mograder.grading.submissions.autograde import run_of, write_copy
from mograder.grading.submissions.grade_submission import GradedNotebook
from mograder.grading.submissions.grading_result import GradedQuestion, GradingState, grading_key
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.hub.letters import Letters
from mograder.web.hub.gradebook import WorkState
from mograder.web.marking.context import answer_id
from tests.support import notebooks
from tests.support.graded_results import graded_result
from tests.support.hub import run_mograder
from tests.support.hub_app import Hub, make_hub, running
from tests.support.hub_copies import ask, folder, press, read, see
from tests.support.mail_server import MailBox, mail_server
from tests.support.page_reader import hidden_field
from tests.support.shared_hub import HEADER
from tests.support.supervisors import until

pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BEGIN = datetime(2026, 9, 1, 9, tzinfo=UTC)
"""The tests' clock begins here."""
STUDENTS = tuple(f"s{number:02}" for number in range(40))
ITEMS = ("A1", "A2", "A3", "A4", "A5", "A6")
WEIGHTS = dict(zip(ITEMS, (1, 1, 2, 1, 1, 0.5), strict=True))
DUE = {item: BEGIN + (place + 1) * 7 * DAY for place, item in enumerate(ITEMS)}
CLOSES = {"A3": DUE["A3"] + 3 * DAY}
OFFSETS = (-50 * HOUR, -2 * HOUR, 10 * HOUR / 60, 20 * HOUR, 44 * HOUR, 100 * HOUR)
"""When students hand in, from the due date: on time twice, within the grace, and days later."""
LOOKS = (-49 * HOUR, -23 * HOUR, HOUR, 25 * HOUR, 45 * HOUR, 101 * HOUR)
"""When the hub looks for letters to write."""
EXTENDED = {**{("A2", name): DUE["A2"] + 2 * DAY for name in STUDENTS[:4]}}
GROUP = STUDENTS[10:15]
EXTENDED |= {("A4", name): DUE["A4"] + 3 * DAY for name in GROUP}
EXEMPT = ("A2", "s20")
TRULY = ("s01", "s02", "s03")
"""Their A1 is graded by judges."""
PER_DAY, MOST = 20, 60
GRADED, RELEASED = ITEMS[:5], ITEMS[:4]
ASKED, DECIDED = STUDENTS[:12], STUDENTS[:8]
SETTINGS = f"""title = "Numerics"
timezone = "UTC"
[hub]
instructors = ["prof"]
public_url = "https://hub.example.edu"
collect = true
uv_cache_dir = "UV_CACHE"
environments_dir = "ENVIRONMENTS"
[mail]
host = "127.0.0.1"
port = PORT
security = "none"
sender = "numerics@example.edu"
domain = "students.example.edu"
events = ["handed-in", "released", "decided", "due"]
[penalties]
enabled = true
per_day = {PER_DAY}
max = {MOST}
grace_minutes = 15
[[assignments]]
name = "Third"
dir = "A3"
duedate = {int(DUE["A3"].timestamp())}
cutoffdate = {int(CLOSES["A3"].timestamp())}
""" + "".join(
    f'[items."{item}"]\nweight = {WEIGHTS[item]}\n'
    + (f"due = {DUE[item]:%Y-%m-%dT%H:%MZ}\n" if item not in ("A2", "A3") else "")
    for item in ITEMS
)
RIGHT = "def total(values):\n    return sum(values)"
HALF = "def total(values):\n    return values[0] + values[1] if values else None"
SOLVED = f"### BEGIN SOLUTION\n{RIGHT}\n### END SOLUTION"


def notebook(answer: str, text: str = "Write here.") -> str:
    """Return a notebook, or the author's."""
    return HEADER + notebooks.notebook(
        "import marimo as mo\nfrom mograder.runtime import Grader",
        """
        # === MOGRADER: MARKS ===
        _marks = {"Q1": 10, "Essay": 10}
        grader = Grader(_marks)
        check = grader.check
        """,
        answer,
        'check("Q1: a sum", [(total([1, 2]) == 3, "1 + 2 is 3"), (total([]) == 0, "of nothing")])',
        'mo.md("## Essay (10 marks)")',
        f"""
        @app.cell
        def written_analysis(mo):
            mo.md("{text}")
            return
        """,
    )


@dataclass
class Term:
    """What was planned and done, and the numbers that follow; it asks nothing of the program.

    ``received`` are the times of the submissions that count, ``times`` of all of them by student
    and item, ``checked`` and ``written`` the marks of the two questions.
    """

    plan: dict[tuple[str, str], timedelta] = field(default_factory=dict)
    received: dict[tuple[str, str], datetime] = field(default_factory=dict)
    sent: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    checked: dict[tuple[str, str], float] = field(default_factory=dict)
    written: dict[tuple[str, str], float] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    letters: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        chosen = random.Random(47)
        for item in ITEMS:
            for name in STUDENTS:
                if (item == "A1" and name in TRULY) or chosen.random() < 0.9:
                    self.plan[item, name] = chosen.choice(OFFSETS)

    def due(self, item: str, name: str) -> datetime:
        return EXTENDED.get((item, name), DUE[item])

    def is_late(self, item: str, name: str) -> bool:
        return self.received[item, name] > self.due(item, name)

    def deduction(self, item: str, name: str) -> int:
        """Return the deduction of a submission, in per cent."""
        over = self.received[item, name] - self.due(item, name) - timedelta(minutes=15)
        days = max(-(-over // DAY), 0)
        return 0 if (item, name) == EXEMPT else min(days * PER_DAY, MOST)

    def mark(self, item: str, name: str) -> float | None:
        """Return the mark that counts: None without a question that is marked."""
        if item not in GRADED or (item, name) not in self.checked:
            return None
        if (item, name) not in self.written:
            return None
        whole = self.checked[item, name] + self.written[item, name]
        return round(whole * (100 - self.deduction(item, name)) / 100, 1)

    def state(self, item: str, name: str) -> str:
        """Return the word of the gradebook."""
        mark = self.mark(item, name)
        if item == "A1" and name in self.open:
            return "requested"
        if mark is not None:
            return "released" if item in RELEASED else "marked"
        if (item, name) not in self.received:
            return "working" if (item, name) in self.plan else "not begun"
        return "late" if self.is_late(item, name) else "handed in"

    def totals(self, name: str) -> tuple[str, str]:
        """Return the weighted mean of all items and that of those with a mark, in per cent."""
        marks = {item: self.mark(item, name) for item in ITEMS}
        known = {item: mark for item, mark in marks.items() if mark is not None}
        got = sum(WEIGHTS[item] * mark / 20 for item, mark in known.items())
        graded = sum(WEIGHTS[item] for item in known)
        return (
            number(round(100 * got / sum(WEIGHTS.values()), 1)),
            number(round(100 * got / graded, 1)) if graded else "",
        )


def number(value: float | None) -> str:
    """Return a number as pages write it."""
    return "" if value is None else f"{value:g}"


@dataclass
class Rig:
    """The hub, its letters, and the term."""

    hub: Hub
    box: MailBox
    term: Term

    async def see(self, path: str, name: str = "prof") -> str:
        return await read(self.hub, path, name)

    async def send(self, path: str, name: str = "prof", **fields: object) -> httpx.Response:
        """Send a form as a browser does."""
        answer = await press(self.hub, path, name, data=fields)
        assert answer.status_code in (200, 303), (path, answer.text[:500])
        return answer

    def now(self, at: datetime) -> None:
        self.hub.clock.advance((at - self.hub.clock.now()).total_seconds())


# --- the term -----------------------------------------------------------------------------------


async def _hand_in(rig: Rig, item: str, name: str, at: datetime) -> None:
    """Begin the item and hand it in; after its end that is refused."""
    answer = RIGHT if hash_of(item, name) % 2 else HALF
    text = notebook(f"# YOUR CODE HERE\n{answer}", f"By {name} at {at}.")
    await ask(rig.hub, "POST", f"/download/{item}", name)
    (folder(rig.hub, name, item) / f"{item}.py").write_text(text)
    done = await ask(rig.hub, "POST", f"/submit/{name}/{item}", name)
    if item in CLOSES and at > CLOSES[item]:
        assert done.status_code == 409
        return
    receipt = done.json()["receipt"]
    assert receipt["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    rig.term.received[item, name] = at
    rig.term.sent.setdefault((item, name), []).append(json.dumps(receipt))
    rig.term.letters["handed-in", name, item] += 1
    assert done.json()["late"] == rig.term.is_late(item, name)


def hash_of(*texts: str) -> int:
    """Return a number that is the same in every run."""
    return int(hashlib.sha256("/".join(texts).encode()).hexdigest()[:8], 16)


def _remind(rig: Rig, at: datetime) -> None:
    """Note whom a look at this time reminds: a day before, once for each due date."""
    for item in ITEMS:
        for name in STUDENTS:
            due, key = rig.term.due(item, name), ("due", name, item)
            waits = (item, name) not in rig.term.received and at < due <= at + DAY
            if waits and not rig.term.letters[key]:
                rig.term.letters[key] = 1


async def _look_for_letters(rig: Rig) -> None:
    """Run the hub until all letters of the events so far are sent."""
    wanted = sum(rig.term.letters.values())
    letters = Letters(rig.hub.engine)

    def done() -> bool:
        return len(rig.box.letters) >= wanted and not letters.due(rig.hub.clock.now(), 1)

    async with running(rig.hub.app):
        await until(done)


async def _extend(rig: Rig, item: str, **fields: str) -> None:
    """Record an extension, after its preview."""
    shown = (await rig.send(f"/marking/{item}/late/preview", **fields)).text
    version = hidden_field(shown, "version")
    await rig.send(f"/marking/{item}/late", version=version, **fields)


async def _live(rig: Rig) -> None:
    """Let the term happen: dates, extensions, submissions, letters."""
    await rig.send("/dates/A2", due=f"{DUE['A2']:%Y-%m-%dT%H:%M}", timezone="UTC")
    for (item, name), later in EXTENDED.items():
        if name in GROUP:
            await _extend(rig, item, action="member", group="lab", student=name)
        else:
            await _extend(rig, item, action="add", student=name, until=later.isoformat())
    later = DUE["A4"] + 3 * DAY
    await _extend(rig, "A4", action="add", group="lab", until=later.isoformat())
    await _extend(rig, EXEMPT[0], action="add", student=EXEMPT[1], exempt="1")
    steps: list[tuple[datetime, str, str]] = [
        (DUE[item] + offset, item, name) for (item, name), offset in rig.term.plan.items()
    ]
    steps += [
        (DUE[item] + OFFSETS[1], item, name)
        for (item, name), offset in rig.term.plan.items()
        if offset == OFFSETS[0] and hash_of(name, item) % 2
    ]
    steps += [(DUE[item] + offset, "", "") for item in ITEMS for offset in LOOKS]
    for at, item, name in sorted(steps):
        rig.now(at)
        if item:
            await _hand_in(rig, item, name, at)
        else:
            _remind(rig, at)
            await _look_for_letters(rig)


def _grade(rig: Rig) -> None:
    """Grade all submissions of five items: three by judges, the others by signed results."""
    course, term = rig.hub.course, rig.term
    loaded = load_settings(course, environ={})
    students = [word for name in TRULY for word in ("--student", name)]
    done = run_mograder("autograde", "A1", *students, "--json", cwd=course, seconds=500)
    assert done.status == 0, done.output + done.errors
    (told,) = json.loads(done.output)["assignments"]
    for each in told["submissions"]:
        right = hash_of("A1", each["student"]) % 2
        assert each["auto_mark"] == (10.0 if right else 5.0)
        term.checked["A1", each["student"]] = each["auto_mark"]
    with Gradebook(loaded.gradebook_path) as book:
        for item, name in term.received:
            if item not in GRADED or (item == "A1" and name in TRULY):
                continue
            term.checked[item, name] = earned = hash_of(name, item) % 21 / 2
            _record(rig, book, item, name, earned)


def _record(rig: Rig, book: Gradebook, item: str, name: str, earned: float) -> None:
    """Record a result as grading does."""
    receipt = json.loads(rig.term.sent[item, name][-1])
    data = (rig.hub.course / "submitted" / item / f"{name}.py").read_bytes()
    key = grading_key(load_settings(rig.hub.course, environ={}))
    judged = graded_result().questions[0]
    essay = GradedQuestion(key="Essay", available=10.0, earned=None, state=GradingState.MANUAL)
    result = graded_result(
        assignment=item,
        student=name,
        filename=f"{name}.py",
        submission_sha256=hashlib.sha256(data).hexdigest(),
        received=rig.term.received[item, name].isoformat(),
        receipt=receipt["sequence"],
        questions=(judged.model_copy(update={"earned": earned}), essay),
        auto_mark=earned,
        max_mark=20.0,
        at=rig.hub.clock.now().isoformat(),
    )
    page = render_notebook_page(data.decode(), result.filename, ())
    directory = rig.hub.course / "autograded" / item
    write_copy(directory, GradedNotebook(result, data.decode(), ()), page)
    book.record_run(run_of(result, key))


async def _mark(rig: Rig) -> None:
    """Mark the essays in the browser's way: all of four items, and every other one of A5."""
    key = rig.hub.services.grading.key
    async with rig.hub.client("prof", role=Role.INSTRUCTOR) as client:
        for place, (item, name) in enumerate(sorted(rig.term.checked)):
            if item == "A5" and place % 2:
                continue
            where = f"/marking/-/api/{item}/answers/{answer_id(key, item, name)}/questions/Essay"
            state = (await client.get(where)).json()
            points = hash_of(item, name, "essay") % 21 / 2
            change = {"points": points, "comment": "Read.", "version": state["version"]}
            done = await client.put(where, json=change)
            assert done.status_code == 200, done.text
            rig.term.written[item, name] = points


async def _release_and_decide(rig: Rig) -> None:
    """Release four items; students ask about A1, and most of them get a decision."""
    for item in RELEASED:
        await rig.send(f"/marking/{item}/release", **{"action": "release", "for": "all"})
        for name in STUDENTS:
            if rig.term.mark(item, name) is not None:
                rig.term.letters["released", name, item] += 1
    await _look_for_letters(rig)
    rig.now(rig.hub.clock.now() + HOUR)
    number_of: dict[str, int] = {}
    for name in ASKED:
        if rig.term.mark("A1", name) is None:
            continue
        words = {"action": "ask", "question": "Essay", "text": "Please look again."}
        await rig.send(f"/marks/{name}/A1/requests", name, **words)
        number_of[name] = len(number_of) + 1
        rig.term.open.add(name)
    for place, name in enumerate(each for each in DECIDED if each in number_of):
        thread = f"/marking/A1/requests/{number_of[name]}"
        shown = await rig.see(thread)
        hidden = dict(re.findall(r'name="(seen|version)" value="([^"]*)"', shown))
        points = rig.term.written["A1", name]
        if place % 2:
            points = rig.term.written["A1", name] = min(points + 1, 10)
        action = "change" if place % 2 else "keep"
        await rig.send(thread, action=action, points=points, text="Looked.", **hidden)
        rig.term.open.discard(name)
        rig.term.letters["decided", name, "A1"] += 1
    await _look_for_letters(rig)


async def _happen(rig: Rig) -> None:
    await _look_for_letters(rig)
    await _live(rig)
    _grade(rig)
    await _mark(rig)
    await _release_and_decide(rig)


@pytest.fixture(scope="module")
def rig(
    tmp_path_factory: pytest.TempPathFactory, uv_cache: Path, run_directory: Path
) -> Iterator[Rig]:
    """The hub at the end of the term."""
    course = tmp_path_factory.mktemp("term") / "course"
    with mail_server() as box:
        text = SETTINGS.replace("PORT", str(box.port)).replace("UV_CACHE", str(uv_cache))
        hub = make_hub(course, text.replace("ENVIRONMENTS", str(run_directory / "environments")))
        (course / "allowed_users.txt").write_text("".join(f"{name}\n" for name in STUDENTS))
        for item in ITEMS:
            hub.publish(item)
            release = course / "hub-release" / item / f"{item}.py"
            release.write_text(notebook("# YOUR CODE HERE\ntotal = ..."))
            source = course / "source" / item / f"{item}.py"
            source.parent.mkdir(parents=True)
            source.write_text(notebook(SOLVED))
        made = Rig(hub, box, Term())
        asyncio.run(_happen(made))
        yield made
        hub.close()


# --- what the places tell -----------------------------------------------------------------------


def test_the_term_has_what_it_is_to_show(rig: Rig) -> None:
    """On time, in the grace, late, refused, extended, exempt, marked, released and asked."""
    term = rig.term
    late = {key for key in term.received if term.is_late(*key)}
    assert {term.deduction(*key) for key in late} == {0, 20, 40, 60}
    assert set(term.plan) - set(term.received)
    assert any(key in EXTENDED and key not in late for key in term.received)
    states = {term.state(item, name) for item in ITEMS for name in STUDENTS}
    assert states == {*WorkState}


def rows_of(page: str) -> dict[str, dict[str, str]]:
    """Return the cells of the gradebook's page by student and label, as text."""
    found = {}
    for row in re.findall(r'<tr role="row"><th role="rowheader".*?</tr>', page, re.DOTALL):
        name = re.search(r"/course/students/([^\"]*)", row)
        assert name is not None
        cells = re.findall(r'<td role="cell" data-label="([^"]*)"[^>]*>(.*?)</td>', row, re.DOTALL)
        found[name[1]] = {label: text_of(cell) for label, cell in cells}
    return found


def text_of(piece: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", piece)).split())


def cell(term: Term, item: str, name: str) -> str:
    """Return what a cell of the gradebook should say."""
    state, key = term.state(item, name), (item, name)
    words = [number(term.mark(item, name)), state] if term.mark(item, name) is not None else [state]
    late = key in term.received and term.is_late(item, name) and state != "late"
    return " ".join(words) + (", late" if late else "")


async def counted_gradebook(rig: Rig) -> str:
    """Return the page once the students' copies were counted again, which it does not wait for."""
    working = next(key for key in rig.term.plan if rig.term.state(*key) == "working")
    rig.now(rig.hub.clock.now() + HOUR)
    deadline = time.monotonic() + 60
    while True:
        page = await rig.see("/course/gradebook")
        if rows_of(page)[working[1]][working[0]] == "working" or time.monotonic() > deadline:
            return page
        await asyncio.sleep(0.05)


async def test_the_gradebook_has_every_state_mark_and_total(rig: Rig) -> None:
    rows = rows_of(await counted_gradebook(rig))
    assert list(rows) == list(STUDENTS)
    for name, row in rows.items():
        total, far = rig.term.totals(name)
        wanted = {"Total": f"{total} %", "So far": f"{far} %" if far else ""}
        wanted |= {item: cell(rig.term, item, name) for item in ITEMS}
        assert row == wanted, name


def _sheet(data: bytes) -> list[list[str]]:
    """Return the cells of a workbook's only sheet."""
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    with zipfile.ZipFile(io.BytesIO(data)) as book:
        tree = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    return [
        ["".join(each.itertext()) for each in row.iter(f"{space}c")]
        for row in tree.iter(f"{space}row")
    ]


async def test_the_files_have_the_same(rig: Rig) -> None:
    await counted_gradebook(rig)
    printed = (await see(rig.hub, "/course/gradebook.csv", "prof")).content.decode("utf-8-sig")
    workbook = (await see(rig.hub, "/course/gradebook.xlsx", "prof")).content
    table = list(csv.reader(io.StringIO(printed)))
    sheet = _sheet(workbook)
    assert [len(each) for each in table] == [16] * 41
    for one, other in zip(table, sheet, strict=True):
        assert [_rounded(each) for each in one] == [_rounded(each) for each in other]
    for row in csv.DictReader(io.StringIO(printed)):
        name = row["student"]
        assert (_rounded(row["total %"]), _rounded(row["so far %"])) == rig.term.totals(name)
        for item in ITEMS:
            assert row[item] == number(rig.term.mark(item, name)), (name, item)
            wanted = cell(rig.term, item, name).removeprefix(f"{row[item]} ")
            assert row[f"{item} state"] == wanted, (name, item)


def _rounded(text: str) -> str:
    try:
        return number(round(float(text), 1))
    except ValueError:
        return text


async def test_each_students_page_has_the_same(rig: Rig) -> None:
    for name in STUDENTS:
        page = await rig.see(f"/course/students/{name}")
        rows = re.findall(r'<tr role="row">\s*<th role="rowheader".*?</tr>', page, re.DOTALL)
        found = {}
        for row in rows:
            named = re.search(r"/course/items/([^\"]*)", row)
            assert named is not None
            found[named[1]] = row
        assert set(found) == set(ITEMS)
        total, far = rig.term.totals(name)
        assert f"total {total} %" in page
        assert (f"so far {far} %" in page) == bool(far)
        for item, row in found.items():
            mark, key = rig.term.mark(item, name), (item, name)
            shown = text_of(row)
            assert (f"{number(mark)} of 20" in shown) == (mark is not None), (name, item)
            assert rig.term.due(item, name).isoformat(timespec="seconds") in row
            assert ("extended" in shown) == (key in EXTENDED)
            received = rig.term.received.get(key)
            assert received is None or received.isoformat(timespec="seconds") in row
            assert (received is not None) == (f"/submissions/{name}/{item}" in row)


async def test_students_see_the_same_on_their_pages(rig: Rig) -> None:
    for place, name in enumerate(STUDENTS):
        home = await rig.see("/", name)
        parts = re.split(r"<li>", home)
        for item in ITEMS:
            part = next(each for each in parts if f"/edit/{item}" in each)
            mark = rig.term.mark(item, name) if item in RELEASED else None
            assert re.findall(r"<strong>([\d.]+)/20</strong>", part) == (
                [] if mark is None else [number(mark)]
            ), (name, item)
            received = rig.term.received.get((item, name))
            assert ("<strong>Handed in</strong>" in part) == (received is not None)
            if received is not None:
                assert received.isoformat(timespec="seconds") in part
                cost = rig.term.deduction(item, name)
                assert re.findall(r"\(−(\d+) %\)", part) == ([str(cost)] if cost else [])
            if mark is not None and place % 3 == 0:
                page = await rig.see(f"/marks/{name}/{item}", name)
                assert f'<p class="score"><strong>{number(mark)}</strong> of 20 marks' in page
                full = await rig.see(f"/marks/{name}/{item}/page", name)
                assert f"<strong>{number(mark)}</strong> of 20 marks" in full


async def test_marking_and_today_count_what_is_left(rig: Rig) -> None:
    unmarked = rig.term.checked.keys() - rig.term.written.keys()
    waiting = Counter(item for item, _ in unmarked)
    course = await rig.see("/marking")
    for item in ITEMS:
        page = text_of(await rig.see(f"/marking/{item}"))
        handed = sum(each == item for each, _ in rig.term.received)
        assert f"{handed} submitted" in page, item
        if item in GRADED:
            assert f"{handed} graded by machine" in page, item
            assert (f"{waiting[item]} answers wait" in page) == bool(waiting[item]), item
            assert f"Essay {handed - waiting[item]} of {handed}" in text_of(course), item
    today = await rig.see("/course/today")
    assert '<span id="marking-count" data-live> <span' in today or not waiting
    assert str(sum(waiting.values())) in text_of(today)
    assert str(len(rig.term.open)) in text_of(course)
    requests = await rig.see("/marking/-/requests")
    assert len(re.findall(r"waits for an answer", requests)) == len(rig.term.open)


def test_the_commands_print_the_same(rig: Rig) -> None:
    course = rig.hub.course
    told = json.loads(_run(course, "gradebook", "show", "--json"))
    for item in GRADED:
        found = {each["student"]: each["mark"] for each in told[item]}
        handed = {name for each, name in rig.term.received if each == item}
        assert set(found) == handed
        for name in handed:
            if (mark := rig.term.mark(item, name)) is not None:
                assert found[name] == mark, (item, name)


def test_the_pages_of_feedback_have_the_same(rig: Rig) -> None:
    course = rig.hub.course
    _run(course, "feedback", "A2")
    for item, name in rig.term.received:
        if item == "A2":
            page = text_of((course / "feedback" / item / f"{name}.html").read_text())
            assert f"{number(rig.term.mark(item, name))} of 20 marks" in page, name


def _run(course: Path, *words: str) -> str:
    done = run_mograder(*words, cwd=course, seconds=500)
    assert done.status == 0, done.output + done.errors
    return done.output


def test_each_event_gave_one_letter_to_its_person_and_none_has_a_mark(rig: Rig) -> None:
    subjects = {
        "handed-in": r"\[Numerics\] (A\d) is handed in",
        "released": r"\[Numerics\] Your marks of (A\d)",
        "decided": r"\[Numerics\] Your request about (A\d)",
        "due": r"\[Numerics\] (A\d) is due .*",
    }
    found: Counter[tuple[str, str, str]] = Counter()
    for letter in rig.box.letters:
        kind, item = next(
            (kind, match[1])
            for kind, pattern in subjects.items()
            if (match := re.fullmatch(pattern, str(letter["Subject"])))
        )
        name, _, domain = str(letter["To"]).partition("@")
        assert domain == "students.example.edu"
        found[kind, name, item] += 1
        assert " of 20" not in letter.get_content()
        if kind == "handed-in":
            cost = rig.term.deduction(item, name)
            told = re.findall(r"−(\d+) %", letter.get_content())
            assert told == ([str(cost)] if cost else []), (name, item)
    assert found - rig.term.letters == Counter()
    assert rig.term.letters - found == Counter()
