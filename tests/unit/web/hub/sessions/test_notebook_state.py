"""``GET /standing``: the state of session and copy for the bar above a notebook."""

from __future__ import annotations

import pytest

from mograder.sandbox.protocol import Mode
from mograder.sessions.end_reasons import EndReason
from tests.support.hub_app import Hub, HubOf
from tests.support.hub_copies import ask

ASK = "/standing/alice/A1?session=alice-A1"


async def test_a_session_that_runs_and_one_that_took_its_place(hub: Hub) -> None:
    hub.start("alice", "A1")
    assert (await ask(hub, "GET", ASK)).json()["state"] == "running"
    assert (await ask(hub, "GET", "/standing/alice/A1?session=before")).json()[
        "state"
    ] == "replaced"


async def test_an_ending_is_explained_by_the_id_of_the_session(hub: Hub) -> None:
    hub.start("alice", "A1")
    hub.end("alice", "A1", EndReason.OUTPUT)
    told = (await ask(hub, "GET", ASK)).json()
    assert told["state"] == "ended"
    assert "printed too much" in told["title"]


async def test_another_persons_ending_is_not_told_under_ones_own_name(hub: Hub) -> None:
    hub.start("bob", "A1")
    hub.end("bob", "A1", EndReason.CRASHED, detail="bob's secret")
    for session in ("bob-A1", "never-was", "x" * 5000, "%00"):
        told = (await ask(hub, "GET", f"/standing/alice/A1?session={session}")).json()
        assert (told["state"], told["title"]) == ("ended", "This session has ended.")


async def test_when_the_copy_was_saved_and_submitted(hub_of: HubOf) -> None:
    hub = hub_of("[hub]\ncollect = true\n[items.A1]\ndue = 2027-01-01\n", "A1")
    nothing = (await ask(hub, "GET", ASK)).json()
    await ask(hub, "POST", "/download/A1")
    saved = (await ask(hub, "GET", ASK)).json()
    await ask(hub, "POST", "/submit/alice/A1")
    submitted = (await ask(hub, "GET", ASK)).json()
    assert not any(nothing[each] for each in ("saved", "submitted", "due")), "it may be hidden"
    assert saved["due"]
    assert saved["saved"] > 0
    assert saved["submitted"] is None
    assert submitted["submitted"] == pytest.approx(hub.clock.now().timestamp(), abs=1)


async def test_a_lecture_has_no_copy(hub: Hub) -> None:
    hub.start("alice", "L1", Mode.RUN)
    told = (await ask(hub, "GET", "/standing/alice/L1?mode=run&session=alice-L1")).json()
    assert told["state"] == "running"
    empty = {key: value for key, value in told.items() if value not in (None, "", False)}
    assert empty == {"state": "running"}


async def test_a_name_that_is_none_is_not_found(hub: Hub) -> None:
    assert (await ask(hub, "GET", "/standing/alice/.hidden")).status_code == 404
