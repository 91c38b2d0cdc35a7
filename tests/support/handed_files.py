"""A small marimo whose files the page around a notebook hands in, on a hub with one session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mograder.sandbox.environments.record import ASSETS
from mograder.sandbox.environments.static_assets import keep_assets
from tests.support.browser import People
from tests.support.framed_session import Framed, framed

FILES = {
    "index-1.js": (
        'import{x}from"./a-1.js";window.started=x;'
        'window.resolved=import.meta.resolve(new URL("a-1.js",import.meta.url).href);'
        'window.plot=()=>import("./plot-1.js").then(()=>window.plotted);'
        'window.binary=()=>fetch(new URL("x.wasm",import.meta.url)).then(a=>a.arrayBuffer())'
        ".then(all=>all.byteLength)"
    ),
    "a-1.js": "export const x=42;",
    "plot-1.js": 'import{x}from"./a-1.js";window.plotted=x+1;//' + "x" * 700_000,
    "a-1.css": "body{color:rgb(1, 2, 3)}",
    "x.wasm": "binary",
}
START, REST = "mograder-start.pack", "mograder-rest.pack"


def page(name: str) -> str:
    """As much of marimo's page as loads the files of a set."""
    assets = f"../_marimo/{name}/assets"
    return f"""<!doctype html><html lang="en"><head><title>A1.py</title>
<script type="module" crossorigin src="{assets}/index-1.js"></script>
<link rel="modulepreload" crossorigin href="{assets}/a-1.js">
<link rel="stylesheet" crossorigin href="{assets}/a-1.css">
</head><body><p>it shows</p>
<script>window.line = new WebSocket(new URL("ws", document.baseURI));</script></body></html>"""


@asynccontextmanager
async def handed(place: Path, people: People) -> AsyncIterator[Framed]:
    """Serve a hub with a session that has these files."""
    static = place / "env/lib/python3.12/site-packages/marimo/_static/assets"
    static.mkdir(parents=True)
    for name, text in FILES.items():
        (static / name).write_text(text)
    root = place / "course" / ".mograder" / "environments" / ASSETS
    root.mkdir(parents=True)
    name = keep_assets(place / "env", "3.12.1", "0.25.2", root)
    async with framed(place, people, page(name)) as scene:
        yield scene
