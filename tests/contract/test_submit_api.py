"""Handing in on the hub (compatibility-0.3.16.md 2.3, 3; B59, B157): acknowledged means kept."""

from __future__ import annotations

import asyncio
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.names import ItemName, Username
from mograder.store.submissions.submissions import Submissions
from tests.support.hub_app import Hub
from tests.support.hub_copies import OTHER, WORK, ask, begin, folder
from tests.support.notebooks import notebook

ALICE = Username.parse("alice")
A1 = ItemName.parse("A1")
NOW = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)
CHECKED = notebook(
    "from mograder.runtime import check",
    'check("Q1: sums", [(True, "")])',
    'check("Q2: products", [(True, "")])',
)


async def test_b157_a_submission_is_kept_and_the_link_leads_to_it(hub: Hub) -> None:
    await begin(hub)
    answer = (await ask(hub, "POST", "/submit/alice/A1")).json()
    told = answer.pop("submitted_path")
    receipt = answer.pop("receipt")
    assert answer == {
        "status": "ok",
        "tampered_checks": [],
        "tampered_marks": False,
        "late": False,
    }
    assert (receipt["user"], receipt["sequence"], receipt["late"]) == ("alice", 1, False)
    place = hub.course / "submitted" / "A1"
    path = place / f"alice_{hub.clock.now():%Y%m%dT%H%M%S}.py"
    assert told == str(path)
    assert path.read_text() == WORK
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (place / "alice.py").readlink() == Path(path.name)
    assert (folder(hub) / ".submitted").is_file()
    assert ("alice", "submit", "alice/A1", "ok") in hub.audit()


async def test_b157_the_history_is_kept_over_resubmissions(hub: Hub) -> None:
    notebook = await begin(hub)
    await ask(hub, "POST", "/submit/alice/A1")
    notebook.write_text(OTHER)
    await ask(hub, "POST", "/submit/alice/A1")
    place = hub.course / "submitted" / "A1"
    history = [path for path in place.iterdir() if not path.is_symlink()]
    assert {path.read_text() for path in history} == {WORK, OTHER}
    assert (place / "alice.py").read_text() == OTHER


async def test_two_tabs_that_submit_at_once_keep_both(hub: Hub) -> None:
    await begin(hub)
    answers = await asyncio.gather(*(ask(hub, "POST", "/submit/alice/A1") for _ in range(3)))
    assert len({answer.json()["submitted_path"] for answer in answers}) == 3


async def test_changed_checks_are_named_by_their_question(hub: Hub) -> None:
    (hub.course / "hub-release" / "A1" / "A1.py").write_text(CHECKED)
    await begin(hub, CHECKED.replace('"Q2: products", [(True, "")]', '"Q2: products", []'))
    answer = (await ask(hub, "POST", "/submit/alice/A1")).json()
    assert answer["tampered_checks"] == ["Q2"]
    assert answer["tampered_marks"] is False


async def test_a_name_that_reads_as_a_submission_is_refused(hub: Hub) -> None:
    user = "alice_20260310T200800"
    await ask(hub, "POST", "/download/A1", user=user)
    response = await ask(hub, "POST", f"/submit/{user}/A1", user=user)
    assert response.status_code == 400


def test_a_fetched_file_in_the_links_place_becomes_history(tmp_path: Path) -> None:
    place = tmp_path / "A1"
    place.mkdir()
    (place / "alice.py").write_text("fetched")
    os.utime(place / "alice.py", (NOW.timestamp(), NOW.timestamp()))
    Submissions(tmp_path).add(ALICE, A1, b"new", NOW)
    texts = {path.name: path.read_text() for path in place.iterdir()}
    assert sorted(texts.values()) == ["fetched", "new", "new"]
    assert texts["alice.py"] == "new"


def test_there_is_an_end_to_submissions(tmp_path: Path) -> None:
    submissions = Submissions(tmp_path)
    (tmp_path / "A1").mkdir()
    for number in range(1, 5001):
        (tmp_path / "A1" / f"alice_20260310T200800-{number}.py").touch()
    with pytest.raises(Conflict, match="5000 times"):
        submissions.add(ALICE, A1, b"", NOW)
    submissions.add(Username.parse("bob"), A1, b"", NOW)
    with pytest.raises(InvalidInput):
        submissions.add(Username.parse("bob_20260310T200800-1"), A1, b"", NOW)
