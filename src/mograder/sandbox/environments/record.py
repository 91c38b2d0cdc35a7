"""The record of an environment: its versions, and the interpreter that it needs.

Builds cannot write to it: otherwise a package could name directories of the host to be mounted in
sessions. ``SET_NAME`` are the names of the sets of marimo's files (:mod:`.static_assets`).
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mograder.core.errors import NotFound

ASSETS = "assets"
"""The directory of all sets, beside the environments."""

SET_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_]{0,39}-[0-9a-f]{16}")
"""The name of a set: marimo's version and a digest."""


RECORD = "environment.json"


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
