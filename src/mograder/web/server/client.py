"""The page by which students install their commands from this server, and the wheel it names."""

from __future__ import annotations

from dataclasses import replace

from starlette.responses import HTMLResponse, Response

from mograder.web.app import security_headers
from mograder.web.client_install import UV_LINES, client_install
from mograder.web.client_install import send_wheel as answer_wheel
from mograder.web.context import context_of
from mograder.web.server.access import RequestInfo


async def page(info: RequestInfo) -> Response:
    """Return the page with the line for this course."""
    services, context = info.services, context_of(info.request.scope)
    settings = services.options.settings
    wheel = await services.read(services.client_wheels.current)
    # Behind a front the request does not tell the scheme, nor a path before ours.
    own = settings.https.url or f"{context.address_here}/"
    below = replace(context, prefix=f"{context.prefix}/client")
    html = services.pages.render(
        "client.html",
        below.prefix,
        course=settings.title or "Your course",
        viewer=None,
        local="mograder serve",
        install=client_install(wheel, own, settings, own),
        uv_lines=UV_LINES,
    )
    headers = {name.decode(): value.decode() for name, value in security_headers(below)}
    return HTMLResponse(html, headers=headers)


async def send_wheel(info: RequestInfo) -> Response:
    """Send a wheel."""
    names = info.names
    return await answer_wheel(
        info.request, info.services.client_wheels, names["digest"], names["file"]
    )
