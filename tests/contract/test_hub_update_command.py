"""``mograder hub update``, against a hub that is served."""

from __future__ import annotations

import pytest

from tests.contract.test_hub_course_commands import served
from tests.support.command_line import cli
from tests.support.moodle.teacher import ServedHub
from tests.support.updated_course import (
    BROKEN,
    HALF,
    NEW,
    OLD,
    TEXT_CHANGED,
    correct,
    publish,
    take_copy,
)

__all__ = ["served"]

COMMAND = ["hub", "update", "A1"]
PREVIEW = """\
3 copies: 1 merge cleanly, 1 with conflicts, 1 cannot be merged, 0 need nothing.
  zoe: 1 conflict
"""


@pytest.fixture
def corrected(served: ServedHub) -> ServedHub:
    """A hub whose item is corrected, with a clean copy, one with a conflict and a broken one."""
    publish(served.hub, OLD)
    for student, text in {"anna": HALF, "bert": BROKEN, "zoe": TEXT_CHANGED}.items():
        take_copy(served.hub, student, text)
    correct(served.hub)
    return served


def is_offered() -> bool:
    """Ask the hub whether it offers the update."""
    return cli(*COMMAND, "--preview", "--json", status=1).json["offered"] is True


def test_a_preview_names_the_copies_and_offers_nothing(corrected: ServedHub) -> None:
    told = cli(*COMMAND, "--preview", status=1).out
    assert told.startswith(PREVIEW)
    assert "  bert: the copy:" in told
    assert not is_offered()


def test_json_offers_nothing_without_yes(corrected: ServedHub) -> None:
    told = cli(*COMMAND, "--json", status=1).json
    assert not told["offered"]
    assert {line["student"] for line in told["preview"]["copies"]} == {"anna", "bert", "zoe"}


def test_an_update_is_offered_told_of_and_undone(corrected: ServedHub) -> None:
    assert "\nOffered. Each copy gets it" in cli(*COMMAND, "--yes", status=1).out
    assert is_offered()
    assert "This release is offered already. 0 copies have it." in cli(*COMMAND, status=1).out
    assert cli(*COMMAND, "--undo").out == "Withdrawn. 0 copies have the text from before again.\n"
    assert not is_offered()


def test_a_question_that_is_answered_with_no_offers_nothing(
    corrected: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("click.confirm", lambda question, **_: asked.append(question))
    cli(*COMMAND, status=1)
    assert asked == ["Offer the update to these copies?"]
    assert not is_offered()


def test_a_copy_that_needs_nothing_is_counted(served: ServedHub) -> None:
    publish(served.hub, NEW)
    take_copy(served.hub, "anna")
    assert "0 cannot be merged, 1 need nothing." in cli(*COMMAND, "--preview").out


def test_an_item_that_is_not_there_is_told(served: ServedHub) -> None:
    assert "There is no assignment 'Z9' on the hub." in cli("hub update Z9", status=3).err


def test_an_item_is_found_by_a_part_of_its_name(served: ServedHub) -> None:
    served.hub.publish("A4-My-First")
    assert "0 copies" in cli("hub update A4 --preview").out


def test_two_wishes_at_once_are_refused(served: ServedHub) -> None:
    cli(*COMMAND, "--preview", "--undo", status=2)
