"""A server's text as commands print it: without terminal control sequences."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mograder.cli.https import student as https_student
from mograder.cli.moodle import student as moodle_student
from mograder.clients.course_server import RemoteAssignment, WorkState, WorkStatus
from mograder.exchange.student.feedback import Returned

CLEARS_THE_SCREEN = "Well\x1b[2J done\nand \x07more\x9b31m"


@pytest.mark.parametrize("lines", [https_student._status_lines, moodle_student._status_lines])
def test_a_servers_words_move_no_cursor(
    lines: Callable[[RemoteAssignment, Returned], list[str]],
) -> None:
    found = RemoteAssignment(key="1", name=CLEARS_THE_SCREEN)
    status = WorkStatus(
        WorkState.SUBMITTED,
        graded=True,
        grade=CLEARS_THE_SCREEN,
        feedback=CLEARS_THE_SCREEN,
        can_submit=False,
        why_not=CLEARS_THE_SCREEN,
    )
    text = "\n".join(lines(found, Returned(status)))
    assert text.count("Well") >= 3
    assert "more" in text
    assert all(each.isprintable() or each == "\n" for each in text)
