"""The person who marks, and the rule which markers may mark which assignment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anyio import to_thread
from fastapi import Request

from mograder.auth.roles import Role
from mograder.core.errors import Forbidden
from mograder.core.name_lookup import nfc
from mograder.store.marking.open_marking import open_for_marking

ASSIGNMENT = "a"
"""The path parameter with the assignment."""

MARKER = "mograder.marker"
"""Scope key of the person who marks."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A person who marks: an instructor, or a marker of the items open for marking."""

    name: str
    role: Role


def enter_marking(request: Request, name: str, role: Role) -> None:
    """Put the person into the request; a student is not let in.

    A handler that a student reached by mistake would fail.
    """
    if role is not Role.STUDENT:
        request.scope[MARKER] = Marker(name, role)


def marker_of(request: Request) -> Marker | None:
    """Return the person who marks, None for any other request."""
    marker: Marker | None = request.scope.get(MARKER)
    return marker


async def check_marker(request: Request, role: Role, course_dir: Path) -> None:
    """Check that a person with this role may mark the assignment of the path, if it names one.

    Raises:
        Forbidden: The person is no marker, or the assignment is not open for markers.
    """
    if role is Role.INSTRUCTOR:
        return
    if role is not Role.MARKER:
        raise Forbidden("Marker access required")
    assignment = request.path_params.get(ASSIGNMENT)
    if assignment is None:
        return
    names = await to_thread.run_sync(open_for_marking, course_dir)
    if nfc(assignment) not in names:
        raise Forbidden(
            "This assignment is not open for marking.", hint="Ask an instructor to open it."
        )


def check_instructor(role: Role) -> None:
    """Check that a person is an instructor.

    Raises:
        Forbidden: The person is not.
    """
    if role is not Role.INSTRUCTOR:
        raise Forbidden("Instructor access required")
