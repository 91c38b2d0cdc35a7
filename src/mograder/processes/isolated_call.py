"""Calls of our own functions in a child process with limits on time and memory.

Python's parser holds the GIL while it works: a megabyte of brackets would block a hub for seconds,
and take hundreds of megabytes. Functions that parse a student's text are called in such a process.
For a short text they are called in a thread, which is faster than starting a process. So they are
for any text where no process can be limited, and the text is the person's own: not on Linux.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
from collections.abc import Callable
from typing import TypeVar

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.log import get_logger
from mograder.core.system import SYSTEM

if sys.platform == "linux":
    import resource

_SHORT = 32_000
"""Characters up to which any text is parsed within some milliseconds."""

_SECONDS = 20
_MEMORY = 2 << 30
_WAIT_SECONDS = 60.0
_AT_ONCE = 2
_log = get_logger(__name__)

A = TypeVar("A")
R = TypeVar("R")


class IsolatedCall:
    """Calls functions on large texts, at most two at the same time; further calls wait.

    ``seconds`` is the processor time of a call.
    """

    def __init__(self, *, seconds: int = _SECONDS) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._seconds = seconds

    async def call(self, function: Callable[[A], R], argument: A, *, size: int) -> R:
        """Return ``function(argument)``, for a text of ``size`` characters.

        The function must be defined at the top level of one of our modules; its argument and its
        result are pickled.

        Raises: the :class:`MograderError` that the function raises; :class:`InvalidInput` when it
        exceeds the limits on time or memory.
        """
        if size <= _SHORT or SYSTEM != "linux":
            return await asyncio.to_thread(function, argument)
        async with self._turns:
            said = await _ask(pickle.dumps((function, argument)), self._seconds)
        try:
            # Pickled by our own code, which has parsed the text but not executed it.
            result: tuple[MograderError | None, R] = pickle.loads(said)  # noqa: S301
        except (pickle.UnpicklingError, EOFError) as error:
            _log.warning("%s returned no result for %d characters", function.__name__, size)
            raise InvalidInput(
                "The notebook is too large or too complex to be checked.",
                hint="Move data in it to a file of its own.",
            ) from error
        failure, returned = result
        if failure is not None:
            raise failure
        return returned


async def _ask(request: bytes, seconds: int) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-m", __name__, str(seconds)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            said, _ = await process.communicate(request)
    except TimeoutError:
        return b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return said


def main() -> None:
    """Read a function and its argument from standard input, and write the error and the result."""
    if sys.platform == "linux":  # other systems have no such process
        seconds = int(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    function, argument = pickle.load(sys.stdin.buffer)  # noqa: S301  # from ourselves
    failure, returned = None, None
    try:
        returned = function(argument)
    except MograderError as error:
        failure = error
    sys.stdout.buffer.write(pickle.dumps((failure, returned)))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
