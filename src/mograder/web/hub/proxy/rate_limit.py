"""Rate limits on one session's traffic through the hub, so that a flood slows only its own student.

A kernel that prints without end fills a WebSocket as fast as the hub can relay it. So each session
has an allowance that ordinary use never exhausts; beyond it the hub reads more slowly, and the
socket's own backpressure slows the session's server (security.md, "The session's server is theirs
too").
"""

from __future__ import annotations

from dataclasses import dataclass

from mograder.core.rate_limit import Rate, RateLimit

_SOCKET_BYTES = Rate(64 * 2**20, 8 * 2**20)
_SOCKET_MESSAGES = Rate(10_000, 500)
_STREAM_BYTES = Rate(2**30, 64 * 2**20)


@dataclass(frozen=True, slots=True)
class Allowances:
    """The rates of one session, for each direction separately; sizes are in bytes."""

    socket_bytes: Rate = _SOCKET_BYTES
    socket_messages: Rate = _SOCKET_MESSAGES
    stream_bytes: Rate = _STREAM_BYTES
    """Responses over HTTP: large downloads are legitimate, so this only slows endless ones."""


class RateLimits:
    """The rate limits of one session's three kinds of traffic."""

    def __init__(self, allowances: Allowances) -> None:
        self.to_client = RateLimit(allowances.socket_bytes, allowances.socket_messages)
        self.to_session = RateLimit(allowances.socket_bytes, allowances.socket_messages)
        self.stream = RateLimit(allowances.stream_bytes)
