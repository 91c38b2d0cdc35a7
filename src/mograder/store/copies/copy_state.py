"""The state of a student's copy of an item."""

from __future__ import annotations

from enum import StrEnum


class CopyState(StrEnum):
    """The state of a copy, in the words of the page (compatibility-0.3.16.md 2.4)."""

    DOWNLOADED = "downloaded"
    EDITED = "edited"
    EXPORTED = "exported"
    SUBMITTED = "submitted"
