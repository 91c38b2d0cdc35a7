"""Background loops of a server, which go on after an error that they do not expect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from mograder.core.errors import MograderError
from mograder.core.log import get_logger

_log = get_logger(__name__)

Job = Callable[[], Awaitable[object]]


@asynccontextmanager
async def every(
    seconds: float,
    name: str,
    job: Job,
    *,
    at_once: bool = True,
    wake: asyncio.Event | None = None,
) -> AsyncIterator[None]:
    """Do a job every so many seconds during the block, and as soon as ``wake`` is set.

    A failure is logged, and the job is done again the next time. One that is under way at the end
    of the block is waited for: a job in a thread would outlive a cancellation, and what it uses
    would be closed during it.
    """
    waiting, ends = wake or asyncio.Event(), False

    async def loop() -> None:
        if not at_once:
            await set_within(waiting, seconds)
        while not ends:
            waiting.clear()
            await _try(name, job)
            if not ends:
                await set_within(waiting, seconds)

    task = asyncio.create_task(loop())
    try:
        yield
    finally:
        ends = True
        waiting.set()
        await asyncio.wait({task})


async def repeat(name: str, job: Job, seconds: float, *, at_once: bool = True) -> None:
    """Do a job every so many seconds, as :func:`every`, until cancelled."""
    if not at_once:
        await asyncio.sleep(seconds)
    while True:
        await _try(name, job)
        await asyncio.sleep(seconds)


async def _try(name: str, job: Job) -> None:
    try:
        await job()
    except (MograderError, OSError) as error:
        _log.warning("%s: %s", name, error)
    except Exception:  # noqa: BLE001 - the one place that answers for all loops
        _log.exception("%s: an unexpected error; it goes on", name)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event; return whether it was set within so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
