"""The base of all messages between hubs, supervisors and nodes, and the bounds of their fields.

A number or a list beyond its bounds is a fault of the other side, whose connection is closed.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MOST = 10_000
"""The most entries of a list in a message: more sessions than a machine has."""
LONGEST_TAIL = 16_384
"""The most bytes of a session's output that its end is reported with."""


class Message(BaseModel):
    """A message; unknown fields are ignored, since the other side may be of a later release."""

    model_config = ConfigDict(frozen=True, extra="ignore")


Name = Annotated[str, Field(max_length=200)]
"""An id of a session, or the key of an environment."""
Count = Annotated[int, Field(ge=0, le=1 << 22)]
"""A number of processes, processors, starts or runs."""
Bytes = Annotated[int, Field(ge=0, le=1 << 50)]
"""A size of memory or of files."""
Amount = Annotated[float, Field(ge=0, le=1e9)]
"""A time in seconds, or a load."""
