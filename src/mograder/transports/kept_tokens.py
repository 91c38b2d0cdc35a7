"""The small files in which tokens are kept between commands: read within bounds, changed by one.

What both kinds of tokens share, of assignment servers (``token_cache``) and of Moodle sites
(``moodle.tokens``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mograder.core import file_lock
from mograder.core.errors import InvalidInput

T = TypeVar("T", bound=BaseModel)

_LARGEST = 1 << 20


@contextmanager
def changing_tokens(directory: Path, lock_name: str) -> Iterator[None]:
    """Let one program at a time change the files: two sign-ins at once both stay.

    Raises:
        InvalidInput: The directory cannot be written.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(file_lock.open_lock(directory / lock_name)) as lock:
            file_lock.acquire(lock.fileno(), seconds=None)
            yield
    except OSError as error:
        raise InvalidInput(
            f"The token cannot be kept in {directory}: {error.strerror}.",
            hint="Check the directory's owner and permissions, or give --token each time.",
        ) from error


def read_tokens(shape: type[T], path: Path) -> T | None:
    """Read a file of tokens; None when it is missing, damaged or something else."""
    try:
        with path.open("rb") as stream:
            return shape.model_validate_json(stream.read(_LARGEST))
    except (OSError, ValidationError):
        return None
