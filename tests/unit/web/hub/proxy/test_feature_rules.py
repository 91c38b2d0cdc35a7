"""Which requests of marimo's page need an instructor's leave.

See sessions.md, "What is switched off".
"""

from __future__ import annotations

import pytest

from mograder.core.sections.settings_values import FEATURES
from mograder.web.hub.proxy.feature_rules import denial, guarded_feature


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
    ],
)
def test_what_is_off_by_default(rest: str, feature: str) -> None:
    assert guarded_feature(rest) == feature
    assert feature in FEATURES
    assert denial(feature).endswith("Your instructor can allow it.")


@pytest.mark.parametrize(
    "rest",
    [
        "/terminal/ws",
        "//terminal//ws",
        "%74erminal/ws",
        "terminal%2fws",
        "terminal/%77s",
        "TERMINAL/ws",
        "terminal/ws/",
        "terminal;x/ws",
    ],
)
def test_other_spellings_of_a_path_are_the_same_path(rest: str) -> None:
    assert guarded_feature(rest) == "terminal"


@pytest.mark.parametrize(
    "rest", ["api/packages/list/../add", "api/packages/list/x", "api//packages//add"]
)
def test_reading_the_packages_is_no_way_to_change_them(rest: str) -> None:
    assert guarded_feature(rest) == "packages"


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "ws",
        "health",
        "api/kernel/run",
        "api/kernel/save",
        "api/kernel/instantiate",
        "api/kernel/save_user_config",
        "api/packages/sandbox",
        "api/packages/list",
        "api/packages/tree",
        "api/lsp/health",
        "api/files/list_files",
        "api/aim",
        "public/terminal/ws",
        "terminal-notes.html",
        "lsp_notes",
        "@file/12-terminal.png",
        "assets/terminal-Ab1.js",
    ],
)
def test_what_a_page_needs_asks_nobodys_leave(rest: str) -> None:
    assert guarded_feature(rest) == ""


def test_every_feature_has_words() -> None:
    assert all(denial(feature) for feature in FEATURES)


@pytest.mark.parametrize(
    "rest", ["api/kernel/rename", "//api//kernel//%72ename/", "api/kernel/RENAME"]
)
def test_a_notebook_keeps_its_name_and_no_instructor_can_allow_another(rest: str) -> None:
    feature = guarded_feature(rest)
    assert feature == "rename"
    assert feature not in FEATURES
    assert denial(feature).startswith("The notebook keeps its name")
