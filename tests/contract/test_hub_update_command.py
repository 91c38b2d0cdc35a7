"""``mograder hub update``, against a hub that is served."""

from __future__ import annotations

import json

import pytest

from mograder.cli.main import run
from tests.contract.test_hub_course_commands import Served, served
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
def corrected(served: Served) -> Served:
    """A hub whose item is corrected, with a clean copy, one with a conflict and a broken one."""
    publish(served.hub, OLD)
    for student, text in {"anna": HALF, "bert": BROKEN, "zoe": TEXT_CHANGED}.items():
        take_copy(served.hub, student, text)
    correct(served.hub)
    return served


def is_offered(capfd: pytest.CaptureFixture[str]) -> bool:
    """Ask the hub whether it offers the update."""
    capfd.readouterr()
    run([*COMMAND, "--preview", "--json"])
    return json.loads(capfd.readouterr().out)["offered"] is True


def test_a_preview_names_the_copies_and_offers_nothing(
    corrected: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--preview"]) == 1
    told = capfd.readouterr().out
    assert told.startswith(PREVIEW)
    assert "  bert: the copy:" in told
    assert not is_offered(capfd)


def test_json_offers_nothing_without_yes(
    corrected: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--json"]) == 1
    told = json.loads(capfd.readouterr().out)
    assert not told["offered"]
    assert {line["student"] for line in told["preview"]["copies"]} == {"anna", "bert", "zoe"}


def test_an_update_is_offered_told_of_and_undone(
    corrected: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*COMMAND, "--yes"]) == 1
    assert "\nOffered. Each copy gets it" in capfd.readouterr().out
    assert is_offered(capfd)
    assert run(COMMAND) == 1
    assert "This release is offered already. 0 copies have it." in capfd.readouterr().out
    assert run([*COMMAND, "--undo"]) == 0
    assert capfd.readouterr().out == "Withdrawn. 0 copies have the text from before again.\n"
    assert not is_offered(capfd)


def test_a_question_that_is_answered_with_no_offers_nothing(
    corrected: Served, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("click.confirm", lambda question, **_: asked.append(question))
    assert run(COMMAND) == 1
    assert asked == ["Offer the update to these copies?"]
    assert not is_offered(capfd)


def test_a_copy_that_needs_nothing_is_counted(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    publish(served.hub, NEW)
    take_copy(served.hub, "anna")
    assert run([*COMMAND, "--preview"]) == 0
    assert "0 cannot be merged, 1 need nothing." in capfd.readouterr().out


def test_an_item_that_is_not_there_is_told(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "update", "Z9"]) == 3
    assert "There is no assignment 'Z9' on the hub." in capfd.readouterr().err


def test_an_item_is_found_by_a_part_of_its_name(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    served.hub.publish("A4-My-First")
    assert run(["hub", "update", "A4", "--preview"]) == 0
    assert "0 copies" in capfd.readouterr().out


def test_two_wishes_at_once_are_refused(served: Served) -> None:
    assert run([*COMMAND, "--preview", "--undo"]) == 2
