"""Background loops of a server, which go on after an error that they do not expect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from mograder.core.log import get_logger

_AGAIN_SECONDS = 5.0
_log = get_logger(__name__)

Loop = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until the event is set."""


async def keep_running(name: str, loop: Loop, stop: asyncio.Event) -> None:
    """Run a loop until ``stop`` is set; log an error that it does not expect, and begin it again.

    Else the loop would end without a word, and its error would keep the server from closing the
    rest at its end.
    """
    while not stop.is_set():
        try:
            await loop(stop)
            return
        except Exception:  # noqa: BLE001 - the one place that answers for all loops
            _log.exception("%s: an unexpected error; it goes on in %.0f s", name, _AGAIN_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN_SECONDS):
                await stop.wait()
