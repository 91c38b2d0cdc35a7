"""Rules for changing a response of a session's server before a browser gets it; bytes in and out.

Nearly every response is streamed with its headers filtered; the exceptions are what an opaque
origin needs (sessions.md, "What a page can and cannot do"). The document's ``<base>`` points to the
viewer's capability path, the shim replaces what such an origin lacks, and another script exchanges
messages with the page around the frame.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from mograder.hub.save_recording import Save
from mograder.sandbox.protocol import Mode
from mograder.sessions.session import LiveSession
from mograder.web.hub.proxy.headers import (
    Header,
    HeaderList,
    RawHeaders,
    content_length,
    header,
    location_header,
    public_location,
    response_headers,
    session_headers,
)

FRAMES = frozenset({"iframe", "frame", "embed", "object"})
_OF_ANOTHER_BODY = frozenset(
    b"""accept-ranges cache-control content-digest content-md5 digest etag expires last-modified
    repr-digest""".split()
)
_PDF = "application/pdf"

_HTML = (b"content-type", b"text/html; charset=utf-8")

HEAD_WITHIN = 256 * 1024
"""Bytes of a page in which its ``<head>`` is searched; marimo's starts within 60 bytes."""

_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype[^>]*>)?", re.IGNORECASE)
HEAD_END = b"</head>"
# No "<" within a tag, no "/" within a name: each search ends where the next could begin, so that a
# session's page of nothing but beginnings takes milliseconds, not minutes, of the event loop.
_HEAD = re.compile(rb"<head(?:\s[^<>]*)?>", re.IGNORECASE)
_SESSION_PAGE = files("mograder.web.hub.proxy").joinpath("session_page")
_OF_MARIMO = rb'[^<>]*? (?:src|href)="[^"<>]*/_marimo/[^"<>/]+/assets/[^"<>/]+"'
_MAIN = re.compile(rb'<script type="module"(?P<rest>' + _OF_MARIMO + rb")")
_LOADS = re.compile(
    rb'<link rel="(?P<what>modulepreload|preload|stylesheet)"(?P<rest>' + _OF_MARIMO + rb")"
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One authorised request to a session.

    ``rest`` is the encoded path below the session's ``base_url``; ``public_base`` is the address of
    that base for this client; ``page`` returns the addresses that are written into documents (it
    may issue a capability first), None when they are not changed. ``cookies`` are Set-Cookie
    headers for the response. ``on_revoke`` registers a callback for the capability's end.
    ``ancestors`` is the policy source of pages that may frame this one. ``save`` says that the
    request changes the copy, and how its new text is recorded.
    """

    session: LiveSession
    rest: str
    query: str
    public_base: str
    edit_base: str
    page: Callable[[], Awaitable[Page]] | None
    by_capability: bool
    sandbox: bool
    destination: str
    cookies: HeaderList
    on_revoke: Callable[[Callable[[], None]], Callable[[], None]]
    ancestors: str = ""
    save: Save | None = None

    @property
    def target(self) -> str:
        return f"{self.session.base_url}/{self.rest}{self.query}"

    @property
    def document_url(self) -> str:
        """The address of this page that is authorised by login, not by capability."""
        return f"{self.edit_base}/{self.rest}{self.query}"

    @property
    def as_document(self) -> bool:
        """Whether the browser navigates to this request, rather than loading a part of a page."""
        return self.destination == "document"

    @property
    def fenced(self) -> bool:
        return self.by_capability and self.sandbox

    @property
    def is_file(self) -> bool:
        """Whether the path is that of a cell's file or of a PDF, which may be opened in a tab."""
        path = self.rest.lower()
        return path.startswith("@file/") or path.endswith(".pdf")

    @property
    def whole(self) -> bool:
        """Whether the hub reads or changes the response, so it must be complete and unencoded."""
        frame = self.fenced and self.destination in FRAMES
        return (
            frame
            or self.save is not None
            or (self.page is not None and (self.as_document or not self.rest))
        )

    @property
    def noun(self) -> str:
        """The name of this kind of session in an error (compatibility-0.3.16.md 2.3)."""
        return "Session" if self.session.key.mode is Mode.EDIT else "Lecture session"

    def own_headers(self) -> HeaderList:
        return session_headers(sandbox=self.sandbox, shared=self.fenced) + self.cookies


@dataclass(frozen=True, slots=True)
class Shape:
    """A response as it will be sent.

    Without a ``body`` the upstream's is sent, with the shim in its ``<head>`` if ``based``,
    ``prepend`` after a document type, and ``append`` at its end.
    """

    status: int
    headers: HeaderList
    length: int | None = None
    based: bool = False
    prepend: bytes = b""
    append: bytes = b""
    body: bytes | None = None


def shape_answer(visit: Visit, method: str, status: int, headers: RawHeaders) -> Shape:
    media = header(headers, b"content-type").split(";")[0].strip().lower()
    if visit.by_capability and visit.as_document:
        return _document_by_capability(visit, status, headers, media)
    if visit.fenced and visit.destination in FRAMES and media == _PDF:
        page = pdf_page(f"{visit.public_base}/{visit.rest}{visit.query}")
        return _instead(200, page, [*visit.own_headers(), _HTML])
    plain = _streamed(visit, status, headers)
    encoding = header(headers, b"content-encoding").strip().lower()
    if media != "text/html" or encoding not in ("", "identity"):
        return plain
    headers_left = _without(plain.headers, _OF_ANOTHER_BODY)
    if visit.page is not None and method in ("GET", "HEAD"):
        page_headers = [*headers_left, (b"cache-control", b"no-store")]
        if visit.ancestors:  # in addition to the response's own policy: browsers apply both
            policy = f"frame-ancestors {visit.ancestors}"
            page_headers.append((b"content-security-policy", policy.encode("ascii")))
        return Shape(
            status,
            page_headers,
            plain.length if method == "GET" else None,
            based=method == "GET",
        )
    if visit.fenced and visit.destination == "iframe" and status == 200:
        added = (STORAGE, _FRAME_REPORTER) if method == "GET" else (b"", b"")
        return Shape(status, headers_left, plain.length, prepend=added[0], append=added[1])
    return plain


def _document_by_capability(visit: Visit, status: int, headers: RawHeaders, media: str) -> Shape:
    """Return a PDF, a download, or a redirect: a tab must not show a page under ``/s/``."""
    plain = _streamed(visit, status, headers)
    if media == _PDF and status in (200, 206):
        # A PDF viewer does not use the hub's origin, and does not work in a sandbox.
        kept = _without(plain.headers, {b"content-type", b"content-security-policy"})
        return Shape(status, [*kept, (b"content-type", _PDF.encode())], plain.length)
    if visit.rest.startswith("@file/"):
        given = header(response_headers(headers), b"content-disposition")
        value = given if given.lower().startswith("attachment") else "attachment"
        kept = _without(plain.headers, {b"content-disposition"})
        disposition = (b"content-disposition", value.encode("latin-1"))
        return Shape(status, [*kept, disposition], plain.length)
    location = location_header(visit.document_url)
    return _instead(303, b"", [*visit.own_headers(), location])


def _streamed(visit: Visit, status: int, headers: RawHeaders) -> Shape:
    out = response_headers(headers)
    if visit.destination in ("", "document"):  # each part has headers, and no policy of ours
        out = [each if not _is_of_parts(each) else (each[0], b"text/plain") for each in out]
    location = header(headers, b"location")
    public = location and public_location(location, visit.session.base_url, visit.public_base)
    if public:
        out.append((b"location", public.encode("utf-8")))
    return Shape(status, out + visit.own_headers(), content_length(headers, status))


def _instead(status: int, body: bytes, headers: HeaderList) -> Shape:
    return Shape(status, headers, len(body), body=body)


def _is_of_parts(field: Header) -> bool:
    return field[0] == b"content-type" and b"multipart" in field[1].lower()


def _without(headers: HeaderList, names: Collection[bytes]) -> HeaderList:
    return [(name, value) for name, value in headers if name not in names]


def _source(name: str) -> bytes:
    source = _SESSION_PAGE.joinpath(name).read_bytes()
    if b"</script" in source.lower():
        raise ValueError(f"{name} would end its own script element")
    return source


def _script(source: bytes, **data: str) -> bytes:
    given = "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    return b"<script" + given.encode("utf-8") + b">" + source + b"</script>"


STORAGE = _script(_source("storage-shim.js"))
"""Inserted at the beginning of a page and of its frames' HTML: substitutes for denied storage."""
_SHIM = _source("session-shim.js")
_FRAMED = _source("session-frame.js")
_FILES = _source("session-files.js")
_FRAME_REPORTER = _script(_source("frame-height.js"))
"""Appended to a frame's HTML: reports its height to the page, which may not measure it."""
_PDF_PAGE = _SESSION_PAGE.joinpath("pdf-link.html").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Page:
    """The addresses of a session's page; it loads everything below ``root`` (no final slash).

    ``address`` is the address that a tab shows for it; relative links are resolved from there.
    ``opaque`` is whether the page has an opaque origin, without storage; it gets a ``<base>`` then.
    ``viewer`` is the name of the person who looks at it, "" if the notebook's code
    must not know it.
    """

    root: str
    address: str
    viewer: str
    opaque: bool


def page_insert(page: Page, rest: str, *, held: bool = False) -> bytes:
    """Return the insert after the page's ``<head>``; ``held``: :func:`hold_files` changed it."""
    insert = b""
    if page.opaque:
        directory, slash, _ = rest.rpartition("/")
        # The page's own directory, so that relative links of a deeper page resolve.
        base = escape(f"{page.root}/{directory}{slash}")
        insert += f'<base href="{base}">'.encode()
    # The shims first, so that the page's other scripts, ours too, use the substitutes.
    insert += STORAGE
    if page.opaque:
        insert += _script(_SHIM, page=page.address)
    insert += _script(_FRAMED, root=f"{page.root}/", page=page.address, viewer=page.viewer)
    return insert + (_script(_FILES, page=page.address) if held else b"")


def insert_after_head(start: bytes, insert: bytes) -> bytes | None:
    """Return the page's start with the insert in it, or None while there is no ``<head>``."""
    found = _HEAD.search(start)
    if found is None:
        return None
    return start[: found.end()] + insert + start[found.end() :]


def hold_files(start: bytes) -> bytes | None:
    """Return a page's start that ``session-files.js`` starts, or None for another form of it."""
    held, count = _MAIN.subn(rb'<script type="mograder/held"\g<rest>', start)
    if count != 1:
        return None
    return _LOADS.sub(rb'<link data-held="\g<what>"\g<rest>', held)


def insert_at_beginning(start: bytes, insert: bytes) -> bytes:
    """Return the start of an HTML file with the insert in it, after a document type if any."""
    return _BEGINNING.sub(lambda found: found.group() + insert, start, count=1)


def pdf_page(url: str) -> bytes:
    """Return the page that replaces a PDF in a frame, since a sandbox may not show PDFs."""
    return _PDF_PAGE.replace("{{ url }}", escape(url)).encode("utf-8")
