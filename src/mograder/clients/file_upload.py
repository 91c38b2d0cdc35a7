"""Files to upload: named, opened when they are sent, streamed from disk."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mograder.core.errors import InvalidInput
from mograder.core.tasks import Progress

_LARGE = 4 << 20
"""Bytes; smaller uploads are sent too fast for a progress report."""

_STEPS = 4


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to send: ``name`` is its name on the other server, such as ``public/x.png``."""

    name: str
    path: Path


class _Told(io.BufferedReader):
    """A file that reports how many of its bytes were read."""

    def __init__(self, path: Path, tell: Callable[[int], None]) -> None:
        super().__init__(io.FileIO(path))
        self._on_read = tell

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._on_read(len(data))
        return data


class Quarters:
    """Reports a large transfer in quarters, each once: "Sent 25 % of 8 MB"."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._step = 0

    def __call__(self, what: str, done: int, total: int | None, /) -> None:
        total = total or 0
        step = done * _STEPS // total if total >= _LARGE else 0
        if step > self._step:
            self._step = step
            self._progress(f"{what} {step * 100 // _STEPS} % of {total >> 20} MB")


@contextmanager
def opened(
    files: Sequence[Upload], progress: Progress = lambda _: None
) -> Iterator[list[tuple[str, BinaryIO]]]:
    """Open all files at once, so that a missing one is found before anything is sent."""
    with ExitStack() as stack:
        parts: list[tuple[str, BinaryIO]] = []
        quarters, total, sent = Quarters(progress), 0, 0

        def tell(count: int) -> None:
            nonlocal sent
            sent += count
            quarters("Sent", sent, total)

        for file in files:
            try:
                stream = stack.enter_context(_Told(file.path, tell))
                total += os.fstat(stream.fileno()).st_size
                parts.append((file.name, stream))
            except OSError as error:
                raise InvalidInput(f"{file.path} cannot be read: {error.strerror}.") from error
        yield parts
