"""marimo's files in two packs, from which a page of an opaque origin cuts them out."""

from __future__ import annotations

import json

import pytest

from mograder.core.errors import InvalidInput
from mograder.sandbox.environments.static_assets import REST, START, packs_of

NAME = "0.25.2-0123456789abcdef"
FILES = {
    "assets/index-Ab_1.js": (
        b'import"./large-1.js";f(()=>import("./plot-1.js"));import.meta.resolve'
    ),
    "assets/large-1.js": b"1;" * 400_000,
    "assets/plot-1.js": b"2;" * 400_000,
    "assets/page-1.css": b"a{src:url(./f.woff2)}b{src:url(./f.ttf)}",
    "assets/f.woff2": b"font",
    "assets/f.ttf": b"font",
    "assets/x.wasm": b"\0asm",
    "favicon.ico": b"icon",
}


def content(pack: bytes, group: str) -> dict[str, bytes]:
    """What a browser cuts out of a pack."""
    size = int(pack[:8])
    index = json.loads(pack[8 : 8 + size])
    body = pack[8 + size :]
    return {name: body[start:end] for name, (start, end) in index.get(group, {}).items()}


def test_a_pack_has_the_files_under_the_names_by_which_they_import_each_other() -> None:
    start = packs_of(FILES, NAME)[START]
    scripts = content(start, "scripts")
    assert scripts["index-Ab_1.js"] == (
        b'import"marimo/large-1.js";f(()=>import("marimo/plot-1.js"));import.meta.resolve'
    )
    assert content(start, "files") == {"x.wasm": b"\0asm"}
    assert content(start, "styles")["page-1.css"] == (
        b"a{src:url(data:font/woff2;base64,Zm9udA==)}"
        b"b{src:url(../_marimo/0.25.2-0123456789abcdef/assets/f.ttf)}"
    )


def test_large_scripts_that_no_page_needs_at_its_start_are_in_a_pack_of_their_own() -> None:
    packs = packs_of(FILES, NAME)
    assert set(content(packs[START], "scripts")) == {"index-Ab_1.js", "large-1.js"}
    assert set(content(packs[REST], "scripts")) == {"plot-1.js"}
    head = packs[START]
    assert json.loads(head[8 : 8 + int(head[:8])])["elsewhere"] == ["plot-1.js"]


@pytest.mark.parametrize(
    "script",
    [b"let older = 1", b'import"./gone.js";import.meta.resolve', b"\xff import.meta.resolve"],
)
def test_scripts_of_another_form_are_not_packed(script: bytes) -> None:
    with pytest.raises(InvalidInput, match="another form"):
        packs_of({"assets/index-1.js": script}, NAME)
