"""Pages for people: the common part of the hub's and the student dashboard's.

Each app puts its own object into the scope of every request (``web.app``); a page gets its
templates, its course and its viewer from that object.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mograder.core.errors import NotFound
from mograder.web.context import request_context
from mograder.web.problems import TITLES
from mograder.web.templating import Pages, StaticFile

APP = "mograder.app"
"""Scope key of the app's object."""

_MIN_PACKED_BYTES = 1400
_LONGEST = 200
_LEVEL = 5
_FOR_EVER = "public, max-age=31536000, immutable"


class PageApp(Protocol):
    """The part of an app that its pages need.

    ``title`` is the course's, ``program`` the app's name in a sentence.
    """

    @property
    def pages(self) -> Pages: ...

    @property
    def title(self) -> str: ...

    @property
    def program(self) -> str: ...

    def page_values(self, request: Request) -> Mapping[str, object]:
        """Return further values for the templates of all pages: ``viewer``, a Viewer or None."""
        ...


@dataclass(frozen=True, slots=True)
class Viewer:
    """The person who views a page, for templates.

    ``by_front`` is whether the reverse proxy has signed the person in, ``machines`` whether there
    is a page of machines.
    """

    username: str
    instructor: bool = False
    marks: bool = False
    can_sign_out: bool = True
    by_front: bool = False
    machines: bool = False


def page_app(request: Request) -> PageApp:
    """Return the object that the app put into the request."""
    app: PageApp = request.scope[APP]
    return app


def page(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """Return a rendered page, with the course and the viewer among its values.

    ``done`` and ``done_item`` are what the form before it did: see :func:`outcome`.
    """
    app = page_app(request)
    context = request_context(request)
    done, done_item = outcome(request)
    shown = {
        "course": app.title,
        "request_id": context.request_id,
        "events": context.events,
        "done": done,
        "done_item": done_item,
        **app.page_values(request),
        **values,
    }
    html = app.pages.render(template, context.prefix, **shown)
    return _packed(request, HTMLResponse(html, status))


def problem_page(
    request: Request,
    status: int,
    message: str,
    hint: str = "",
    *,
    retry_after: int = 0,
) -> Response:
    """Return a page about a failure: the message, a hint, and the request's reference number.

    ``retry_after`` is after how many seconds to try again, 0 if that is unknown.
    """
    response = page(
        request,
        "problem.html",
        status,
        title=TITLES.get(status, "Something went wrong"),
        answered=status,
        message=message,
        hint=hint,
        retry_after=retry_after,
    )
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def go_to(request: Request, path: str) -> RedirectResponse:
    """Return a redirect to a path below the app's prefix, which the browser follows with GET."""
    return RedirectResponse(f"{request_context(request).prefix}{path}", 303)


def with_outcome(path: str, done: str, item: str = "") -> str:
    """Return a path whose page shows what a form did: ``done`` is one of the page's own texts.

    For an unknown word the page shows none.
    """
    query = {"done": done} | ({"item": item} if item else {})
    return f"{path}?{urlencode(query)}"


def outcome(request: Request) -> tuple[str, str]:
    """Return what the form before this page did, and to which item, from untrusted parameters."""
    query = request.query_params
    return query.get("done", "")[:_LONGEST], query.get("item", "")[:_LONGEST]


def static_file(request: Request, version: str, name: str) -> Response:
    """Return a stylesheet, module or image of our own.

    Raises: NotFound.
    """
    app = page_app(request)
    found = app.pages.static.by_name.get(name)
    if found is None:
        raise NotFound("There is no such file.")
    return send_static(request, found, unchanging=version == app.pages.static.version)


def send_static(request: Request, found: StaticFile, *, unchanging: bool) -> Response:
    """Return a file, cacheable for a year if its address contains its version."""
    headers = {
        "Content-Type": found.media_type,
        "Cache-Control": _FOR_EVER if unchanging else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if takes_gzip(request):
        return Response(found.packed, headers={**headers, "Content-Encoding": "gzip"})
    return Response(found.body, headers=headers)


def takes_gzip(request: Request) -> bool:
    """Return whether this client accepts gzip."""
    offers = request.headers.get("accept-encoding", "").split(",")
    return any(offer.strip() in ("gzip", "x-gzip") for offer in offers)


def _packed(request: Request, answer: HTMLResponse) -> HTMLResponse:
    """Return the page gzipped if it is long enough and the client accepts it.

    No page of ours holds a secret next to text of another person, which compression could reveal.
    """
    answer.headers["Vary"] = "Accept-Encoding"
    body = bytes(answer.body)
    if takes_gzip(request) and len(body) > _MIN_PACKED_BYTES:
        answer.body = gzip.compress(body, _LEVEL)
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Content-Length"] = str(len(answer.body))
    return answer
