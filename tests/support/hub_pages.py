"""The hub's own pages in a browser, in states that a real course takes a term to reach.

The app is the real one with its real stores, served by uvicorn; only the sessions and the runs of
notebooks are arranged (``hub_app``), so that every state is there at once.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import uvicorn

from mograder.auth.credentials import Role, make_token
from mograder.clients.http import trusted_authorities
from mograder.grading.pages.notebook_page import render_notebook_page
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.protocol import Mode
from mograder.sessions.check_reports import CheckReport, Status
from mograder.sessions.end_reasons import EndReason
from mograder.sessions.session import SessionKey
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import MarkEntry, QuestionGrade, StudentGrade
from mograder.store.hub.board import Board
from mograder.store.hub.grading_jobs import JobState, KeptJobs
from mograder.store.hub.hub_state import EndingRow
from mograder.store.marking.marking_progress import Shares
from mograder.store.releases.releases import ItemKind
from tests.support.gradebooks import AT, a_run
from tests.support.hub_app import NOTEBOOK, SECRET, Hub, make_hub
from tests.support.notebooks import notebook

SETTINGS = """title = "Numerical Experiments"
[hub]
instructors = ["prof"]
collect = true
[marking]
markers = ["marta"]
[moodle]
url = "https://moodle.test"
course_id = 7
[[assignments]]
name = "Measuring Pi"
dir = "A1-Measuring-Pi"
cmid = 41
duedate = 1700000000
[[assignments]]
name = "Cooling Coffee"
dir = "A2-Cooling-Coffee"
cmid = 42
duedate = 4102444800
"""
GRADED = notebook(
    """
    # === MOGRADER: MARKS ===
    from mograder.runtime import Grader

    _marks = {"Q1": 10, "Q2": 5, "Q3": 15}
    grader = Grader(_marks)
    check = grader.check
    return (check,)
    """,
    """
    @app.cell
    def area():
        print("radius", 0)
        1 / 0
        return
    """,
    """
    check("Q1: the estimate", [(True, "sign")])
    check("Q2: the error", [(True, "size"), (True, "sign")])
    check("Q3: the plot", [(True, "plot")])
    """,
)
PARTIAL = "The size is right, but the sign is not: an error is never negative."
PRINTED = "radius 0\nTraceback (most recent call last):\n  line 2\n"
FAILED = CellResult(
    1, "area", CellStatus.ERROR, "ZeroDivisionError", "division by zero", 2, PRINTED
)
FOUND = ExecutionResult(
    Outcome.FINISHED,
    (CellResult(0, "_", CellStatus.OK), FAILED, CellResult(2, "_", CellStatus.OK)),
    (
        CheckResult("Q1: the estimate", "success", (), 1.0, 1.0, 2),
        CheckResult("Q2: the error", "partial", (PARTIAL,), 1.0, 2.0, 2),
        CheckResult("Q3: the plot", "danger", ("The axis has no label.",), 0.0, 1.0, 2),
    ),
)


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[str]:
    """Serve a hub on a free port of this machine; yields its address."""
    config = uvicorn.Config(
        hub.app, log_config=None, lifespan="on", proxy_headers=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await _answers(address, task)
        try:
            yield address
        finally:
            server.should_exit = True
            await task


async def _answers(address: str, task: asyncio.Task[None]) -> None:
    async with httpx.AsyncClient(
        trust_env=False, timeout=60, verify=trusted_authorities()
    ) as client:
        while not task.done():
            try:
                await client.get(f"{address}/health")
            except httpx.TransportError:
                await asyncio.sleep(0.02)
            else:
                return
    await task


async def course(place: Path) -> Hub:
    """A course in mid-term: copies in every state, sessions, problems, and what was refused."""
    hub = make_hub(place, SETTINGS)
    hub.clock.advance(timedelta(days=1).total_seconds())
    for name in ("A1-Measuring-Pi", "A2-Cooling-Coffee", "A3-Random-Walks", "A4-Exam"):
        hub.publish(name, files={"data.csv": b"x\n"})
    for name in ("L01-Random-Numbers", "L02-Monte-Carlo"):
        hub.publish(name, ItemKind.LECTURE)
    hub.publish("A5-Broken")
    header = '# /// script\n# dependencies = ["no-such-package"]\n# ///\n'
    releases = hub.course / "hub-release"
    (releases / "A5-Broken" / "A5-Broken.py").write_text(header + NOTEBOOK)
    (releases / "A1-Measuring-Pi" / "A1-Measuring-Pi.py").write_text(GRADED)
    hub.runs.result = FOUND
    hub.batch.hold = asyncio.Event()
    (hub.course / "allowed_users.txt").write_text("".join(f"student{n:03}\n" for n in range(60)))
    with (hub.course / "allowed_users.txt").open("a") as people:
        people.write("alice\nbob\n")
    return hub


async def live_through(hub: Hub, address: str) -> None:
    """Do what a class does, over HTTP."""
    prof, alice = _client(address, "prof", Role.INSTRUCTOR), _client(address, "alice")
    async with prof, alice:
        for item in ("A1-Measuring-Pi", "A2-Cooling-Coffee", "A3-Random-Walks"):
            await alice.post(f"/download/{item}")
        workspace = hub.course / "hub-notebooks" / "alice"
        (workspace / "A1-Measuring-Pi" / "A1-Measuring-Pi.py").write_text(GRADED + "# mine\n")
        await alice.post("/validate/alice/A1-Measuring-Pi")
        await alice.post("/submit/alice/A3-Random-Walks")
        await alice.post("/reset/alice/A2-Cooling-Coffee")
        await prof.post("/warm-cache")
        rules = {"A4-Exam": {"visible_from": "2099-01-01T09:00:00+00:00"}}
        await prof.post("/visibility", json={"items": rules})
        await alice.post("/stop-edit/bob/A1-Measuring-Pi")
        await prof.get("/course/students")
    hub.start("alice", "A1-Measuring-Pi")
    hub.start("alice", "L01-Random-Numbers", Mode.RUN)
    await work(hub, address)
    for number in range(55):
        hub.start(f"student{number:03}", "A2-Cooling-Coffee")
    for number, session in enumerate(hub.pool.all()):
        session.usage.memory, session.usage.cpu = 90_000_000 + 7_000_000 * number, 3.0 * number
    hub.end("alice", "A3-Random-Walks", EndReason.MEMORY)
    grade(hub)
    await asyncio.to_thread(put_marks, hub.course)
    now = hub.clock.now()
    for number, reason in enumerate((EndReason.MEMORY, EndReason.CRASHED, EndReason.DISK)):
        name, detail = f"student{number:03}", "Killed" if reason is EndReason.CRASHED else ""
        row = EndingRow(name, "A2-Cooling-Coffee", "edit", f"id{number}", reason, now, detail)
        hub.services.state.save_ending(row, forget_before=now)


async def work(hub: Hub, address: str) -> None:
    """Have a class work on A1: reports of its checks, requests for help, and a message."""
    item, now = "A1-Measuring-Pi", hub.clock.now()
    words: tuple[Status, ...] = ("danger", "partial", "success", "warn")
    labels = ("Q1: the estimate", "Q2: the error", "Q3: the plot")
    for number in range(12):
        name = f"student{number:03}"
        hub.start(name, item)
        said = [
            CheckReport(each, words[(number + at) % 4], 0.5, 1.0) for at, each in enumerate(labels)
        ]
        at = now - timedelta(minutes=number)
        hub.pool.checks.listener(SessionKey(name, item, Mode.EDIT), said[: 1 + number % 3], at)
    for name in ("student001", "student002"):
        async with _client(address, name) as client:
            asked = {"label": labels[0], "text": "Why is my estimate < 3?"}
            await client.post(f"/help/{name}/{item}", json=asked)
    async with _client(address, "marta") as marta:
        await marta.post(f"/board/{item}/help/student002/take")
    async with _client(address, "prof", Role.INSTRUCTOR) as prof:
        text = "Question 2 asks for the standard error, not for the variance."
        await prof.post(f"/board/{item}/messages", data={"text": text, "minutes": "90"})
    board = Board(hub.engine)
    while len(board.checks(item)) < 24:  # noqa: ASYNC110 - the hub writes a few times a second
        await asyncio.sleep(0.02)


def grade(hub: Hub) -> None:
    """Have A1 graded, with every kind of result, A2 in progress, and A4 failed."""
    rows, now = KeptJobs(hub.engine), hub.clock.now()
    for item in ("A1-Measuring-Pi", "A2-Cooling-Coffee", "A4-Exam"):
        place = hub.course / "submitted" / item
        place.mkdir(parents=True)
        for student in ("alice", "bob", "carol", "dave"):
            (place / f"{student}.py").write_text(NOTEBOOK)
        row = rows.add(item, "prof", (), now, force=False, failed_only=False)
        rows.begin(row.number, now)
        rows.count(row.number, total=4, completed=3, attention=1)
        if item == "A1-Measuring-Pi":
            rows.end(row.number, JobState.DONE, now)
        if item == "A4-Exam":
            rows.end(row.number, JobState.FAILED, now, "A4-Exam.py:88: 'Q3' fails. Mend it.")
    open_question = QuestionGrade("Essay", None, 20.0, "manual", open="not marked yet")
    unclear = QuestionGrade("Q4", 5.0, 5.0, "unprotected", open="not confirmed yet")
    item, broken = "A1-Measuring-Pi", "The last grading needs attention (the judge ran out of time)"
    hub.grades += [
        StudentGrade(item, "alice", total=27.5, final=27.5, max_mark=30.0, state="judged"),
        StudentGrade(item, "bob", max_mark=30.0, state="needs attention", flags=(broken,)),
        StudentGrade(item, "carol", (open_question,), max_mark=30.0, state="judged"),
        StudentGrade(item, "dave", (unclear,), max_mark=30.0, state="unprotected"),
    ]
    (hub.course / "autograded" / item).mkdir(parents=True)
    page = hub.course / "autograded" / item / "alice.html"
    page.write_text(render_notebook_page(GRADED, f"{item}.py", ()))


def put_marks(course_dir: Path) -> None:
    """Fill the gradebook: A1 with every state of its marking, open to markers; A2 as a whole."""
    (course_dir / "marking.json").write_text('["A1-Measuring-Pi"]\n')
    marks = {"Q1": 10.0, "Q2": 5.0, "Essay": 20.0, "<script>alert(1)</script>": 5.0}
    checked = {"Q1": 10.0, "Q2": 2.5}
    item = "A1-Measuring-Pi"
    with Gradebook(course_dir / "gradebook.db") as book:
        for number in range(60):
            points = None if number == 7 else checked
            state, problem = (
                ("needs attention", "<b>No</b> time.") if number == 7 else ("judged", "")
            )
            run = a_run(
                f"student{number:03}",
                points,
                assignment=item,
                state=state,
                marks=marks,
                problem=problem,
            )
            book.record_run(run)
        for number in range(20):
            given = {"Essay": MarkEntry(15.0)}
            name = f"student{number + 10:03}"
            book.record_marks(item, name, given, marker="marta", at=AT)
        again = a_run("student012", checked, assignment=item, work="second", later=5, marks=marks)
        book.record_run(again)
        Shares(book, random.Random(1)).share_out(item, ["marta", "prof"], by="prof", at=AT)
        book.record_run(a_run("alice", checked, assignment="A2-Cooling-Coffee", marks=None))


def _client(address: str, user: str, role: Role = Role.STUDENT) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {make_token(SECRET, user, role)}"}
    return httpx.AsyncClient(
        base_url=address,
        headers=headers,
        trust_env=False,
        timeout=60,
        verify=trusted_authorities(),
    )
