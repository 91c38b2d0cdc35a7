"""The base of the models of JSON bodies: a client's unknown fields are refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A JSON body of the hub's API, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
