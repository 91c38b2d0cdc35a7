"""The responses of apps with pages: pages for people, static files, files to save, inert pages.

Each app puts its own object into the scope of every request (``web.app``); a page gets its
templates (Jinja2 with autoescape), its course and its viewer from that object. A long list is shown
in pages of fifty lines. Pages that student code may have written can be displayed, and do nothing
else.

Static files are few and small: they are read once at the start and served from memory, so no
request opens a file by its path. Their common version is part of the path
(``/static/<version>/app.css``), so browsers may cache them indefinitely, and one module imports the
next one by a relative path.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    pass_context,
    select_autoescape,
)
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from mograder.core.csv_table import for_spreadsheets, number_text
from mograder.core.errors import NotFound
from mograder.grading.pages.page_templates import readable
from mograder.web.context import request_context
from mograder.web.error_responses import TITLES

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

_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?) ([A-Z]{2,5}|[+-]\d\d(?:\d\d)?)\b")

_WEB = Path(__file__).parent

APP = "mograder.app"
"""Scope key of the app's object."""


class PageApp(Protocol):
    """The part of an app that its pages need; ``program`` is its name in a sentence."""

    @property
    def pages(self) -> Pages: ...

    @property
    def title(self) -> str: ...

    @property
    def program(self) -> str: ...

    def page_values(self, request: Request) -> Mapping[str, object]: ...


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
    app: PageApp = request.scope[APP]
    return app


def page(request: Request, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """Return a rendered page, with the course, the viewer and the :func:`outcome` of a form."""
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
    """Return a page about a failure; ``retry_after`` is in seconds, 0 if that is unknown."""
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
    """Return a path whose page shows what a form did; ``done`` is one of the page's own texts."""
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


def sheet_of(lines: Sequence[T], request: Request, shown: int = _LINES_SHOWN) -> Sheet[T]:
    """Return the page of a list that the request names, ``?page=2``, with so many lines."""
    last = max(1, -(-len(lines) // shown))
    number = min(max(1, number_in(request, "page")), last)
    start = (number - 1) * shown
    following = number + 1 if number < last else 0
    return Sheet(lines[start : start + shown], len(lines), start + 1, number - 1, following)


def number_in(request: Request, name: str) -> int:
    """Return a number in the query, 0 for anything else."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def static_file(request: Request, version: str, name: str) -> Response:
    """Return a stylesheet, module or image of our own."""
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
    quoted = quote(filename, safe="", errors="replace")
    shown = f'filename="{filename}"' if quoted == filename else f"filename*=utf-8''{quoted}"
    return f"attachment; {shown}"


def saved_file(data: bytes | str, filename: str, media_type: str) -> Response:
    """Return a response that a browser saves under this name and no cache keeps."""
    headers = {"Content-Disposition": attachment(filename), "Cache-Control": "no-store"}
    return Response(data, media_type=media_type, headers=headers)


def saved_table(table: str, filename: str) -> Response:
    return saved_file(for_spreadsheets(table), filename, "text/csv; charset=utf-8")


def inert_page(data: bytes, *, framed: bool = False) -> Response:
    """Return a page with an opaque origin and no rights; ``framed``: our pages may frame it."""
    headers = {
        "Content-Security-Policy": _INERT_POLICY.format(ancestors="'self'" if framed else "'none'"),
        "X-DNS-Prefetch-Control": "off",
    }
    if framed:
        headers["X-Frame-Options"] = "SAMEORIGIN"
    return Response(data, headers=headers, media_type="text/html; charset=utf-8")


@dataclass(frozen=True, slots=True)
class Pages:
    """Renders templates; page text is there and nowhere else."""

    environment: Environment
    static: StaticFiles

    def render(self, template: str, prefix: str, **values: object) -> str:
        """Return a page's HTML; ``prefix`` is the path below which this app is served."""

        def asset(name: str) -> str:
            return self.static.url(prefix, name)

        return self.environment.get_template(template).render(prefix=prefix, asset=asset, **values)


@functools.cache
def load_pages() -> Pages:
    """Read templates and static files from the package, once for all apps of a process.

    They are in ``web``, or in the folder of the only feature that uses them; each name is that of
    one file. To compile the templates of a page takes longer than all else that an app needs to
    start.
    """
    # Their names begin with the package's: ``marking/late.html``.
    apart = {each: FileSystemLoader(_WEB / each / "templates") for each in ("marking", "student")}
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(_places("templates")), PrefixLoader(apart)]),
        autoescape=select_autoescape(disabled_extensions=("txt", "ics"), default=True),
        undefined=StrictUndefined,
        auto_reload=False,  # the package does not change while it runs
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["segment"] = path_segment
    environment.filters["utc"] = in_utc
    environment.filters["readable"] = readable
    environment.filters["timed"] = timed
    environment.filters["points"] = functools.partial(number_text, places=2)
    return Pages(environment, load_static([*_places("static"), _WEB / "marking/static"]))


def _places(kind: str) -> list[Path]:
    """Return the directories of ``templates`` or ``static``: web's own, and those of features."""
    return [_WEB / kind, *sorted(_WEB.glob(f"hub/*/{kind}"))]


def in_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC, which pages show where no script converts it to local time."""
    return moment.astimezone(UTC)


@pass_context
def timed(values: Mapping[str, object], sentence: str) -> Markup:
    """Return a sentence of ours, escaped, in which scripts tell its times in the reader's zone.

    They are as ``grading.late_work.moment`` writes them, in the page's ``zone``: the course's, or
    else this machine's.
    """
    zone = values.get("zone")
    element = functools.partial(_time_element, zone if isinstance(zone, tzinfo) else None)
    return Markup(_MOMENT.sub(element, str(escape(sentence))))  # noqa: S704 - escaped


def _time_element(zone: tzinfo | None, found: re.Match[str]) -> str:
    try:
        written = datetime.fromisoformat(found[1]).replace(tzinfo=zone)
        first, again = (written.replace(fold=fold).astimezone(zone) for fold in (0, 1))
    except (ValueError, OverflowError):
        return found[0]
    # Clocks show an hour twice in autumn: the zone's name says which of the two is meant.
    meant = [at.isoformat() for at in (first, again) if f"{at:%Z}" == found[3]]
    exact = " data-seconds" if found[2] else ""
    return f'<time datetime="{meant[0]}"{exact}>{found[0]}</time>' if meant else found[0]


def path_segment(name: str) -> str:
    """Percent-encode one name for use between two slashes."""
    return quote(name, safe="")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One stylesheet, module or image of our own, in memory, plain and gzipped."""

    body: bytes
    media_type: str
    packed: bytes


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """All static files of an app, under one version made from their contents."""

    version: str
    by_name: Mapping[str, StaticFile]

    def url(self, prefix: str, name: str) -> str:
        if name not in self.by_name:
            raise KeyError(name)
        return f"{prefix}/static/{self.version}/{name}"


@functools.cache
def packed_static_file(body: bytes, media_type: str) -> StaticFile:
    return StaticFile(body, media_type, gzip.compress(body, 9, mtime=0))


def load_static(directories: Sequence[Path]) -> StaticFiles:
    """Read the directories' files of the known types, and hash them into their version."""
    found: dict[str, StaticFile] = {}
    digest = hashlib.sha256()
    entries = (entry for directory in directories for entry in directory.iterdir())
    for entry in sorted(entries, key=lambda entry: entry.name):
        media_type = _MEDIA_TYPES.get(entry.suffix)
        if media_type is None or not entry.is_file():
            continue
        body = entry.read_bytes()
        digest.update(entry.name.encode() + b"\0" + body + b"\0")
        found[entry.name] = packed_static_file(body, media_type)
    return StaticFiles(digest.hexdigest()[:16], found)
