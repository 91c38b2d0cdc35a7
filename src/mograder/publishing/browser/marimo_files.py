"""The files of marimo's page, its scripts and styles packed into one.

A browser keeps no file that a frame of an opaque origin loads, so the page around the frame loads
the files and hands them in (decision 50). A script that is handed in has an address of its own,
from which ``./x.js`` leads nowhere; so each script is written with names that an import map of the
frame resolves, and with the address that marimo's directory has.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from mograder.core.errors import InvalidInput

PACK = "marimo.json"
"""The name of the packed file: ``scripts`` and ``styles``, each a text by its name."""

ASSETS = "assets/"
_SPECIFIER = "marimo/"
_SKIPPED = frozenset({"CLAUDE.md"})
_NAMED = re.compile(r"""(?P<word>\bfrom\s*|\bimport\s*\(?\s*)(["'`])\./(?P<name>[\w.$-]+\.js)\2""")
_LEFT = re.compile(r"""(?:\bfrom\s*|\bimport\s*\(?\s*)["'`]\.{1,2}/""")
_OWN_ADDRESS = "import.meta.url"
_ASSETS_ADDRESS = "self.mograderAssets"
_WORKER = re.compile(r"(?:save-)?worker-[\w-]+\.js")
_COMPUTED = re.compile(r"\bimport\((?=[A-Za-z_$])")
_COMPUTED_HERE = "self.mograderImport("
_URL = re.compile(r"url\(\s*([\"']?)\./(?P<name>[\w.-]+)\1\s*\)")
_STYLESHEET = re.compile(r'<link rel="stylesheet"[^>]* href="\./assets/([\w.-]+\.css)">')
_FORM = "The installed marimo has a page of another form."
_HINT = "Install a marimo that this mograder names."


@dataclass(frozen=True, slots=True)
class MarimoFiles:
    """marimo's ``pack``, and the ``others`` that a page loads by their addresses."""

    pack: bytes
    others: Mapping[str, bytes]


def other_form(reason: str) -> InvalidInput:
    """Return the error for a marimo whose page is not as expected."""
    return InvalidInput(f"{_FORM} ({reason})", hint=_HINT)


def read_marimo() -> MarimoFiles:
    """Return the files of the installed marimo's page.

    Raises: :class:`InvalidInput` if they are not as expected.
    """
    found = dict(_walk(files("marimo").joinpath("_static"), ""))
    html = found.pop("index.html", b"").decode("utf-8")
    assets = {name.removeprefix(ASSETS): name for name in found if name.startswith(ASSETS)}
    texts = {
        short: found.pop(name).decode("utf-8")
        for short, name in assets.items()
        if short.endswith((".js", ".css"))
    }
    scripts = {name: text for name, text in texts.items() if name.endswith(".js")}
    if not html or not any(map(_WORKER.fullmatch, scripts)):
        raise other_form("no worker")
    fonts = {
        short: found[name]
        for short, name in assets.items()
        if short.endswith(".woff2") and name in found
    }
    first = _STYLESHEET.findall(html)
    rest = sorted(name for name in texts if name.endswith(".css") and name not in first)
    pack = {
        "scripts": {name: pack_script(name, text, scripts) for name, text in scripts.items()},
        "styles": {name: pack_style(texts[name], fonts) for name in [*first, *rest]},
    }
    return MarimoFiles(json.dumps(pack, ensure_ascii=False).encode(), found)


def pack_script(name: str, text: str, known: Mapping[str, str]) -> str:
    """Return a script that finds the others by an import map, wherever it is loaded from.

    Raises: :class:`InvalidInput` for an import that leads to no script of marimo's.
    """

    def rename(match: re.Match[str]) -> str:
        if match["name"] not in known:
            raise other_form(f"{name} imports {match['name']}")
        quote = match[2]
        return f"{match['word']}{quote}{_SPECIFIER}{match['name']}{quote}"

    found = _NAMED.sub(rename, text)
    if left := _LEFT.search(found):
        raise other_form(f"{name}: {left[0]}")
    if _WORKER.fullmatch(name):
        found = _COMPUTED.sub(_COMPUTED_HERE, found)
    return found.replace(_OWN_ADDRESS, _ASSETS_ADDRESS)


def pack_style(text: str, fonts: Mapping[str, bytes]) -> str:
    """Return a stylesheet with its fonts in it; other files are named from marimo's directory."""

    def place(match: re.Match[str]) -> str:
        font = fonts.get(match["name"])
        if font is None:
            return f"url({ASSETS}{match['name']})"
        return f"url(data:font/woff2;base64,{base64.b64encode(font).decode()})"

    return _URL.sub(place, text)


def _walk(directory: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in directory.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, f"{path}/")
        elif entry.name not in _SKIPPED:
            yield path, entry.read_bytes()
