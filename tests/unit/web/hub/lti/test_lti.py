"""Launches by a learning platform: the way of a good one, roles, pages in frames, and refusals."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from mograder.auth.credentials import LIFETIME, Role, make_token
from mograder.auth.identity import Identity, Method
from mograder.auth.lti_claims import PickHandle, make_handle
from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import LtiPlatform, LtiSettings
from mograder.sandbox.protocol import Mode
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.external_tables import lti_platforms
from mograder.store.external.lti_platforms import Platforms
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook import Identity as MoodleUser
from tests.support.hub_app import SECRET, HubOf, make_hub, running
from tests.support.hub_copies import ask
from tests.support.lti.state import ASSISTANT
from tests.support.lti.tokens import AGS, LTI, sign
from tests.support.lti_hub import (
    ORIGIN,
    POLICY,
    LtiHub,
    Tab,
    answered,
    login_of,
    lti,
    lti_hub,
    named,
    refused,
    toml_of,
)

__all__ = ["lti"]


# --- dates --------------------------------------------------------------------------------------


async def dates_after(lti: LtiHub, who: str, **custom: str) -> dict[str, str | None]:
    """The dates of A1 after a person's launch with these custom values."""
    async with lti.tab() as tab:
        claims = {f"{LTI}custom": {"item": "A1", **custom}}
        await tab.launch(who, lti.activity("A1"), changed=claims)
    return dict((await ask(lti.hub, "GET", "/dates", "prof")).json()["A1"])


async def test_a_teachers_launch_brings_the_platforms_dates(lti: LtiHub) -> None:
    due, closes, later = (f"2026-12-0{day}T18:00:00Z" for day in (1, 8, 9))
    found = await dates_after(lti, "teach1", due=due, closes=closes, opens=due)
    assert (found["due"], found["due_from"]) == (due, "the learning platform")
    assert (found["closes"], found["closes_from"]) == (closes, "the learning platform")
    assert (found["opens"], found["opens_from"]) == (due, "the learning platform")
    listed = (await ask(lti.hub, "GET", "/assignments")).json()
    assert [each["name"] for each in listed] == ["A2", "L01"]
    assert (await dates_after(lti, "alice", due=later))["due"] == due, "a student's own date"
    assert (await dates_after(lti, "teach1"))["due"] == due, "it tells no dates"
    assert (await dates_after(lti, "teach1", due=later, closes=due))["due"] == due, "no order"
    found = await dates_after(lti, "teach1", due="$ResourceLink.submission.endDateTime")
    assert (found["due"], found["closes"], found["opens"]) == (None, None, None)
    done = [what for _, what, *_ in lti.hub.audit() if what == "dates by platform"]
    assert len(done) == 2


async def test_a_gradebook_that_cannot_be_read_takes_no_dates_and_keeps_no_teacher_out(
    lti: LtiHub, caplog: pytest.LogCaptureFixture
) -> None:
    await lti.sign_in("teach1")
    lti.hub.services.loaded.gradebook_path.write_text("not a database" * 100)
    changed = {f"{LTI}custom": {"item": "A1", "due": "2026-12-01T18:00:00Z"}}
    async with lti.tab() as tab:
        answer = await tab.launch("teach1", lti.activity("A1"), changed=changed)
    assert answer.status_code == 303
    assert "a learning platform's dates were not taken: " in caplog.text


# --- the way of a good launch -------------------------------------------------------------------


async def test_a_launch_signs_in_and_leads_to_ones_own_notebook(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        answer = await tab.launch("alice", lti.activity("A1"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/edit/A1")
        login = login_of(lti, answer)
        assert (login.username, login.role) == ("alice", Role.STUDENT)
        page = await tab.browser.get("/edit/A1", headers={"Accept": "text/html"})
        assert "Starting A1" in page.text
        assert ">alice<" in page.text
    assert ("alice", "sign in", f"lti {lti.platform.url}", "ok") in lti.hub.audit()


async def test_an_item_is_a_wish_for_what_is_published(lti: LtiHub) -> None:
    places = {"A2": "/edit/A2", "L01": "/run/L01"}
    for item in ("A2", "L01", "", "No such item", "../../etc/passwd", "$CourseSection.x"):
        async with lti.tab() as tab:
            answer = await tab.launch("alice", lti.activity(item))
            assert answer.headers["location"] == places.get(item, "/"), item
            assert login_of(lti, answer).username == "alice"


async def test_in_a_frame_the_hub_shows_one_link_that_begins_in_a_tab(lti: LtiHub) -> None:
    activity = lti.activity("A1")
    form = lti.platform.initiation("alice", activity)
    async with lti.tab() as tab:
        framed = await tab.send("/lti/login", form, "iframe")
        assert framed.status_code == 200
        assert "set-cookie" not in framed.headers
        assert framed.text.count("<a ") == 1
        address = framed.text.partition('href="/lti/login')[2].partition('"')[0]
        again = f"/lti/login{address.replace('&amp;', '&')}"
        # In a frame also the link's address shows the link only.
        assert (await tab.browser.get(again, headers=lti.marks("iframe"))).status_code == 200
        begun = await tab.browser.get(again, headers=lti.marks())
        place, fields = lti.platform.authenticate(begun.headers["location"])
        assert place == f"{ORIGIN}/lti/launch"
        answer = await tab.send("/lti/launch", fields)
        assert answer.headers["location"] == "/edit/A1"


async def test_browsers_that_do_not_tell_about_frames_begin_after_the_link(lti: LtiHub) -> None:
    form = lti.platform.initiation("alice", lti.activity("A1"))
    origin = {"Origin": lti.platform.url}
    async with lti.tab() as tab:
        assert (await tab.browser.post("/lti/login", data=form, headers=origin)).status_code == 200
        begun = await tab.browser.get("/lti/login", params=form | {"tab": "1"})
        assert begun.headers["location"].startswith(f"{lti.platform.url}/mod/lti/auth.php?")


async def test_the_state_of_a_launch_is_a_cookie_for_posts_of_the_platform(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        begun = await tab.begin("alice", lti.activity())
        cookie = begun.headers["set-cookie"]
        assert cookie.startswith("__Host-mograder_signin_")
        assert "SameSite=None; Secure; Partitioned" in cookie
        assert "HttpOnly" in cookie
        address = httpx.URL(begun.headers["location"])
        assert set(address.params) == {
            "scope", "response_type", "response_mode", "prompt", "client_id",
            "redirect_uri", "login_hint", "state", "nonce", "lti_message_hint",
        }  # fmt: skip
        answer = await tab.launch("alice", lti.activity())
        assert [each for each in answer.headers.get_list("set-cookie") if "Max-Age=0" in each]


async def test_keys_are_published(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        answer = await tab.browser.get("/lti/keys")
        (key,) = answer.json()["keys"]
        assert key.keys() == {"kty", "n", "e", "use", "alg", "kid"}, "and nothing private"
        assert "max-age" in answer.headers["cache-control"]


async def test_a_new_key_of_the_platform_is_fetched_once_it_is_needed(lti: LtiHub) -> None:
    await lti.sign_in("alice")
    lti.platform.rotate()
    lti.hub.clock.advance(61)
    assert await lti.sign_in("bob") == "/"
    assert len([each for each in lti.platform.asked if "certs" in each.path]) == 2


async def test_a_hub_below_a_path_is_launched_there(tmp_path: Path) -> None:
    async with lti_hub(tmp_path / "course", prefix="/live/hub") as rig, rig.tab() as tab:
        answer = await tab.launch("alice", rig.activity("A1"))
        assert answer.headers["location"] == "/live/hub/edit/A1"
        assert "__Secure-mograder_session=" in answer.headers["set-cookie"]
        form = rig.platform.initiation("alice", rig.activity("A1"))
        framed = await tab.send("/live/hub/lti/login", form, "iframe")
        assert 'href="/live/hub/lti/login?' in framed.text


async def test_a_registered_platform_is_enough(hub_of: HubOf) -> None:
    first = hub_of(toml_of())
    platform = LtiPlatform(issuer="https://moodle.example.org", client_id="x")
    Platforms(first.engine, LtiSettings()).put(platform, first.clock.now())
    assert (await ask(hub_of(toml_of()), "GET", "/lti/keys", "")).status_code == 200


async def test_a_registration_that_cannot_be_read_opens_the_course_to_nobody(hub_of: HubOf) -> None:
    """One of a newer mograder may say that only the members of its course may enter."""
    first = hub_of(toml_of())
    platform = LtiPlatform(issuer="https://moodle.example.org", client_id="x", roster="allow")
    Platforms(first.engine, LtiSettings()).put(platform, first.clock.now())
    with first.engine.begin() as connection:
        connection.execute(update(lti_platforms).values(settings='{"new": 1}'))
    hub = hub_of(toml_of())
    async with running(hub.app):
        assert (await ask(hub, "GET", "/assignments")).status_code == 403
        assert (await ask(hub, "GET", "/assignments", "prof")).status_code == 200
        (hub.course / "allowed_users.txt").write_text("alice\n")
        assert (await ask(hub, "GET", "/assignments")).status_code == 200


@pytest.mark.parametrize("url", ["", "http://hub.example.org"])
async def test_launches_need_the_hubs_own_https_address(tmp_path: Path, url: str) -> None:
    platform: dict[str, object] = {"issuer": "https://moodle.example.org", "client_id": "x"}
    toml = toml_of(platform).replace(ORIGIN, url)
    with pytest.raises(InvalidInput, match="public_url with https"):
        make_hub(tmp_path / "course", toml)


async def test_names_may_come_from_the_accounts_that_the_course_knows(tmp_path: Path) -> None:
    async with lti_hub(tmp_path / "course", username="identities") as rig, rig.tab() as tab:
        refused(await tab.launch("alice", rig.activity()), "mograder moodle sync-users")
        with Gradebook(rig.hub.services.loaded.gradebook_path) as book:
            book.put_identities(rig.platform.url, [MoodleUser(13, "al-2026")])
            book.put_identities("https://other.example.org", [MoodleUser(14, "bob")])
            book.put_students({"al-2026": "Alice"})
        assert login_of(rig, await tab.launch("alice", rig.activity())).username == "al-2026"
        refused(await tab.launch("bob", rig.activity()), "mograder moodle sync-users")


# --- roles --------------------------------------------------------------------------------------


async def roles(rig: LtiHub, username: str) -> tuple[Role, int]:
    """The role of a launch, and the seconds that its login lasts."""
    async with rig.tab() as tab:
        login = login_of(rig, await tab.launch(username, rig.activity()))
        left = LIFETIME - (rig.hub.clock.now().timestamp() - login.issued)
        return login.role, int(left)


@pytest.mark.parametrize("teachers", [False, True, "named"])
async def test_instructors_there_are_only_those_whom_the_hubs_settings_name(
    tmp_path: Path, teachers: bool | str
) -> None:
    # Moodle sends the same role for teacher and non-editing teacher.
    async with lti_hub(tmp_path / "course", teachers=teachers) as rig:
        for username in ("teach1", "tutor", "admin"):
            assert await roles(rig, username) == (Role.STUDENT, LIFETIME)
        people, platform = ExternalPeople(rig.hub.engine), rig.platform.url
        people.unlink(platform, "teach1")
        refused(await named(rig, "teach1", "prof"), "from elsewhere")
        people.link(platform, "11", "prof", "", "prof", rig.hub.clock.now())
        async with rig.tab() as tab:
            await tab.launch("teach1", rig.activity())
            assert (await tab.browser.get("/course/people")).status_code == 200


async def test_teachers_and_assistants_have_their_roles_for_eight_hours(tmp_path: Path) -> None:
    async with lti_hub(tmp_path / "course", teachers="all", assistants=True) as rig:
        rig.platform.state.change("tutor", roles=ASSISTANT)
        assert await roles(rig, "teach1") == (Role.INSTRUCTOR, 8 * 3600)
        assert await roles(rig, "tutor") == (Role.MARKER, 8 * 3600)
        assert await roles(rig, "alice") == (Role.STUDENT, LIFETIME)
        rig.platform.state.change("teach1", roles=("Learner",))  # looks as a student
        assert await roles(rig, "teach1") == (Role.STUDENT, LIFETIME)


# --- pages --------------------------------------------------------------------------------------


async def test_only_the_page_with_the_link_can_be_framed_by_the_platform_only(lti: LtiHub) -> None:
    form = lti.platform.initiation("alice", lti.activity())
    async with lti.tab() as tab:
        framed = await tab.send("/lti/login", form, "iframe")
        assert f"frame-ancestors {lti.platform.url};" in framed.headers[POLICY] + ";"
        launched = await tab.launch("alice", lti.activity())
        home = await tab.browser.get("/", headers={"Accept": "text/html"})
        for answer in (launched, home):
            assert "frame-ancestors 'none'" in answer.headers[POLICY]


async def test_what_was_not_recognised_is_told_in_the_frames_of_known_platforms(
    tmp_path: Path,
) -> None:
    """Students of an embedded activity of last year's registration saw an empty box."""
    async with lti_hub(tmp_path / "course", platforms=2) as rig, rig.tab() as tab:
        form = rig.platform.initiation("alice", rig.activity("A1"))
        evil = {"iss": "https://evil.example.org"}
        for answer, status in (
            (await tab.send("/lti/login", form | {"client_id": "of last year"}, "iframe"), 404),
            (await tab.send("/lti/login", form | evil, "iframe"), 404),
            (await tab.send("/lti/launch", {"state": "x", "id_token": "y"}, "iframe"), 403),
        ):
            assert answer.status_code == status
            ancestors = answer.headers[POLICY].partition("frame-ancestors ")[2].split()
            assert set(ancestors) == {rig.platform.url, rig.others[0].url}


async def test_a_failure_in_a_frame_does_not_show_who_is_signed_in(lti: LtiHub) -> None:
    """A platform of the hub's own site gets the login's cookie into its frame."""
    form = lti.platform.initiation("alice", lti.activity())
    async with lti.tab() as tab:
        await tab.launch("alice", lti.activity())
        wrong = form | {"target_link_uri": "https://evil.example.org/"}
        begun = await tab.browser.get("/lti/login", params=wrong, headers=lti.marks("iframe"))
        old = form | {"client_id": "of last year"}
        unknown = await tab.browser.get("/lti/login", params=old, headers=lti.marks("iframe"))
        handle = PickHandle("s" * 43, lti.platform.url, "client-full", "1", "11", "x", None, True)
        own = {"Origin": ORIGIN, "Accept": "text/html"}
        data = {"handle": make_handle(SECRET, handle)}
        picked = await tab.browser.post("/lti/pick", data=data, headers=own)
    assert [each.status_code for each in (begun, picked, unknown)] == [400, 400, 404]
    for answer in (begun, picked, unknown):
        assert f"frame-ancestors {lti.platform.url}" in answer.headers[POLICY]
        assert "alice" not in answer.text
        assert "/logout" not in answer.text


async def test_a_launch_in_a_frame_sets_no_login(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        answer = await tab.launch("alice", lti.activity(), "iframe")
        refused(answer, "Its address must end with /lti/launch")


async def test_markup_in_claims_is_shown_as_text(lti: LtiHub) -> None:
    markup = "<img src=x onerror=alert(1)>"
    context = {"id": "77", "title": markup}
    async with lti.tab() as tab:
        changed: dict[str, object] = {f"{LTI}context": context, "name": markup}
        answer = await tab.launch("alice", lti.activity(), changed=changed)
        refused(answer, "&lt;img src=x onerror")
        assert markup not in answer.text
    refused(await named(lti, "alice", markup), "&lt;img")


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
        assert lti.hub.services.revocations.login_revoked(second.login_id)


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


async def test_services_at_another_server_are_told_in_the_log_when_a_teacher_launches(
    lti: LtiHub, caplog: pytest.LogCaptureFixture
) -> None:
    """They were dropped without a word, and marks never went there."""
    elsewhere = {f"{AGS}claim/endpoint": {"lineitems": "https://learn.uni.example/items"}}
    async with lti.tab() as tab:
        await tab.launch("alice", lti.activity("A1"), changed=elsewhere)
        assert "learn.uni.example" not in caplog.text
        await tab.launch("teach1", lti.activity("A1"), changed=elsewhere)
    assert "services at https://learn.uni.example, which are not used" in caplog.text


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
