"""The rows of a table of routes, and the bare FastAPI app that serves such a table: hub and grader.

A row names the access that its handler demands; an app that serves the row has a guard for each.
The model of the answer and the description of the body stand in the handler's annotations: a
handler that builds its response itself returns ``Annotated[Response, Model]``, and one that reads
the body itself, within limits, takes ``Annotated[Request, JsonBody(Model)]``.

The student's dashboard runs where FastAPI is not installed and uses :mod:`mograder.web.app` alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from mograder import __version__
from mograder.core.errors import InvalidInput, MograderError
from mograder.web.app import exception_handlers

_BINARY: Mapping[str, object] = {"type": "string", "format": "binary"}
_MODELS = "#/components/schemas/{model}"


class Access(StrEnum):
    ANYONE = "anyone"
    GUEST = "guest"
    """Members, and people who are not signed in."""
    MEMBER = "member"
    OWNER = "owner"
    """The user named in the path, and instructors."""
    SELF = "self"
    """The user named in the path, and nobody else."""
    MARKER = "marker"
    """Instructors, and markers where the assignment in the path is open for marking."""
    INSTRUCTOR = "instructor"
    HELPER = "helper"
    """Instructors and markers: the people who help a class at work."""
    VISITOR = "visitor"
    """As ``OWNER``, and the helper who has taken the owner's request for help with the item."""
    HELPED = "helped"
    """As ``VISITOR``, and markers whose page asks whether their help has ended."""
    METRICS = "metrics"
    """Instructors, and the holder of a metrics token."""


ANYONE = Access.ANYONE
GUEST = Access.GUEST
MEMBER = Access.MEMBER
OWNER = Access.OWNER
SELF = Access.SELF
MARKER = Access.MARKER
INSTRUCTOR = Access.INSTRUCTOR
HELPER = Access.HELPER
VISITOR = Access.VISITOR
HELPED = Access.HELPED
METRICS = Access.METRICS
HISTORY = OWNER
"""The access to read earlier states of a copy: its versions, and the archives in its folder."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route: its handler, the access that it demands, and its chapter in the documentation.

    A route without a chapter is a page for people and not part of the described API. ``status`` is
    that of its successful answer.
    """

    method: str
    path: str
    handler: Callable[..., object]
    access: Access
    chapter: str = ""
    status: int = 200

    @property
    def answer(self) -> Any:
        """The model of the handler's answer, None for pages and files."""
        returned = _hints(self.handler).get("return")
        if get_origin(returned) is Annotated:
            first, *models = get_args(returned)
            return models[0] if _is_response(first) else returned
        return None if _is_response(returned) else returned

    @property
    def body(self) -> Mapping[str, object]:
        """The description of the body that the handler reads itself, empty for none."""
        for hint in _hints(self.handler).values():
            for each in get_args(hint)[1:] if get_origin(hint) is Annotated else ():
                if isinstance(each, JsonBody | FileBody):
                    return {"requestBody": each.described()}
        return {}

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring as plain text."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0].replace("``", "")


@dataclass(frozen=True, slots=True)
class JsonBody:
    """The JSON that a handler reads."""

    model: type[BaseModel]
    required: bool = True

    def described(self) -> Mapping[str, object]:
        """Return the description; models inside the model stand under ``$defs``."""
        schema = self.model.model_json_schema(ref_template=_MODELS)
        for words in ("title", "description"):  # meant for readers of the code
            schema.pop(words, None)
        return {"required": self.required, "content": {"application/json": {"schema": schema}}}


@dataclass(frozen=True, slots=True)
class FileBody:
    """The multipart form that a handler reads: one file in a field, or many."""

    field: str
    many: bool = False

    def described(self) -> Mapping[str, object]:
        files = {"type": "array", "items": _BINARY} if self.many else _BINARY
        form = {"type": "object", "required": [self.field], "properties": {self.field: files}}
        return {"required": True, "content": {"multipart/form-data": {"schema": form}}}


def bare_api(
    title: str,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    answer: Callable[[Request, MograderError], Awaitable[Response]],
) -> FastAPI:
    """Return an app without routes, and without FastAPI's own pages, which load from a CDN."""

    async def of_parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return await answer(request, InvalidInput(f"{place}: {first['msg']}"))

    return FastAPI(
        title=title,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        exception_handlers={**exception_handlers(answer), RequestValidationError: of_parameters},
    )


def _hints(handler: Callable[..., object]) -> Mapping[str, Any]:
    return get_type_hints(handler, include_extras=True)


def _is_response(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Response)
