"""The files of marimo's page, its scripts and styles packed into one.

The page around a frame hands it in (:mod:`mograder.core.marimo_scripts`; decision 50).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from mograder.core.marimo_scripts import WORKER, other_form, pack_script, pack_style

PACK = "marimo.json"
"""The name of the packed file: ``scripts`` and ``styles``, each a text by its name."""

ASSETS = "assets/"
_SKIPPED = frozenset({"CLAUDE.md"})
_STYLESHEET = re.compile(r'<link rel="stylesheet"[^>]* href="\./assets/([\w.-]+\.css)">')


@dataclass(frozen=True, slots=True)
class MarimoFiles:
    """marimo's ``pack``, and the ``others`` that a page loads by their addresses."""

    pack: bytes
    others: Mapping[str, bytes]


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
    if not html or not any(map(WORKER.fullmatch, scripts)):
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
        "styles": {name: pack_style(texts[name], fonts, ASSETS) for name in [*first, *rest]},
    }
    return MarimoFiles(json.dumps(pack, ensure_ascii=False).encode(), found)


def _walk(directory: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in directory.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, f"{path}/")
        elif entry.name not in _SKIPPED:
            yield path, entry.read_bytes()
