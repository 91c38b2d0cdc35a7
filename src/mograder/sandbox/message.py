"""The base of all messages between hubs, supervisors and nodes, and the types of their texts.

A node may send anything. So texts that hubs store, log or show are cut when they arrive.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MOST = 10_000
"""The most entries of a list in a message: more sessions than a machine has."""
_LONGEST_WORD, _LONGEST_TEXT = 100, 8000
LONGEST_TAIL = 16_384
"""The most bytes of a session's output that its end is reported with."""


class Message(BaseModel):
    """A message; unknown fields are ignored, since the other side may be of a later release."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _word(text: str) -> str:
    return "".join(filter(str.isprintable, text[:_LONGEST_WORD]))


def _beginning(text: str) -> str:
    return text[:_LONGEST_TEXT]


def _end(text: str) -> str:
    return text[-LONGEST_TAIL:]


Word = Annotated[str, AfterValidator(_word)]
"""A version or a reason: the printable ones of the first characters."""
Text = Annotated[str, AfterValidator(_beginning)]
"""Words for people."""
LogTail = Annotated[str, AfterValidator(_end)]
"""The end of a program's output."""
Name = Annotated[str, Field(max_length=200)]
"""An id of a session, or the key of an environment."""
