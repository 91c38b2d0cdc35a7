"""The table of all the assignment server's routes: read it as a map.

The same as docs/reference/https-api.md; the first part is 0.3.16's (compat.md 4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.responses import Response

from mograder.core.errors import NotFound
from mograder.web.server import assignments, grades, people, receipts, submissions
from mograder.web.server.access import Access, Asked
from mograder.web.server.problems import WrongMethod

Handler = Callable[[Asked], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Door:
    """One route: its verb, its path, who answers, and whom it lets pass.

    ``open`` answers may be read by pages of any origin (CORS).
    """

    method: str
    path: str
    handler: Handler
    access: Access
    open: bool = True
    steps: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", _steps(self.path))


@dataclass(frozen=True, slots=True)
class Match:
    """The door that a request stands at, and the names in its path."""

    door: Door
    names: dict[str, str]


def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/")) if path.strip("/") else ()


ROUTES: tuple[Door, ...] = (
    Door("GET", "/", assignments.health, Access.ANYONE),
    Door("POST", "/register", people.register, Access.ANYONE),
    Door("GET", "/assignments", assignments.list_all, Access.SIGNED_IN),
    Door("GET", "/assignments/{name}/files/{file}", assignments.send_file, Access.SIGNED_IN),
    Door("POST", "/assignments/{name}/submit", submissions.submit, Access.OWNER),
    Door("GET", "/assignments/{name}/status", submissions.status, Access.OWNER),
    Door("GET", "/assignments/{name}/submissions", submissions.list_all, Access.INSTRUCTOR),
    Door("GET", "/assignments/{name}/submissions/{file}", submissions.send, Access.INSTRUCTOR),
    Door("POST", "/assignments/{name}/grades", grades.upload_grades, Access.INSTRUCTOR),
    Door("POST", "/assignments/{name}/feedback", grades.upload_feedback, Access.INSTRUCTOR),
    Door(
        "GET",
        "/assignments/{name}/feedback/{user}",
        grades.send_feedback,
        Access.OWNER,
        open=False,
    ),
    # Ours
    Door("GET", "/me", people.me, Access.SIGNED_IN),
    Door("POST", "/receipts/verify", receipts.verify, Access.ANYONE),
    Door("GET", "/people", people.list_all, Access.INSTRUCTOR),
    Door("POST", "/people/{person}/reset", people.reset, Access.INSTRUCTOR),
    Door("POST", "/people/{person}/revoke", people.revoke, Access.INSTRUCTOR),
)


def find_door(method: str, steps: tuple[str, ...]) -> Match:
    """Return the door for a verb and the decoded steps of a path; ``HEAD`` goes where ``GET`` does.

    Raises: :class:`NotFound`, :class:`WrongMethod`.
    """
    verb = "GET" if method == "HEAD" else method
    here = [door for door in ROUTES if _fits(door, steps)]
    if not here:
        raise NotFound("Not found")
    for door in here:
        if door.method == verb:
            named = zip(door.steps, steps, strict=True)
            names = {step[1:-1]: given for step, given in named if step.startswith("{")}
            return Match(door, names)
    verbs = {door.method for door in here}
    raise WrongMethod(frozenset(verbs | ({"HEAD"} if "GET" in verbs else set())))


def _fits(door: Door, steps: tuple[str, ...]) -> bool:
    if len(door.steps) != len(steps):
        return False
    pairs = zip(door.steps, steps, strict=True)
    return all(step == given or (step.startswith("{") and given) for step, given in pairs)
