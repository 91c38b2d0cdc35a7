"""The base of all messages between hubs, supervisors and nodes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """A message; unknown fields are ignored, since the other side may be of a later release."""

    model_config = ConfigDict(frozen=True, extra="ignore")
