"""What the hub writes into a session's page; pure."""

from __future__ import annotations

import pytest

from mograder.web.hub.session_page import base_for, insert_after_head, page_insert, pdf_page


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


def test_an_address_cannot_leave_its_attribute() -> None:
    assert b'href="/s/&quot;&gt;&lt;script&gt;/"' in page_insert('/s/"><script>/')
    assert b"&quot;&gt;" in pdf_page('/s/c/x.pdf?"><script>')


def test_the_shim_is_inlined_whole() -> None:
    insert = page_insert("/s/c/")
    assert insert.count(b"<script>") == insert.count(b"</script>") == 1
    assert b"eval(" not in insert
