"""The hub's pages for people, and the description of its API."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.responses import JSONResponse, Response

from mograder.core.errors import Busy
from mograder.web import pages
from mograder.web.context import request_context
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp
from mograder.web.hub.core.models import Health, Ready, ServerStatus
from mograder.web.hub.service.openapi import describe, viewer_file, viewer_version
from mograder.web.pages import page


async def health() -> Health:
    """Return a constant answer, for health checks."""
    return Health()


async def ready(app: CurrentApp) -> Ready:
    """Check for monitoring that students can work: the database and the supervisor answer.

    Raises: :class:`Busy` when they do not; ``/health`` does not check this.
    """
    await asyncio.to_thread(app.services.state.epoch, "")
    if not await app.services.attended():
        raise Busy("No session can be started: the session supervisor does not answer.")
    return Ready()


async def status() -> ServerStatus:
    """Answer 0.3.16's dashboard, which asks for a marimo server's status."""
    return ServerStatus()


async def metrics(app: CurrentApp) -> Response:
    """Return metrics of the hub and its sessions, for Prometheus."""
    return app.metrics.response()


async def openapi(request: Request, caller: Caller) -> Response:
    """Return the machine-readable description of this API."""
    schema = {**describe(request.app), "servers": [{"url": request_context(request).prefix or "/"}]}
    return JSONResponse(schema)


async def api_docs(request: Request, caller: Caller) -> Response:
    """Show the description of this API in Swagger UI, served from our own static path."""
    return page(request, "api.html", version=viewer_version())


async def static_file(version: str, name: str, request: Request) -> Response:
    """Send a stylesheet, module or image of our own, or a file of Swagger UI."""
    found = await asyncio.to_thread(viewer_file, name)
    if found is None:
        return pages.static_file(request, version, name)
    return pages.send_static(request, found, unchanging=version == viewer_version())
