"""Counters of the session proxy, as plain numbers that its hot path only adds to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ProxyCounters:
    """Counts since the hub's start; ``in`` is towards the session. Only the event loop writes."""

    http: int = 0
    websockets: int = 0
    refused: int = 0
    """Requests that the proxy answered without a session's server."""
    open_websockets: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    messages_in: int = 0
    messages_out: int = 0


def size_of(data: str | bytes) -> int:
    """Return a message's size on the wire in bytes, without encoding one that is ASCII."""
    if isinstance(data, bytes) or data.isascii():
        return len(data)
    return len(data.encode("utf-8", "replace"))
