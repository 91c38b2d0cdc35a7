"""Browser checks: security.md, "Who is asking", "The page is theirs as well"."""

from __future__ import annotations

import pytest

from mograder.auth.csrf import browser_marks, check_unsafe, same_origin
from mograder.core.errors import Forbidden

OWN = frozenset({"https://hub.example.net"})

Given = list[tuple[str, str]]

OURS: Given = [("origin", "https://hub.example.net")]
SAME: Given = [("sec-fetch-site", "same-origin")]
CASES: list[tuple[Given, bool]] = [
    ([], True),
    (OURS, True),
    ([("origin", "HTTPS://Hub.Example.Net")], True),
    ([("origin", "https://hub.example.net:8443")], False),
    ([("origin", "http://hub.example.net")], False),
    ([("origin", "https://hub.example.net.evil.example")], False),
    ([("origin", "null")], False),
    ([("origin", "")], False),
    ([("origin", "null"), ("sec-fetch-site", "same-origin")], False),
    ([*OURS, *OURS], False),
    # A front that does not tell the scheme or the port, and one that does not tell the name.
    ([("origin", "http://hub.example.net:8443"), ("sec-fetch-site", "same-origin")], True),
    ([("origin", "http://front.internal"), ("sec-fetch-site", "same-origin")], False),
    ([("origin", "http://front.internal"), *SAME, ("host", "front.internal:80")], True),
    ([("origin", "http://front.internal"), ("host", "front.internal")], False),
    ([("origin", "http://["), *SAME], False),
    ([("origin", "null"), *SAME, ("host", "")], False),
    ([("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], False),
    ([("sec-fetch-site", "same-origin")], True),
    ([("sec-fetch-site", "same-site")], False),
    ([("sec-fetch-site", "cross-site")], False),
    ([("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], False),
    ([("sec-fetch-mode", "navigate")], False),
]


def raw(headers: Given) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]


def passes(headers: Given) -> bool:
    try:
        check_unsafe(raw(headers), OWN)
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(("headers", "allowed"), CASES)
def test_unsafe_methods_need_our_own_origin(headers: Given, allowed: bool) -> None:
    assert passes(headers) is allowed


def test_an_address_typed_by_the_user_is_no_other_sites_doing() -> None:
    typed = [("sec-fetch-site", "none")]
    assert passes(typed)
    assert not passes([*typed, ("origin", "https://evil.example")])


def test_a_browser_is_known_by_its_marks_and_silence_is_not_our_origin() -> None:
    assert browser_marks(raw([("sec-fetch-dest", "document")]))
    assert browser_marks(raw(OURS))
    assert not browser_marks(raw([("user-agent", "Mozilla/5.0"), ("referer", "https://x")]))
    assert not same_origin([], OWN)
