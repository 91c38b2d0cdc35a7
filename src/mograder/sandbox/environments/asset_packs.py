"""Packs: marimo's scripts, styles and fonts in two files, for pages of an opaque origin.

A browser keeps nothing that such a page loads, so the hub's page around it loads the packs, where
they are kept, and hands them in (``web/hub/static/session-files.js``; decision 56). ``START`` has
what a page may need at its beginning; ``REST`` has the large scripts that few notebooks use.

A pack is a length in eight digits, an index in JSON of that length, and the files one after the
other; the index has the place of each. So a browser cuts a file out without reading the others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from mograder.core.errors import InvalidInput
from mograder.core.marimo_scripts import imports_of, other_form, pack_script, pack_style

FORM = 1
"""The form of packs; a set of another form is written again."""
START = "mograder-start.pack"
REST = "mograder-rest.pack"

_ASSETS = "assets/"
_LARGE = 600_000
_ENTRY = re.compile(r"index-[\w-]+\.js")
_RESOLVES = "import.meta.resolve"


def packs_of(found: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    """Return the packs of the set with this name, by their file names.

    Raises: :class:`InvalidInput` if marimo's files are not as expected.
    """
    files = {
        path.removeprefix(_ASSETS): content
        for path, content in found.items()
        if path.startswith(_ASSETS)
    }
    try:
        texts = {
            file: content.decode("utf-8")
            for file, content in files.items()
            if file.endswith((".js", ".css"))
        }
    except UnicodeDecodeError as error:
        raise other_form("a script is not UTF-8") from error
    scripts = {file: text for file, text in texts.items() if file.endswith(".js")}
    if not any(_RESOLVES in text for text in scripts.values()):
        # Otherwise it would load what it was handed by its address, too.
        raise other_form("scripts do not resolve what they load beforehand")
    packed = {file: pack_script(file, text, scripts).encode() for file, text in scripts.items()}
    first = _needed(scripts)
    later = {file for file in packed if len(packed[file]) > _LARGE and file not in first}
    inside = {file: files[file] for file in files if file.endswith((".woff2", ".png"))}
    directory = f"../_marimo/{name}/{_ASSETS}"  # from the <base> of a page
    styles = {
        file: pack_style(text, inside, directory).encode()
        for file, text in sorted(texts.items())
        if file.endswith(".css")
    }
    start = {
        "scripts": {file: text for file, text in packed.items() if file not in later},
        "styles": styles,
        "files": {file: files[file] for file in files if file.endswith(".wasm")},
    }
    rest = {"scripts": {file: packed[file] for file in later}}
    return {START: _pack(start, sorted(later)), REST: _pack(rest, [])}


def _needed(scripts: Mapping[str, str]) -> frozenset[str]:
    """Return the scripts without which no page starts."""
    needed: set[str] = set()
    left = [file for file in scripts if _ENTRY.fullmatch(file)]
    while left:
        file = left.pop()
        if file not in needed and file in scripts:
            needed.add(file)
            left += imports_of(scripts[file])
    return frozenset(needed)


def _pack(groups: Mapping[str, Mapping[str, bytes]], elsewhere: list[str]) -> bytes:
    index: dict[str, object] = {"elsewhere": elsewhere}
    bodies: list[bytes] = []
    end = 0
    for group, files in groups.items():
        places = index[group] = {}
        for file, content in sorted(files.items()):
            places[file] = (end, end + len(content))
            end += len(content)
            bodies.append(content)
    head = json.dumps(index, separators=(",", ":")).encode()
    if len(head) >= 10**8:
        raise InvalidInput("marimo has too many files.")
    return b"".join((b"%08d" % len(head), head, *bodies))
