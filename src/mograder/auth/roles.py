"""The two roles, and what each may do with another person's things."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Student: own things only. Instructor: everything in the course, never the host."""

    STUDENT = "student"
    INSTRUCTOR = "instructor"
