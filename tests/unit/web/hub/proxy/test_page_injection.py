"""The text that the hub inserts into a session's page."""

from __future__ import annotations

import time

import pytest

from mograder.web.hub.proxy.answer_rules import (
    HEAD_WITHIN,
    STORAGE,
    Page,
    hold_files,
    insert_after_head,
    insert_at_beginning,
    page_insert,
    pdf_page,
)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"<!doctype html><head><title>", b"<!doctype html><head>+<title>"),
        (b'<HEAD lang="en">x', b'<HEAD lang="en">+x'),
        (b"<header>no</header>", None),
        (b"<hea", None),
        (b"<head", None),
    ],
)
def test_the_insert_comes_right_after_the_head(start: bytes, expected: bytes | None) -> None:
    assert insert_after_head(start, b"+") == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"<p>no document type</p>", b"+<p>no document type</p>"),
        (b"\n <!DOCTYPE html>\n<html>", b"\n <!DOCTYPE html>+\n<html>"),
        (b"\xef\xbb\xbf<!doctype html><p>", b"\xef\xbb\xbf<!doctype html>+<p>"),
        (b"", b"+"),
    ],
)
def test_a_frames_insert_comes_first_but_after_a_document_type(
    start: bytes, expected: bytes
) -> None:
    assert insert_at_beginning(start, b"+") == expected


def test_the_insert_before_a_frames_charset_is_ascii() -> None:
    assert STORAGE.isascii()


def page(root: str = "/s/c", *, opaque: bool = True) -> Page:
    return Page(root, "/edit/user/alice/A1/", "alice", opaque=opaque)


def test_an_address_cannot_leave_its_attribute() -> None:
    insert = page_insert(page('/s/"><script>'), "")
    assert b'href="/s/&quot;&gt;&lt;script&gt;/"' in insert
    assert b'data-root="/s/&quot;&gt;&lt;script&gt;/"' in insert
    assert b"&quot;&gt;" in pdf_page('/s/c/x.pdf?"><script>')


def test_the_three_scripts_are_inlined_whole() -> None:
    insert = page_insert(page(), "")
    assert insert.count(b"<script") == insert.count(b"</script>") == 3
    assert insert.count(b'data-page="/edit/user/alice/A1/"') == 2
    assert insert.count(b'data-viewer="alice"') == 1
    assert b"eval(" not in insert


def test_a_page_of_an_ordinary_origin_gets_stand_ins_for_denied_storage_alone() -> None:
    insert = page_insert(page("/edit/user/alice/A1", opaque=False), "")
    assert insert.count(b"<script") == 2
    assert STORAGE in insert
    assert b"<base" not in insert, "it is where its files are"


SET = "../_marimo/0.25.2-0123456789abcdef/assets"


def test_a_page_whose_files_are_handed_in_loads_none_by_itself() -> None:
    start = (
        f'<head><link rel="icon" href="{SET}/../favicon.ico" />'
        f'<link rel="preload" href="{SET}/f.woff2" as="font" />'
        f'<script type="module" crossorigin src="{SET}/index-1.js"></script>'
        f'<link rel="modulepreload" crossorigin href="{SET}/a.js">'
        f'<link rel="stylesheet" crossorigin href="{SET}/a.css">'
        '<link rel="stylesheet" href="custom.css"></head>'
    )
    assert (
        hold_files(start.encode())
        == (
            f'<head><link rel="icon" href="{SET}/../favicon.ico" />'
            f'<link data-held="preload" href="{SET}/f.woff2" as="font" />'
            f'<script type="mograder/held" crossorigin src="{SET}/index-1.js"></script>'
            f'<link data-held="modulepreload" crossorigin href="{SET}/a.js">'
            f'<link data-held="stylesheet" crossorigin href="{SET}/a.css">'
            '<link rel="stylesheet" href="custom.css"></head>'
        ).encode()
    )
    insert = page_insert(page(), "", held=True)
    assert insert.count(b"<script") == insert.count(b"</script>") == 4


@pytest.mark.parametrize(
    "script",
    [
        '<script type="module" crossorigin src="./assets/index-1.js"></script>',
        f'<script src="{SET}/index-1.js"></script>',
        f'<script type="module" src="{SET}/a.js"></script>' * 2,
    ],
)
def test_a_page_of_another_form_loads_its_files_by_itself(script: str) -> None:
    assert hold_files(f"<head>{script}</head>".encode()) is None


@pytest.mark.parametrize("begins", ["", '<script type="module" src="'])
@pytest.mark.parametrize(
    "piece", ["<head ", '<script type="module"', '" src="', "/_marimo/", "/_marimo/a/assets/"]
)
def test_no_page_holds_up_the_hub_while_its_head_is_looked_for(begins: str, piece: str) -> None:
    start = f"{begins}{piece * (HEAD_WITHIN // len(piece))}".encode()
    began = time.process_time()
    assert hold_files(start) is None
    assert insert_after_head(start, b"+") is None
    assert time.process_time() - began < 1
