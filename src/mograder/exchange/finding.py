"""What an assignment of a server may be called on this machine."""

from __future__ import annotations

import re

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName
from mograder.transports.interface import RemoteAssignment

_NOT_IN_A_NAME = re.compile(r"[^\w.@+ (),'&-]")


def folder_of(assignment: RemoteAssignment) -> str:
    """Return a directory's name for an assignment: its own, made safe where it is not; pure."""
    for text in (assignment.name, _NOT_IN_A_NAME.sub("_", assignment.name), assignment.key):
        try:
            return ItemName.parse(text.strip(" .")[:100])
        except InvalidInput:
            continue
    return f"assignment-{assignment.number or 0}"
