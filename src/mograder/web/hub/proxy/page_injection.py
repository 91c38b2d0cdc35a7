"""The hub's additions to a session's page, for an opaque origin and for a frame.

The document's ``<base>`` points to the viewer's capability path, and the shim replaces what such an
origin lacks (sessions.md, "What a page can and cannot do"). Another script, in every kind of
origin, exchanges messages with the page around the frame. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from importlib.resources import files

HEAD_WITHIN = 256 * 1024
"""Bytes of a page in which its ``<head>`` is searched; marimo's starts within 60 bytes."""

_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype[^>]*>)?", re.IGNORECASE)
HEAD_END = b"</head>"
# No "<" within a tag, no "/" within a name: each search ends where the next could begin, so that a
# session's page of nothing but beginnings takes milliseconds, not minutes, of the event loop.
_HEAD = re.compile(rb"<head(?:\s[^<>]*)?>", re.IGNORECASE)
_STATIC = files("mograder.web.hub").joinpath("static")
_OF_MARIMO = rb'[^<>]*? (?:src|href)="[^"<>]*/_marimo/[^"<>/]+/assets/[^"<>/]+"'
_MAIN = re.compile(rb'<script type="module"(?P<rest>' + _OF_MARIMO + rb")")
_LOADS = re.compile(
    rb'<link rel="(?P<what>modulepreload|preload|stylesheet)"(?P<rest>' + _OF_MARIMO + rb")"
)


def _source(name: str) -> bytes:
    source = _STATIC.joinpath(name).read_bytes()
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
FRAME_REPORTER = _script(_source("frame-height.js"))
"""Appended to a frame's HTML: reports its height to the page, which may not measure it."""
_PDF_PAGE = _STATIC.joinpath("pdf-link.html").read_text("utf-8")


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
    """Return the insert that follows ``<head>`` of the page at ``rest`` below the root.

    ``held`` is whether :func:`hold_files` has changed the page.
    """
    insert = b""
    if page.opaque:
        insert += b'<base href="' + escape(base_for(page.root, rest)).encode("utf-8") + b'">'
    # The shims first, so that the page's other scripts, ours too, use the substitutes.
    insert += STORAGE
    if page.opaque:
        insert += _script(_SHIM, page=page.address)
    insert += _script(_FRAMED, root=f"{page.root}/", page=page.address, viewer=page.viewer)
    return insert + (_script(_FILES, page=page.address) if held else b"")


def base_for(public_base: str, rest: str) -> str:
    """Return the ``<base>`` of the page at ``rest`` below a capability path.

    It keeps the page's own directory, so that relative links of a deeper page resolve as they would
    without the hub.
    """
    directory, slash, _ = rest.rpartition("/")
    return f"{public_base}/{directory}{slash}"


def insert_after_head(start: bytes, insert: bytes) -> bytes | None:
    """Return the page's start with the insert in it, or None while there is no ``<head>``."""
    found = _HEAD.search(start)
    if found is None:
        return None
    return start[: found.end()] + insert + start[found.end() :]


def hold_files(start: bytes) -> bytes | None:
    """Return a page's start with nothing of marimo's files loaded, or None for another form of it.

    ``session-files.js`` starts marimo then.
    """
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
