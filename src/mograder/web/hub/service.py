"""The hub itself: its health and metrics, our static files, and the description of its API."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.resources import files
from typing import Any, Literal

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from mograder.core.errors import Busy
from mograder.web import pages
from mograder.web.context import request_context
from mograder.web.hub.core.hub_app import CurrentApp
from mograder.web.hub.core.responses import Body, Done, Problem
from mograder.web.pages import StaticFile, packed_static_file, page
from mograder.web.route import ANYONE, MEMBER, METRICS, Route

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {"model": Problem, "description": "The request failed, or was refused."}
}
_REFUSALS = ("text/plain", "text/html")
_VIEWER = "fastapi-offline"
_VIEWER_FILES = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}


class Health(Body):
    """The hub answers."""

    status: Literal["ok"] = "ok"


class Ready(Body):
    """Students can work."""

    status: Literal["ready"] = "ready"


class ServerStatus(Done):
    """The status of a marimo server in run mode; the hub has no session of its own."""

    mode: Literal["run"] = "run"
    sessions: Literal[0] = 0


async def health() -> Health:
    """Return a constant answer, for health checks."""
    return Health()


async def ready(app: CurrentApp) -> Ready:
    """Check for monitoring that students can work: the database and the supervisor answer."""
    await asyncio.to_thread(app.services.state.epoch, "")
    if not await app.services.attended():
        raise Busy("No session can be started: the session supervisor does not answer.")
    return Ready()


async def status() -> ServerStatus:
    """Answer 0.3.16's dashboard, which asks for a marimo server's status."""
    return ServerStatus()


async def metrics(app: CurrentApp) -> Response:
    return app.metrics.response()


async def openapi(request: Request) -> Response:
    schema = {**describe(request.app), "servers": [{"url": request_context(request).prefix or "/"}]}
    return JSONResponse(schema)


async def api_docs(request: Request) -> Response:
    return page(request, "api.html", version=viewer_version())


async def static_file(version: str, name: str, request: Request) -> Response:
    if name not in _VIEWER_FILES:
        return pages.static_file(request, version, name)
    found = await asyncio.to_thread(viewer_file, name)
    return pages.send_static(request, found, unchanging=version == viewer_version())


def describe(app: FastAPI) -> Mapping[str, object]:
    """Return the schema as our routes answer: every failure is a problem, or a refusal as text."""
    schema = app.openapi()
    models = schema["components"]["schemas"]
    for operation in (each for path in schema["paths"].values() for each in path.values()):
        operation.pop("description", None)  # the whole docstring, meant for readers of the code
        # For callers that are not signed in, or not on the access list.
        content = operation["responses"]["default"]["content"]
        content |= {kind: {"schema": {"type": "string"}} for kind in _REFUSALS}
        for body in operation.get("requestBody", {}).get("content", {}).values():
            models |= body["schema"].pop("$defs", {})
    return schema


@cache
def viewer_version() -> str:
    return metadata.version(_VIEWER)


@cache
def viewer_file(name: str) -> StaticFile:
    data = (files("fastapi_offline") / "static" / name).read_bytes()
    return packed_static_file(data, _VIEWER_FILES[name])


ROUTES = (
    Route("GET", "/static/{version}/{name}", static_file, ANYONE),
    Route("GET", "/health", health, ANYONE, "Hub"),
    Route("GET", "/ready", ready, ANYONE, "Hub"),
    Route("GET", "/api/status", status, MEMBER, "Hub"),
    Route("GET", "/metrics", metrics, METRICS),
    Route("GET", "/api/openapi.json", openapi, MEMBER),
    Route("GET", "/api/docs", api_docs, MEMBER),
)
