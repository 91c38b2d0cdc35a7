"""Students who work for hours on machines that come and go, and a witness in each session.

The witness writes into the student's copy which sandbox it is in, and when, twice a second. Two
sessions on one copy at the same time are seen in that file.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.support.hub import HubProcess
from tests.support.identity import student
from tests.support.marimo import TLS, Address, EditorFailed, MarimoClient, open_editor
from tests.support.student_workers import CUT

ITEM = "T1-Tiny"
WITNESS = "witness.log"
WAITING = (502, 503, 504)
"""What a hub answers while a machine is lost and its lease is not over yet."""

_BREATH_SECONDS = 30.0
"""How long a student thinks before the next step: writes a cell, runs it, saves.

150 who do so every 20 s keep one of two processors busy, with all machines, the front, PostgreSQL
and the students' own programs. A fault's work then has to wait for the other one.
"""

_RETRY_SECONDS = 0.5
_ASK_SECONDS = 1.5
"""The pause between two questions of the page to the hub, as in ``static/frame.js``."""

_PAGE_SECONDS = 60.0
_SAID = re.compile(r"STEP (\d+) OF (\S+)")
STEP = """\
saved = {number}
import builtins, os, threading, time
def witness(name, file):
    while True:
        file.write(name + " " + str(time.time()) + "\\n")
        file.flush()
        time.sleep(0.5)
if not hasattr(builtins, "sandbox"):
    born = open("/proc/1/stat").read().rpartition(")")[2].split()[19]
    builtins.sandbox = str(os.stat("/proc/self/ns/pid").st_ino) + ":" + born
    threading.Thread(target=witness, args=(sandbox, open("witness.log", "a")), daemon=True).start()
print("STEP", {number}, "OF", sandbox)"""


@dataclass
class Student:
    """A student with one tab: opens the notebook, computes, saves, and opens it again after a cut.

    ``moves`` is whether the student moves to another machine when the page asks for that.
    ``steps`` counts the kernel's answers, ``acknowledged`` is the last version that was confirmed
    as saved, ``sandboxes`` are those that answered, ``reopened`` the seconds from opening the
    notebook again, which is when the page offers it, to the kernel's first answer, ``outages``
    those from the cut to that answer.
    """

    hub: HubProcess
    name: str
    breath: float = _BREATH_SECONDS
    moves: bool = True
    steps: int = 0
    sent: int = 0
    acknowledged: int = 0
    cuts: int = 0
    sandboxes: list[str] = field(default_factory=list)
    reopened: list[float] = field(default_factory=list)
    outages: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    diary: list[str] = field(default_factory=list)
    _cut_at: float = 0.0

    async def study(self) -> None:
        """Work until cancelled."""
        self._cut_at = began = time.monotonic()
        while True:  # attempts that fail count as one opening
            opened = len(self.reopened)
            try:
                await self._open(began)
            except CUT as cut:
                self.cuts += 1
                if len(self.reopened) > opened:
                    self._cut_at = time.monotonic()
                self._note(f"{type(cut).__name__}: {cut}"[:400])
                if len(self.reopened) > opened:
                    await self._until_offered()
                    began = time.monotonic()
                    self._note("offered")
                else:
                    await asyncio.sleep(_RETRY_SECONDS)

    async def _until_offered(self) -> None:
        """Wait until the page would offer to open the notebook again, or marimo connects again."""
        async with self._client(_ASK_SECONDS) as client:
            while not await self._is_offered(client):  # noqa: ASYNC110 - another program
                await asyncio.sleep(_ASK_SECONDS)

    async def _is_offered(self, client: httpx.AsyncClient) -> bool:
        with contextlib.suppress(httpx.TransportError):
            answer = await client.get(f"/standing/{self.name}/{ITEM}")
            if answer.is_success and answer.json()["state"] == "ended":
                return True
            return (await client.get(f"/edit/user/{self.name}/{ITEM}/health")).is_success
        return False

    async def _open(self, began: float) -> None:
        """Open the notebook and work in it until the line breaks. Raises: one of ``CUT``."""
        await self._start()
        self._note("started")
        async with open_editor(self._address(), run=False) as tab:
            self._note("the page is open")
            await self._step(tab)
            self._opened(began)
            while True:
                await asyncio.sleep(self.breath)
                await self._move_if_asked()
                await self._step(tab)

    async def _move_if_asked(self) -> None:
        """Press "Move now" if the page says that the notebook's machine will be shut down.

        Raises: EditorFailed once the session has ended, as the page goes to the start of the next.
        """
        async with self._client(_ASK_SECONDS) as client:
            with contextlib.suppress(httpx.TransportError):
                answer = await client.get(f"/standing/{self.name}/{ITEM}")
                machine = answer.json().get("machine") if answer.is_success else None
                if machine and machine["leaving"] and self.moves:
                    await client.post(f"/stop-edit/{self.name}/{ITEM}")
                    raise EditorFailed("moved to another machine")

    def saved(self) -> int:
        """The version on disk."""
        text = (self.copy / f"{ITEM}.py").read_text("utf-8")
        found = re.search(r"saved = (\d+)", text)
        return int(found[1]) if found else 0

    @property
    def copy(self) -> Path:
        """The student's copy of the item, in the share beside the course."""
        return self.hub.course.parent / "share" / "hub-notebooks" / self.name / ITEM

    def told(self) -> str:
        """The history, for a failure's message."""
        return (
            f"{self.name}: {self.steps} steps, {self.cuts} cuts, {self.sandboxes},"
            f" {dict(self.answers)}, {self.diary[-24:]}"
        )

    def _note(self, what: str) -> None:
        """Add to the history, with the seconds since the last cut."""
        self.diary.append(f"{time.monotonic() - self._cut_at:.1f} s: {what}")

    async def _start(self) -> None:
        """Ask for the session until it runs, as a click on "open it again" does."""
        async with self._client(150) as client:
            while True:
                answer = await client.post(f"/start-edit-deep/{ITEM}")
                if answer.status_code == httpx.codes.OK:
                    return
                self.answers[f"{answer.status_code} {answer.text[:120]}"] += 1
                if answer.status_code not in WAITING:
                    raise EditorFailed(f"{answer.status_code}: {answer.text[:200]}")
                await asyncio.sleep(_RETRY_SECONDS)

    async def _step(self, tab: MarimoClient) -> None:
        self.sent += 1
        number = self.sent
        cell = tab.cells.ids[0]
        tab.progress.console.pop(cell, None)
        await tab.edit(0, STEP.format(number=number))
        self._answered(tab.progress.console.get(cell, ""), number)
        await tab.save()
        self.acknowledged = number

    def _opened(self, began: float) -> None:
        """Note that the notebook that was opened at ``began`` has computed."""
        self.reopened.append(time.monotonic() - began)
        self.outages.append(time.monotonic() - self._cut_at)

    def _answered(self, console: str, number: int) -> None:
        """Note the kernel's answer to a step. Raises: EditorFailed if it is not in the console."""
        said = _SAID.findall(console)
        if not said or int(said[-1][0]) != number:
            raise EditorFailed(f"step {number} was not answered: {console}")
        if said[-1][1] not in self.sandboxes:
            self.sandboxes.append(said[-1][1])
        self.steps += 1

    def _client(self, seconds: float) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.hub.url,
            headers=student(self.name),
            timeout=seconds,
            trust_env=False,
            verify=TLS,
        )

    def _address(self) -> Address:
        url = f"{self.hub.url}/edit/user/{self.name}/{ITEM}"
        return Address(base_url=url, headers=student(self.name), timeout=_PAGE_SECONDS)


@dataclass
class StudentClass:
    """All students, who work in the background."""

    students: Sequence[Student]
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def fail_if_one_broke(self) -> None:
        """Raise what ended a student's work, if anything did."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def all_step(self, seconds: float) -> float:
        """Wait until every student has computed and saved since; return the seconds it took."""
        before = {each.name: each.sent for each in self.students}
        return await self.until(lambda each: each.acknowledged > before[each.name], seconds)

    async def until(self, holds: Callable[[Student], bool], seconds: float) -> float:
        """Wait until something holds for every student; return the seconds that it took."""
        began = time.monotonic()
        while waiting := [each for each in self.students if not holds(each)]:
            self.fail_if_one_broke()
            told = "\n".join(each.told() for each in waiting[:5])
            assert time.monotonic() - began < seconds, f"{len(waiting)} stand still:\n{told}"
            await asyncio.sleep(0.1)
        return time.monotonic() - began

    def mark(self) -> dict[str, tuple[int, int]]:
        """Note how far each is, for :meth:`reopened_since` and :meth:`outages_since`."""
        return {each.name: (each.cuts, len(each.reopened)) for each in self.students}

    def slow_since(self, mark: dict[str, tuple[int, int]], seconds: float) -> list[str]:
        """The histories of those whose notebook took longer to open again, the slowest first."""
        took = [
            (max(each.reopened[mark[each.name][1] :], default=0.0), each.told())
            for each in self.students
        ]
        return [told for most, told in sorted(took, reverse=True) if most > seconds]

    def reopened_since(self, mark: dict[str, tuple[int, int]]) -> list[float]:
        """The seconds that each opening since then took."""
        return [
            seconds for each in self.students for seconds in each.reopened[mark[each.name][1] :]
        ]

    def outages_since(self, mark: dict[str, tuple[int, int]]) -> list[float]:
        """The seconds from the cut to work again, of each opening since then."""
        return [seconds for each in self.students for seconds in each.outages[mark[each.name][1] :]]

    def no_work_is_lost(self) -> None:
        """Every version that was confirmed as saved, or a later one, is on disk."""
        lost = [each.told() for each in self.students if each.saved() < each.acknowledged]
        assert lost == []

    def no_copy_had_two_sessions(self) -> None:
        """What the witnesses wrote shows one sandbox after the other on each copy."""
        found = [(each.name, pair) for each in self.students for pair in overlaps(each.copy)]
        assert found == []


@contextlib.asynccontextmanager
async def at_work(students: Sequence[Student], together: int) -> AsyncIterator[StudentClass]:
    """Let students come, so many at a time, and work until this is left."""
    made = StudentClass(students)
    try:
        for first in range(0, len(students), together):
            group = students[first : first + together]
            made._tasks += [asyncio.create_task(each.study()) for each in group]
            await StudentClass(group, made._tasks).until(lambda each: each.steps > 0, 300)
        yield made
    finally:
        for task in made._tasks:
            task.cancel()
        await asyncio.gather(*made._tasks, return_exceptions=True)


def overlaps(copy: Path) -> list[tuple[str, str]]:
    """Return the pairs of sandboxes that wrote into a copy in the same span of time."""
    spans: dict[str, tuple[float, float]] = {}
    for line in (copy / WITNESS).read_text().splitlines():
        name, _, moment = line.rpartition(" ")
        first, last = spans.get(name, (float(moment), float(moment)))
        spans[name] = (min(first, float(moment)), max(last, float(moment)))
    ordered = sorted(spans.items(), key=lambda item: item[1])
    return [
        (before, after)
        for (before, (_, last)), (after, (first, _)) in itertools.pairwise(ordered)
        if first < last
    ]


def described(seconds: Sequence[float]) -> str:
    """The number, median and largest of some durations, for the report."""
    if not seconds:
        return "none"
    return (
        f"{len(seconds)}, median {statistics.median(seconds):.1f} s, at most {max(seconds):.1f} s"
    )
