"""A hub that a platform launches: marks go there by themselves, and its members may enter."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mograder.auth.credentials import Role
from mograder.hub.lti_service import LtiService
from mograder.store.external.external_tables import ScoreState
from mograder.store.external.lti_scores import LtiScores
from mograder.web.hub.core.hub_app import HubApp
from mograder.web.hub.people import end_removed
from tests.support.hub_app import make_hub, opened, running
from tests.support.hub_copies import ask, press, read
from tests.support.lti.state import ASSISTANT, Activity, Grade
from tests.support.lti_hub import LtiHub, lti_hub
from tests.support.proxy_upstream import Upstream
from tests.support.released_course import ReleasedCourse, open_released_course
from tests.support.session_proxy import served_on_unix
from tests.support.supervisors import until

ITEM, AGAIN = "/course/items/A1", "/course/lti/scores/A1"


@pytest.fixture
async def lti(tmp_path: Path) -> AsyncIterator[LtiHub]:
    """A hub that sends marks, and lets in the platform's members by their names there."""
    async with lti_hub(tmp_path / "course", scores="released", roster="allow", names="same") as rig:
        yield rig


@pytest.fixture
def course(lti: LtiHub) -> Iterator[ReleasedCourse]:
    """The course of the hub, with marks of alice and bob."""
    with open_released_course(lti.hub.course) as made:
        yield made


def there(lti: LtiHub, activity: Activity) -> Grade:
    """Return alice's grade at the platform."""
    column = lti.platform.state.line_item_of(activity)
    assert column is not None
    return lti.platform.grade("alice", column)


async def release(lti: LtiHub) -> int:
    """Release all marks of the item by the instructors' page; return the answer's status."""
    form = {"action": "release", "for": "all"}
    return (await ask(lti.hub, "POST", "/marking/A1/release", "prof", data=form)).status_code


async def test_a_mark_released_on_the_page_is_on_the_platform_by_itself(
    lti: LtiHub, course: ReleasedCourse
) -> None:
    activity = lti.activity("A1")
    async with lti.tab() as tab:
        assert (await tab.launch("alice", activity)).status_code == 303
    assert await release(lti) == 303
    await until(lambda: any(row.sent_at for row in LtiScores(lti.hub.engine).of("A1")))
    assert there(lti, activity).given == pytest.approx(67.5)
    text = await read(lti.hub, ITEM, "prof")
    assert "1 of 1 mark is there" in text
    assert "1 student with a released mark has not come" in text


async def test_the_page_tells_why_a_mark_is_not_there_and_sends_it_again(
    lti: LtiHub, course: ReleasedCourse
) -> None:
    activity = lti.activity("A1")
    async with lti.tab() as tab:
        await tab.launch("alice", activity)
    lti.platform.state.change("alice", enrolled=False)
    assert await release(lti) == 303
    await until(lambda: _count(lti, ScoreState.REFUSED) == 1)
    assert "no student there" in await read(lti.hub, ITEM, "prof")
    lti.platform.state.change("alice", enrolled=True)
    lti.hub.clock.advance(5)
    answer = await press(lti.hub, AGAIN, "prof")
    assert answer.headers["location"].endswith(f"{ITEM}?done=marks-sent-again&item=1")
    await until(lambda: there(lti, activity).given is not None)
    assert ("prof", "send marks again", "A1: 1", "ok") in lti.hub.audit()


@pytest.mark.parametrize(("status", "again"), [(400, True), (413, False)])
async def test_a_mark_refused_for_who_was_no_student_there_goes_with_the_next_launch(
    lti: LtiHub, course: ReleasedCourse, status: int, again: bool
) -> None:
    """A mark refused for another reason is sent again by an instructor only."""
    activity, other = lti.activity("A1"), lti.activity("A2")
    async with lti.tab() as tab:
        await tab.launch("alice", activity)
        if status == 400:
            lti.platform.state.change("alice", enrolled=False)
        else:
            lti.platform.trouble("scores", status)
        assert await release(lti) == 303
        await until(lambda: _count(lti, ScoreState.REFUSED) == 1)
        lti.platform.state.change("alice", enrolled=True)
        lti.hub.clock.advance(5)
        assert (await tab.launch("alice", other)).status_code == 303
    assert _count(lti, ScoreState.REFUSED) == (0 if again else 1)
    _service(lti).due.set()
    if again:
        await until(lambda: there(lti, activity).given is not None)


async def test_a_deleted_activity_is_named_with_its_course_and_can_be_put_away(
    lti: LtiHub, course: ReleasedCourse
) -> None:
    first, second = lti.activity("A1"), lti.activity("A1")
    async with lti.tab() as tab:
        await tab.launch("alice", first)
        await tab.launch("alice", second)
    assert await release(lti) == 303
    await until(lambda: _count(lti, ScoreState.SENT) == 2)
    column = lti.platform.state.line_item_of(second)
    assert column is not None
    del lti.platform.state.line_items[column.number]
    lti.hub.clock.advance(4000)
    _service(lti).due.set()
    await until(lambda: _gone(lti) > 0)
    text = await read(lti.hub, ITEM, "prof")
    assert "To A1 · Numerics &amp; Co: does not exist any more" in text
    assert "1 of 1 mark is there" in text
    gone = {"number": str(_gone(lti))}
    answer = await press(lti.hub, f"{AGAIN}/put-away", "prof", data=gone)
    assert answer.status_code == 303
    text = await read(lti.hub, answer.headers["location"], "prof")
    assert "was put away" in text
    assert "does not exist any more" not in text


def _gone(lti: LtiHub) -> int:
    found = _service(lti).scores.of_item("A1")
    return 0 if found is None else sum(each.gone for each in found.activities)


async def test_a_number_that_is_none_is_refused(lti: LtiHub) -> None:
    for number in ("-1", "x", "9" * 30, "٣"):
        answer = await ask(lti.hub, "POST", AGAIN, "prof", data={"number": number})
        assert answer.status_code == 400, number


async def test_a_member_who_comes_is_let_in_and_others_are_not(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        await tab.launch("alice", lti.activity("A1"))
        assert (await tab.browser.get("/", headers={"Accept": "text/html"})).status_code == 200
    assert (await ask(lti.hub, "GET", "/", "mallory")).status_code == 403
    people = await read(lti.hub, "/course/people", "prof")
    assert "members of the course on the learning platform may come in" in people


async def test_who_is_invited_may_come_in_beside_the_members(lti: LtiHub) -> None:
    form = {"people": "dora", "days": "7", "form": "csv"}
    sent = await press(lti.hub, "/course/invite", "prof", data=form)
    (code,) = re.findall(r"code=([\w-]+)", sent.text)
    async with lti.hub.client(browser=True) as browser:
        assert (await browser.post("/login/link", data={"code": code})).status_code == 303
        assert (await browser.get("/")).status_code == 200
    assert (await ask(lti.hub, "GET", "/", "mallory")).status_code == 403
    people = " ".join((await read(lti.hub, "/course/people", "prof")).split())
    assert "and 1 person on the access list" in people
    assert "To let everybody in again" not in people, "only the members would be"


async def test_the_students_page_shows_the_members(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        await tab.launch("alice", lti.activity("A1"))
    service = _service(lti)
    lti.hub.clock.advance(700)
    await asyncio.to_thread(service.rosters.run, lambda: False)
    text = await read(lti.hub, "/course/students", "prof")
    assert "Carol &amp; Co M" in text
    assert "Carol &amp;amp;" not in text
    assert "On the learning platform" in text


async def test_who_leaves_the_course_there_loses_open_sessions(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        await tab.launch("alice", lti.activity("A1"))
    app, service = _app(lti), _service(lti)
    lti.hub.clock.advance(700)
    await asyncio.to_thread(service.rosters.run, lambda: False)
    lti.hub.start("bob", "A1")
    await end_removed(app)
    assert len(lti.hub.pool.all()) == 1
    lti.platform.state.change("bob", active=False)
    lti.hub.clock.advance(700)
    await asyncio.to_thread(service.rosters.run, lambda: False)
    await end_removed(app)
    assert lti.hub.pool.all() == []


async def test_who_has_launched_is_let_in_by_the_next_hub_too(lti: LtiHub) -> None:
    """Until a reading tells who is in the course; a hub that was updated has no memory."""
    lti.platform.state.change("alice", active=False)
    await lti.sign_in("bob")
    lti.hub.clock.advance(700)
    await asyncio.to_thread(_service(lti).rosters.run, lambda: False)
    lti.platform.state.change("alice", active=True)
    lti.hub.clock.advance(60)
    await lti.sign_in("alice")
    lti.hub.services.state.record(lti.hub.clock.now(), "mallory", "sign in", "", "", "ok")
    again = make_hub(lti.hub.course, (lti.hub.course / "mograder.toml").read_text())
    again.clock.advance((lti.hub.clock.now() - again.clock.now()).total_seconds())
    allows = again.services.roster.allows
    async with running(again.app):
        assert [name for name in ("alice", "bob", "mallory") if allows(name, Role.STUDENT)] == [
            "alice",
            "bob",
        ]
        lti.platform.state.change("alice", active=False)
        async with asyncio.timeout(60):
            while allows("alice", Role.STUDENT):  # the hub reads by itself at its start, too
                again.clock.advance(700)
                lti.hub.clock.advance(700)  # the platform's clock
                rosters = opened(again.app).of(LtiService).rosters
                await asyncio.to_thread(rosters.run, lambda: False)
        assert allows("bob", Role.STUDENT)
    again.close()


async def test_an_assistant_there_keeps_the_own_notebook_when_the_list_changes(
    tmp_path: Path,
) -> None:
    """The login has the role, and neither the settings nor the list name the assistant."""
    async with (
        lti_hub(tmp_path / "course", assistants=True) as rig,
        rig.tab() as tab,
        served_on_unix(Upstream()) as socket,
    ):
        (rig.hub.course / "allowed_users.txt").write_text("bob\n")
        rig.platform.state.change("tutor", roles=ASSISTANT)
        await tab.launch("tutor", rig.activity("A1"))
        rig.hub.start("tutor", "A1", server=socket)
        rig.hub.start("alice", "A1", server=socket, number=2)
        page = await tab.browser.get("/edit/user/tutor/A1/", headers=rig.marks())
        assert "<iframe" in page.text
        await end_removed(_app(rig))
        assert [live.key.user for live in rig.hub.pool.all()] == ["tutor"]


async def test_nobody_is_let_in_by_a_launch_that_was_refused(lti: LtiHub) -> None:
    async with lti.tab() as tab:
        answer = await tab.launch("alice", lti.activity("A1"), changed={"exp": 1})
        assert answer.status_code == 403
    assert (await ask(lti.hub, "GET", "/")).status_code == 403


def _count(lti: LtiHub, state: ScoreState) -> int:
    found = _service(lti).scores.of_item("A1")
    return 0 if found is None else found.counts.get(state, 0)


def _service(lti: LtiHub) -> LtiService:
    """Return the running hub's object of LTI."""
    return _app(lti).of(LtiService)


def _app(lti: LtiHub) -> HubApp:
    """Return the running hub's object, which a request would get."""
    return opened(lti.hub.app)
