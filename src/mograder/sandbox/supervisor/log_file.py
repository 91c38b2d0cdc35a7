"""The supervisor's log file, in place of standard error: it outlives the hub's terminal."""

from __future__ import annotations

import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from mograder.core.log import QuietHandler

_LARGEST = 1 << 20
_STANDARD_ERROR = 2


class LogFile(QuietHandler, RotatingFileHandler):
    """A file that only its owner reads; above 1 MiB a new one is begun, and one older is kept."""

    def __init__(self, path: Path) -> None:
        """Redirect standard error, too. Raises: :class:`OSError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, maxBytes=_LARGEST, backupCount=1, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, _STANDARD_ERROR)
        return os.fdopen(descriptor, "a", encoding="utf-8")
