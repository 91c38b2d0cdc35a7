"""Calls of our own functions in a child process with limits on time and memory.

Python's parser holds the GIL while it works: a megabyte of brackets would block a hub for seconds,
and take hundreds of megabytes. Functions that parse a student's text are called in such a process.
For a short text they are called in a thread, which is faster than starting a process, unless they
compile it. So they are for any text where no process can be limited, and the text is the person's
own: not on Linux.

The process answers in JSON: unpickling what it wrote would run code in the hub, if a text got code
to run in there. It is no sandbox: that would have to hold short texts, too, and would take longer
to start for each of them than it takes to parse.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import pickle
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_type_hints
from weakref import WeakKeyDictionary, WeakValueDictionary

from pydantic import TypeAdapter

from mograder.core.context_managers import under_way
from mograder.core.errors import Busy, InvalidInput, MograderError
from mograder.core.log import get_logger
from mograder.core.operating_system import SYSTEM

if sys.platform == "linux":
    import resource

_SHORT = 32_000
"""Characters up to which a text is parsed within some milliseconds; the worst take two seconds."""

_SECONDS = 20
_MEMORY = 2 << 30
_WAIT_SECONDS = 60.0
_TOO_MUCH = 3
"""The exit status of a process whose text takes too much memory, or is nested too deeply."""

_NOT_OF_THE_TEXT = {1, *(-each for each in (1, 2, 9, 15))}
"""Statuses of processes that ended for another reason than their text: an error in our own code, or
SIGHUP, SIGINT, SIGKILL or SIGTERM. The kernel sends SIGXCPU for too much processor time."""

_AT_ONCE = 3
"""Processes of an event loop; each may take ``_MEMORY`` bytes, which sessions lack meanwhile."""

_OOM_SCORE = "700"
"""Above that of sessions: a text can be read again, while the state of a session is lost."""

_OF_ONE_PERSON = 8
_CHARACTERS_OF_ONE_PERSON = 20_000_000
"""Texts of one person that wait or are read, in memory, where a character may take four bytes; and
their characters, unless there is one text only."""

_MOST_SAID = 256 << 20
"""Bytes of an answer: several times the largest notebook, each character of it written in six."""

_PIECE = 1 << 20
_NOT_NOW, _LATER = "The notebook could not be checked just now.", "Try again later."
_log = get_logger(__name__)

R = TypeVar("R")


class IsolatedCall:
    """Calls functions on large texts in processes.

    All objects of an event loop together have at most three at the same time, and one for each
    person; further calls wait. ``seconds`` is the processor time of a call. Mutable state:
    ``_waiting``, ``_held`` and ``_own``, the calls, their characters and their turn, by the person
    whose text they read; for one event loop.
    """

    def __init__(self, *, seconds: int = _SECONDS) -> None:
        self._seconds = seconds
        self._waiting: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._own: dict[str, asyncio.Lock] = {}

    async def call(
        self,
        function: partial[R],
        *,
        size: int,
        whose: str = "",
        compiles: bool = False,
        patience_seconds: float | None = None,
    ) -> R:
        """Return ``function()``, for texts of ``size`` characters.

        ``whose`` is the person who asks with a text of their own: theirs are read one after the
        other, so that the texts of others need not wait for many of them. ``compiles`` is whether
        Python compiles a text, for which some kilobytes can take minutes and gigabytes.
        ``patience_seconds`` is how long the call may wait before it begins, None for any time.

        The function must be defined at the top level of one of our modules, with the type of its
        result. Its arguments are pickled; its result is validated by that type.

        Raises: the :class:`MograderError` that the function raises; :class:`InvalidInput` when it
        exceeds the limits on time or memory; :class:`Busy` when too many of this person wait,
        when the call did not begin in time, when no process can be started, or when something else
        ended it.
        """
        is_apart = (size > _SHORT or compiles) and SYSTEM == "linux"
        async with contextlib.AsyncExitStack() as turn:
            try:
                async with asyncio.timeout(patience_seconds):
                    await turn.enter_async_context(self.turn_of(whose, size))
                    apart = _turn_of_a_process(whose) if is_apart else contextlib.nullcontext()
                    await turn.enter_async_context(apart)
            except TimeoutError as error:
                raise Busy("Too many notebooks are being looked at.", hint=_LATER) from error
            if not is_apart:
                return await asyncio.to_thread(function)
            said = await _ask(pickle.dumps(function), self._seconds)
        return await asyncio.to_thread(read_answer, said, function)

    @contextlib.asynccontextmanager
    async def turn_of(self, whose: str, size: int = 0) -> AsyncIterator[None]:
        """Wait for the end of this person's other calls: for one whose texts are read only then.

        Raises: :class:`Busy` when too many of this person wait.
        """
        if not whose:
            yield
            return
        held = self._held[whose]
        too_much = held and held + size > _CHARACTERS_OF_ONE_PERSON
        if too_much or self._waiting[whose] >= _OF_ONE_PERSON:
            raise Busy("Other notebooks of yours are being looked at.", hint="Wait for them.")
        with under_way(self._waiting, whose), under_way(self._held, whose, size):
            try:
                async with self._own.setdefault(whose, asyncio.Lock()):
                    yield
            finally:
                if self._waiting[whose] == 1:
                    del self._own[whose]


_Turns = tuple[asyncio.Semaphore, WeakValueDictionary[str, asyncio.Lock]]
_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


@contextlib.asynccontextmanager
async def _turn_of_a_process(whose: str) -> AsyncIterator[None]:
    """Wait until this event loop may start one: a few at the same time, and one of each person.

    ``whose`` is "" for a text that is not the asker's own.
    """
    new = asyncio.Semaphore(_AT_ONCE), WeakValueDictionary[str, asyncio.Lock]()
    every, owns = _TURNS.setdefault(asyncio.get_running_loop(), new)
    own = owns.setdefault(whose, asyncio.Lock()) if whose else asyncio.Lock()
    async with own, every:
        yield


def read_answer(said: bytes, function: partial[R]) -> R:
    """Return the result that a process wrote; raises as :meth:`IsolatedCall.call`."""
    try:
        answer = json.loads(said)
        if "result" in answer:
            result: R = _type_of(function.func).validate_python(answer["result"])
            return result
        family, message, hint = (str(answer[each]) for each in ("family", "message", "hint"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        _log.warning("%s returned no result for a large text", function.func.__name__)
        raise InvalidInput(
            "The notebook is too large or too complex to be checked.",
            hint="Move data in it to a file of its own.",
        ) from error
    raise next(filter(lambda each: _name(each) == family, _families()), InvalidInput)(
        message, hint=hint
    )


@functools.cache
def _type_of(function: Callable[..., object]) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(function)["return"])


def _families() -> Iterator[type[MograderError]]:
    """Yield the families whose constructor takes a message and a hint only."""
    found: list[type[MograderError]] = [MograderError]
    while found:
        family = found.pop()
        found.extend(family.__subclasses__())
        if family.__init__ is MograderError.__init__:
            yield family


def _name(family: type) -> str:
    return f"{family.__module__}.{family.__qualname__}"


async def _ask(request: bytes, seconds: int) -> bytes:
    """Return the answer of a process to a request; b"" or a part of it if it exceeded a limit.

    Raises: :class:`Busy` if it cannot be started, or did not end by itself.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", __name__, str(seconds)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
    except OSError as error:  # too many processes or open files, or too little memory
        _log.warning("no process for a large text can be started: %s", error)
        raise Busy(_NOT_NOW, hint=_LATER) from error
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            # The process reads all before it writes anything.
            with contextlib.suppress(ConnectionError):
                process.stdin.write(request)
                await process.stdin.drain()
            process.stdin.close()
            said = await _read(process.stdout)
            status = await process.wait() if said is not None else _TOO_MUCH
    except TimeoutError:
        status = 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if status in _NOT_OF_THE_TEXT:
        _log.warning("a process for a large text ended with status %s", process.returncode)
        raise Busy(_NOT_NOW, hint=_LATER)
    return said or b""


async def _read(stream: asyncio.StreamReader) -> bytes | None:
    said = bytearray()
    while piece := await stream.read(_PIECE):
        said += piece
        if len(said) > _MOST_SAID:
            return None
    return bytes(said)


def main() -> None:
    """Read a function from standard input, and write its result, or its error."""
    if sys.platform == "linux":  # other systems have no such process
        seconds = int(sys.argv[1])
        # At the hard limit the kernel sends SIGKILL, as others do.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # containers may have it read-only
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, "ascii")
    try:
        function = pickle.load(sys.stdin.buffer)  # noqa: S301  # from ourselves
        answer = _answer(function)
    except (MemoryError, RecursionError):
        os._exit(_TOO_MUCH)
    sys.stdout.buffer.write(answer)
    sys.stdout.flush()
    os._exit(0)


def _answer(function: partial[object]) -> bytes:
    # ASCII: a text may hold half a surrogate pair, which UTF-8 cannot.
    try:
        result = _type_of(function.func).dump_python(function(), mode="json")
    except MograderError as error:
        known = set(_families())
        family = next(each for each in type(error).__mro__ if each in known)
        told = {"family": _name(family), "message": error.message, "hint": error.hint}
        return json.dumps(told).encode()
    return json.dumps({"result": result}).encode()


if __name__ == "__main__":
    main()
