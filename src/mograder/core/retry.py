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
_TOLD_EACH = 120
"""Failures from one line in the log to the next: a minute."""


async def retried(
    attempt: Callable[[], Awaitable[T]], trouble: str, *, seconds: float = _RETRY_SECONDS
) -> T:
    """Return the result of an attempt; repeat it every half second until it succeeds.

    The first failure is logged, with ``trouble`` before it, then one each minute, and in the end
    the success. An unexpected error is repeated, too: it must not leave for ever what the attempt
    was to remove.
    """
    failures = 0
    while True:
        try:
            result = await attempt()
        except Exception as error:  # noqa: BLE001 - see above
            if failures % _TOLD_EACH == 0:
                expected = isinstance(error, MograderError)
                again = f" ({failures} failures before)" if failures else ""
                _log.warning("%s: %s%s", trouble, error, again, exc_info=not expected)
            failures += 1
        else:
            if failures:
                _log.info("%s: succeeded after %d failures", trouble, failures)
            return result
        await asyncio.sleep(seconds)
