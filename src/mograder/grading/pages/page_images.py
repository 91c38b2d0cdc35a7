"""Images from a student's outputs, as data URLs of known types."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

_DATA = re.compile(r"data:(image/[\w.+-]+)((?:;[\w=.-]+)*?)(;base64)?,", re.IGNORECASE)
_STARTS = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/svg+xml": (b"<svg", b"<?xml", b"<!DOCTYPE svg", b"<!--"),
}
"""The types that pages show, and how their files begin."""


def image_url(text: str, mimetype: str = "") -> str:
    """Return an image as a data URL; "" if it is not an image of a known type.

    ``text`` is a data URL, or the text of an SVG file if ``mimetype`` says so. A browser neither
    runs scripts in an image nor loads what it refers to.
    """
    head = _DATA.match(text)
    if head is None:
        if mimetype != "image/svg+xml":
            return ""
        return _checked(mimetype, text.encode("utf-8", "replace"))
    body = text[head.end() :]
    try:
        data = base64.b64decode(body, validate=True) if head[3] else unquote_to_bytes(body)
    except (binascii.Error, ValueError):
        return ""
    return _checked(head[1].lower(), data)


def _checked(mimetype: str, data: bytes) -> str:
    begin = data.removeprefix(b"\xef\xbb\xbf").lstrip() if "svg" in mimetype else data
    if not begin.startswith(_STARTS.get(mimetype, ())):
        return ""
    return f"data:{mimetype};base64,{base64.b64encode(data).decode()}"
