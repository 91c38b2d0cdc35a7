"""Retrying what has to succeed in the end, because something stays locked until it has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mograder.core.errors import MograderError

_log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_SECONDS = 0.5


async def retried(attempt: Callable[[], Awaitable[T]], trouble: str) -> T:
    """Return the result of an attempt; repeat it every half second until it succeeds.

    The first failure is logged, with ``trouble`` before it. An unexpected error is repeated, too:
    it must not leave for ever what the attempt was to remove.
    """
    told = False
    while True:
        try:
            return await attempt()
        except Exception as error:  # noqa: BLE001 - see above
            if not told:
                expected = isinstance(error, MograderError)
                _log.warning("%s: %s", trouble, error, exc_info=not expected)
            told = True
        await asyncio.sleep(_RETRY_SECONDS)
