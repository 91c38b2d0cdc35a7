"""Reading the body of an answer within bounds."""

from __future__ import annotations

import time

import httpx

from mograder.core.errors import RemoteFailed


def bounded_body(
    response: httpx.Response, limit: int, seconds: float, *, cut: bool = False
) -> bytes:
    """Read a body up to a size and a time, because the server is not trusted.

    Raises: :class:`RemoteFailed` beyond the size (with ``cut``, the beginning is returned), or
    beyond the time.
    """
    body = bytearray()
    end = time.monotonic() + seconds
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > limit and cut:
            return bytes(body[:limit])
        if len(body) > limit:
            raise RemoteFailed(f"The server sends more than {limit // 10**6} MB.")
        if time.monotonic() > end:
            raise RemoteFailed("The server's answer does not end.", hint="Try again later.")
    return bytes(body)
