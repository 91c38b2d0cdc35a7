"""Recorded contracts of sources, as JSON texts below the course's state directory."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from mograder.core.settings import LoadedSettings
from mograder.store.filesystem.files import atomic_write

_PLACE = "contracts"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ContractStore:
    """The contracts of one course, each by a SHA-256 of all that it depends on."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, digest: str) -> str | None:
        """Return a contract's text, or None if there is none or it cannot be read."""
        with suppress(OSError, UnicodeDecodeError):
            return self._path(digest).read_text(encoding="utf-8")
        return None

    def write(self, digest: str, text: str) -> None:
        """Keep a contract.

        Raises:
            Busy: The disk is full.
        """
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, text.encode("utf-8"), 0o600)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("not a SHA-256 in hex")
        return self._directory / f"{digest}.json"


def contracts_of(loaded: LoadedSettings) -> ContractStore:
    """Return the contracts that a course keeps."""
    return ContractStore(loaded.state_dir / _PLACE)
