"""Background loops of a server, which go on after an error that they do not expect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from mograder.core.errors import MograderError
from mograder.core.log import get_logger

_AGAIN_SECONDS = 5.0
_log = get_logger(__name__)

Loop = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until the event is set."""

Job = Callable[[], Awaitable[object]]


async def keep_running(
    name: str, loop: Loop, stop: asyncio.Event, again_seconds: float = _AGAIN_SECONDS
) -> None:
    """Run a loop until ``stop`` is set; log an error that it does not expect, and begin it again.

    Else the loop would end without a word, and its error would keep the server from closing the
    rest at its end.
    """
    while not stop.is_set():
        try:
            await loop(stop)
            return
        except Exception:  # noqa: BLE001 - one of the two places that answer for all loops
            _log.exception("%s: an unexpected error; it goes on in %.0f s", name, again_seconds)
        await set_within(stop, again_seconds)


@asynccontextmanager
async def running(
    loops: Mapping[str, Loop], wake: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Run loops, by name, during the block; at its end they are told to stop, and waited for.

    ``wake`` is called after they are told.
    """
    stop = asyncio.Event()
    tasks = [asyncio.create_task(keep_running(name, loop, stop)) for name, loop in loops.items()]
    try:
        yield
    finally:
        stop.set()
        wake()
        await asyncio.wait(tasks)


async def repeat(
    name: str,
    job: Job,
    seconds: float,
    stop: asyncio.Event | None = None,
    *,
    at_once: bool = True,
    wake: asyncio.Event | None = None,
) -> None:
    """Do a job every so many seconds until ``stop`` is set, or without one until cancelled.

    A failure is logged, and the job is done again the next time. A job in a thread outlives a
    cancellation, so that what it uses would be closed during it: such a loop needs ``stop``. With
    ``wake``, which whoever sets ``stop`` must set, too, the next pause ends when it is set.
    """
    stop = stop or asyncio.Event()
    if not at_once:
        await set_within(stop, seconds)
    while not stop.is_set():
        if wake is not None:
            wake.clear()
        try:
            await job()
        except (MograderError, OSError) as error:
            _log.warning("%s: %s", name, error)
        except Exception:  # noqa: BLE001 - one of the two places that answer for all loops
            _log.exception("%s: an unexpected error; it goes on in %g s", name, seconds)
        if not stop.is_set():
            await set_within(wake or stop, seconds)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; return whether it was set within so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
