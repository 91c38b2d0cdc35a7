"""Calls in threads that a cancellation cannot leave half waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def to_its_end(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``call`` in a thread; a cancellation takes effect only when it has returned.

    A thread cannot be stopped: it would write the row of a start that was given up meanwhile.
    """
    calling = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(calling)
    except asyncio.CancelledError:
        await asyncio.wait({calling})
        if not calling.cancelled():
            calling.exception()  # read, or asyncio would log that it never was
        raise
