"""Objects and file descriptors that a ``with`` statement closes at its end."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self


class Closing(ABC):
    """A context manager with a ``close`` method that may be called more than once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Release all resources."""


@contextmanager
def closing_fd(fd: int) -> Iterator[int]:
    """Yield an open file descriptor, and close it at the end of the block."""
    try:
        yield fd
    finally:
        os.close(fd)
