"""Handing in on the hub: what is said before, what is proved after, and what becomes of it.

compatibility-0.3.16.md 2.3, 3; B59, B157: acknowledged means kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import stat
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from mograder.core.errors import Busy, Conflict, InvalidInput
from mograder.core.names import ItemName, Username
from mograder.processes import isolated_call
from mograder.processes.isolated_call import IsolatedCall
from mograder.processes.notebook_calls import compare
from mograder.sandbox.execution.report import CellResult, CellStatus, ExecutionResult, Outcome
from mograder.sessions.session import CopyOf
from mograder.sessions.student_copies import Copies
from mograder.store.copies.workspaces import Saved
from mograder.store.submissions.receipts import is_genuine, read_receipt
from mograder.store.submissions.submissions import Submissions
from mograder.web.hub.copies import hand_in
from tests.support.hub_app import SECRET, Hub, HubOf
from tests.support.hub_copies import FORM, OTHER, WORK, ask, begin, folder, press, read
from tests.support.notebooks import notebook

TOML = """[hub]
collect = true
[items.A1]
due = 2026-09-01T10:00Z
closes = 2026-09-03T10:00Z
[penalties]
enabled = true
"""
RELEASE = notebook(
    'mo.md("## Question 1: a sum")',
    "# YOUR CODE HERE\ntotal = ...",
    'check("Q1: the sum", [])',
    'mo.md("## Written analysis")',
    """
    @app.cell
    def written_analysis(mo):
        mo.md("*Write your answer here.*")
        return
    """,
)
CHECKED = notebook(
    "from mograder.runtime import check",
    'check("Q1: sums", [(True, "")])',
    'check("Q2: products", [(True, "")])',
)
LARGE = "# quick\n" * 10_000 + WORK
"""It is compared in a process of its own."""
ALICE, A1 = Username.parse("alice"), ItemName.parse("A1")
NOW = datetime(2026, 3, 10, 20, 8, tzinfo=UTC)


@pytest.fixture
def hub(hub_of: HubOf) -> Hub:
    return hub_of(TOML, "A1")


async def test_what_is_missing_is_said_once_and_then_handed_in(hub: Hub) -> None:
    (hub.course / "hub-release" / "A1" / "A1.py").write_text(RELEASE)
    await begin(hub, RELEASE.replace("total = ...", "total = 5"))
    hub.clock.advance(3600 + 12 * 60)
    asked = await press(hub, "/hand-in/alice/A1")
    assert asked.status_code == 200
    assert "It was not validated as it is now." in asked.text
    assert "Written analysis is not answered." in asked.text
    assert "It is 12 minutes late: −5 % of the mark." in asked.text
    assert 'action="/submit/alice/A1?late=replace"' in asked.text
    assert not (hub.course / "submitted").exists()
    told = (await ask(hub, "POST", "/hand-in/alice/A1")).json()
    assert told["words"][1] == "Written analysis is not answered."
    done = await press(hub, "/submit/alice/A1?late=replace")
    assert done.status_code == 303
    home = await read(hub, "/")
    assert "<strong>Handed in</strong>" in home
    assert "12 minutes late (−5 %)" in home


async def test_the_status_never_loses_the_submission(hub: Hub) -> None:
    notebook = await begin(hub)
    assert ">Hand in<" in await read(hub, "/")
    await ask(hub, "POST", "/submit/alice/A1")
    home = await read(hub, "/")
    assert ", on time</span>" in home
    assert "edited since" not in home
    notebook.touch()
    assert "edited since" not in await read(hub, "/"), "saved again without a change"
    notebook.write_text(OTHER)
    home = await read(hub, "/")
    assert ", on time</span>" in home
    assert "edited since: hand in again?" in home
    hub.clock.advance(3 * 86_400)
    home = await read(hub, "/")
    assert "<strong>Handed in</strong>" in home
    assert "hand in again?" not in home, "submissions have ended"


async def test_the_first_page_tells_what_came_by_another_door_without_a_copy(hub: Hub) -> None:
    """The assignment server of a course keeps its submissions in the same place."""
    Submissions(hub.course / "submitted").add(ALICE, A1, WORK.encode(), hub.clock.now())
    home = await read(hub, "/")
    assert "not started" in home
    assert "<strong>Handed in</strong>" in home
    assert 'href="/submissions/alice/A1"' in home
    assert "Handed in</strong>" not in await read(hub, "/", "bob")
    for path in ("/submissions/alice/A1", "/submissions/alice/A1/1"):
        assert "to=now" not in await read(hub, path), "there is nothing to compare it with"


async def test_a_copy_that_was_reset_after_it_was_handed_in_is_not_handed_in_again(
    hub: Hub,
) -> None:
    """Nothing in it is answered; its file is as old as the release."""
    notebook = await begin(hub)
    now = hub.clock.now().timestamp()
    os.utime(hub.course / "hub-release" / "A1" / "A1.py", (now - 86_400, now - 86_400))
    os.utime(notebook, (now, now))
    await ask(hub, "POST", "/submit/alice/A1")
    hub.clock.advance(60)
    await ask(hub, "POST", "/reset/alice/A1")
    told = (await ask(hub, "GET", "/standing/alice/A1")).json()
    assert (told["edited"], told["hand_in"]) == (False, False)
    assert told["saved"] == hub.clock.now().timestamp()
    home = await read(hub, "/")
    assert "begun anew since" in home
    assert "hand in again?" not in home
    assert ">submitted</span>" not in home
    assert "begun anew since" in await read(hub, "/submissions/alice/A1")
    notebook.write_text(OTHER)
    told = (await ask(hub, "GET", "/standing/alice/A1")).json()
    assert (told["edited"], told["hand_in"]) == (True, True)
    assert "edited since: hand in again?" in await read(hub, "/")


async def test_what_is_saved_while_a_submission_is_compared_is_not_called_submitted(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = await begin(hub)
    now = hub.clock.now().timestamp()
    for each, at in ((notebook, now), (notebook.with_name(".uploaded"), now - 60)):
        os.utime(each, (at, at))

    async def slow(*_: object, **_more: object) -> tuple[str, ...]:
        notebook.write_text(OTHER)
        os.utime(notebook, (now + 1, now + 1))
        return ()

    monkeypatch.setattr(Copies, "compare", slow)
    assert (await ask(hub, "POST", "/submit/alice/A1")).status_code == 200
    assert (hub.course / "submitted" / "A1" / "alice.py").read_text() == WORK
    home = await read(hub, "/")
    assert ">submitted</span>" not in home
    assert "edited since: hand in again?" in home


async def test_a_release_that_is_withdrawn_while_somebody_hands_in_keeps_nobody_from_it(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(hub)
    read_bytes = Path.read_bytes

    def gone(path: Path) -> bytes:
        if "hub-release" in path.parts:
            raise FileNotFoundError(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert (await ask(hub, "POST", "/submit/alice/A1")).status_code == 200
    assert (hub.course / "submitted" / "A1" / "alice.py").read_text() == WORK


async def test_what_is_saved_right_after_it_was_read_is_told_from_the_submission(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor saves a second after the last key, and a class that hands in keeps the hub busy."""
    notebook = await begin(hub)
    now = hub.clock.now().timestamp()
    for each in (notebook, notebook.with_name(".uploaded")):
        os.utime(each, (now - 60, now - 60))
    export = Copies.export

    async def export_then_save(copies: Copies, copy: CopyOf) -> Saved:
        saved = await export(copies, copy)
        hub.clock.advance(0.1)
        notebook.write_text(OTHER)
        at = hub.clock.now().timestamp()
        os.utime(notebook, (at, at))
        hub.clock.advance(0.1)
        return saved

    monkeypatch.setattr(Copies, "export", export_then_save)
    assert (await ask(hub, "POST", "/submit/alice/A1")).status_code == 200
    assert (hub.course / "submitted" / "A1" / "alice.py").read_text() == WORK
    assert (await ask(hub, "GET", "/standing/alice/A1")).json()["edited"] is True


@pytest.mark.parametrize("ahead", [-60, 5], ids=["clocks agree", "the hub's clock is ahead"])
async def test_an_earlier_version_that_is_renamed_into_place_is_told_from_the_submission(
    hub_of: HubOf, ahead: int
) -> None:
    """As in marimo's file panel: a rename keeps the time of the last save."""
    hub = hub_of(TOML.replace("2026-09", "2999-09"), "A1")
    notebook = await begin(hub)
    earlier = notebook.with_name("A1.bak.20260801T090000.py")
    earlier.write_text(OTHER)
    # The disk's clock tells when the file was renamed.
    hub.clock.set_by(earlier.stat().st_ctime + ahead - hub.clock.now().timestamp())
    then = hub.clock.now().timestamp() - 60
    for each in (earlier, notebook, notebook.with_name(".uploaded")):
        os.utime(each, (then, then))
    await ask(hub, "POST", "/submit/alice/A1")
    assert (await ask(hub, "GET", "/standing/alice/A1")).json()["edited"] is False
    earlier.rename(notebook)
    assert (await ask(hub, "GET", "/standing/alice/A1")).json()["edited"] is True


async def test_late_work_replaces_what_was_on_time_only_if_that_is_said(hub: Hub) -> None:
    notebook = await begin(hub)
    await ask(hub, "POST", "/submit/alice/A1")
    notebook.write_text(OTHER)
    hub.clock.advance(2 * 3600)
    assert "You handed in on time before." in (await press(hub, "/hand-in/alice/A1")).text
    assert (await ask(hub, "POST", "/submit/alice/A1")).status_code == 409
    counts = hub.course / "submitted" / "A1" / "alice.py"
    assert counts.read_text() == WORK
    answer = (await ask(hub, "POST", "/submit/alice/A1?late=replace")).json()
    assert answer["late"] is True
    assert counts.read_text() == OTHER


async def test_an_instructor_lets_late_work_count_that_was_kept_beside_work_in_time(
    hub: Hub,
) -> None:
    """An extension that comes afterwards does not let it count by itself."""
    notebook = await begin(hub)
    await ask(hub, "POST", "/submit/alice/A1")
    notebook.write_text(OTHER)
    hub.clock.advance(2 * 3600)
    assert (await ask(hub, "POST", "/submit/alice/A1")).status_code == 409
    fields = {"due": "2026-09-01T12:00", "timezone": "UTC", "action": "dates"}
    seen = await press(hub, "/marking/A1/late/preview", "prof", data=fields)
    assert "alice (submission 2)" in seen.text
    assert "Let it" not in await read(hub, "/submissions/alice/A1")
    assert "/submissions/alice/A1/2/pick" in await read(hub, "/submissions/alice/A1", "prof")
    assert (await press(hub, "/submissions/alice/A1/2/pick")).status_code == 403
    picked = await press(hub, "/submissions/alice/A1/2/pick", "prof")
    assert picked.headers["location"] == "/submissions/alice/A1?done=picked"
    assert "you have picked counts" in await read(hub, picked.headers["location"], "prof")
    assert (hub.course / "submitted" / "A1" / "alice.py").read_text() == OTHER
    assert ("prof", "pick", "alice/A1 submission 2", "ok") in hub.audit()


async def test_the_same_work_again_late_keeps_the_time_at_which_it_came(hub: Hub) -> None:
    """The answer to the first try may have been lost."""
    await begin(hub)
    first = (await ask(hub, "POST", "/submit/alice/A1")).json()
    for hours in (2, 3 * 24):  # late, and after the end
        hub.clock.advance(hours * 3600)
        told = (await ask(hub, "POST", "/hand-in/alice/A1")).json()
        assert (told["late"], told["closed"]) == (False, "")
        for path in ("/submit/alice/A1", "/submit/alice/A1?late=replace"):
            again = (await ask(hub, "POST", path)).json()
            assert (again["late"], again["receipt"]) == (False, first["receipt"])
    assert len(list((hub.course / "submitted" / "A1").glob("alice_*.py"))) == 1


async def test_an_earlier_version_that_is_brought_back_late_keeps_its_time(hub: Hub) -> None:
    notebook = await begin(hub)
    first = (await ask(hub, "POST", "/submit/alice/A1")).json()
    notebook.write_text(OTHER)
    hub.clock.advance(2 * 3600)
    assert (await ask(hub, "POST", "/submit/alice/A1?late=replace")).json()["late"] is True
    notebook.write_text(WORK)
    hub.clock.advance(60)
    told = (await ask(hub, "POST", "/hand-in/alice/A1")).json()
    assert not [each for each in told["words"] if "late" in each]
    assert told["closed"] == ""
    again = (await ask(hub, "POST", "/submit/alice/A1")).json()
    assert (again["late"], again["receipt"]) == (False, first["receipt"])
    assert (hub.course / "submitted" / "A1" / "alice.py").read_text() == WORK
    assert len(list((hub.course / "submitted" / "A1").glob("alice_*.py"))) == 2
    hub.clock.advance(3 * 24 * 3600)
    notebook.write_text(OTHER)
    assert (await ask(hub, "POST", "/hand-in/alice/A1")).json()["closed"]
    assert (await ask(hub, "POST", "/submit/alice/A1")).status_code == 409


async def test_a_question_asked_in_time_does_not_let_late_work_replace_what_was_on_time(
    hub: Hub,
) -> None:
    notebook = await begin(hub)
    await ask(hub, "POST", "/submit/alice/A1")
    notebook.write_text(OTHER)
    asked = await press(hub, "/hand-in/alice/A1")
    assert "It was not validated as it is now." in asked.text
    assert 'action="/submit/alice/A1"' in asked.text
    assert (await ask(hub, "POST", "/hand-in/alice/A1")).json()["late"] is False
    hub.clock.advance(2 * 3600)
    assert (await press(hub, "/submit/alice/A1")).status_code == 409
    assert (hub.course / "submitted" / "A1" / "alice.py").read_text() == WORK


@pytest.fixture
async def slow_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub with work at the last moment, where each comparison ends three days later.

    With a whole class at the deadline a comparison waits for its turn.
    """

    async def slow(*_: object, **_more: object) -> tuple[str, ...]:
        hub.clock.advance(3 * 86_400)
        return ()

    await begin(hub)
    hub.clock.advance(3600)
    monkeypatch.setattr(Copies, "compare", slow)
    return hub


async def test_what_is_handed_in_at_the_last_moment_is_not_late_while_it_is_compared(
    slow_hub: Hub,
) -> None:
    answer = await ask(slow_hub, "POST", "/submit/alice/A1")
    assert answer.status_code == 200, answer.text
    assert answer.json()["late"] is False


async def test_the_question_before_goes_by_the_time_at_which_it_was_asked(slow_hub: Hub) -> None:
    told = (await ask(slow_hub, "POST", "/hand-in/alice/A1")).json()
    assert (told["late"], told["closed"]) == (False, "")


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
async def test_where_nothing_is_missing_one_press_hands_in_as_at_its_time(
    slow_hub: Hub, accept: str
) -> None:
    """In the bar as on the first page: the comparison before takes seconds, too."""
    now = slow_hub.clock.now().timestamp()
    for name in ("A1.py", ".uploaded"):
        os.utime(folder(slow_hub) / name, (now, now))
    cell = CellResult(0, "_", CellStatus.OK)
    slow_hub.runs.result = ExecutionResult(Outcome.FINISHED, (cell,), ())
    assert (await ask(slow_hub, "POST", "/validate/alice/A1")).json()["ok"]
    headers, pressed = {**FORM, "Accept": accept}, slow_hub.clock.now()
    answer = await ask(slow_hub, "POST", "/hand-in/alice/A1", headers=headers)
    assert answer.status_code in (200, 303), answer.text
    sent = Submissions(slow_hub.course / "submitted").counting(ALICE, A1)
    assert sent is not None
    assert sent.received == pressed


async def test_one_press_hands_in_the_text_that_was_there_when_it_was_pressed(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = await begin(hub)
    now = hub.clock.now().timestamp()
    for each in (notebook, notebook.with_name(".uploaded")):
        os.utime(each, (now, now))
    cell = CellResult(0, "_", CellStatus.OK)
    hub.runs.result = ExecutionResult(Outcome.FINISHED, (cell,), ())
    assert (await ask(hub, "POST", "/validate/alice/A1")).json()["ok"]

    async def compare_while_it_is_saved(*_: object, **_more: object) -> tuple[str, ...]:
        notebook.write_text(OTHER)
        os.utime(notebook, (now, now))  # so it does not look newer than what was validated
        return ()

    monkeypatch.setattr(Copies, "compare", compare_while_it_is_saved)
    answer = await ask(hub, "POST", "/hand-in/alice/A1")
    assert answer.json()["status"] == "ok", answer.text
    assert (hub.course / "submitted" / "A1" / "alice.py").read_text() == WORK


async def test_work_is_kept_before_it_is_compared_and_a_comparison_may_fail_to_end(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []

    async def endless(*_: object, **_more: object) -> tuple[str, ...]:
        kept.append((hub.course / "submitted" / "A1" / "alice.py").exists())
        await asyncio.Event().wait()
        return ()

    await begin(hub)
    monkeypatch.setattr(Copies, "compare", endless)
    monkeypatch.setattr(hand_in, "_COMPARE_SECONDS", 0.01)
    monkeypatch.setattr(hand_in, "_PATIENCE_SECONDS", 0.01)
    assert (await ask(hub, "POST", "/submit/alice/A1")).json()["tampered_marks"] is False
    assert kept == [True]


@pytest.mark.parametrize(
    ("place", "name", "error"),
    [
        (isolated_call, "_ask", Busy("The process was killed.")),
        (asyncio, "create_subprocess_exec", BlockingIOError("no more processes")),
    ],
)
async def test_work_whose_comparison_has_no_process_is_handed_in_all_the_same(
    place: ModuleType, name: str, error: Exception, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is short of memory or processes until after the deadline."""

    async def fail(*_: object, **_more: object) -> bytes:
        raise error

    monkeypatch.setattr(place, name, fail)
    monkeypatch.setattr(isolated_call, "SYSTEM", "linux")
    await begin(hub, LARGE)
    assert (await ask(hub, "POST", "/hand-in/alice/A1")).status_code == 200
    answer = await ask(hub, "POST", "/submit/alice/A1")
    assert answer.status_code == 200, answer.text
    assert answer.json()["tampered_checks"] == []
    assert answer.json()["receipt"]["sha256"] == hashlib.sha256(LARGE.encode()).hexdigest()


async def test_what_others_let_wait_is_handed_in_without_a_comparison(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a deadline comparisons that waited for nearly all of their time would be killed."""
    asked, may_end = asyncio.Event(), asyncio.Event()

    async def ask_process(request: bytes, seconds: int) -> bytes:
        asked.set()
        if b"slow" in request:
            await may_end.wait()
        return b'{"result": ["marks"]}'

    monkeypatch.setattr(isolated_call, "_ask", ask_process)
    monkeypatch.setattr(isolated_call, "_AT_ONCE", 1)
    monkeypatch.setattr(isolated_call, "SYSTEM", "linux")
    monkeypatch.setattr(hand_in, "_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(hand_in, "_COMPARE_SECONDS", 600.0)
    await begin(hub, LARGE)
    call = partial(compare, "# slow", "A1.py", "# slow")
    slow = asyncio.create_task(IsolatedCall().call(call, size=40_000))
    await asked.wait()
    answer = (await ask(hub, "POST", "/submit/alice/A1")).json()
    assert answer["tampered_marks"] is False
    may_end.set()
    assert await slow == ("marks",)
    answer = (await ask(hub, "POST", "/submit/alice/A1")).json()
    assert answer["tampered_marks"] is True


async def test_pages_of_a_hidden_item_tell_nothing_to_those_without_work(hub: Hub) -> None:
    rules = {"items": {"A1": {"hidden": True}}}
    assert (await ask(hub, "POST", "/visibility", "prof", json=rules)).status_code == 200
    for path in ("/submissions/alice/A1", "/versions/alice/A1"):
        assert (await ask(hub, "GET", path)).status_code == 404
        assert (await ask(hub, "GET", path, "prof")).status_code == 200


async def test_large_notebooks_of_one_person_do_not_hold_up_what_others_hand_in(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, may_end = asyncio.Event(), asyncio.Event()

    async def ask_process(request: bytes, seconds: int) -> bytes:
        if b"slow" in request:
            asked.set()
            await may_end.wait()
        return b'{"result": []}'

    monkeypatch.setattr(isolated_call, "_ask", ask_process)
    monkeypatch.setattr(isolated_call, "SYSTEM", "linux")
    monkeypatch.setattr(hand_in, "_PATIENCE_SECONDS", 600.0)
    await begin(hub, "# slow\n" * 10_000 + WORK)
    await ask(hub, "POST", "/download/A1", user="bob")
    folder(hub, "bob").joinpath("A1.py").write_text("# quick\n" * 10_000 + WORK)
    many = [asyncio.create_task(ask(hub, "POST", "/hand-in/alice/A1")) for _ in range(12)]
    await asked.wait()
    async with asyncio.timeout(60):
        assert (await ask(hub, "POST", "/submit/bob/A1", user="bob")).status_code == 200
    assert not any(each.done() for each in many)
    may_end.set()
    assert {each.status_code for each in await asyncio.gather(*many)} == {200}


async def test_what_work_loses_after_the_last_moment_is_said_without_a_due_date(
    hub_of: HubOf,
) -> None:
    """The rule's hard limit leaves no marks, whatever the due date."""
    rule = '[penalties]\nenabled = true\nhard_limit = "2026-08-31T10:00Z"\n'
    hub = hub_of(f"[hub]\ncollect = true\n{rule}", "A1")
    await begin(hub)
    told = (await ask(hub, "POST", "/hand-in/alice/A1")).json()
    assert "It is after the last moment: −100 % of the mark." in told["words"]
    await ask(hub, "POST", "/submit/alice/A1")
    for path in ("/", "/submissions/alice/A1"):
        shown = " ".join((await read(hub, path)).split())
        assert re.search(r"</time>, after the last moment \(−100 %\)", shown), path
    answer = (await ask(hub, "GET", "/standing/alice/A1")).json()
    assert answer["late"] == "after the last moment, −100 %"


async def test_after_the_end_nothing_is_taken_but_from_those_with_an_extension(hub: Hub) -> None:
    await begin(hub)
    hub.clock.advance(3 * 86_400)
    for path in ("/submit/alice/A1", "/submit/alice/A1?late=replace"):
        assert (await ask(hub, "POST", path)).status_code == 409
    assert "Submissions to A1 have ended." in (await press(hub, "/hand-in/alice/A1")).text
    assert not (hub.course / "submitted").exists()


async def test_each_submission_has_a_receipt_that_the_hub_verifies(hub: Hub) -> None:
    notebook = await begin(hub)
    first = (await ask(hub, "POST", "/submit/alice/A1")).json()["receipt"]
    notebook.write_text(OTHER)
    second = (await ask(hub, "POST", "/submit/alice/A1")).json()["receipt"]
    receipt = read_receipt(json.dumps(first))
    assert is_genuine(SECRET, receipt)
    assert (receipt.sequence, receipt.sha256) == (1, hashlib.sha256(WORK.encode()).hexdigest())
    kept = (await ask(hub, "GET", "/submissions/alice/A1/1/receipt")).json()
    assert kept["receipt"] == first
    assert kept["server"].startswith("http")
    async with hub.client() as nobody:
        told = (await nobody.post("/receipts/verify", json=first)).json()
        assert (await nobody.post("/receipts/verify", json=kept)).json() == told
        assert (told["valid"], told["stored"], told["counts"]) == (True, True, False)
        assert (await nobody.post("/receipts/verify", json=second)).json()["counts"] is True
        forged = (await nobody.post("/receipts/verify", json={**first, "late": True})).json()
        assert (forged["valid"], forged["stored"]) == (False, False)
        assert (await nobody.post("/receipts/verify", json={"x": 1})).status_code == 400


async def test_the_receipt_of_work_that_was_fetched_holds_after_the_next_submission(
    hub: Hub,
) -> None:
    await begin(hub)
    place = hub.course / "submitted" / "A1"
    place.mkdir(parents=True)
    (place / "alice.py").write_text(OTHER)
    fetched = datetime(2026, 9, 1, 11, tzinfo=UTC).timestamp()
    (place / ".fetch_metadata.json").write_text(json.dumps({"alice": fetched}))
    hub.clock.advance(3 * 3600)
    path = "/submissions/alice/A1/1/receipt"
    first = (await ask(hub, "GET", path)).json()["receipt"]
    assert (first["filename"], first["sequence"], first["late"]) == ("alice.py", 1, True)
    second = (await ask(hub, "POST", "/submit/alice/A1")).json()["receipt"]
    assert (second["sequence"], second["late"]) == (2, True)
    again = (await ask(hub, "GET", path)).json()["receipt"]
    assert again["filename"] == "alice_20260901T110000.py"
    assert (again["sha256"], again["late"]) == (first["sha256"], True)
    async with hub.client() as nobody:
        for receipt, counts in ((first, False), (again, False), (second, True)):
            told = (await nobody.post("/receipts/verify", json=receipt)).json()
            assert (told["valid"], told["stored"], told["counts"]) == (True, True, counts)


async def test_submissions_are_listed_read_compared_and_brought_back(hub: Hub) -> None:
    notebook = await begin(hub)
    await ask(hub, "POST", "/submit/alice/A1")
    notebook.write_text(OTHER)
    await ask(hub, "POST", "/submit/alice/A1")
    listed = await read(hub, "/submissions/alice/A1")
    assert listed.index("Submission 2") < listed.index("Submission 1")
    assert hashlib.sha256(WORK.encode()).hexdigest()[:16] in listed
    assert "Submission 2 <span" in listed.replace("\n", " ")
    assert "app = marimo.App()" in await read(hub, "/submissions/alice/A1/1")
    assert "What has changed in the notebook since." in await read(
        hub, "/submissions/alice/A1/1?to=now"
    )
    assert (await ask(hub, "GET", "/submissions/alice/A1/1/file")).text == WORK
    assert (await ask(hub, "GET", "/submissions/alice/A1/9")).status_code == 404
    answer = await press(hub, "/submissions/alice/A1/1/restore")
    assert answer.headers["location"] == "/submissions/alice/A1?done=restored"
    assert notebook.read_text() == WORK
    versions = (await ask(hub, "GET", "/timeline/alice/A1")).json()
    assert versions[0]["origin"] == "restore"


async def test_a_submission_is_brought_back_with_the_data_files_that_are_missing(hub: Hub) -> None:
    """It was handed in from another computer, or the copy's folder was lost."""
    hub.publish("A1", files={"data.csv": b"1", "more/b.csv": b"2"})
    Submissions(hub.course / "submitted").add(ALICE, A1, WORK.encode(), hub.clock.now())
    folder(hub).mkdir(parents=True)
    (folder(hub) / "data.csv").write_text("hers")
    assert (await press(hub, "/submissions/alice/A1/1/restore")).status_code == 303
    files = {each.relative_to(folder(hub)).as_posix() for each in folder(hub).rglob("*.*sv")}
    assert files == {"data.csv", "more/b.csv"}
    assert (folder(hub) / "data.csv").read_text() == "hers"
    assert (folder(hub) / "A1.py").read_text() == WORK
    (folder(hub) / "more/b.csv").unlink()
    assert (await press(hub, "/submissions/alice/A1/1/restore")).status_code == 303
    assert not (folder(hub) / "more/b.csv").exists(), "a student may remove a file"


async def test_data_files_of_an_item_that_is_hidden_are_not_brought_back(hub: Hub) -> None:
    hub.publish("A1", files={"data.csv": b"1"})
    (hub.course / "hub-release" / ".visibility.json").write_text(
        json.dumps({"A1": {"hidden": True}})
    )
    Submissions(hub.course / "submitted").add(ALICE, A1, WORK.encode(), hub.clock.now())
    assert (await press(hub, "/submissions/alice/A1/1/restore")).status_code == 303
    assert (folder(hub) / "A1.py").read_text() == WORK
    assert not (folder(hub) / "data.csv").exists()


async def test_an_instructors_look_at_submissions_is_in_the_log(hub: Hub) -> None:
    await begin(hub)
    await ask(hub, "POST", "/submit/alice/A1")
    assert "By <strong>alice</strong>" in await read(hub, "/submissions/alice/A1", "prof")
    assert "Bring it back" not in await read(hub, "/submissions/alice/A1/1", "prof")
    assert ("prof", "read", "alice/A1 submission 1", "ok") in hub.audit()


# ---- what is kept ----


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


async def test_submissions_that_cannot_be_read_stop_no_other_item_and_are_a_problem(
    hub_of: HubOf,
) -> None:
    hub = hub_of(f"{TOML}[items.A2]\ndue = 2026-09-02T10:00Z\n[items.A3]\n", "A1", "A2")
    await begin(hub)
    await press(hub, "/download/A2")
    place = hub.course / "submitted" / "A1"
    place.parent.mkdir(exist_ok=True)
    place.write_text("a file")
    home = await read(hub, "/")
    assert home.count("What you handed in cannot be read at the moment") == 1
    assert "A2" in home
    for path in ("/submit/alice/A1", "/hand-in/alice/A1"):
        refused = await press(hub, path)
        assert refused.status_code == 400
        assert f"{place} cannot be used: " in refused.text
    assert (await ask(hub, "GET", "/standing/alice/A1")).status_code == 200
    assert (await press(hub, "/submit/alice/A2")).status_code == 303
    today = await read(hub, "/course/today", "prof")
    assert "1 handed in" in today
    assert "0 handed in" not in today
    assert f"{place} cannot be used: Not a directory." in await read(
        hub, "/course/problems", "prof"
    )
    of_the_item = await read(hub, "/course/items/A1", "prof")
    assert f"The marks cannot be shown. {place} cannot be used: " in of_the_item
    assert "students have submitted" not in of_the_item
    # The table can be saved as a file: it must not say "not begun" where work was handed in.
    assert str(place) in await read(hub, "/course/gradebook", "prof", status=400)
    place.unlink()
    assert (await press(hub, "/submit/alice/A1")).status_code == 303
    assert "cannot be" not in await read(hub, "/course/problems", "prof")


async def test_a_folder_of_submissions_that_cannot_be_read_leaves_the_first_page(hub: Hub) -> None:
    await begin(hub)
    (hub.course / "submitted").symlink_to("submitted")
    assert "cannot be read at the moment" in await read(hub, "/")
    refused = await press(hub, "/submit/alice/A1")
    assert refused.status_code == 400
    assert "submitted" in refused.text
    assert "cannot be used" in refused.text
