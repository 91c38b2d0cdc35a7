"""``mograder hub rehearse`` and ``warm``, against a hub that is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mograder.cli.main import run
from mograder.sessions.rehearsal import Pace
from mograder.web.hub.rehearsal import rehearsal
from tests.contract.test_hub_course_commands import Served, served

__all__ = ["served"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rehearse without waiting."""
    monkeypatch.setattr(rehearsal, "_PACE", Pace(look=0.01, settle=0.01, news=0.01))


def test_a_rehearsal_tells_what_failed_and_ends_with_1(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "rehearse", "a1", "--students", "2", "--within", "0"]) == 1
    first, second, *others = capfd.readouterr().out.splitlines()
    assert first.startswith("A1: 2 students within 0 s. This takes about ")
    assert second.startswith("0 of 2 ran all cells, 0 started warm; it took ")
    assert others[-1].startswith("  2 failed: The notebook's server did not answer")
    assert run(["hub", "rehearse", "A1", "--students", "1", "--within", "0", "--json"]) == 1
    told = json.loads(capfd.readouterr().out)
    assert (told["students"], told["failed"], told["memory_each"]) == (1, 1, 0)


def test_an_item_that_is_not_there_is_named(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "rehearse", "Z9"]) != 0
    assert "There is no such item on this hub." in capfd.readouterr().err
    assert run(["hub", "rehearse", "A1", "--cancel"]) == 0
    assert capfd.readouterr().out == "No rehearsal runs.\n"


def test_items_are_warmed_now_or_for_a_time(
    served: Served, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["hub", "warm", "l-01", "A1"]) == 0
    assert capfd.readouterr().out == "  A1: ready\n  L01: ready\n"
    assert run(["hub", "warm"]) == 0
    assert capfd.readouterr().out == "No times are set.\n"
    at = ["--at", "2040-10-12T09:00", "--timezone", "Europe/Berlin"]
    assert run(["hub", "warm", "L01", *at]) == 0
    assert capfd.readouterr().out == "  L01: Fri 12 Oct 2040, 09:00\n"
    assert run(["hub", "warm", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["planned"] == {"L01": ["2040-10-12T09:00:00+02:00"]}
    assert run(["hub", "warm", "L01", "--forget"]) == 0
    assert capfd.readouterr().out == "No times are set.\n"


@pytest.mark.parametrize(
    "options", [["--at", "2040-10-12"], ["--forget"], ["A1", "--at", "2040-10-12", "--forget"]]
)
def test_wrong_options_are_refused(served: Served, options: list[str]) -> None:
    assert run(["hub", "warm", *options]) == 2
