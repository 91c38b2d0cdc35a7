"""The supervisor's log file, which is rotated at a maximum size."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

LARGEST = 1 << 20
"""Size in bytes at which the file is rotated; one older file is kept."""

_LOOK_SECONDS = 30.0
_STANDARD_ERROR = 2


class LogFile:
    """A log file in place of standard error, since the supervisor outlives the hub's terminal."""

    def __init__(self, path: Path) -> None:
        """Redirect standard error to ``path``. Raises: :class:`OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        if path.exists() and path.stat().st_size > LARGEST:
            self._put_aside()
        self._open()

    def roll(self) -> bool:
        """Begin a new file if this one exceeds the maximum; return whether it did."""
        if os.fstat(_STANDARD_ERROR).st_size <= LARGEST:
            return False
        self._put_aside()
        self._open()
        return True

    async def keep_small(self) -> None:
        """Call :meth:`roll` every 30 seconds, until cancelled."""
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
