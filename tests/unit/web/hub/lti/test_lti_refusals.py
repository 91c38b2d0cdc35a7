"""Launches that are refused: names, other people's sign-ins, addresses, floods."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx
import pytest

from mograder.auth.identity import Identity, Method
from mograder.auth.roles import Role
from mograder.auth.tokens import make_token
from mograder.core.sections.external_settings import LtiPlatform, LtiSettings
from mograder.sandbox.protocol import Mode
from mograder.store.external.lti_platforms import Platforms
from tests.support.hub_app import SECRET
from tests.support.lti.tokens import LTI, sign
from tests.support.lti_hub import (
    ORIGIN,
    LtiHub,
    Tab,
    answered,
    login_of,
    lti,
    lti_hub,
    named,
    refused,
)

__all__ = ["lti"]


# --- names --------------------------------------------------------------------------------------


async def test_a_platform_with_own_names_gets_no_name_of_the_hub(lti: LtiHub) -> None:
    refused(await named(lti, "alice", "prof"), "knows the name")
    (lti.hub.course / "hub-notebooks" / "carla").mkdir(parents=True)
    refused(await named(lti, "alice", "carla"), "knows the name")


# --- whose sign-in it is ------------------------------------------------------------------------


async def test_a_launch_of_another_browser_is_refused(lti: LtiHub) -> None:
    async with lti.tab() as attacker, lti.tab() as victim:
        fields = await answered(attacker, "bob")
        refused(await victim.send("/lti/launch", fields), "has not begun this sign-in")
        await answered(victim, "alice")
        refused(await victim.send("/lti/launch", fields), "has not begun this sign-in")


async def test_a_token_at_another_state_is_refused(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        first, second = await answered(tab, "bob"), await answered(tab, "bob")
        crossed = {"state": first["state"], "id_token": second["id_token"]}
        refused(await tab.send("/lti/launch", crossed), "answers another request")


async def test_a_launch_counts_once(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        fields = await answered(tab, "bob")
        cookies = dict(tab.browser.cookies)
        assert (await tab.send("/lti/launch", fields)).status_code == 303
        assert (await tab.send("/lti/launch", fields)).status_code == 403  # the cookie is gone
        for name, value in cookies.items():
            tab.browser.cookies.set(name, value, "hub.example.org")
        refused(await tab.send("/lti/launch", fields), "was completed already")


async def test_a_launch_is_possible_for_ten_minutes(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        begun = await tab.begin("bob", lti.activity())
        lti.hub.clock.advance(601)
        fields = lti.platform.authenticate(begun.headers["location"])[1]
        refused(await tab.send("/lti/launch", fields), "more than ten minutes ago")


def moved(lti: LtiHub, seconds: float) -> float:
    """The time of a platform whose clock is ahead of the hub's."""
    return lti.hub.clock.now().timestamp() + seconds


async def test_the_clocks_may_differ_by_a_minute(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        for ahead, words in ((59, ""), (62, "from the future"), (-119, ""), (-121, "expired")):
            lti.platform.clock = partial(moved, lti, ahead)
            answer = await tab.launch("bob", lti.activity())
            if words:
                refused(answer, words)
            else:
                assert answer.status_code == 303


async def test_only_a_cookie_of_this_very_sign_in_counts(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        fields = await answered(tab, "bob")
        ((name, value),) = tab.browser.cookies.items()
        other = await answered(tab, "bob")
        assert other["state"] != fields["state"]
        (another,) = (each for key, each in tab.browser.cookies.items() if key != name)
        tab.browser.cookies.clear()
        for cookie in (
            f"{name}={value[:-1]}{'0' if value[-1] != '0' else '1'}",
            f"{name}={another}",
            f"{name.replace('signin', 'session')}={value}",
            f"{name}={value}; {name}={value}",
        ):
            headers = lti.marks() | {"Cookie": cookie}
            answer = await tab.browser.post("/lti/launch", data=fields, headers=headers)
            refused(answer, "has not begun this sign-in")
        headers = lti.marks() | {"Cookie": f"{name}={value}"}
        answer = await tab.browser.post("/lti/launch", data=fields, headers=headers)
        assert answer.status_code == 303


async def test_the_login_before_ends_with_its_open_notebooks(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        first = login_of(lti, await tab.launch("bob", lti.activity()))
        session = lti.hub.start("bob", "A1", Mode.EDIT, server=lti.hub.course / "s.sock")
        bob = Identity("bob", Role.STUDENT, Method.COOKIE, first.login_id, None)
        capability = lti.hub.services.capabilities.issue(
            lti.hub.services.capabilities.visit(session.id, "bob", bob)
        )
        assert lti.hub.services.capabilities.resolve(capability) is not None
        second = login_of(lti, await tab.launch("alice", lti.activity()))
        assert second.login_id != first.login_id
        assert lti.hub.services.revocations.login_revoked(first.login_id)
        assert lti.hub.services.capabilities.resolve(capability) is None
        third = login_of(lti, await tab.launch("alice", lti.activity()))
        assert third.login_id != second.login_id


async def test_no_identity_of_the_request_counts(lti: LtiHub) -> None:
    instructor = {"Authorization": f"Bearer {make_token(SECRET, 'prof', Role.INSTRUCTOR)}"}
    async with lti.tab() as tab:
        fields = await answered(tab, "bob")
        headers = lti.marks() | instructor
        answer = await tab.browser.post("/lti/launch", data=fields, headers=headers)
        assert (login_of(lti, answer).username, login_of(lti, answer).role) == ("bob", "student")


async def test_a_front_that_names_another_person_forbids_the_launch(lti: LtiHub) -> None:
    transport = httpx.ASGITransport(lti.hub.app, client=("127.0.0.1", 5000))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as browser:
        tab = Tab(lti, browser)
        browser.headers["X-Remote-User"] = "carol"
        refused(await tab.launch("bob", lti.activity()), "signs you in as")
        browser.headers["X-Remote-User"] = "bob"
        assert (await tab.launch("bob", lti.activity())).status_code == 303


# --- addresses and platforms --------------------------------------------------------------------


@pytest.mark.parametrize("target", ["https://evil.example.org/x", ""])
async def test_a_launch_never_leads_to_another_server(lti: LtiHub, target: str) -> None:
    async with lti.tab() as tab:
        begun = await tab.begin("alice", lti.activity(), target_link_uri=target)
        assert begun.status_code == 400
        changed = {f"{LTI}target_link_uri": target or None}
        refused(await tab.launch("alice", lti.activity("A1"), changed=changed), "not valid")


async def test_a_platform_cannot_answer_for_another(tmp_path: Path) -> None:
    async with lti_hub(tmp_path / "course", platforms=2) as rig, rig.tab() as tab:
        activity, other = rig.activity(), rig.others[0]
        begun = await tab.begin("alice", activity)
        question = httpx.URL(begun.headers["location"]).params
        token = other.token("alice", activity, question["nonce"])  # both sign with one key
        answer = await tab.send("/lti/launch", {"state": question["state"], "id_token": token})
        refused(answer, "is of another platform")


async def test_two_clients_of_an_issuer_are_told_apart(tmp_path: Path) -> None:
    async with lti_hub(tmp_path / "course") as rig, rig.tab() as tab:
        form = rig.platform.initiation("alice", rig.activity())
        del form["client_id"]
        assert (await tab.send("/lti/login", form)).status_code == 303  # there is only one
        stored = LtiPlatform.model_validate(rig.platform.settings("client-private"))
        Platforms(rig.hub.engine, LtiSettings()).put(stored, rig.hub.clock.now())
        assert (await tab.send("/lti/login", form)).status_code == 404
        begun = await tab.begin("alice", rig.activity(), client_id="client-private")
        assert httpx.URL(begun.headers["location"]).params["client_id"] == "client-private"


async def test_an_unknown_platform_is_told_to_its_teacher(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        begun = await tab.begin("alice", lti.activity(), iss="https://evil.example.org")
        assert begun.status_code == 404
        assert "does not know the learning platform" in begun.text
        begun = await tab.begin("alice", lti.activity(), client_id="other")
        assert begun.status_code == 404


async def test_an_unlisted_course_or_deployment_is_refused(lti: LtiHub) -> None:
    other = lti.platform.state.activities[5]
    async with lti.tab() as tab:
        refused(await tab.launch("alice", other), "does not belong to this hub")
        wrong = {f"{LTI}deployment_id": "9"}
        refused(await tab.launch("alice", lti.activity(), changed=wrong), "is not one of this hub")
        none: dict[str, object] = {f"{LTI}context": None}
        refused(
            await tab.launch("alice", lti.activity(), changed=none), "does not belong to this hub"
        )
    assert lti.count("lti_links") == 0


async def test_the_platforms_own_refusal_is_told_in_our_words(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        begun = await tab.begin("alice", lti.activity(), login_hint="14")
        fields = lti.platform.authenticate(begun.headers["location"])[1]
        assert fields["error"] == "access_denied"
        refused(await tab.send("/lti/launch", fields), "another person is signed in there now")
        begun = await tab.begin("alice", lti.activity())
        state = httpx.URL(begun.headers["location"]).params["state"]
        fields = {"state": state, "error": "<b>x</b>", "error_description": "<img src=x>"}
        answer = await tab.send("/lti/launch", fields)
        refused(answer, "It reports a failure.")
        assert "<b>x" not in answer.text
        assert "<img src=x" not in answer.text


async def test_a_platform_that_is_down_is_told_and_tried_again(lti: LtiHub) -> None:
    lti.platform.always("keys", 500)
    async with lti.tab() as tab:
        refused(await tab.launch("alice", lti.activity()), "cannot be asked at the moment", 502)
        lti.platform.always("keys", None)
        lti.hub.clock.advance(6)
        assert (await tab.launch("alice", lti.activity())).status_code == 303


# --- what is sent -------------------------------------------------------------------------------


async def test_doubled_fields_are_refused(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        form = str(httpx.QueryParams(lti.platform.initiation("alice", lti.activity())))
        assert (await tab.send("/lti/login", f"{form}&iss=x".encode())).status_code == 400
        double = await tab.browser.get(f"/lti/login?{form}&tab=1&iss=x", headers=lti.marks())
        assert double.status_code == 400
        fields = str(httpx.QueryParams(await answered(tab, "bob")))
        assert (await tab.send("/lti/launch", f"{fields}&state=x".encode())).status_code == 400


async def test_large_and_strange_bodies_are_refused(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        for path in ("/lti/login", "/lti/launch"):
            assert (await tab.send(path, b"a=" + b"x" * 140_000)).status_code == 413
            assert (await tab.send(path, b"\xff=\xff")).status_code == 400
            assert (await tab.send(path, b"&a=" * 30)).status_code == 400
        form = lti.platform.initiation("alice", lti.activity())
        long = form | {"lti_message_hint": "x" * 7000}
        assert (await tab.send("/lti/login", long)).status_code == 400


@pytest.mark.full
async def test_nothing_is_written_before_a_good_token(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        before = lti.count("audit")
        for _ in range(30):
            assert (await tab.begin("alice", lti.activity())).status_code == 303
            assert len(tab.browser.cookies) <= 9
        assert lti.count("audit") == before
        assert lti.count("used_states") == 0
        state = await answered(tab, "alice")
        for number in range(30):
            bad = state | {"id_token": f"a.b.{number}"}
            answer = await tab.send("/lti/launch", bad)
            state = await answered(tab, "alice")
        assert answer.status_code == 429
        assert lti.count("used_states") == 0
        assert lti.count("audit") <= before + 20
        assert (await tab.send("/lti/launch", state)).status_code == 303  # a good one always works


@pytest.mark.full
async def test_a_flood_of_unknown_keys_is_one_request(lti: LtiHub) -> None:
    await lti.sign_in("bob")
    lti.hub.clock.advance(61)
    async with lti.tab() as tab:
        fields = await answered(tab, "alice")
        for number in range(40):
            flood = {"id_token": sign({"n": number}, "stranger", kid=f"k{number}")}
            assert (await tab.send("/lti/launch", fields | flood)).status_code in {403, 429}
            fields = await answered(tab, "alice")
    assert len([each for each in lti.platform.asked if "certs" in each.path]) == 2
    assert await lti.sign_in("alice") == "/"
