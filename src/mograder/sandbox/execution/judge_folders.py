"""The directories of judges: plan, contract and the files beside the source, once per assignment.

Only the judges' sandboxes have them. They hold the hidden tests, so no other user of the machine
may reach them: their parent is private, and they themselves can be read by a sandbox's uid.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

from mograder.sandbox.execution.copy_bounds import CopyBounds
from mograder.sandbox.execution.judging import JudgeFiles
from mograder.sandbox.execution.runner import (
    FolderCopy,
    in_thread_to_its_end,
    needed_files,
)
from mograder.sandbox.isolation.policy import CONTRACT, FILES, PLAN

_KEPT = 16
"""Directories that are kept although no judge uses them."""

_ID_BYTES = 12
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644


class JudgeFolders:
    """The directories by the digest of what they hold, the last used at the end."""

    def __init__(self, place: Path, remove: Callable[[Path], None], bounds: CopyBounds) -> None:
        """Keep them below ``place``, a directory that only this process writes to."""
        self._place = place
        self._remove = remove
        self._bounds = bounds
        self._turn = asyncio.Lock()
        self._users: dict[str, int] = {}

    @contextlib.asynccontextmanager
    async def folder(self, files: JudgeFiles) -> AsyncIterator[Path]:
        """Yield the directory for a judge, which is made if it is missing.

        Raises: :class:`~mograder.core.errors.TooLarge`.
        """
        name = await asyncio.to_thread(_digest, files)
        async with self._turn:
            if name not in self._users:
                await self._make_room()
                await in_thread_to_its_end(partial(self._make, files, name))
            self._users[name] = self._users.pop(name, 0) + 1
        try:
            yield self._place / name
        finally:
            self._users[name] -= 1

    def _make(self, files: JudgeFiles, name: str) -> None:
        self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self._place / name
        if target.exists():  # made for a call that was cancelled
            return
        half = self._beside(name)
        try:
            (half / FILES).mkdir(parents=True)
            if files.folder is not None:
                FolderCopy(half / FILES, self._bounds, notebooks=False).copy(files.folder)
            (half / PLAN).write_text(files.plan, encoding="utf-8")
            if files.contract is not None:
                (half / CONTRACT).write_text(files.contract, encoding="utf-8")
            _let_read(half)
            half.rename(target)
        except BaseException:
            self._remove(half)
            raise

    async def _make_room(self) -> None:
        """Remove those that were not used for the longest time, so that one more can be made."""
        unused = [name for name, users in self._users.items() if not users]
        for name in unused[: max(0, len(self._users) + 1 - _KEPT)]:
            del self._users[name]
            await in_thread_to_its_end(partial(self._discard, name))

    def _discard(self, name: str) -> None:
        removed = self._beside(name)
        (self._place / name).rename(removed)  # an entry named by a digest is always complete
        self._remove(removed)

    def _beside(self, name: str) -> Path:
        """Return a new name for one that is made or removed."""
        return self._place / f"{name}-{secrets.token_hex(_ID_BYTES)}"


def _let_read(top: Path) -> None:
    for folder, _, names in os.walk(top):
        Path(folder).chmod(_DIRECTORY_MODE)
        for name in names:
            Path(folder, name).chmod(_FILE_MODE)


def _digest(files: JudgeFiles) -> str:
    """Return the digest of the texts, and of the path, size and time of each file."""
    digest = hashlib.sha256()
    for text in (files.plan, files.contract):
        digest.update(b"-" if text is None else hashlib.sha256(text.encode()).digest())
    if files.folder is not None:
        for below, name, directory in needed_files(files.folder):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                facts = (str(below / name), status.st_size, status.st_mtime_ns, status.st_ino)
                digest.update(repr(facts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
