"""The visibility of an item, from a given time: read from 0.3.16's file, closed when in doubt.

See compatibility-0.3.16.md 2.3.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.core.item_dates import Visibility
from mograder.store.releases.release_times import VisibilityRules
from tests.support.threads import at_once

NOW = datetime(2026, 9, 1, tzinfo=UTC)


def write(path: Path, text: str) -> VisibilityRules:
    """Rules from a file with this text."""
    path.write_text(text)
    return VisibilityRules(path)


def test_without_a_file_everything_is_visible(tmp_path: Path) -> None:
    assert VisibilityRules(tmp_path / "none").of("A1").visible(NOW)


def test_rules_are_read_and_read_again_when_they_change(tmp_path: Path) -> None:
    path = tmp_path / "rules"
    rules = write(path, json.dumps({"A1": {"hidden": True}, "A2": {}}))
    assert not rules.of("A1").visible(NOW)
    assert rules.of("A2").visible(NOW)
    assert rules.of("A3").visible(NOW)
    path.write_text("{ }")
    assert rules.of("A1").visible(NOW)
    path.unlink()
    assert rules.of("A1").visible(NOW)


def test_an_item_opens_at_its_time(tmp_path: Path) -> None:
    rules = write(tmp_path / "rules", '{"A1": {"visible_from": "2026-09-01T02:00:00+02:00"}}')
    assert rules.of("A1").visible(NOW)
    assert not rules.of("A1").visible(datetime(2026, 8, 31, 23, 59, tzinfo=UTC))


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[]", '{"A1": 3}', '{"A1": {"visible_from": "soon"}}', "\xff" * 9),
        pytest.param("[" * 100_000, id="nested without bound"),
        pytest.param("{}" + " " * 2_000_000, id="without bound"),
    ],
)
def test_what_cannot_be_read_hides_everything(tmp_path: Path, text: str) -> None:
    rules = write(tmp_path / "rules", text)
    assert not rules.of("A1").visible(NOW)
    assert not rules.of("anything").visible(NOW)


def test_the_refusal_tells_the_time_only_of_what_will_open() -> None:
    later = datetime(2030, 1, 1, 9, tzinfo=UTC)
    opening = Visibility(visible_from=later).refusal(NOW)
    assert opening.message == "Not available until Tue 01 Jan 2030, 09:00"
    assert Visibility(hidden=True, visible_from=later).refusal(NOW).message == "Not available"


def test_two_hubs_that_change_rules_at_once_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "hub-release" / ".visibility.json"
    hubs = [VisibilityRules(path) for _ in range(4)]
    hidden = Visibility(hidden=True)

    def hide(number: int) -> None:
        for each in range(5):
            hubs[number].change({f"A{number}{each}": hidden})

    at_once(4, hide)
    assert len(hubs[0].all()) == 20


def test_the_course_file_opens_what_has_no_rule(tmp_path: Path) -> None:
    path, later = tmp_path / "rules", NOW + timedelta(days=3)
    rules = VisibilityRules(path, opens=lambda: {"A1": later, "A2": later})
    assert rules.all() == dict.fromkeys(("A1", "A2"), Visibility(visible_from=later))
    rules.change({"A1": Visibility(), "A2": Visibility(visible_from=later)})
    assert rules.of("A1").visible(NOW)
    assert not rules.of("A2").visible(NOW)
    assert json.loads(path.read_text()) == {"A1": {}}, "a rule equal to the course's is not kept"
    rules.change({}, replace=True)
    assert not rules.of("A1").visible(NOW)
    path.write_text("no JSON")
    assert not rules.of("A1").visible(later)


def test_openings_are_looked_up_for_an_item_without_a_rule_only(tmp_path: Path) -> None:
    """They are in the gradebook, which may have to be read for that."""
    asked: list[int] = []

    def opens() -> dict[str, datetime]:
        asked.append(1)
        return {}

    VisibilityRules(tmp_path / "rules").change({"A1": Visibility(hidden=True)})
    rules = VisibilityRules(tmp_path / "rules", opens=opens)
    assert not rules.of("A1").visible(NOW)
    assert asked == []
    assert rules.of("A2").visible(NOW)
    assert asked == [1]
