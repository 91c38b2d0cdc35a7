"""Parsing the addresses of session pages from raw bytes; pure."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName, Username
from mograder.sandbox.protocol import Mode
from mograder.web.hub.proxy.paths import (
    SESSION_PATHS,
    CapabilityPath,
    ProbePath,
    UserPath,
    parse_session_path,
)

CAP = "a" * 32


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/edit/user/alice/A1/", UserPath(Mode.EDIT, Username("alice"), ItemName("A1"), "")),
        (
            b"/run/user/a%40b/L%201/x%2Fy",
            UserPath(Mode.RUN, Username("a@b"), ItemName("L 1"), "x%2Fy"),
        ),
        (b"/edit/user/alice/A1", UserPath(Mode.EDIT, Username("alice"), ItemName("A1"), None)),
        (f"/s/{CAP}/a/b".encode(), CapabilityPath(CAP, "a/b")),
        (b"/s/probe", ProbePath()),
        (b"/s/short/x", None),
        (b"/edit/A1", None),
        (b"/edit/user//A1/", None),
        (b"/", None),
    ],
)
def test_session_paths_are_told_from_others(raw: bytes, expected: object) -> None:
    assert parse_session_path(raw) == expected


@given(st.binary(max_size=60))
def test_nothing_but_a_path_or_a_refusal_comes_out(tail: bytes) -> None:
    raw = b"/edit/user/" + tail
    assert raw.startswith(SESSION_PATHS)
    try:
        found = parse_session_path(raw)
    except InvalidInput:
        return
    if isinstance(found, UserPath):
        assert "/" not in found.user
        assert ".." not in found.item
