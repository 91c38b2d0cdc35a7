"""The supervisor's log, a file of ours that never grows without end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

LARGEST = 1 << 20
"""Bytes; there is one older file of that size beside it."""

_LOOK_SECONDS = 30.0
_STANDARD_ERROR = 2


class LogFile:
    """Standard error as a file: the hub's terminal may be gone by then."""

    def __init__(self, path: Path) -> None:
        """Send standard error there from now on. Raises: :class:`OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        if path.exists() and path.stat().st_size > LARGEST:
            self._put_aside()
        self._open()

    def roll(self) -> bool:
        """Begin a new file when this one is large; returns whether it was."""
        if os.fstat(_STANDARD_ERROR).st_size <= LARGEST:
            return False
        self._put_aside()
        self._open()
        return True

    async def keep_small(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.roll()

    def _put_aside(self) -> None:
        self._path.replace(self._path.with_suffix(".old.log"))

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        os.dup2(descriptor, _STANDARD_ERROR)
        os.close(descriptor)
