"""The responses of apps with pages: pages for people, static files, files to save, inert pages.

Each app puts its own object into the scope of every request (``web.app``); a page gets its
templates, its course and its viewer from that object. A long list is shown in pages of fifty lines.
Pages that student code may have written can be displayed, and do nothing else.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mograder.core.errors import NotFound
from mograder.web.context import request_context
from mograder.web.problems import TITLES
from mograder.web.templating import Pages, StaticFile

_MIN_PACKED_BYTES = 1400
_LONGEST = 200
_LEVEL = 5
_FOR_EVER = "public, max-age=31536000, immutable"
T = TypeVar("T")
_LINES_SHOWN = 50
_DIGITS = 9

_INERT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
    "form-action 'none'; base-uri 'none'; frame-ancestors {ancestors}"
)
"""No policy stops a browser from connecting to the host of an ``<iframe>`` or of a ``<link
rel="preconnect">``, so a page with other elements than ours is not shown at all.
"""

APP = "mograder.app"
"""Scope key of the app's object."""


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


@dataclass(frozen=True, slots=True)
class Sheet(Generic[T]):
    """One page of a long list; ``before`` and ``following`` are 0 at its ends."""

    lines: Sequence[T]
    total: int
    first: int
    before: int
    following: int


def sheet_of(lines: Sequence[T], request: Request) -> Sheet[T]:
    """Return the page of a list that the request names, ``?page=2``."""
    last = max(1, -(-len(lines) // _LINES_SHOWN))
    number = min(max(1, number_in(request, "page")), last)
    start = (number - 1) * _LINES_SHOWN
    following = number + 1 if number < last else 0
    return Sheet(lines[start : start + _LINES_SHOWN], len(lines), start + 1, number - 1, following)


def number_in(request: Request, name: str) -> int:
    """Return a number in the query, 0 for anything else."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


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


def attachment(filename: str) -> str:
    """Return the Content-Disposition of a file to be saved under this name."""
    quoted = quote(filename, safe="", errors="replace")
    shown = f'filename="{filename}"' if quoted == filename else f"filename*=utf-8''{quoted}"
    return f"attachment; {shown}"


def saved_file(data: bytes | str, filename: str, media_type: str) -> Response:
    """Return a response that a browser saves under this name and no cache keeps."""
    headers = {"Content-Disposition": attachment(filename), "Cache-Control": "no-store"}
    return Response(data, media_type=media_type, headers=headers)


def inert_page(data: bytes, *, framed: bool = False) -> Response:
    """Return a page with an opaque origin and no rights.

    ``framed`` lets pages of our own show it in a frame; others cannot.
    """
    headers = {
        "Content-Security-Policy": _INERT_POLICY.format(ancestors="'self'" if framed else "'none'"),
        "X-DNS-Prefetch-Control": "off",
    }
    if framed:
        headers["X-Frame-Options"] = "SAMEORIGIN"
    return Response(data, headers=headers, media_type="text/html; charset=utf-8")
