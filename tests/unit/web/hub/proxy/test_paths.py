"""The addresses of session pages: parsed from raw bytes, kept for instructors' leave, recorded.

See sessions.md, "What is switched off".
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.errors import InvalidInput
from mograder.core.names import ItemName, Username
from mograder.core.sections.settings_values import FEATURES
from mograder.hub.save_recording import Change, change_by
from mograder.sandbox.protocol import Mode
from mograder.web.hub.proxy.paths import (
    SESSION_PATHS,
    CapabilityPath,
    ProbePath,
    UserPath,
    denial,
    guarded_feature,
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


@pytest.mark.parametrize(
    "raw",
    [
        b"/edit/user/al%2Fice/A1/",
        b"/edit/user/alice/A1%5C/",
        b"/edit/user/alice/%00/",
        b"/edit/user/alice\\x/A1/",
        b"/edit/user/alice/A1/../../bob/A1/",
        b"/edit/user/alice/A1/%2E%2e/x",
        b"/s/" + CAP.encode() + b"/./x",
        b"/edit/user/alice/user/",
        b"/edit/user/\xff/A1/",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_session_path(raw)


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


@pytest.mark.parametrize(
    ("rest", "feature"),
    [
        ("terminal/ws", "terminal"),
        ("terminal", "terminal"),
        ("lsp/copilot", "lsp"),
        ("lsp/pylsp", "lsp"),
        ("api/lsp/restart", "lsp"),
        ("api/ai/chat", "ai"),
        ("api/ai/mcp/status", "ai"),
        ("mcp/server", "ai"),
        ("api/packages/add", "packages"),
        ("api/packages/remove", "packages"),
        ("api/packages/sync", "packages"),
        ("api/packages/manifest", "packages"),
        ("api/packages", "packages"),
        ("api/kernel/install_missing_packages", "packages"),
        ("api/export/requirements/install", "packages"),
        ("api/secrets/keys", "secrets"),
        ("api/kernel/execute", "execute"),
        # Other spellings of a path are the same path.
        ("/terminal/ws", "terminal"),
        ("//terminal//ws", "terminal"),
        ("%74erminal/ws", "terminal"),
        ("terminal%2fws", "terminal"),
        ("terminal/%77s", "terminal"),
        ("TERMINAL/ws", "terminal"),
        ("terminal/ws/", "terminal"),
        ("terminal;x/ws", "terminal"),
        # Reading the packages is no way to change them.
        ("api/packages/list/../add", "packages"),
        ("api/packages/list/x", "packages"),
        ("api//packages//add", "packages"),
        # A notebook keeps its name, and no instructor can allow another.
        ("api/kernel/rename", "rename"),
        ("//api//kernel//%72ename/", "rename"),
        ("api/kernel/RENAME", "rename"),
        # What a page needs asks nobody's leave.
        ("", ""),
        ("ws", ""),
        ("health", ""),
        ("api/kernel/run", ""),
        ("api/kernel/save", ""),
        ("api/kernel/instantiate", ""),
        ("api/kernel/save_user_config", ""),
        ("api/packages/sandbox", ""),
        ("api/packages/list", ""),
        ("api/packages/tree", ""),
        ("api/lsp/health", ""),
        ("api/files/list_files", ""),
        ("api/aim", ""),
        ("public/terminal/ws", ""),
        ("terminal-notes.html", ""),
        ("lsp_notes", ""),
        ("@file/12-terminal.png", ""),
        ("assets/terminal-Ab1.js", ""),
    ],
)
def test_which_feature_needs_an_instructors_leave(rest: str, feature: str) -> None:
    assert guarded_feature(rest) == feature


def test_a_refusal_says_whether_the_instructor_can_allow_it() -> None:
    assert {*FEATURES} >= {"terminal", "lsp", "ai", "packages", "secrets", "execute"}
    assert all(denial(each).endswith("Your instructor can allow it.") for each in FEATURES)
    assert "rename" not in FEATURES
    assert denial("rename").startswith("The notebook keeps its name")


@pytest.mark.parametrize(
    ("rest", "change"),
    [
        ("api/kernel/save", Change.TEXT),
        ("api/kernel/save/", Change.TEXT),
        ("/api//kernel/save", Change.TEXT),
        ("api/kernel/%73ave", Change.TEXT),
        ("api/kernel/save_app_config", Change.TEXT),
        ("api/files/update", Change.FILE),
        ("api/files/move", Change.FILE),
        ("api%2Ffiles/delete", Change.FILE),
        ("api/kernel/rename", Change.FILE),
        ("", None),
        ("api/kernel/run", None),
        ("api/kernel/saved", None),
        ("x/api/kernel/save", None),
        ("api/files/list_files", None),
    ],
)
def test_which_requests_change_the_notebooks_file(rest: str, change: Change | None) -> None:
    """The answer to a save is its text; after a change by the file browser the file is read."""
    assert change_by(rest) is change
