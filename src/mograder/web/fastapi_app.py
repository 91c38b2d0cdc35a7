"""The skeleton of the apps whose routes are FastAPI's: the hub and the grader.

The student's dashboard runs where FastAPI is not installed and uses :mod:`mograder.web.app` alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response

from mograder import __version__
from mograder.core.errors import InvalidInput, MograderError
from mograder.web.app import exception_handlers


def bare_api(
    title: str,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    answer: Callable[[Request, MograderError], Awaitable[Response]],
) -> FastAPI:
    """Return an app without routes, and without FastAPI's own pages, which load from a CDN.

    ``answer`` handles the subclasses of MograderError, and parameters that do not fit.
    """

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
