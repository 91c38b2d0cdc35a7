"""``…/_mograder/ended``: a page that lost its session asks whether it has ended, and why.

Its own origin gives it no login, so it asks by its capability, and by the session's id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from mograder.sessions.endings import EndReason
from tests.contract.proxy_house import A1, House, open_house
from tests.contract.proxy_rig import bearer, cookie

ASK = "_mograder/ended?session="


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_house() as opened:
        yield opened


async def ask(house: House, base: str, session_id: str | None = None) -> dict[str, str]:
    """What a page would be told."""
    answer = await house.http.get(f"{base}{ASK}{session_id or house.session.id}")
    assert answer.status_code == httpx.codes.OK
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cache-control"] == "no-store"
    told: dict[str, str] = answer.json()
    return told


async def test_a_session_that_runs_is_told_as_running_and_is_not_asked(house: House) -> None:
    cap = await house.capability()
    before, touches = len(house.upstream.seen), house.rig.pool.touches
    assert (await ask(house, cap))["state"] == "running"
    assert len(house.upstream.seen) == before
    assert house.rig.pool.touches == touches, "a page that asks does not keep a session alive"


async def test_the_end_of_a_session_is_explained_by_its_own_old_capability(house: House) -> None:
    cap = await house.capability()
    house.rig.pool.stop(house.session, EndReason.OUTPUT)
    told = await ask(house, cap)
    assert told["state"] == "ended"
    assert "printed too much" in told["title"]


async def test_a_hub_that_never_knew_the_capability_still_knows_the_ending(house: House) -> None:
    """It was restarted after the session had ended, and what had ended was forgotten."""
    house.rig.pool.stop(house.session, EndReason.IDLE)
    told = await ask(house, "/s/" + "a" * 32 + "/")
    assert "nobody used it" in told["title"]


async def test_an_ending_that_nobody_remembers_is_told_plainly(house: House) -> None:
    cap = await house.capability()
    for session_id in ("never-was", "x" * 5000, "%00", "a&session=b"):
        told = await ask(house, cap, session_id)
        assert (told["state"], told["title"]) == ("ended", "This session has ended.")


async def test_a_login_that_signed_out_is_not_told_that_the_session_ended(house: House) -> None:
    cap = await house.capability()
    house.rig.services.capabilities.revoke_login(f"login-of-alice-{'x' * 12}")
    assert (await ask(house, cap))["state"] == "signed-out"


async def test_only_a_get_is_answered(house: House) -> None:
    cap = await house.capability()
    answer = await house.http.post(f"{cap}{ASK}{house.session.id}")
    assert answer.status_code == 405


async def test_by_login_it_is_the_owners_and_the_instructors_to_ask(house: House) -> None:
    url = f"{A1}/{ASK}{house.session.id}"
    assert (await house.http.get(url, headers=bearer("alice"))).json()["state"] == "running"
    for who in ({}, cookie("bob"), bearer("bob")):
        assert (await house.http.get(url, headers=who)).status_code == 403


async def test_what_the_proxy_passes_on_and_refuses_is_counted(house: House) -> None:
    traffic = house.rig.traffic
    cap = await house.capability()
    http, refused, out = traffic.http, traffic.refused, traffic.bytes_out
    answer = await house.http.post(f"{cap}x", content=b"12345")
    await house.http.get("/s/" + "a" * 32 + "/x")
    assert (traffic.http - http, traffic.refused - refused) == (1, 1)
    assert traffic.bytes_in == 5
    assert traffic.bytes_out - out == len(answer.content)
