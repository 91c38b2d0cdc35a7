"""The files of exported pages: what is kept, served and removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName
from mograder.store.assignment_server.browser_pages import BrowserPage, BrowserPages

HW1, HW2 = ItemName.parse("hw1"), ItemName.parse("hw2")


def page(*uses: str) -> BrowserPage:
    return BrowserPage(
        protocol=2, frame="f/index.html", notebook="n.py", marimo="1", pyodide="2", uses=uses
    )


def kept(root: Path) -> set[str]:
    return {place.name for place in (root / ".mograder" / "web" / "files").iterdir()}


def test_equal_files_share_a_directory_and_others_do_not(tmp_path: Path) -> None:
    pages = BrowserPages(tmp_path)
    first = pages.add("wheel", {"a.whl": b"a"})
    assert pages.add("wheel", {"a.whl": b"a"}) == first
    assert pages.add("wheel", {"a.whl": b"b"}) != first
    assert pages.add("wheel", {"b.whl": b"a"}) != first


def test_a_directory_without_its_marker_is_written_again(tmp_path: Path) -> None:
    pages = BrowserPages(tmp_path)
    place = tmp_path / ".mograder" / "web" / "files" / pages.add("wheel", {"a.whl": b"a"})
    (place / ".complete").unlink()
    (place / "a.whl").write_bytes(b"half")
    pages.add("wheel", {"a.whl": b"a"})
    assert (place / "a.whl").read_bytes() == b"a"


def test_what_no_page_uses_is_removed(tmp_path: Path) -> None:
    pages = BrowserPages(tmp_path)
    old, own, both = (pages.add("wheel", {"a.whl": data}) for data in (b"1", b"2", b"3"))
    pages.save(HW1, page(own, both))
    pages.save(HW2, page(both))
    interrupted = tmp_path / ".mograder" / "web" / "files" / ".old-wheel"
    interrupted.mkdir()
    with pages.changing():
        assert pages.prune() == (old,)
    assert kept(tmp_path) == {own, both}
    assert pages.prune() == ()


@pytest.mark.parametrize("unknown", [page().model_dump_json(), "{", ""])
def test_nothing_is_removed_while_a_page_does_not_tell_what_it_uses(
    tmp_path: Path, unknown: str
) -> None:
    pages = BrowserPages(tmp_path)
    old = pages.add("wheel", {"a.whl": b"1"})
    pages.save(HW1, page("x"))
    (tmp_path / ".mograder" / "web" / "items" / "hw2.json").write_text(unknown)
    assert pages.prune() == ()
    assert kept(tmp_path) == {old}


def test_a_name_that_has_no_address_is_refused(tmp_path: Path) -> None:
    for name in ("../x", ".hidden", "a b", "a/../b", "ä"):
        with pytest.raises(InvalidInput):
            BrowserPages(tmp_path).add("wheel", {name: b""})


def test_only_exported_files_have_a_place(tmp_path: Path) -> None:
    pages = BrowserPages(tmp_path)
    name = pages.add("wheel", {"a.whl": b"a"})
    directory, file = pages.directory_of((name, "a.whl"))
    assert (directory / file).read_bytes() == b"a"
    for pieces in ((), (name,), (name, ".."), (name, ".complete"), ("items", "hw1.json")):
        with pytest.raises(NotFound):
            pages.directory_of(pieces)
