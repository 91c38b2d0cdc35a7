"""A stranger's notebook is parsed where it can only harm itself (B133)."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from mograder.core.errors import Busy, InvalidInput, MograderError
from mograder.grading.validate import Submission, validate
from mograder.notebook.denied_code import Denied, Screening
from mograder.notebook.merge.cell_merge import NotMergeable, merge
from mograder.notebook.parsing import check_notebook
from mograder.notebook.version_diff import version_difference
from mograder.processes import isolated_call
from mograder.processes.isolated_call import IsolatedCall, read_answer
from mograder.processes.notebook_calls import compare, screen
from mograder.sandbox.execution.report import (
    CellResult,
    CellStatus,
    CheckResult,
    ExecutionResult,
    Outcome,
)
from mograder.sandbox.protocol import Limits
from tests.support.hub_app import FakeRuns
from tests.support.notebooks import notebook
from tests.support.supervisors import until

apart = pytest.mark.full
pytestmark = pytest.mark.timeout(120)

R = TypeVar("R")
LIMITS = Limits(processes=8, open_files=64, file_size_mb=8, tmp_mb=8)
NOTEBOOK = notebook(
    "from mograder.runtime import check",
    'check("Q1: one", [(True, "no")])',
    end="",
)
RAN = ExecutionResult(
    Outcome.FINISHED,
    (CellResult(0, "_", CellStatus.OK), CellResult(1, "_", CellStatus.OK)),
    (CheckResult("Q1: one", "success", (), 1.0, 1.0, 1),),
)
CELL = "import marimo\n\napp = marimo.App()\n\n\n@app.cell\ndef _():\n    {}\n    return\n"
CHECK = 'check("Q1: one", [({}, "no")])'
LONG = "# " + "x" * 40_000 + "\n"
"""Makes a text long enough for a process of its own."""

here_and_apart = pytest.mark.parametrize(
    "tail", [pytest.param("", id="here"), pytest.param(LONG, id="apart", marks=apart)]
)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, a text is judged by its own use."""
    monkeypatch.setattr(isolated_call, "_WAIT_SECONDS", 110.0)


async def inspected(text: str, function: partial[R]) -> R:
    return await IsolatedCall().call(function, size=len(text))


def submission(text: str, release: str | None = None) -> Submission:
    return Submission(text, "A1.py", Path("environment"), LIMITS, 10, release)


@apart
async def test_a_large_notebook_is_judged_as_a_small_one() -> None:
    large = NOTEBOOK + "# " + "x" * 100_000 + "\n"
    runs = FakeRuns(RAN)
    small = await validate(submission(NOTEBOOK), runs.execute, IsolatedCall())
    assert await validate(submission(large), runs.execute, IsolatedCall()) == small
    assert small.ok
    assert runs.asked[1].text == large


@apart
async def test_one_that_the_parser_dies_of_is_refused_in_words() -> None:
    text = "x = [" + "[]," * 5_000_000 + "]"
    with pytest.raises(InvalidInput, match="too large or too complex"):
        await IsolatedCall(seconds=1).call(partial(check_notebook, text, "A1.py"), size=len(text))


class Program(partial[None]):
    """A function of which the process is told to run this code instead."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, self.args


@apart
@pytest.mark.parametrize(
    ("code", "raised"),
    [
        ("raise MemoryError", InvalidInput),
        ("raise RecursionError", InvalidInput),
        ("while True: pass", InvalidInput),
        ("import signal; signal.raise_signal(signal.SIGSEGV)", InvalidInput),
        ("import signal; signal.raise_signal(signal.SIGKILL)", Busy),
        ("import signal; signal.raise_signal(signal.SIGTERM)", Busy),
        ("raise ImportError", Busy),
        ("import time; time.sleep(100)", Busy),
    ],
)
async def test_only_a_text_that_exceeds_a_limit_is_refused_for_good(
    code: str, raised: type[MograderError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was killed, or was too slow on a busy machine, says nothing of its text."""
    if "sleep" in code:
        monkeypatch.setattr(isolated_call, "_WAIT_SECONDS", 1.0)
    with pytest.raises(MograderError) as caught:
        await IsolatedCall(seconds=1).call(Program(check_notebook, code), size=40_000)
    assert type(caught.value) is raised


@apart
async def test_when_memory_is_short_the_kernel_ends_it_before_a_session() -> None:
    code = "if int(open('/proc/self/oom_score_adj').read()) > 600: raise MemoryError"
    with pytest.raises(InvalidInput, match="too large or too complex"):
        await IsolatedCall().call(Program(check_notebook, code), size=40_000)


@apart
async def test_a_result_with_half_a_character_comes_back_as_it_is() -> None:
    texts = ("x\ud800" * 20_000, "y\udfff" * 20_000)
    found = await IsolatedCall().call(partial(version_difference, *texts), size=40_000)
    assert found == version_difference(*texts)
    assert "\udfff" in found.outside[-1].text


@apart
async def test_a_failure_comes_back_in_its_family() -> None:
    text = "x = (" + " " * 40_000
    with pytest.raises(NotMergeable, match="the copy"):
        await IsolatedCall().call(partial(merge, None, NOTEBOOK, text), size=len(text))


@pytest.mark.parametrize(
    "said",
    [
        b"",
        pickle.dumps((None, True)),
        b"[1]",
        b'{"result": {"text": 5}}',
        b'{"result": "' + b"x" * 10,
        b"[" * 200_000,
        b'{"family": "builtins.SystemExit", "message": "0"}',
    ],
)
def test_what_is_no_answer_is_a_notebook_that_cannot_be_checked(said: bytes) -> None:
    with pytest.raises(InvalidInput, match="too large or too complex"):
        read_answer(said, partial(merge, None, NOTEBOOK, NOTEBOOK))


def test_a_family_that_is_not_ours_is_an_invalid_input() -> None:
    told = {"family": "builtins.SystemExit", "message": "no", "hint": "never"}
    with pytest.raises(InvalidInput, match="no") as caught:
        read_answer(json.dumps(told).encode(), partial(merge, None, NOTEBOOK, NOTEBOOK))
    assert (type(caught.value), caught.value.hint) == (InvalidInput, "never")


def test_code_in_an_answer_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    with pytest.raises(InvalidInput):
        read_answer(pickle.dumps(Trap()), partial(check_notebook, NOTEBOOK, "A1.py"))
    assert not (tmp_path / "ran").exists()


@apart
async def test_one_that_takes_all_memory_is_a_report_of_its_own() -> None:
    bomb = NOTEBOOK.replace("True", "[" + "[]," * 4_000_000 + "]")
    runs = FakeRuns(RAN)
    report = await validate(submission(bomb), runs.execute, IsolatedCall())
    assert (report.outcome, runs.asked) == (Outcome.UNREADABLE, [])


@apart
async def test_a_release_that_is_no_notebook_is_told_with_its_hint() -> None:
    with pytest.raises(InvalidInput) as caught:
        await validate(
            submission(NOTEBOOK, "x = (" + " " * 40_000), FakeRuns(RAN).execute, IsolatedCall()
        )
    assert "A1.py:1" in caught.value.message


@dataclass
class Held:
    """Processes that end when they may, if ``what`` is in their request; ``begun`` counts them."""

    begun: int = 0
    what: bytes = b""
    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, request: bytes, seconds: int) -> bytes:
        self.begun += 1
        if self.what in request:
            await self.may_end.wait()
        return b'{"result": null}'


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    processes = Held()
    monkeypatch.setattr(isolated_call, "_ask", processes.ask)
    monkeypatch.setattr(isolated_call, "SYSTEM", "linux")
    return processes


async def test_large_texts_of_one_person_do_not_hold_up_those_of_others(held: Held) -> None:
    """They are read one after the other, and a ninth is refused."""
    held.what = b"slow"
    calls = IsolatedCall()

    async def read(text: str, whose: str) -> None:
        await calls.call(partial(check_notebook, text, "A1.py"), size=40_000, whose=whose)

    many = [asyncio.create_task(read("slow", "alice")) for _ in range(8)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="notebooks of yours"):
        await read("short", "alice")
    async with asyncio.timeout(60):
        await read("short", "bob")
    many.pop().cancel()
    assert held.begun == 2
    held.may_end.set()
    await asyncio.gather(*many)
    await read("short", "alice")
    assert held.begun == 9


async def test_short_texts_of_one_person_are_read_one_after_the_other() -> None:
    calls, begun, may_end = IsolatedCall(), list[str](), threading.Event()

    def read(whose: str) -> None:
        begun.append(whose)
        may_end.wait(10)

    async def ask(whose: str) -> None:
        await calls.call(partial(read, whose), size=10, whose=whose)

    asked = [asyncio.create_task(ask(whose)) for whose in ("alice", "alice", "alice", "bob")]
    await until(lambda: "bob" in begun)
    assert sorted(begun) == ["alice", "bob"]
    may_end.set()
    await asyncio.gather(*asked)


async def test_of_very_large_texts_of_one_person_one_is_in_memory(held: Held) -> None:
    calls = IsolatedCall()

    async def read(whose: str, size: int) -> None:
        await calls.call(partial(check_notebook, "", "A1.py"), size=size, whose=whose)

    large = asyncio.create_task(read("alice", 32_000_000))
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="notebooks of yours"):
        await read("alice", 40_000)
    held.may_end.set()
    await read("bob", 32_000_000)
    await large
    await asyncio.gather(*(read("alice", 10_000_000) for _ in range(2)))


async def read_large(whose: str = "", patience_seconds: float | None = None) -> None:
    """Read a large text with an object of its own."""
    read = partial(check_notebook, "", "A1.py")
    await IsolatedCall().call(read, size=40_000, whose=whose, patience_seconds=patience_seconds)


async def test_all_objects_together_have_few_processes(held: Held) -> None:
    """Each place that reads large texts has its own object, and the machine has one memory."""
    asked = [asyncio.create_task(read_large(f"student{number}")) for number in range(10)]
    await asyncio.sleep(0)
    assert held.begun == 3
    held.may_end.set()
    await asyncio.gather(*asked)
    assert held.begun == 10


async def test_a_person_has_one_process_in_all_places_together(held: Held) -> None:
    asked = [asyncio.create_task(read_large("alice")) for _ in range(5)]
    await asyncio.sleep(0)
    assert held.begun == 1
    asked.append(asyncio.create_task(read_large("bob")))
    await asyncio.sleep(0)
    assert held.begun == 2
    held.may_end.set()
    await asyncio.gather(*asked)


async def test_a_call_that_does_not_begin_in_time_is_given_up(held: Held) -> None:
    """One that has begun in time may take longer than that."""
    asked = [asyncio.create_task(read_large(patience_seconds=0.01)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="Too many notebooks"):
        await read_large(patience_seconds=0.01)
    assert not any(each.done() for each in asked)
    held.may_end.set()
    await asyncio.gather(*asked, read_large(patience_seconds=60))
    assert held.begun == 4


def told(screening: Screening) -> list[tuple[str, int]]:
    return [(each.message, each.line) for each in screening.denied]


@here_and_apart
async def test_b133_what_is_denied_is_found_with_its_line(tail: str) -> None:
    text = CELL.format("import os; eval('1')") + tail
    found = await inspected(text, partial(screen, text, "A1.py", release=None))
    assert told(found) == [("denied builtin call: eval", 8), ("denied import: os", 8)]


@here_and_apart
async def test_b133_the_course_and_its_release_have_a_say(tail: str) -> None:
    text = CELL.format("import os; eval('1')") + tail
    denied = Denied(imports=frozenset({"os"}), calls=frozenset())
    found = await inspected(text, partial(screen, text, "A1.py", release=None, denied=denied))
    assert told(found) == [("denied import: os", 8)]
    same = await inspected(text, partial(screen, text, "A1.py", release=text))
    assert same == Screening()


@here_and_apart
async def test_a_changed_check_is_named(tail: str) -> None:
    release, own = (CELL.format(CHECK.format(each)) + tail for each in ("x", "True"))
    found = await inspected(own, partial(compare, own, "A1.py", release))
    assert found == ("check(Q1)",)


@here_and_apart
async def test_what_is_no_notebook_is_refused_with_its_line(tail: str) -> None:
    broken, script = CELL.format("import os =") + tail, "x = 1\n" + tail
    with pytest.raises(InvalidInput, match=r"A1\.py:8: invalid syntax"):
        await inspected(tail, partial(check_notebook, broken, "A1.py"))
    with pytest.raises(InvalidInput, match="not a marimo notebook"):
        await inspected(tail, partial(screen, script, "A1.py", release=None))
    with pytest.raises(InvalidInput, match="not a marimo notebook"):
        await inspected(tail, partial(compare, script, "A1.py", CELL))
