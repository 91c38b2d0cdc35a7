"""The base class of the sections of ``mograder.toml``."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from mograder.core.settings_values import present

Present = Annotated[str, AfterValidator(present)]
"""A text that is not empty."""


class Section(BaseModel):
    """The base of all sections: unknown keys are errors, and values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
