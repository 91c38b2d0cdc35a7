"""The two roles and their rights."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A student has access to own files only, an instructor to the whole course, never the host."""

    STUDENT = "student"
    INSTRUCTOR = "instructor"
