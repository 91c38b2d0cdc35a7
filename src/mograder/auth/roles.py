"""The roles, and the rule who may open a student's work."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A student has access to own files only, an instructor to the whole course, never the host.

    A marker has a student's rights, and may mark the assignments that are open for marking.
    """

    STUDENT = "student"
    MARKER = "marker"
    INSTRUCTOR = "instructor"


CREDENTIAL_ROLES = (Role.STUDENT, Role.INSTRUCTOR)
"""The roles that a token or a sign-in link can prove; markers are named in the settings, or by a
learning platform for one login."""


def may_open_work(username: str, role: Role, owner: str) -> bool:
    """Return whether a user may open the work of ``owner``: their own, or any as an instructor.

    The guards of the hub's routes (``web/hub/core/access.py``) and the proxy of its sessions
    (``web/hub/proxy/session_proxy.py``) both decide by this function.
    """
    return username == owner or role is Role.INSTRUCTOR
