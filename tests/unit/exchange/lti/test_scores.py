"""What follows from a platform's answers to a mark, and the comment that is sent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mograder.clients.lti_platform import LineItem, Result
from mograder.exchange.lti_scores import (
    LONGEST_COMMENT,
    Step,
    comment_text,
    grade_item_of,
    has_arrived,
    is_ours,
    reason_to_wait,
    step_of,
    wait_after,
)


@pytest.mark.parametrize(
    ("status", "step"),
    [
        (400, Step.REFUSED),
        (401, Step.LATER),
        (403, Step.LATER),
        (404, Step.FIND),
        (409, Step.COMPARE),
        (422, Step.REFUSED),
        (429, Step.LATER),
        (302, Step.LATER),
        (500, Step.LATER),
        (503, Step.LATER),
        (0, Step.LATER),
    ],
)
def test_each_status_has_its_step(status: int, step: Step) -> None:
    assert step_of(status) is step


def test_the_waits_grow_to_an_hour() -> None:
    waits = [wait_after(tries) for tries in range(1, 20)]
    assert waits[:3] == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(hours=1)


def test_a_reason_names_the_remedy() -> None:
    assert "locked" in reason_to_wait(500)
    assert "locked" not in reason_to_wait(502)
    assert "services" in reason_to_wait(401)


@pytest.mark.parametrize(
    ("there", "ours", "expected"),
    [
        (Result(), (), True),
        (Result(8.5, 10), (), False),
        (Result(8.5, 10), (0.85,), True),
        (Result(42.5, 50), (0.5, 0.85), True),
        (Result(8.4, 10), (0.85,), False),
        (Result(33.33, 100), (1 / 3,), True),
        (Result(500.5, 1000), (0.5,), False),
        (Result(10, 10), (1.2,), True),
        (Result(12, 10), (1.2,), True),
        (Result(0, 10), (-0.3,), True),
        (Result(8.5, 10), (None,), False),
        (Result(float("nan"), 10), (0.85,), False),
    ],
)
def test_a_mark_is_recognised_after_rounding_and_cutting(
    there: Result, ours: tuple[float | None, ...], *, expected: bool
) -> None:
    assert is_ours(there, ours) is expected


def test_an_erased_mark_has_arrived_when_none_is_there() -> None:
    assert has_arrived(Result(), None)
    assert not has_arrived(Result(3, 10), None)
    assert not has_arrived(Result(), 0.3)
    assert has_arrived(Result(3, 10), 0.3)


def test_the_activitys_own_grade_item_is_preferred() -> None:
    own, other = LineItem("own", "A1", "7"), LineItem("other", "A1", "")
    assert grade_item_of([other, own], "7") == "own"
    assert grade_item_of([other], "7") == "other"
    assert grade_item_of([other, LineItem("third", "A1", "8")], "7") == ""
    assert grade_item_of([], "7") == ""


def test_a_comment_is_plain_and_bounded() -> None:
    assert (
        comment_text(" Good.\r\n\x00\x1b[31m ", "20 − 10 % = 18") == "20 − 10 % = 18\n\nGood.\n[31m"
    )
    long = comment_text("ü" * 5000)
    assert len(long.encode()) <= LONGEST_COMMENT
    assert long.endswith("(the rest is on the hub)")
    assert comment_text("", "") == ""
    assert comment_text("<b>&amp;") == "<b>&amp;"
    assert comment_text("\ud800") == ""
    kept = "Figure 1 : می\u200cخواهم"
    assert comment_text(kept.replace(" ", "\u00a0")) == kept, "words stay apart"
