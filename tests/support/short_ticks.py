"""Servers in the process of the tests see within 10 ms that they should end.

uvicorn looks ten times a second, twice or more for each end of a server: 0.4 s for a test of the
proxy, which has two servers.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn.server

_MOST_SECONDS = 0.01


class _Asyncio:
    """The module with a ``sleep`` of at most 10 ms."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, _MOST_SECONDS))


def pytest_configure() -> None:
    """Shorten the ticks of servers in this process."""
    pytest.MonkeyPatch().setattr(uvicorn.server, "asyncio", _Asyncio())
