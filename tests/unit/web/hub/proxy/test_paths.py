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


# With other spellings of a path, and what is no way to read the packages only.
GUARDED = {
    "terminal": "terminal/ws terminal /terminal/ws //terminal//ws %74erminal/ws terminal%2fws"
    " terminal/%77s TERMINAL/ws terminal/ws/ terminal;x/ws",
    "lsp": "lsp/copilot lsp/pylsp api/lsp/restart",
    "ai": "api/ai/chat api/ai/mcp/status mcp/server",
    "packages": "api/packages/add api/packages/remove api/packages/sync api/packages/manifest"
    " api/packages api/kernel/install_missing_packages api/export/requirements/install"
    " api/packages/list/../add api/packages/list/x api//packages//add",
    "secrets": "api/secrets/keys",
    "execute": "api/kernel/execute",
    # A notebook keeps its name, and no instructor can allow another.
    "rename": "api/kernel/rename //api//kernel//%72ename/ api/kernel/RENAME",
    # What a page needs asks nobody's leave.
    "": "ws health api/kernel/run api/kernel/save api/kernel/instantiate"
    " api/kernel/save_user_config api/packages/sandbox api/packages/list api/packages/tree"
    " api/lsp/health api/files/list_files api/aim public/terminal/ws terminal-notes.html lsp_notes"
    " @file/12-terminal.png assets/terminal-Ab1.js",
}


@pytest.mark.parametrize(
    ("rest", "feature"),
    [("", ""), *((rest, each) for each, paths in GUARDED.items() for rest in paths.split())],
)
def test_which_feature_needs_an_instructors_leave(rest: str, feature: str) -> None:
    assert guarded_feature(rest) == feature


def test_a_refusal_says_whether_the_instructor_can_allow_it() -> None:
    assert {*FEATURES} >= {"terminal", "lsp", "ai", "packages", "secrets", "execute"}
    assert all(denial(each).endswith("Your instructor can allow it.") for each in FEATURES)
    assert "rename" not in FEATURES
    assert denial("rename").startswith("The notebook keeps its name")


CHANGES = {
    Change.TEXT: "api/kernel/save api/kernel/save/ /api//kernel/save api/kernel/%73ave"
    " api/kernel/save_app_config",
    Change.FILE: "api/files/update api/files/move api%2Ffiles/delete api/kernel/rename",
    None: "api/kernel/run api/kernel/saved x/api/kernel/save api/files/list_files",
}


@pytest.mark.parametrize(
    ("rest", "change"),
    [("", None), *((rest, each) for each, paths in CHANGES.items() for rest in paths.split())],
)
def test_which_requests_change_the_notebooks_file(rest: str, change: Change | None) -> None:
    """The answer to a save is its text; after a change by the file browser the file is read."""
    assert change_by(rest) is change
