"""The keys that are checked by a rule of their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.sections.settings_values import normalise_base_url, normalise_public_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("/", ""),
        ("live/hub", "/live/hub"),
        ("/live/hub/", "/live/hub"),
        ("/a-b_c.d~e", "/a-b_c.d~e"),
    ],
)
def test_a_base_url_is_normalised(text: str, expected: str) -> None:
    assert normalise_base_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "/a/../b",
        "..",
        "/./a",
        "/a?x=1",
        "/a#b",
        "https://h/a",
        "//evil",
        "/a//b",
        "/a b",
        "/a\\b",
        "/%2e",
        "/a\r\nb",
    ],
)
def test_what_is_no_path_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="path prefix"):
        normalise_base_url(text)


@given(st.text(max_size=30))
def test_a_base_url_that_passes_is_plain_and_stays_as_it_is(text: str) -> None:
    try:
        prefix = normalise_base_url(text)
    except ValueError:
        return
    assert normalise_base_url(prefix) == prefix
    assert prefix == "" or (prefix[0] == "/" and prefix[-1] != "/" and "//" not in prefix)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("https://Hub.Example.NET/", "https://hub.example.net"),
        ("https://hub.example.net:443", "https://hub.example.net"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_public_url_is_written_as_browsers_write_an_origin(text: str, expected: str) -> None:
    assert normalise_public_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "hub.example.net",
        "ftp://h",
        "https://",
        "https://h/path",
        "https://u:p@h",
        "https://h?x",
        "https://h:port",
        "https://[::1",
        "https://h h",
        "null",
    ],
)
def test_what_is_no_origin_is_refused_as_public_url(text: str) -> None:
    with pytest.raises(ValueError, match="scheme and host"):
        normalise_public_url(text)
