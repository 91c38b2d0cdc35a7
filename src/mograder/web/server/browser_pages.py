"""The server's pages for browsers: for a notebook that runs in one, and to install our program.

The page around the notebook (`mograder serve --web`) has this server's origin: it holds the token
and the drafts. The notebook runs in a frame whose policy gives it an opaque origin and lets it
reach no address but pictures and fonts of the page; the page around it hands in all else (decision
50).
"""

from __future__ import annotations

import mimetypes
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from starlette.responses import HTMLResponse, Response

from mograder.core.errors import NotFound
from mograder.core.names import ItemName
from mograder.notebook import MAX_NOTEBOOK
from mograder.store.assignment_server.browser_pages import PACKED
from mograder.web import pages
from mograder.web.app import policy_source, security_headers
from mograder.web.client_install import UV_LINES, client_install
from mograder.web.client_install import send_wheel as answer_wheel
from mograder.web.context import RequestContext, context_of
from mograder.web.server.access import RequestInfo
from mograder.web.server.assignments import find, refusal
from mograder.web.server.files import Opened, answer_file, look

_FOR_EVER = "public, max-age=31536000, immutable"
_FILES = "/web/files/"

_TYPES = MappingProxyType(
    {
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".woff2": "font/woff2",
        ".html": "text/html; charset=utf-8",
        ".json": "application/json",
        ".whl": "application/octet-stream",
    }
)

SANDBOX = "allow-scripts allow-modals allow-downloads"
"""What the frame may do; never ``allow-same-origin``, nor forms, windows or the top page."""


async def send_file(info: RequestInfo) -> Response:
    """Send one file of the exported pages; its address tells its content, so it may be kept."""
    services = info.services
    _check_switch(info)
    pieces = tuple(info.names["path"].split("/"))
    directory, name = services.browser_pages.directory_of(pieces)
    packs = "br" in info.request.headers.get("accept-encoding", "").replace(" ", "").split(",")
    opened, packed = await services.read(_find, info, directory, name, packs)
    answer = answer_file(info.request, opened, _media_type(name))
    answer.headers["Cache-Control"] = _FOR_EVER
    answer.headers["Cross-Origin-Resource-Policy"] = "cross-origin"  # the frame's origin is opaque
    answer.headers["Vary"] = "Accept-Encoding"
    answer.headers["Content-Security-Policy"] = frame_policy(context_of(info.request.scope))
    if packed:
        answer.headers["Content-Encoding"] = "br"
    return answer


async def page(info: RequestInfo) -> Response:
    _check_switch(info)
    assignment = await find(info)
    found = await info.services.read(info.services.browser_pages.find, assignment.name)
    if found is None:
        raise NotFound(f"{assignment.name} has no page for the browser.")
    context = context_of(info.request.scope)
    html = info.services.pages.render(
        "browser.html",
        f"{context.prefix}/web",
        item=assignment.name,
        page=found,
        root=context.prefix,
        sandbox=SANDBOX,
        most=MAX_NOTEBOOK,
        no_auth=info.services.options.no_auth,
    )
    return HTMLResponse(html, headers=_page_headers(context))


async def index(info: RequestInfo) -> Response:
    _check_switch(info)
    context, services = context_of(info.request.scope), info.services

    def open_items() -> list[ItemName]:
        return [each for each in services.browser_pages.items() if refusal(info, each) is None]

    items = await services.read(open_items)
    html = services.pages.render("browser_items.html", f"{context.prefix}/web", items=items)
    return HTMLResponse(html, headers=_page_headers(context))


async def static_file(info: RequestInfo) -> Response:
    _check_switch(info)
    return await send_static(info)


async def send_static(info: RequestInfo) -> Response:
    """Return one of our own stylesheets and scripts, also where no notebook runs in the browser."""
    static = info.services.pages.static
    found = static.by_name.get(info.names["file"])
    if found is None or info.names["version"] != static.version:
        raise NotFound("Not found")
    answer = pages.send_static(info.request, found, unchanging=True)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


async def install_page(info: RequestInfo) -> Response:
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
    names = info.names
    return await answer_wheel(
        info.request, info.services.client_wheels, names["digest"], names["file"]
    )


def frame_policy(context: RequestContext) -> str:
    """Return the policy of the frame: an opaque origin that loads pictures and fonts of ours only.

    The page around it hands in scripts, Python and packages. The notebook's code is anybody's, so
    ``eval`` and inline scripts give it nothing that it lacks.
    """
    own = policy_source(context, f"{context.prefix}{_FILES}")
    return "; ".join(
        (
            f"sandbox {SANDBOX}",
            "default-src 'none'",
            "script-src 'unsafe-inline' 'unsafe-eval' blob: data:",
            "worker-src blob: data:",
            "style-src 'unsafe-inline'",
            f"font-src {own} data:",
            f"img-src {own} data: blob:",
            "media-src data: blob:",
            "connect-src data: blob:",
            "frame-src 'none'",
            "form-action 'none'",
            f"base-uri {own}",
            "frame-ancestors 'self'",
        )
    )


def _page_headers(context: RequestContext) -> dict[str, str]:
    static = policy_source(context, f"{context.prefix}/web/static/")
    files = policy_source(context, f"{context.prefix}{_FILES}")
    policy = (
        "default-src 'none'",
        f"script-src {static}",
        f"style-src {static}",
        f"img-src {static}",
        "connect-src 'self'",
        # The frame can go nowhere else, so it cannot carry anything away in an address.
        f"frame-src {files}",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


def _check_switch(info: RequestInfo) -> None:
    if not info.services.options.web:
        raise NotFound("Not found")


def _find(info: RequestInfo, directory: Path, name: str, packs: bool) -> tuple[Opened, bool]:
    digests = info.services.digests
    if packs:
        try:
            return look(directory, name + PACKED, digests), True
        except NotFound:
            pass
    return look(directory, name, digests), False


def _media_type(name: str) -> str:
    suffix = Path(name).suffix
    return _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
