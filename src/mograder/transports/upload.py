"""Files on their way to another server: named, opened when they are sent, streamed from disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mograder.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Upload:
    """One file to send: ``name`` is what the other server calls it, such as ``public/x.png``."""

    name: str
    path: Path


@contextmanager
def opened(files: Sequence[Upload]) -> Iterator[list[tuple[str, BinaryIO]]]:
    """Open all files at once, so that a missing one is found before anything is sent.

    Raises:
        InvalidInput: A file cannot be read.
    """
    with ExitStack() as stack:
        parts: list[tuple[str, BinaryIO]] = []
        for file in files:
            try:
                parts.append((file.name, stack.enter_context(file.path.open("rb"))))
            except OSError as error:
                raise InvalidInput(f"{file.path} cannot be read: {error.strerror}.") from error
        yield parts
