"""Launches by a learning platform: the way of a good one, roles, and pages in frames."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from mograder.auth.cookies import LIFETIME
from mograder.auth.roles import Role
from mograder.core.errors import InvalidInput
from mograder.core.sections.external_settings import LtiPlatform, LtiSettings
from mograder.store.external.external_people import ExternalPeople
from mograder.store.external.lti_platforms import Platforms
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.gradebook import Identity as MoodleUser
from tests.support.hub_app import make_hub
from tests.support.hub_copies import ask
from tests.support.lti.state import ASSISTANT
from tests.support.lti.tokens import LTI
from tests.support.lti_hub import (
    ORIGIN,
    POLICY,
    LtiHub,
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


async def test_a_registered_platform_is_enough(tmp_path: Path) -> None:
    first = make_hub(tmp_path / "course", toml_of())
    platform = LtiPlatform(issuer="https://moodle.example.org", client_id="x")
    Platforms(first.engine, LtiSettings()).put(platform, first.clock.now())
    first.close()
    again = make_hub(tmp_path / "course", toml_of())
    async with again.client() as client:
        assert (await client.get("/lti/keys")).status_code == 200
    again.close()


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
        unknown = await tab.send("/lti/login", form | {"iss": "https://evil.example.org"}, "iframe")
        no_cookie = await tab.send("/lti/launch", {"state": "x", "id_token": "y"}, "iframe")
        launched = await tab.launch("alice", lti.activity())
        home = await tab.browser.get("/", headers={"Accept": "text/html"})
        for answer in (unknown, no_cookie, launched, home):
            assert "frame-ancestors 'none'" in answer.headers[POLICY]


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
