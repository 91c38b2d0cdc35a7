"""Which requests of a session's page change the notebook's file."""

from __future__ import annotations

import pytest

from mograder.web.hub.proxy.save_recording import Change, change_by


@pytest.mark.parametrize(
    "rest",
    [
        "api/kernel/save",
        "api/kernel/save/",
        "/api//kernel/save",
        "api/kernel/%73ave",
        "api/kernel/save_app_config",
    ],
)
def test_the_answer_to_a_save_is_its_text(rest: str) -> None:
    assert change_by(rest) is Change.TEXT


@pytest.mark.parametrize(
    "rest", ["api/files/update", "api/files/move", "api%2Ffiles/delete", "api/kernel/rename"]
)
def test_after_a_change_by_the_file_browser_the_file_is_read(rest: str) -> None:
    assert change_by(rest) is Change.FILE


@pytest.mark.parametrize(
    "rest", ["", "api/kernel/run", "api/kernel/saved", "x/api/kernel/save", "api/files/list_files"]
)
def test_other_requests_change_nothing(rest: str) -> None:
    assert change_by(rest) is None
