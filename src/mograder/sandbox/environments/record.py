"""The record beside an environment: what it is made of and which interpreter it needs.

It lies outside the part that a build can write, so that no package can name directories of the
host to be shown to sessions.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mograder.core.errors import NotFound
from mograder.sandbox.environments.static_assets import SET_NAME

RECORD = "environment.json"


class EnvironmentRecord(BaseModel):
    """What was built; ``interpreter_roots`` are host directories that sessions see read-only.

    ``assets`` names the shared set of its marimo's static files
    (:mod:`mograder.sandbox.environments.static_assets`), "" where each session's own server must
    serve them: an old marimo without ``--asset-url``, or files that could not be taken.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    key: str
    python: str
    marimo: str
    interpreter_roots: tuple[Path, ...]
    assets: str = Field(default="", pattern=rf"^(?:{SET_NAME.pattern})?$")


def read_record(environment: Path) -> EnvironmentRecord:
    """Return the record of a finished environment. Raises: :class:`NotFound`."""
    try:
        return EnvironmentRecord.model_validate_json((environment / RECORD).read_bytes())
    except (OSError, ValidationError) as error:
        raise NotFound(f"There is no finished environment in {environment.name}.") from error
