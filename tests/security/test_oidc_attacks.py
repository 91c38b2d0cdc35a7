"""Attacks on the sign-in by a real OpenID provider: replays, planted answers, floods, traces."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.oidc_hub import (
    BACK,
    NewRig,
    Rig,
    changed,
    generous,
    logged_in,
    rig,
    strict,
)
from tests.support.oidc_provider import OpenIdProvider

__all__ = ["generous", "rig", "strict"]

pytestmark = pytest.mark.full


# Replay


async def test_a_way_back_counts_once(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        way = made.answer(await made.begin(browser))
        kept = dict(browser.cookies)
        assert logged_in(await browser.get(way))
        again = await browser.get(way)
        assert (again.status_code, logged_in(again)) == (403, "")
    async with made.browser() as thief:
        thief.cookies.update(kept)
        replayed = await thief.get(way)
        assert (replayed.status_code, logged_in(replayed)) == (403, "")
        assert "was used already, or took too long" in replayed.text


async def test_of_several_ways_back_at_once_one_counts_at_most(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        way = made.answer(await made.begin(browser))
        answers = await asyncio.gather(*(browser.get(way) for _ in range(6)))
    assert sum(bool(logged_in(each)) for each in answers) <= 1
    assert made.rows()[0] <= 1


# Another browser, another flow, another provider


async def test_an_answer_counts_only_in_the_browser_that_began(
    rig: NewRig, strict: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as attacker, made.browser() as victim:
        way = made.answer(await made.begin(attacker), "mallory")
        for prepared in (False, True):
            if prepared:
                await made.begin(victim)
            answer = await victim.get(way)
            assert answer.status_code == 403
            assert "has not begun this sign-in" in " ".join(answer.text.split())
            assert not logged_in(answer)
        planted = dict.fromkeys(attacker.cookies, "x.y")
        victim.cookies.update(planted)
        assert (await victim.get(way)).status_code == 403
        own = next(iter(attacker.cookies))
        other = made.answer(await made.begin(victim))
        victim.cookies.set(own, dict(attacker.cookies)[own], domain="hub.test")
        state = parse_qs(urlsplit(way).query)["state"][0]
        mixed = await victim.get(changed(other, state=state))
        assert not logged_in(mixed)


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"iss": "https://evil.test"}, 403, "another provider"),
        ({"iss": ""}, 403, "another provider"),
        ({"code": ""}, 403, "It has no code"),
        ({"code": "x" * 5000}, 403, "It has no code"),
        ({"code": "wrong"}, 403, "was used already, or took too long.</p> <p>Begin again."),
        ({"state": "wrong"}, 403, "has not begun"),
        ({"state": "A" * 43}, 403, "has not begun"),
        ({"error": "access_denied", "error_description": "<b>CANARY"}, 403, "access was denied"),
        ({"error": "<b>CANARY"}, 403, "did not let you in."),
    ],
)
async def test_answers_that_were_changed(
    rig: NewRig, strict: OpenIdProvider, fields: dict[str, str], status: int, words: str
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        answer = await browser.get(changed(made.answer(await made.begin(browser)), **fields))
    page = " ".join(answer.text.split())
    assert answer.status_code == status
    assert words in page
    assert "CANARY" not in page
    assert not logged_in(answer)
    assert made.rows() == (0, 0)


async def test_doubled_parameters_are_refused(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        way = made.answer(await made.begin(browser))
        for more in ("&state=x", "&code=x", "&iss=x"):
            answer = await browser.get(way + more)
            assert (answer.status_code, logged_in(answer)) == (400, "")
        assert logged_in(await browser.get(way))


async def test_the_same_client_at_another_provider_is_another_issuer(
    rig: NewRig, strict: OpenIdProvider, generous: OpenIdProvider
) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        address = await made.begin(browser)
        elsewhere = address.replace(strict.issuer, generous.issuer)
        other = Rig(made.hub, generous)
        answer = await browser.get(other.answer(elsewhere))
        other.at_provider[0].close()
        assert (answer.status_code, logged_in(answer)) == (403, "")
        unnamed = await made.begin(browser)
        other = Rig(made.hub, generous)
        way = other.answer(unnamed.replace(strict.issuer, generous.issuer))
        other.at_provider[0].close()
        forged = await browser.get(changed(way, iss=strict.issuer))
        assert (forged.status_code, logged_in(forged)) == (403, "")


# Floods and traces


async def test_a_flood_leaves_no_rows_and_few_cookies(rig: NewRig, strict: OpenIdProvider) -> None:
    made = rig(strict)
    async with made.browser() as browser:
        for _ in range(30):
            await made.begin(browser)
        assert len([name for name in browser.cookies if "signin" in name]) <= 8
        assert logged_in(await made.sign_in(browser))
    async with made.browser() as browser:
        many = "; ".join(f"mograder_signin_{number}=" for number in range(2000))
        answer = await browser.get("/auth/oidc/start", headers={"Cookie": many})
        assert len(answer.headers.get_list("set-cookie")) <= 9
    async with made.browser() as browser:
        way = changed(f"{BACK}?x=1", state="A" * 43, code="x")
        statuses = [(await browser.get(way)).status_code for _ in range(30)]
    assert statuses.count(429) >= 9
    assert made.rows() == (1, 1)
    assert sum(line[3] == "refused" for line in made.hub.audit()) <= 2
