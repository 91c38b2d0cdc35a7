"""The judge's side of the requests to the worker, which is hostile.

One request is asked at a time. Anything but its one answer in time (another id, bytes that were not
asked for, a tree that the codec refuses) breaks the session for the rest of the check; the next
check begins with a fresh process. A broken session raises ``NoAnswer`` at every further request, so
that code of a check that catches everything cannot go on with something else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory
import value_decoder  # type: ignore[import-not-found]

_END_SECONDS = 10.0
_LEAST_SECONDS = 1.0


class NoAnswer(BaseException):
    """The worker did not answer, or the time of the check is over; no ``Exception`` on purpose."""


class NotJudgeable(Exception):
    """A value that a check cannot judge; the message is a sentence for the student."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines in seconds: of the notebook, of one request, of one check, of all checks."""

    notebook: float
    call: float
    check: float
    submission: float


@dataclass(frozen=True, slots=True)
class Reply:
    status: str
    parts: list[Any]
    buffers: list[bytearray]


class AnswerSession:
    def __init__(self, control: int, requests: int, answers: int, limits: Limits) -> None:
        self.broken = ""
        """Why no more answers are taken in this check; empty while they are."""
        self._control = rules.FrameWriter(control)
        self._requests = requests
        self._writer = rules.FrameWriter(requests)
        self._reader = rules.FrameReader(answers)
        self.limits = limits
        self._ran_by = time.monotonic() + limits.notebook
        self._last = 0.0
        self._latest = 0.0
        self._end = 0.0
        self.number = 0
        """Requests until now, in all checks."""
        self.lost = False
        """Whether no answer is taken in any check from now on."""
        self.later = 0
        """Checks after this one; each is left the time of a call, all at most half of the rest."""
        self._serving = False
        self._nonce = b""

    def restrict(self, check: float, all_checks: float) -> None:
        """Set the seconds of each check from now on, and of all of them together."""
        call = min(check, self.limits.call)
        self.limits = replace(self.limits, call=call, check=check)
        self._last = time.monotonic() + all_checks

    def wait(self) -> None:
        """Wait until the worker has run the notebook; else it is lost, and no check is run."""
        try:
            frame = self._reader.read(max(self._ran_by - time.monotonic(), _LEAST_SECONDS))
            if frame.head != [0, rules.SERVING] or frame.buffers:
                self.lose(rules.FrameError("bytes that were not asked for"))
        except rules.FrameError as error:
            self.lost = True
            self.broken = f"the notebook did not come to its end: {error}"
            if time.monotonic() >= self._ran_by:
                self.broken = f"the notebook took more than {self.limits.notebook:g} seconds"

    def start_time(self) -> None:
        self._last = time.monotonic() + self.limits.submission
        self._latest = self._last + 2 * self.limits.submission

    def leave_out(self, seconds: float) -> None:
        """Extend the time for all checks by seconds that are not theirs, at most threefold."""
        self._last = min(self._last + seconds, self._latest)

    def longest(self) -> float:
        """Return the most seconds that the next check may take, with the end of the one before."""
        return (_END_SECONDS if self._nonce else 0) + self._most()

    def _most(self) -> float:
        left = max(self._last - time.monotonic(), 0)
        return min(self.limits.check, left - min(self.later * self.limits.call, left / 2))

    def begin(self) -> float:
        """Begin a check once the last one has ended; return its seconds, 0 if none are left.

        A worker's process that was not ended after the last check answers this one, too.
        """
        self._await_end()
        seconds = self._most()
        self._end = time.monotonic() + seconds
        if not seconds:
            self.broken = self.broken or "the time for all checks is over"
        return seconds

    def end(self) -> None:
        """End a check: its process is killed meanwhile, and what it wrote is discarded.

        The next check waits for that. If the worker does not even do that, it is lost, and all
        further checks are not run.
        """
        if self.lost:
            return
        self._serving = False
        self._nonce = os.urandom(rules.NONCE)
        self._tell(["end"], self._nonce)

    def start_process(self) -> None:
        """Start the worker's process for a check, unless it has started.

        It answers all requests but those for values, which the worker has encoded before.
        """
        if not (self.broken or self._serving):
            self._serving = True
            self._tell(["begin", self.number])

    def _await_end(self) -> None:
        nonce, self._nonce = self._nonce, b""
        if not nonce or self.lost:
            return
        try:
            self._reader.discard_until(nonce, _END_SECONDS)
        except rules.FrameError as error:
            self.lose(error)
        else:
            self._writer = rules.FrameWriter(self._requests)
            self.broken = ""

    def _tell(self, head: list[Any], *buffers: bytes) -> None:
        try:
            self._control.write(head, buffers, seconds=self.limits.call)
        except rules.FrameError as error:
            self.lose(error)

    def lose(self, error: object) -> None:
        """Take no more answers at all; ``error`` says why."""
        self.lost = True
        self.broken = f"the notebook's process does not answer: {error}"

    def break_off(self, reason: str) -> None:
        self.broken = self.broken or reason

    def ask(
        self, operation: str, *arguments: object, data: bytes = b"", shares: bool = False
    ) -> Reply:
        """Return the answer to one request; ``NoAnswer`` if there is none.

        ``shares`` says whether its data and its answer tell of shared objects.
        """
        if operation != "pull":
            self.start_process()
        if self.broken:
            raise NoAnswer(self.broken)
        self.number += 1
        left = self._end - time.monotonic()
        if left <= 0 or self.number > rules.CALLS:
            self._break("the time of this check is over" if left <= 0 else "too many requests")
        seconds = min(left, self.limits.call)
        try:
            self._reader.expect_silence()
            buffers = [data] if operation != "pull" else []
            head = [self.number, operation, shares, *arguments]
            self._writer.write(head, buffers, seconds=seconds)
            frame = self._reader.read(seconds)
        except rules.FrameError as error:
            self._break(f"no answer: {error}")
        return self._checked(frame)

    def ask_plainly(self, operation: str, *arguments: object) -> Any:
        """Return the value of an answer, None for any other; handles in it count as nothing."""
        reply = self.ask(operation, *arguments)
        if reply.status != "value":
            return None
        return self.decode(reply.parts[0], reply.buffers, lambda facts: None)

    def decode(
        self,
        tree: object,
        buffers: list[bytearray],
        hook: Any,
        allows: Callable[[str], bool] = lambda trait: True,
        links: Any = None,
    ) -> Any:
        """Return the value of an answer; ``NoAnswer`` if it is none of the codec's.

        With ``links``, the value and the changes of shared objects. ``rules.Refused`` is
        raised for a value with a trait that is not allowed.
        """
        try:
            return value_decoder.decode(tree, buffers, hook, allows, links)
        except rules.Undecodable as error:
            self._break(f"no answer: {error}")

    def _checked(self, frame: Any) -> Reply:
        number, status, *parts = [*frame.head, None, None][: max(2, len(frame.head))]
        if number == 0 and status == "gone":
            self._break("the notebook's process has ended")
        if type(number) is not int or number != self.number or type(status) is not str:
            self._break("no answer: not the answer to this request")
        shape = _SHAPES.get(status)
        if shape is None or len(parts) != len(shape):
            self._break("no answer: not an answer")
        for part, most in zip(parts, shape, strict=True):
            if most and (type(part) is not str or len(part) > most):
                self._break("no answer: a text is missing or too long")
        if status != "value" and frame.buffers:
            self._break("no answer: buffers without a value")
        return Reply(status, parts, frame.buffers)

    def _break(self, reason: str) -> NoReturn:
        self.break_off(reason)
        raise NoAnswer(self.broken)


_SHAPES = {
    "value": (0, rules.PRINTED),
    "error": (0, rules.TEXT, rules.PRINTED),
    "stop": (rules.PRINTED,),
    "unsupported": (rules.PRINTED,),
    "missing": (rules.TEXT,),
    "refused": (rules.TEXT,),
}
"""The parts of each answer: the most characters of a text, 0 for anything else."""
