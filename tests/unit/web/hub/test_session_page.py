"""What the hub writes into a session's page; pure."""

from __future__ import annotations

import pytest

from mograder.web.hub.session_page import (
    Page,
    base_for,
    insert_after_head,
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
    ("rest", "base"), [("", "/s/c/"), ("page", "/s/c/"), ("a/b/page", "/s/c/a/b/")]
)
def test_a_page_keeps_its_own_directory(rest: str, base: str) -> None:
    assert base_for("/s/c", rest) == base


def page(root: str = "/s/c", *, opaque: bool = True) -> Page:
    return Page(root, "session-1", "/edit/user/alice/A1/", opaque=opaque)


def test_an_address_cannot_leave_its_attribute() -> None:
    insert = page_insert(page('/s/"><script>'), "")
    assert b'href="/s/&quot;&gt;&lt;script&gt;/"' in insert
    assert b'data-root="/s/&quot;&gt;&lt;script&gt;/"' in insert
    assert b"&quot;&gt;" in pdf_page('/s/c/x.pdf?"><script>')


def test_both_scripts_are_inlined_whole() -> None:
    insert = page_insert(page(), "")
    assert insert.count(b"<script") == insert.count(b"</script>") == 2
    assert b"eval(" not in insert


def test_a_page_of_the_hubs_own_origin_is_only_told_how_to_end() -> None:
    insert = page_insert(page("/edit/user/alice/A1", opaque=False), "")
    assert insert.count(b"<script") == 1
    assert b"<base" not in insert
    ask = b'data-ask="/edit/user/alice/A1/_mograder/ended?session=session-1"'
    assert ask in insert


def test_a_deeper_page_asks_at_the_same_place() -> None:
    insert = page_insert(page(), "a/b/page")
    assert b'<base href="/s/c/a/b/">' in insert
    assert b'data-ask="/s/c/_mograder/ended?session=session-1"' in insert
