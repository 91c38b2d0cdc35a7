"""Putting a finished file in its place, for what arrives from or is kept about other servers.

The store's own verbs are out of reach here: hands do not hold each other (architecture.md).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def place(finished: Path, target: Path) -> None:
    """Move a file over another, so that every reader and every crash sees the old or the new."""
    _sync(finished, os.O_RDONLY)
    finished.replace(target)
    _sync(target.parent, os.O_RDONLY | os.O_DIRECTORY)


def write_private(target: Path, data: bytes) -> None:
    """Replace a file that only its owner may read, from its first moment on."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, create, 0o600), "wb") as file:
            file.write(data)
        place(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
