"""The table of all the assignment server's routes.

The same as docs/reference/https-api.md; the first part is 0.3.16's (compatibility-0.3.16.md 4).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.responses import Response

from mograder.core.errors import NotFound
from mograder.web.server import (
    assignments,
    browser,
    client,
    drafts,
    grades,
    people,
    receipts,
    submissions,
)
from mograder.web.server.access import Access, RequestInfo
from mograder.web.server.problems import WrongMethod

Handler = Callable[[RequestInfo], Awaitable[Response]]


_REST = "...}"


@dataclass(frozen=True, slots=True)
class Route:
    """One route: its method, its path, its handler, and the access that it demands.

    Responses of ``open`` routes may be read by pages of any origin (CORS). A last step such as
    ``{path...}`` stands for all further ones, which its name then has with slashes between them.
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
    """The route of a request, and the values of the names in its path."""

    route: Route
    names: dict[str, str]


def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/")) if path.strip("/") else ()


ROUTES: tuple[Route, ...] = (
    Route("GET", "/", assignments.health, Access.ANYONE),
    Route("POST", "/register", people.register, Access.ANYONE),
    Route("GET", "/assignments", assignments.list_all, Access.SIGNED_IN),
    Route("GET", "/assignments/{name}/files/{file}", assignments.send_file, Access.SIGNED_IN),
    Route("POST", "/assignments/{name}/submit", submissions.submit, Access.OWNER),
    Route("GET", "/assignments/{name}/status", submissions.status, Access.OWNER),
    Route("GET", "/assignments/{name}/submissions", submissions.list_all, Access.INSTRUCTOR),
    Route("GET", "/assignments/{name}/submissions/{file}", submissions.send, Access.INSTRUCTOR),
    Route("POST", "/assignments/{name}/grades", grades.upload_grades, Access.INSTRUCTOR),
    Route("POST", "/assignments/{name}/feedback", grades.upload_feedback, Access.INSTRUCTOR),
    Route(
        "GET",
        "/assignments/{name}/feedback/{user}",
        grades.send_feedback,
        Access.OWNER,
        open=False,
    ),
    # Not in 0.3.16
    Route("GET", "/me", people.me, Access.SIGNED_IN),
    Route("POST", "/receipts/verify", receipts.verify, Access.ANYONE),
    Route("GET", "/people", people.list_all, Access.INSTRUCTOR),
    Route("POST", "/people/{person}/reset", people.reset, Access.INSTRUCTOR),
    Route("POST", "/people/{person}/revoke", people.revoke, Access.INSTRUCTOR),
    Route("GET", "/assignments/{name}/draft", drafts.read, Access.SELF, open=False),
    Route("PUT", "/assignments/{name}/draft", drafts.replace, Access.SELF, open=False),
    Route("GET", "/web", browser.index, Access.ANYONE, open=False),
    Route("GET", "/web/items/{name}", browser.page, Access.ANYONE, open=False),
    Route("GET", "/web/static/{version}/{file}", browser.static_file, Access.ANYONE, open=False),
    Route("GET", "/web/files/{path...}", browser.send_file, Access.ANYONE),
    Route("GET", "/client", client.page, Access.ANYONE, open=False),
    Route("GET", "/client/{digest}/{file}", client.send_wheel, Access.ANYONE, open=False),
    Route("GET", "/client/static/{version}/{file}", client.static_file, Access.ANYONE, open=False),
)


def find_route(method: str, steps: tuple[str, ...]) -> Match:
    """Return the route for a method and the decoded segments of a path; ``HEAD`` uses ``GET``'s.

    Raises: :class:`NotFound`, :class:`WrongMethod`.
    """
    verb = "GET" if method == "HEAD" else method
    here = [route for route in ROUTES if _fits(route, steps)]
    if not here:
        raise NotFound("Not found")
    for route in here:
        if route.method == verb:
            return Match(route, _names(route, steps))
    verbs = {route.method for route in here}
    raise WrongMethod(frozenset(verbs | ({"HEAD"} if "GET" in verbs else set())))


def _names(route: Route, steps: tuple[str, ...]) -> dict[str, str]:
    """Return the values of the names in a route's path."""
    last = len(route.steps) - 1
    named = dict(zip(route.steps, steps, strict=False))
    if _REST in route.path:
        named[route.steps[last]] = "/".join(steps[last:])
    return {
        step[1:-1].removesuffix("..."): given
        for step, given in named.items()
        if step.startswith("{")
    }


def _fits(route: Route, steps: tuple[str, ...]) -> bool:
    if _REST in route.path:
        count = len(route.steps) - 1
        return len(steps) > count and steps[:count] == route.steps[:count] and all(steps)
    if len(route.steps) != len(steps):
        return False
    pairs = zip(route.steps, steps, strict=True)
    return all(step == given or (step.startswith("{") and given) for step, given in pairs)
