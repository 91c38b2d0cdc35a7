"""Files that a person names on the command line."""

from __future__ import annotations

from pathlib import Path

from mograder.core.errors import InvalidInput, NotFound

_MOST_BYTES = 20_000_000


def read_bytes(file: Path, limit: int = _MOST_BYTES) -> bytes:
    """Return a file's bytes, at most ``limit`` of them.

    Raises:
        InvalidInput: It cannot be read, or is too large.
        NotFound: It does not exist.
    """
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {file}.") from error
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}.") from error
    if len(data) > limit:
        raise InvalidInput(f"{file} is larger than {limit // 1_000_000} MB.")
    return data
