"""The hub's pages for people, and the description of its API."""

from __future__ import annotations

import asyncio

from fastapi import Request
from starlette.responses import JSONResponse, Response

from mograder.auth.identity import Identity
from mograder.core.errors import Busy, InvalidInput, NotFound
from mograder.core.names import ItemName
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import SessionKey
from mograder.web import pages
from mograder.web.context import request_context
from mograder.web.hub.core.access import Caller
from mograder.web.hub.core.hub_app import CurrentApp, hub_app
from mograder.web.hub.core.models import Health, Ready, ServerStatus
from mograder.web.hub.items.items import person
from mograder.web.hub.service.openapi import describe, viewer_file, viewer_version
from mograder.web.hub.sessions.sessions import news_of
from mograder.web.pages import page


async def edit_spinner(a: str, request: Request, caller: Caller) -> Response:
    """Show the page that starts an editor and then redirects to it (B66, B68)."""
    return await _spinner(request, caller, a, Mode.EDIT)


async def run_spinner(lecture: str, request: Request, caller: Caller) -> Response:
    """Show the page that starts a lecture and then redirects to it (B67, B68)."""
    return await _spinner(request, caller, lecture, Mode.RUN)


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


async def _spinner(request: Request, caller: Identity, name: str, mode: Mode) -> Response:
    """Show the same page for known and unknown names; the start itself reports an unknown one."""
    what = "editor" if mode is Mode.EDIT else "lecture"
    try:
        item = ItemName.parse(name)
    except InvalidInput as error:
        raise NotFound(f"There is no {what} of this name.", hint="Check the link.") from error
    app, user = hub_app(request), person(caller)
    services = app.services
    before = services.pool.history.of_key(SessionKey(user, item, mode))
    copy = None
    if before is not None and mode is Mode.EDIT:
        copy = await asyncio.to_thread(app.listing.facts, user, item)
    return page(
        request,
        "starting.html",
        name=item,
        start="start-edit-deep" if mode is Mode.EDIT else "start-run",
        what=what,
        before=news_of(before, services.loaded.settings),
        saved=copy.saved if copy else None,
    )
