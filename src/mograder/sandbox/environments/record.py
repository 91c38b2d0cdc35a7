"""The record of an environment: its versions, and the interpreter that it needs; and its lock.

Builds cannot write to it: otherwise a package could name directories of the host to be mounted in
sessions. ``SET_NAME`` are the names of the sets of marimo's files (:mod:`.static_assets`).
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mograder.core.errors import NotFound, SandboxUnavailable
from mograder.core.files import file_lock

ASSETS = "assets"
"""The directory of all sets, beside the environments."""

SET_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_]{0,39}-[0-9a-f]{16}")
"""The name of a set: marimo's version and a digest."""


RECORD = "environment.json"

_TAKEN_SECONDS = 1.0
"""Longer than an environment is taken that is not removed then."""


class EnvironmentRecord(BaseModel):
    """The record; ``interpreter_roots`` are host directories mounted read-only in sessions.

    ``assets`` is the name of the shared set of marimo's static files
    (:mod:`mograder.sandbox.environments.static_assets`), or "" if each session's own server must
    serve them: an old marimo without ``--asset-url``, or files that could not be collected.
    ``wheel`` is the file name of our wheel beside the record, or "" if an older release built it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    python: str
    marimo: str
    interpreter_roots: tuple[Path, ...]
    assets: str = Field(default="", pattern=rf"^(?:{SET_NAME.pattern})?$")
    wheel: str = Field(default="", pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9_.+-]*\.whl)?$")


def read_record(environment: Path) -> EnvironmentRecord:
    """Return the record of a finished environment. Raises: :class:`NotFound`."""
    try:
        return EnvironmentRecord.model_validate_json((environment / RECORD).read_bytes())
    except (OSError, ValidationError) as error:
        raise NotFound(f"There is no finished environment in {environment.name}.") from error


if sys.platform == "linux":

    def keep(environment: Path) -> int:
        """Return a descriptor that keeps an environment from being removed until it is closed.

        Every session and zygote has one. On a disk without locks nothing is removed.

        Raises: :class:`NotFound` if the environment does not exist, or is being removed.
        """
        held = _lock(environment, shared=True)
        if held is None:
            raise NotFound(f"The environment {environment.name} does not exist any more.")
        return held

    def take(environment: Path) -> int | None:
        """Return a descriptor that keeps an environment from being used, or None if it is in use.

        Rename the environment before the descriptor is closed.
        """
        return _lock(environment, shared=False)

    def _lock(environment: Path, *, shared: bool) -> int | None:
        """Lock the directory; return None if it is gone, or another process's lock excludes it."""
        try:
            descriptor = os.open(environment, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SandboxUnavailable(
                f"The environment {environment.name} cannot be opened: {error.strerror}."
            ) from error
        try:
            seconds = _TAKEN_SECONDS if shared else 0
            locked = file_lock.acquire(descriptor, seconds=seconds, shared=shared)
        except OSError:
            locked = shared
        with contextlib.suppress(OSError):  # removed or replaced before we had the lock
            if locked and os.path.samestat(os.fstat(descriptor), environment.stat()):
                return descriptor
        os.close(descriptor)
        return None
