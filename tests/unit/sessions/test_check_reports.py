"""Reports of checks: what is believed of what a student's code says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mograder.core.names import rehearsal_user
from mograder.sandbox.protocol import (
    Checked,
    Endpoint,
    Mode,
    SessionChecks,
)
from mograder.sessions.check_reports import (
    LONGEST_LABEL,
    MOST_WEIGHT,
    CheckReport,
    CheckReports,
    report_of,
)
from mograder.sessions.session import LiveSession, SessionKey
from tests.support.clock import ManualClock

GOOD: dict[str, Any] = {"label": "Q1: sum", "status": "partial", "earned": 1.5, "total": 2.0}


def line(**changed: object) -> str:
    """A report with some fields changed."""
    return json.dumps({**GOOD, **changed})


class Heard:
    """A hub's reports with two running sessions, and what its listener was told."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.told: list[tuple[SessionKey, tuple[CheckReport, ...], datetime]] = []
        modes = {"editor-1": Mode.EDIT, "editor-2": Mode.EDIT, "lecture-1": Mode.RUN}
        self.live = {each: self._session(each, mode) for each, mode in modes.items()}
        self.reports = CheckReports(self.live.get, self.clock)
        self.reports.listener = self._listen

    def _session(self, session_id: str, mode: Mode) -> LiveSession:
        now, key = self.clock.now(), SessionKey(f"of-{session_id}", "A1", mode)
        return LiveSession(session_id, key, Endpoint(Path("/x")), "/b", "", now, now)

    def _listen(self, key: SessionKey, reports: Sequence[CheckReport], now: datetime) -> None:
        self.told.append((key, tuple(reports), now))

    def hear(self, session_id: str, *lines: str, node: str = "") -> None:
        """Hear the lines of one session, from a node if there is one."""
        found = SessionChecks(session_id=session_id, reports=lines)
        self.reports.hear(Checked(sessions=(found,), node=node))


def test_a_report_reaches_the_listener_with_the_key_of_its_session_and_the_time() -> None:
    heard = Heard()
    heard.hear("editor-1", line(), line(status="success", earned=2.0))
    (told,) = heard.told
    assert told == (
        SessionKey("of-editor-1", "A1", Mode.EDIT),
        (
            CheckReport("Q1: sum", "partial", 1.5, 2.0),
            CheckReport("Q1: sum", "success", 2.0, 2.0),
        ),
        heard.clock.now(),
    )


def test_a_rehearsals_users_are_not_on_the_board() -> None:
    heard = Heard()
    user = rehearsal_user(1)
    heard.live["editor-1"] = replace(heard.live["editor-1"], key=SessionKey(user, "A1", Mode.EDIT))
    heard.hear("editor-1", line())
    assert heard.told == []


@pytest.mark.parametrize("session_id", ["lecture-1", "unknown-1"])
def test_only_editors_that_run_are_heard(session_id: str) -> None:
    heard = Heard()
    heard.hear(session_id, line())
    assert heard.told == []


def test_a_node_cannot_report_for_a_session_of_another_machine() -> None:
    heard = Heard()
    heard.hear("editor-1", line(), node="b1")
    assert heard.told == []


@pytest.mark.parametrize(
    "changed",
    [
        {"label": ""},
        {"label": "\u2028\n"},
        {"label": "x" * (LONGEST_LABEL + 1)},
        {"label": 1},
        {"label": None},
        {"status": "passed"},
        {"status": ["success"]},
        {"earned": float("nan")},
        {"earned": float("inf")},
        {"earned": -1.0},
        {"earned": 3.0},
        {"earned": "1"},
        {"earned": True},
        {"total": MOST_WEIGHT * 2},
        {"total": 10**400},
    ],
)
def test_a_report_that_no_check_writes_is_dropped(changed: dict[str, object]) -> None:
    assert report_of(line()) is not None
    assert report_of(line(**changed)) is None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "1", "{" * 2000, "[" * 2000, '"' * 2000, "\x00", '{"label":']
)
def test_garbage_is_dropped(text: str) -> None:
    assert report_of(text) is None


def test_a_number_too_large_for_a_float_is_dropped() -> None:
    assert report_of(line().replace("2.0", "1e999")) is None


def test_a_label_cannot_carry_control_characters() -> None:
    report = report_of(line(label="Q1\x1b[31m\u202eevil\n"))
    assert report is not None
    assert report.label == "Q1 [31m evil"
