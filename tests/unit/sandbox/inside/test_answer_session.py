"""Requests of the judge to a worker that may answer anything."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.sandbox.inside.codec import FrameError, answer_session, rules

NoAnswer = answer_session.NoAnswer
LIMITS = answer_session.Limits(notebook=5.0, call=0.5, check=5.0, submission=20.0)


@dataclass
class Ends:
    """The worker's ends."""

    control: int
    requests: int
    answers: int


@pytest.fixture
def pipes() -> Iterator[tuple[Any, Ends]]:
    """A session that has begun a check, and the worker's ends."""
    made = [os.pipe() for _ in range(3)]
    (control, told), (requests, asked), (answers, given) = made
    session = answer_session.AnswerSession(told, asked, answers, LIMITS)
    os.write(given, rules.pack([0, "serving"]))
    session.wait()
    session.start_time()
    session.begin()
    yield session, Ends(control, requests, given)
    for descriptor in (each for pipe in made for each in pipe):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def replying(ends: Ends, reply: Callable[[int], bytes]) -> threading.Thread:
    """Answer one request with bytes, by its number."""

    def answer() -> None:
        with contextlib.suppress(FrameError, OSError):
            number = rules.FrameReader(ends.requests).read(3).head[0]
            os.write(ends.answers, reply(number))

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def right(number: int) -> bytes:
    data: bytes = rules.pack([number, "value", 5, "printed"])
    return data


def test_an_answer_is_its_status_and_parts(pipes: tuple[Any, Ends]) -> None:
    session, ends = pipes
    thread = replying(ends, right)
    reply = session.ask("pull", "x")
    thread.join()
    assert (reply.status, reply.parts) == ("value", [5, "printed"])


MOST = rules.PRINTED


@pytest.mark.parametrize(
    "head",
    [
        lambda n: [n + 1, "value", 5, ""],
        lambda n: [n - 1, "value", 5, ""],
        lambda n: [True, "value", 5, ""],
        lambda n: [n, "value", 5],
        lambda n: [n, "value", 5, "", 1],
        lambda n: [n, "value", 5, 1],
        lambda n: [n, "value", 5, "x" * (MOST + 1)],
        lambda n: [n, ["value"], 5, ""],
        lambda n: [n, "passed"],
        lambda n: [0, "gone", "x"],
        lambda n: [n],
        lambda n: [],
        lambda n: [n, "error", [], "x" * (rules.TEXT + 1), ""],
        lambda n: [n, "stop", None],
        lambda n: [n, "stop", "", b"a buffer without a value"],
    ],
)
def test_any_other_answer_breaks_the_session(
    pipes: tuple[Any, Ends], head: Callable[[int], list[Any]]
) -> None:
    session, ends = pipes

    def reply(number: int) -> bytes:
        parts = head(number)
        buffers = [each for each in parts if isinstance(each, bytes)]
        data: bytes = rules.pack([each for each in parts if each not in buffers], buffers)
        return data

    thread = replying(ends, reply)
    with pytest.raises(NoAnswer):
        session.ask("pull", "x")
    thread.join()
    with pytest.raises(NoAnswer):  # and it stays broken
        session.ask("pull", "x")


def test_the_longest_printed_text_is_an_answer(pipes: tuple[Any, Ends]) -> None:
    session, ends = pipes
    thread = replying(ends, lambda number: rules.pack([number, "value", 5, "x" * MOST]))
    assert len(session.ask("pull", "x").parts[1]) == MOST
    thread.join()


def test_an_answer_before_its_question_breaks_the_session(pipes: tuple[Any, Ends]) -> None:
    """A second answer to the question before is one."""
    session, ends = pipes
    thread = replying(ends, lambda number: right(number) + right(number + 1))
    session.ask("pull", "x")
    thread.join()
    with pytest.raises(NoAnswer, match="not asked for"):
        session.ask("pull", "x")


def test_the_time_of_all_checks_is_limited(pipes: tuple[Any, Ends]) -> None:
    session, _ = pipes
    session.restrict(5.0, 2.0)
    assert session.begin() <= 2
    session.later = 5
    assert session.begin() <= 1, "half is left for the later ones"
    session.restrict(5.0, 0.0)
    assert session.begin() == 0
    with pytest.raises(NoAnswer, match="the time for all checks is over"):
        session.ask("pull", "x")


def test_no_answer_in_time_breaks_the_session(pipes: tuple[Any, Ends]) -> None:
    with pytest.raises(NoAnswer, match="it took too long"):
        pipes[0].ask("pull", "x")


def _ending(ends: Ends, before: bytes, after: bytes) -> threading.Thread:
    def end() -> None:
        reader = rules.FrameReader(ends.control)
        frame = reader.read(3)
        while frame.head[0] != "end":
            frame = reader.read(3)
        os.write(ends.answers, before + bytes(frame.buffers[0]) + after)

    thread = threading.Thread(target=end)
    thread.start()
    return thread


@pytest.mark.parametrize("junk", [b"", b"\x10\x00", b"x" * 5000])
def test_after_the_end_of_a_check_what_was_written_is_discarded(
    pipes: tuple[Any, Ends], junk: bytes
) -> None:
    session, ends = pipes
    session.break_off("a reason")
    thread = _ending(ends, junk, b"")
    session.end()
    session.begin()
    thread.join()
    assert session.broken == ""
    thread = replying(ends, right)
    assert session.ask("pull", "x").parts[0] == 5
    thread.join()


def test_the_end_of_a_check_is_not_waited_for_until_the_next_begins(
    pipes: tuple[Any, Ends],
) -> None:
    """A worker that has not acknowledged it yet takes no time of the judge's own work."""
    session, ends = pipes
    session.end()  # nothing reads the control pipe yet
    thread = _ending(ends, b"", b"")
    session.begin()
    thread.join()
    assert session.broken == ""


def test_bytes_after_the_mark_lose_the_worker(pipes: tuple[Any, Ends]) -> None:
    session, ends = pipes
    thread = _ending(ends, b"", b"more")
    session.end()
    thread.join()
    session.begin()
    assert "not asked for" in session.broken
    with pytest.raises(NoAnswer, match="does not answer"):
        session.ask("pull", "x")
