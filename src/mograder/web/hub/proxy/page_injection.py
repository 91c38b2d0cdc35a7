"""What the hub adds to a session's page: how to live in an opaque origin, and within a frame.

The document's ``<base>`` points to the viewer's capability path, and the shim stands in for what
such an origin lacks (sessions.md, "What a page can and cannot do"). Another script, in every kind
of origin, speaks with the page around the frame. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from importlib.resources import files

FRAMED = "_mograder/page"
"""Below a session's own address: its page for the frame, where all is of the hub's own origin."""

HEAD_WITHIN = 256 * 1024
"""How far into a page its ``<head>`` is looked for; marimo's starts within 60 bytes."""

_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!doctype[^>]*>)?", re.IGNORECASE)
_HEAD = re.compile(rb"<head(?:\s[^>]*)?>", re.IGNORECASE)
_STATIC = files("mograder.web.hub").joinpath("static")


def _source(name: str) -> bytes:
    source = _STATIC.joinpath(name).read_bytes()
    if b"</script" in source.lower():
        raise ValueError(f"{name} would end its own script element")
    return source


def _script(source: bytes, **data: str) -> bytes:
    given = "".join(f' data-{name}="{escape(value)}"' for name, value in data.items())
    return b"<script" + given.encode("utf-8") + b">" + source + b"</script>"


STORAGE = _script(_source("storage-shim.js"))
"""Goes to the beginning of a page and of its frames' HTML: stand-ins for storage that is denied."""
_SHIM = _source("session-shim.js")
_FRAMED = _source("session-frame.js")
FRAME_REPORTER = _script(_source("frame-height.js"))
"""Goes to the end of a frame's HTML: tells the page how high it is, which it may not measure."""
_PDF_PAGE = _STATIC.joinpath("pdf-link.html").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Page:
    """Where a session's page lives: all it loads is below ``root``, without a slash at its end.

    ``address`` is what a tab that shows it has in its address bar; relative links are meant from
    there. ``opaque`` is whether the page is in an origin of its own that has no storage, ``based``
    whether its root has to be told to it.
    """

    root: str
    address: str
    opaque: bool
    based: bool


def page_insert(page: Page, rest: str) -> bytes:
    """Return what goes right after ``<head>`` of the page at ``rest`` below the root."""
    insert = b""
    if page.based:
        insert += b'<base href="' + escape(base_for(page.root, rest)).encode("utf-8") + b'">'
    # The shims first: the rest of the page, our own other script too, finds their stand-ins.
    insert += STORAGE
    if page.opaque:
        insert += _script(_SHIM, page=page.address)
    return insert + _script(_FRAMED, root=f"{page.root}/", page=page.address)


def base_for(public_base: str, rest: str) -> str:
    """Return the base of the page at ``rest`` below a capability path.

    It keeps the page's own directory, so that relative links of a deeper page resolve as they
    would without the hub.
    """
    directory, slash, _ = rest.rpartition("/")
    return f"{public_base}/{directory}{slash}"


def insert_after_head(start: bytes, insert: bytes) -> bytes | None:
    """Return the page's start with the insert in it, or None while there is no ``<head>``."""
    found = _HEAD.search(start)
    if found is None:
        return None
    return start[: found.end()] + insert + start[found.end() :]


def insert_at_beginning(start: bytes, insert: bytes) -> bytes:
    """Return the start of an HTML file with the insert in it, after a document type if any."""
    return _BEGINNING.sub(lambda found: found.group() + insert, start, count=1)


def pdf_page(url: str) -> bytes:
    """Return the page that stands where a frame would show a PDF, which no sandbox may."""
    return _PDF_PAGE.replace("{{ url }}", escape(url)).encode("utf-8")
