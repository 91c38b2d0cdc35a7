"""marimo's scripts and styles, rewritten so that a page can hand them into a frame.

A browser keeps no file that a frame of an opaque origin loads, so the page around the frame loads
the files and hands them in (decisions 50 and 56). A script that is handed in has an address of its
own, from which ``./x.js`` leads nowhere; so each script is written with names that an import map of
the frame resolves, and with the address that marimo's directory has. Pure.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Container, Mapping
from pathlib import PurePosixPath

from mograder.core.errors import InvalidInput

SPECIFIER = "marimo/"
WORKER = re.compile(r"(?:save-)?worker-[\w-]+\.js")
"""The names of the scripts of marimo's workers, which only a notebook in the browser alone has."""

_NAMED = re.compile(r"""(?P<word>\bfrom\s*|\bimport\s*\(?\s*)(["'`])\./(?P<name>[\w.$-]+\.js)\2""")
_LEFT = re.compile(r"""(?:\bfrom\s*|\bimport\s*\(?\s*)["'`]\.{1,2}/""")
_OWN_ADDRESS = "import.meta.url"
_ASSETS_ADDRESS = "self.mograderAssets"
_COMPUTED = re.compile(r"\bimport\((?=[A-Za-z_$])")
_COMPUTED_HERE = "self.mograderImport("
_URL = re.compile(r"url\(\s*([\"']?)\./(?P<name>[\w.-]+)\1\s*\)")
_TYPES = {".woff2": "font/woff2", ".png": "image/png"}
_FORM = "The installed marimo has a page of another form."
_HINT = "Install a marimo that this mograder names."


def other_form(reason: str) -> InvalidInput:
    return InvalidInput(f"{_FORM} ({reason})", hint=_HINT)


def imports_of(text: str) -> frozenset[str]:
    return frozenset(each["name"] for each in _NAMED.finditer(text) if "(" not in each["word"])


def pack_script(name: str, text: str, known: Container[str]) -> str:
    """Return a script that finds the others by an import map, wherever it is loaded from."""

    def rename(match: re.Match[str]) -> str:
        if match["name"] not in known:
            raise other_form(f"{name} imports {match['name']}")
        quote = match[2]
        return f"{match['word']}{quote}{SPECIFIER}{match['name']}{quote}"

    found = _NAMED.sub(rename, text)
    if left := _LEFT.search(found):
        raise other_form(f"{name}: {left[0]}")
    if WORKER.fullmatch(name):
        found = _COMPUTED.sub(_COMPUTED_HERE, found)
    return found.replace(_OWN_ADDRESS, _ASSETS_ADDRESS)


def pack_style(text: str, inside: Mapping[str, bytes], directory: str) -> str:
    """Return a stylesheet with some of its files in it; others are named from ``directory``."""

    def place(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in inside:
            return f"url({directory}{name})"
        media = _TYPES[PurePosixPath(name).suffix]
        return f"url(data:{media};base64,{base64.b64encode(inside[name]).decode()})"

    return _URL.sub(place, text)
