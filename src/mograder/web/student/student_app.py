"""The object that every handler of the dashboard works with, and its responses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import Response

from mograder.core.clock import Clock
from mograder.core.errors import MograderError, NotAuthenticated
from mograder.exchange.student.course import StudentCourse
from mograder.web.background import Report, Work, progress_response
from mograder.web.browser_access import BrowserAccess
from mograder.web.error_responses import (
    Wants,
    problem_json,
    status_of,
    wanted,
)
from mograder.web.pages import APP, Pages, Viewer, go_to, problem_page
from mograder.web.student.connector import ServerConnection
from mograder.web.student.notebook_runner import NotebookRunner


@dataclass(frozen=True, slots=True)
class StudentApp:
    title: str
    course: StudentCourse
    connection: ServerConnection
    runner: NotebookRunner
    access: BrowserAccess
    pages: Pages
    work: Work
    clock: Clock
    program: ClassVar[str] = "dashboard"

    def page_values(self, _: Request) -> dict[str, object]:
        user = self.connection.user
        viewer = Viewer(user) if user else None
        return {
            "viewer": viewer,
            "local": "mograder student",
            "server": self.connection.connector.server,
            "sign_out_page": "/sign-out",
            "signed_out": self.connection.signed_out,
        }


def student_app(request: Request) -> StudentApp:
    app: StudentApp = request.scope[APP]
    return app


async def deliver(request: Request, job: Callable[[Report], Awaitable[str]]) -> Response:
    """Run a job, and redirect to the page that it returns; raises what the job raises."""
    running = student_app(request).work.begin(job)
    if wanted(request) is Wants.PROGRESS:
        return progress_response(running, request, lambda path: {"url": path})
    return go_to(request, await running.result())


async def answer_problem(request: Request, error: MograderError) -> Response:
    """Return the response to a failure in the client's format; without a login, the login page."""
    page_wanted = wanted(request) is Wants.PAGE
    if page_wanted and isinstance(error, NotAuthenticated):
        return go_to(request, "/sign-in?again=1")
    if page_wanted:
        return problem_page(request, status_of(error), error.message, error.hint)
    return problem_json(error)
