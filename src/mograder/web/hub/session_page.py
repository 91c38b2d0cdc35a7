"""What the hub adds to a session's page so that it lives in an opaque origin.

The document's ``<base>`` points to the viewer's capability path, and the shim stands in for what
such an origin lacks (sessions.md, "The editor in an opaque origin"). Pure: bytes in, bytes out.
"""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

HEAD_WITHIN = 256 * 1024
"""How far into a page its ``<head>`` is looked for; marimo's starts within 60 bytes."""

_HEAD = re.compile(rb"<head(?:\s[^>]*)?>", re.IGNORECASE)
_STATIC = files("mograder.web.hub").joinpath("static")


def _inline_script(name: str) -> bytes:
    source = _STATIC.joinpath(name).read_bytes()
    if b"</script" in source.lower():
        raise ValueError(f"{name} would end its own script element")
    return b"<script>" + source + b"</script>"


_SHIM = _inline_script("session-shim.js")
FRAME_REPORTER = _inline_script("frame-height.js")
"""Goes to the end of a frame's HTML: tells the page how high it is, which it may not measure."""
_PDF_PAGE = _STATIC.joinpath("pdf-link.html").read_text("utf-8")


def page_insert(base: str) -> bytes:
    """Return what goes right after ``<head>``; ``base`` is a path that ends with a slash."""
    return b'<base href="' + escape(base).encode("utf-8") + b'">' + _SHIM


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


def pdf_page(url: str) -> bytes:
    """Return the page that stands where a frame would show a PDF, which no sandbox may."""
    return _PDF_PAGE.replace("{{ url }}", escape(url)).encode("utf-8")
