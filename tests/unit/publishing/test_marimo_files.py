"""marimo's scripts and styles, packed so that they can be handed into a frame."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.marimo_scripts import pack_script, pack_style
from mograder.publishing.browser_export import read_marimo

KNOWN = {"a.js": "", "b-1_x.js": ""}


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ('import{x}from"./a.js";', 'import{x}from"marimo/a.js";'),
        ('import"./b-1_x.js";', 'import"marimo/b-1_x.js";'),
        ('export*from"./a.js";', 'export*from"marimo/a.js";'),
        ("f(()=>import(`./a.js`),[])", "f(()=>import(`marimo/a.js`),[])"),
        ("new URL(`w.js`,import.meta.url)", "new URL(`w.js`,self.mograderAssets)"),
        # Names that marimo resolves by itself.
        ('d=["./a.js","./style.css"]', 'd=["./a.js","./style.css"]'),
        ("await import(e)", "await import(e)"),
    ],
)
def test_a_script_names_the_others_as_the_import_map_does(text: str, packed: str) -> None:
    assert pack_script("main.js", text, KNOWN) == packed


@pytest.mark.parametrize("text", ['import"./other.js"', 'from"../a.js"', "import(`./a.mjs`)"])
def test_an_import_that_leads_nowhere_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="page of another form"):
        pack_script("main.js", text, KNOWN)


def test_a_worker_imports_what_it_computes_through_us() -> None:
    assert (
        pack_script("save-worker-x.js", "await import(e)", KNOWN) == "await self.mograderImport(e)"
    )


def test_a_style_holds_its_fonts_and_names_its_pictures() -> None:
    text = "a{src:url(./f.woff2)}b{src:url('./p.png')}c{src:url(data:x)}"
    packed = pack_style(text, {"f.woff2": b"font"}, "assets/")
    assert packed == (
        "a{src:url(data:font/woff2;base64,Zm9udA==)}b{src:url(assets/p.png)}c{src:url(data:x)}"
    )


def test_the_installed_marimo_is_packed() -> None:
    found = read_marimo()
    pack = json.loads(found.pack)
    assert not [name for name in found.others if name.endswith((".js", ".css", ".html"))]
    assert set(pack["scripts"]) == _assets(".js")
    assert {"worker", "save-worker"} <= {re.split(r"-\w+\.js", name)[0] for name in pack["scripts"]}
    first = next(iter(pack["styles"].values()))
    assert first
    assert any("url(data:font/woff2" in text for text in pack["styles"].values())
    # What Pyodide's own script is loaded by.
    workers = [text for name, text in pack["scripts"].items() if name.startswith("worker-")]
    assert all("self.mograderImport(" in text for text in workers)


def _assets(suffix: str) -> set[str]:
    entries = files("marimo").joinpath("_static/assets").iterdir()
    return {each.name for each in entries if each.name.endswith(suffix)}
