"""The secret of an assignment server, ``.mograder-secret``.

B139, B142, B143; compatibility-0.3.16.md 1.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.core.files import open_flags
from mograder.core.files.disk import DISK, Disk, Place, explained_when_full
from mograder.core.log import get_logger
from mograder.core.operating_system import SYSTEM

SECRET_FILE = ".mograder-secret"  # noqa: S105 - a file's name
_LIMIT = 4096
_MADE = "It is made by the first `mograder serve`; name another by --secret-file."
_log = get_logger(__name__)


def read_secret(path: Path, *, hint: str = _MADE) -> str:
    """Return a file's secret, stripped; ``hint`` is for a missing one. Raises: InvalidInput."""
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
        secret = content.decode("utf-8").strip()
    except FileNotFoundError as error:
        raise InvalidInput(f"There is no secret in {path}.", hint=hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The secret in {path} cannot be read: {error}.") from error
    if not secret or len(content) > _LIMIT:
        raise InvalidInput(f"There is no usable secret in {path}: it is empty or too long.")
    return secret


def ensure_secret(path: Path, first: str = "", *, disk: Disk = DISK) -> str:
    """Return the secret; if there is none, create a file (mode 0600) of 32 random bytes in hex.

    ``first`` is a secret to begin with instead.
    The file is created atomically, so two servers that start at once get the same secret.

    Raises: as :func:`read_secret`, :class:`~mograder.core.errors.Busy` when the disk is full.
    """
    if not os.path.lexists(path):
        try:
            with explained_when_full(), suppress(FileExistsError):
                _make(path, f"{first or secrets.token_hex(32)}\n".encode(), disk)
        except PermissionError as error:
            raise InvalidInput(
                f"The secret cannot be written to {path}.",
                hint="Run this as the directory's owner.",
            ) from error
    secret = read_secret(path)
    if SYSTEM != "windows" and path.stat().st_mode & 0o077:
        _log.warning("%s can be read by others on this machine: chmod 600 it", path)
    return secret


def _make(path: Path, content: bytes, disk: Disk) -> None:
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    fd = os.open(temporary, open_flags.CREATE, 0o600)
    try:
        try:
            disk.write(fd, content)
            disk.fsync(fd)
        finally:
            os.close(fd)
        disk.place(Place.of(temporary), Place.of(path))
    finally:
        temporary.unlink(missing_ok=True)
    disk.fsync_directory(path.parent)
