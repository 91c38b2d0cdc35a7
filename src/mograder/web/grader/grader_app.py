"""The object that every page of the grader works with, and its responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Protocol

from starlette.requests import Request
from starlette.responses import Response

from mograder.auth.roles import Role
from mograder.core.errors import MograderError
from mograder.core.log import get_logger
from mograder.notebook.title import title_of
from mograder.store.course.course import read_notebook
from mograder.web.app import Header
from mograder.web.grader.view_as import is_switched
from mograder.web.marking.context import MarkingApp, SharedGradebook, marker_of
from mograder.web.pages import APP, Viewer, problem_page
from mograder.web.problems import Wants, problem_json, status_of, wanted
from mograder.web.templating import Pages

_log = get_logger("mograder.grader")


class Access(Protocol):
    """Admits or refuses a request, and puts the person into it."""

    async def admit(self, request: Request, headers: list[Header]) -> Response | None:
        """Return the refusal of a request, None for one that is admitted."""
        ...

    @property
    def enter(self) -> Callable[[Request], Response] | None:
        """The handler of one-time links, None without any."""
        ...


@dataclass(frozen=True, slots=True)
class GraderApp:
    """The services of one grader."""

    title: str
    pages: Pages
    marking: MarkingApp
    book: SharedGradebook
    access: Access
    program: ClassVar[str] = "grader"

    def page_values(self, request: Request) -> dict[str, object]:
        """Return the values for every page: the person who marks."""
        marker = marker_of(request)
        viewer = marker and Viewer(
            marker.name,
            instructor=marker.role is Role.INSTRUCTOR,
            marks=True,
            can_sign_out=False,
        )
        return {
            "viewer": viewer,
            "local": "mograder grader",
            "switched": marker is not None and is_switched(request),
            "item_title": self._title,
        }

    def _title(self, item: str) -> str:
        source = self.marking.source(item)
        title = "" if source is None else _title_of(source, source.stat().st_mtime_ns)
        return "" if title == item else title


@lru_cache(maxsize=256)
def _title_of(notebook: Path, changed: int) -> str:
    """Return a source's title; ``changed`` is when it was, in nanoseconds."""
    try:
        return title_of(read_notebook(notebook))
    except MograderError:
        return ""


def grader_app(request: Request) -> GraderApp:
    """Return the object that the middleware put into the request."""
    app: GraderApp = request.scope[APP]
    return app


async def record(request: Request, action: str, what: str) -> None:
    """Write an action into the program's log: the grader has no audit log."""
    marker = marker_of(request)
    _log.info("%s: %s: %s", marker.name if marker else "", action, what)


async def answer_problem(request: Request, error: MograderError) -> Response:
    """Return the response to a failure in the client's format."""
    if wanted(request) is Wants.PAGE:
        return problem_page(request, status_of(error), error.message, error.hint)
    return problem_json(error)
