"""Flags of ``os.open`` that not every system has: 0 where the flag does not exist."""

from __future__ import annotations

import os
from typing import Final


def _flag(name: str) -> int:
    value: int = getattr(os, name, 0)
    return value


BINARY: Final = _flag("O_BINARY")
"""Windows only: without it, line feeds that are written get carriage returns."""

CLOEXEC: Final = _flag("O_CLOEXEC")
DIRECTORY: Final = _flag("O_DIRECTORY")
NOCTTY: Final = _flag("O_NOCTTY")
NOFOLLOW: Final = _flag("O_NOFOLLOW")
NONBLOCK: Final = _flag("O_NONBLOCK")
PATH: Final = _flag("O_PATH")

READ_DIRECTORY: Final = os.O_RDONLY | DIRECTORY | NOFOLLOW | NONBLOCK | CLOEXEC
READ_FILE: Final = os.O_RDONLY | NOFOLLOW | NONBLOCK | CLOEXEC
"""For what another person may replace meanwhile: no link is followed, no pipe is waited for."""

CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW | CLOEXEC | BINARY
"""For a new file: nothing may have its name, not even a link."""
