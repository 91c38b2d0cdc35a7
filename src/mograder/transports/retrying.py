"""Asking again when a server is down for a moment or busy, without everybody asking at once.

Students press Submit in the last minute, and a server that restarts then must not lose any of
them: connections that fail and 503 are tried again, later and later, each client at its own time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from mograder.core.clock import SystemClock
from mograder.core.shared import Progress
from mograder.transports.unreachable import is_untrusted

_PASSING = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
_RETRY_AFTER = "retry-after"


@dataclass(frozen=True, slots=True)
class Patience:
    """How often something is tried, and how long we wait in between; seconds.

    ``longest``: a server that wants to be left alone for longer than that is not waited for.
    """

    tries: int = 5
    first_pause: float = 0.5
    longest: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def pause(self, failures: int, asked_for: float = 0.0) -> None:
        """Wait after so many failures, at least as long as the server asked for."""
        backoff = min(self.first_pause * 2 ** (failures - 1), self.longest)
        # A hall full of students who were refused together must not come back together.
        spread = random.uniform(0.5, 1.0)  # noqa: S311  # no secret
        self.sleep(max(backoff * spread, asked_for * (1.5 - spread / 2)))


def send(
    client: httpx.Client,
    build: Callable[[], httpx.Request],
    patience: Patience,
    progress: Progress,
) -> httpx.Response:
    """Send a request until it is answered, and return the answer, its body unread.

    All that our commands ask may be asked twice, so that a connection that broke after the
    request went out is tried again too. An answer of 503 is returned when patience has run out.

    Raises: httpx.HTTPError of the last try.
    """
    for failures in range(1, patience.tries + 1):
        last = failures == patience.tries
        try:
            response = client.send(build(), stream=True)
        except httpx.TransportError as error:
            if last or not _may_pass(error):
                raise
            progress("The server cannot be reached; trying again…")
            patience.pause(failures)
            continue
        asked_for = retry_after(response)
        if last or response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            return response
        if asked_for > patience.longest:
            return response
        response.close()
        progress("The server is busy; trying again…")
        patience.pause(failures, asked_for)
    raise ValueError("patience must allow one try at least")


def retry_after(response: httpx.Response) -> float:
    """Return for how many seconds a server wants to be left alone, 0 where it does not say."""
    text = str(response.headers.get(_RETRY_AFTER, "")).strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - SystemClock().now()).total_seconds())


def _may_pass(error: httpx.TransportError) -> bool:
    """Whether the same request may succeed later: a wrong certificate stays wrong."""
    passing = isinstance(error, _PASSING)
    return passing and not is_untrusted(error)
