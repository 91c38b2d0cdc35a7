"""The hub's pages for people, and its own small reference of the API."""

from __future__ import annotations

from dataclasses import dataclass

from anyio import to_thread
from fastapi import Request
from starlette.responses import JSONResponse, Response

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName
from mograder.store.releases import ItemKind
from mograder.web.hub.access import Caller, Visitor, member
from mograder.web.hub.desk import TheDesk, context, desk_of, page
from mograder.web.hub.items import ItemView, survey
from mograder.web.hub.models import Health
from mograder.web.hub.reference import describe, read_schema
from mograder.web.hub.sessions import visible_sessions

_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class SessionLine:
    """One line of the panel of active editors."""

    item: str
    mode: str
    url: str


async def first_page(request: Request, desk: TheDesk, visitor: Visitor) -> Response:
    """Show a member's assignments, lectures and sessions, and others how to sign in."""
    if visitor is None:
        return page(request, "welcome.html")
    await member(request)
    views: list[ItemView] = await to_thread.run_sync(survey, desk, visitor)
    sessions = visible_sessions(desk, visitor)
    own = [session for session in sessions if session.key.user == visitor.username]
    return page(
        request,
        "home.html",
        assignments=[view for view in views if view.kind is ItemKind.ASSIGNMENT],
        lectures=[view for view in views if view.kind is ItemKind.LECTURE],
        sessions=[SessionLine(s.key.item, s.key.mode.value, s.key.url) for s in own],
        others=len(sessions) - len(own),
        unsandboxed=not desk.services.sandboxed,
        origin=f"{context(request).scheme}://{context(request).host}",
    )


async def edit_spinner(a: str, request: Request, caller: Caller) -> Response:
    """Show the page that starts an editor and then leads to it (B66, B68)."""
    return _spinner(request, a, "start-edit-deep", "editor")


async def run_spinner(lecture: str, request: Request, caller: Caller) -> Response:
    """Show the page that starts a lecture and then leads to it (B67, B68)."""
    return _spinner(request, lecture, "start-run", "lecture")


async def health() -> Health:
    """Tell whoever asks that the hub answers."""
    return Health()


async def openapi(request: Request, caller: Caller) -> Response:
    """The machine-readable description of this API."""
    schema = {**describe(request.app), "servers": [{"url": context(request).prefix or "/"}]}
    return JSONResponse(schema)


async def api_docs(request: Request, caller: Caller) -> Response:
    """The description of this API for people, without anything from elsewhere."""
    return page(request, "api.html", reference=read_schema(describe(request.app)))


async def static_file(version: str, name: str, request: Request) -> Response:
    """Send a stylesheet, module or picture of our own."""
    static = desk_of(request).pages.static
    found = static.by_name.get(name)
    if found is None:
        raise NotFound("There is no such file.")
    cache = _FOR_EVER if version == static.version else "no-cache"
    headers = {"Content-Type": found.media_type, "Cache-Control": cache}
    return Response(found.body, headers=headers)


def _spinner(request: Request, name: str, start: str, what: str) -> Response:
    """The same page for known and unknown names, since it is the start that tells."""
    try:
        item = ItemName.parse(name)
    except InvalidInput as error:
        raise NotFound(f"There is no {what} of this name.", hint="Check the link.") from error
    settings = desk_of(request).services.loaded.settings
    return page(
        request,
        "starting.html",
        name=item,
        start=start,
        what=what,
        probe=settings.hub.session_isolation == "sandbox",
    )
