"""Taking marimo's static files out of an environment that packages may have changed.

sessions.md, "The editor's files"; security.md, "The sandbox".
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.sandbox.environments import static_assets
from mograder.sandbox.environments.static_assets import (
    REST,
    SET_NAME,
    START,
    keep_assets,
    packs_of,
    read_assets,
)

SCRIPT = b"export const answer = 42;\n" * 50
PYTHON = "3.12.4"


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with what marimo ships, in small."""
    static = static_of(tmp_path / "env")
    (static / "assets").mkdir(parents=True)
    (static / "assets" / "index-Ab_1.js").write_bytes(SCRIPT)
    (static / "assets" / "font.woff2").write_bytes(os.urandom(500))
    (static / "favicon.ico").write_bytes(b"icon")
    (static / "index.html").write_text("<script>alert(1)</script>")
    return tmp_path / "env"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sets").mkdir()
    return tmp_path / "sets"


def static_of(environment: Path) -> Path:
    return environment / "lib/python3.12/site-packages/marimo/_static"


def test_a_set_holds_what_a_page_loads_with_smaller_siblings(environment: Path, root: Path) -> None:
    name = keep_assets(environment, PYTHON, "0.25.2", root)
    assert SET_NAME.fullmatch(name)
    assert name.startswith("0.25.2-")
    kept = read_assets(root, name)
    assert set(kept.files) == {"assets/index-Ab_1.js", "assets/font.woff2", "favicon.ico"}
    assert kept.read("assets/index-Ab_1.js") == SCRIPT
    assert brotli.decompress(kept.read("assets/index-Ab_1.js", ".br")) == SCRIPT
    assert gzip.decompress(kept.read("assets/index-Ab_1.js", ".gz")) == SCRIPT
    font = kept.files["assets/font.woff2"]
    assert (font.br, font.gzip) == (0, 0), "a font does not get smaller"


def test_equal_files_are_one_set_and_others_are_another(environment: Path, root: Path) -> None:
    """So no package can change what the notebooks of another environment load."""
    first = keep_assets(environment, PYTHON, "0.25.2", root)
    written = (root / first / "manifest.json").stat().st_mtime_ns
    assert keep_assets(environment, PYTHON, "0.25.2", root) == first
    assert (root / first / "manifest.json").stat().st_mtime_ns == written
    (static_of(environment) / "assets" / "index-Ab_1.js").write_bytes(b"steal()")
    second = keep_assets(environment, PYTHON, "0.25.2", root)
    assert second not in ("", first)
    assert read_assets(root, first).read("assets/index-Ab_1.js") == SCRIPT
    assert sorted(each.name for each in root.iterdir()) == sorted((first, second))


def test_links_devices_and_odd_names_are_left_out(
    environment: Path, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.js").write_text("the host's")
    assets = static_of(environment) / "assets"
    (assets / "link.js").symlink_to(tmp_path / "secret.js")
    (assets / "directory").symlink_to(tmp_path)
    os.mkfifo(assets / "pipe.js")
    for name in (".hidden.js", "a b.js", "ü.js", "a%2e.js", "page.HTML", "noend", "x\n.js"):
        (assets / name).write_text("x")
    name = keep_assets(environment, PYTHON, "0.25.2", root)
    assert len(read_assets(root, name).files) == 3


@pytest.mark.parametrize("part", ["lib", "lib/python3.12/site-packages/marimo"])
def test_a_link_on_the_way_is_not_followed(environment: Path, root: Path, part: str) -> None:
    (environment / part).rename(environment / "elsewhere")
    (environment / part).symlink_to(environment / "elsewhere")
    assert keep_assets(environment, PYTHON, "0.25.2", root) == ""
    assert list(root.iterdir()) == []


def test_what_is_too_much_is_not_shared(environment: Path, root: Path) -> None:
    large = static_of(environment) / "assets" / "large.js"
    large.touch()
    os.truncate(large, 40 << 20)
    assert keep_assets(environment, PYTHON, "0.25.2", root) == ""
    large.unlink()
    deep = static_of(environment).joinpath(*"abcdefghijkl")
    deep.mkdir(parents=True)
    assert keep_assets(environment, PYTHON, "0.25.2", root) == ""


def test_a_marimo_without_files_is_not_shared(tmp_path: Path, root: Path) -> None:
    assert keep_assets(tmp_path, PYTHON, "0.25.2", root) == ""
    static_of(tmp_path).mkdir(parents=True)
    assert keep_assets(tmp_path, PYTHON, "0.25.2", root) == ""


@pytest.mark.parametrize("version", ["../../etc", "", "0.25.2/../..", "1" * 200, "-rf", "\0"])
def test_a_lying_version_makes_no_path(environment: Path, root: Path, version: str) -> None:
    name = keep_assets(environment, PYTHON, version, root)
    assert [each.name for each in root.iterdir()] == [name]
    assert SET_NAME.fullmatch(name)


def test_half_a_set_is_none_and_is_made_again(environment: Path, root: Path) -> None:
    name = keep_assets(environment, PYTHON, "0.25.2", root)
    (root / name / "files" / "favicon.ico").write_bytes(b"")
    with pytest.raises(NotFound):
        read_assets(root, name)
    assert keep_assets(environment, PYTHON, "0.25.2", root) == name
    assert read_assets(root, name).read("favicon.ico") == b"icon"
    assert [each.name for each in root.iterdir()] == [name]


@pytest.mark.parametrize("name", ["", "..", "../sets", "0.25.2", "a/b", "x" * 300])
def test_only_the_name_of_a_set_finds_one(root: Path, name: str) -> None:
    with pytest.raises(NotFound):
        read_assets(root, name)


def test_without_brotli_the_files_are_shared_with_gzip_alone(
    environment: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where `mograder-hub[server]` is not installed: `validate` builds environments there, too.
    monkeypatch.setattr(static_assets, "brotli", None)
    name = keep_assets(environment, PYTHON, "0.23.9", root)
    found = read_assets(root, name)
    script = found.files["assets/index-Ab_1.js"]
    assert script.br == 0
    assert gzip.decompress(found.read("assets/index-Ab_1.js", ".gz")) == SCRIPT


def test_a_set_has_packs(environment: Path, root: Path) -> None:
    (static_of(environment) / "assets" / "index-Ab_1.js").write_bytes(b"import.meta.resolve\n")
    name = keep_assets(environment, PYTHON, "0.25.2", root)
    packs = {"mograder-start.pack", "mograder-rest.pack"}
    assert packs <= read_assets(root, name).files.keys()


# --- packs, from which a page of an opaque origin cuts them out ------------------------------

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
