"""``mograder hub rehearse`` and ``warm``, against a hub that is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.sessions.rehearsal import Pace
from mograder.store.releases.releases import ItemKind
from mograder.web.hub import rehearsal
from tests.contract.test_hub_course_commands import served
from tests.support.command_line import cli
from tests.support.moodle.teacher import ServedHub

__all__ = ["served"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearse without waiting."""
    monkeypatch.setattr(rehearsal, "_PACE", Pace(look=0.01, settle=0.01, news=0.01))


def test_a_rehearsal_tells_what_failed_and_ends_with_1(served: ServedHub) -> None:
    first, second, *others = cli("hub rehearse a1 --students 2 --within 0", status=1).lines
    assert first.startswith("A1: 2 students within 0 s. This takes about ")
    assert second.startswith("0 of 2 ran all cells, 0 started warm; it took ")
    assert others[-1].startswith("  2 failed: The notebook's server did not answer")
    told = cli("hub rehearse A1 --students 1 --within 0 --json", status=1).json
    assert (told["students"], told["failed"], told["memory_each"]) == (1, 1, 0)


def test_an_item_that_is_not_there_is_named(served: ServedHub) -> None:
    for command in ("rehearse", "warm"):
        told = cli(f"hub {command} Z9", status=3).err
        assert "There is no item 'Z9' on the hub.\nThere are: A1, L01." in told
    assert cli("hub rehearse A1 --cancel").out == "No rehearsal runs.\n"


def test_items_are_warmed_now_or_for_a_time(served: ServedHub, tmp_path: Path) -> None:
    assert cli("hub warm l-01 A1").out == "  A1: ready\n  L01: ready\n"
    assert cli("hub warm").out == "No times are set.\n"
    at = ["--at", "2040-10-12T09:00", "--timezone", "Europe/Berlin"]
    assert cli("hub warm L01", *at).out == "  L01: Fri 12 Oct 2040, 09:00 CEST\n"
    printed = cli("hub warm --json")
    assert printed.json["planned"] == {"L01": ["2040-10-12T09:00:00+02:00"]}
    assert cli("hub warm L01 --forget").out == "No times are set.\n"


def test_an_item_is_found_by_a_part_of_its_name_unless_a_demo_has_that(served: ServedHub) -> None:
    """Demos stand in no list."""
    served.hub.publish("L02-Random-Numbers", ItemKind.LECTURE)
    rehearsal = "--students 1 --within 0"
    for typed, name in (("Random", "L02-Random-Numbers"), ("Numbers", "Numbers")):
        if typed == name:
            served.hub.publish(name, ItemKind.DEMO)
        assert f"  {name}: ready\n" in cli(f"hub warm {typed}").out
        (first, *_) = cli(f"hub rehearse {typed} {rehearsal}", status=1).lines
        assert first.startswith(f"{name}: 1 students")
    assert "'L0' may mean L01, L02-Random-Numbers." in cli("hub warm L0", status=2).err


@pytest.mark.parametrize(
    "options", [["--at", "2040-10-12"], ["--forget"], ["A1", "--at", "2040-10-12", "--forget"]]
)
def test_wrong_options_are_refused(served: ServedHub, options: list[str]) -> None:
    cli("hub warm", *options, status=2)
