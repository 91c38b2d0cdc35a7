"""An instructor's preview as a marker, by 0.3.16's address and cookie (compatibility-0.3.16.md 5).

The cookie only takes rights away, so a marker or a student who sets it gains nothing.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mograder.auth.roles import Role
from mograder.core.errors import Forbidden, InvalidInput

_COOKIE = "mograder_view_as"
_SECONDS = 8 * 3600
_REAL_ROLE = "mograder.real_role"


def role_shown(request: Request, role: Role) -> Role:
    """Return the role that counts for a request; ``role`` is the person's own."""
    request.scope[_REAL_ROLE] = role
    if role is not Role.INSTRUCTOR:
        return role
    chosen = unquote(request.cookies.get(_COOKIE, "")).partition("|")[0].strip()
    return Role.MARKER if chosen == Role.MARKER else role


def is_switched(request: Request) -> bool:
    """Return whether an instructor sees the grader as a marker."""
    role: Role = request.scope[_REAL_ROLE]
    return role_shown(request, role) is not role


async def view_as(request: Request) -> Response:
    """Switch an instructor to the view of a marker with ``?role=marker``, and back without a role.

    Raises: Forbidden, InvalidInput.
    """
    if request.scope.get(_REAL_ROLE) is not Role.INSTRUCTOR:
        raise Forbidden("Instructors only")
    role = request.query_params.get("role", "")
    if role not in ("", Role.MARKER):
        raise InvalidInput("One can only look as a marker.", hint="Ask for role=marker.")
    seconds = _SECONDS if role else 0
    # Without a path the cookie belongs to the directory of this address, with any path of a proxy.
    cookie = f"{_COOKIE}={role}; Max-Age={seconds}; HttpOnly; SameSite=Lax"
    return RedirectResponse("./", 303, headers={"Set-Cookie": cookie})
