"""The dates of items on the hub: who sets them, which counts, and where they are seen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from mograder.core.item_dates import Visibility
from mograder.grading.course_late import CourseLate, Preview
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import (
    Change,
    Extension,
    LateWork,
    PolicyChange,
    StoredPolicy,
)
from mograder.store.releases.release_times import VisibilityRules
from mograder.store.releases.releases import ItemKind
from tests.support.graded_courses import put
from tests.support.hub_app import Hub, HubOf
from tests.support.hub_copies import ask, begin, press, read, see
from tests.support.page_reader import hidden_field

DUE, CLOSES = "2026-09-10T18:00:00+00:00", "2026-09-17T18:00:00+00:00"
TOML = """[items.A1]
due = 2026-09-03T18:00Z
[items.A2]
opens = 2026-09-20T09:00Z
[[assignments]]
name = "A1"
duedate = 1788000000
[penalties]
enabled = true
"""


@pytest.fixture
def course(hub_of: HubOf) -> Hub:
    return hub_of(TOML, "A1", "A2")


async def dates_of(hub: Hub, item: str = "A1") -> dict[str, Any]:
    """What instructors are told of an item's dates."""
    found: dict[str, Any] = (await ask(hub, "GET", "/dates", "prof")).json()[item]
    return found


async def test_the_course_file_counts_until_an_instructor_sets_a_date(course: Hub) -> None:
    told = await dates_of(course)
    assert (told["due"], told["due_from"]) == ("2026-09-03T18:00:00Z", '[items."A1"]')
    assert (await dates_of(course, "A2"))["opens"] == "2026-09-20T09:00:00Z"
    answer = (
        await ask(course, "POST", "/dates/A1", "prof", json={"due": DUE, "closes": CLOSES})
    ).json()
    assert (answer["due"], answer["due_from"]) == ("2026-09-10T18:00:00Z", "set by an instructor")
    assert answer["marks"] == 0
    back = (await ask(course, "POST", "/dates/A1", "prof", json={"due": None})).json()
    assert (back["due"], back["closes"]) == ("2026-09-03T18:00:00Z", "2026-09-17T18:00:00Z")
    assert ("prof", "set dates") in {(who, what) for who, what, *_ in course.audit()}


@pytest.mark.parametrize(
    "body",
    [
        {"due": "soon"},
        {"due": "2026-09-10T18:00"},
        {"closes": "2026-09-01T00:00Z"},
        {"closes": "9999-12-31T23:59:00-12:00"},
        {"opens": "0001-01-01T00:00:00+14:00"},
        {"until": DUE},
    ],
)
async def test_dates_that_cannot_be_meant_are_refused_and_nothing_is_kept(
    course: Hub, body: dict[str, str]
) -> None:
    assert (await ask(course, "POST", "/dates/A1", "prof", json=body)).status_code == 400
    assert (await dates_of(course))["closes"] is None


async def test_a_lecture_has_an_opening_and_no_other_date(course: Hub) -> None:
    course.publish("L01", ItemKind.LECTURE)
    for key in ("due", "closes"):
        answer = await ask(course, "POST", "/dates/L01", "prof", json={key: DUE})
        told = "L01 is a lecture, which has no due date; --opens sets when students see it."
        assert (answer.status_code, answer.json()["detail"]) == (400, told)
        fields = {key: "2026-09-10T18:00", "timezone": "UTC"}
        assert "no due date" in (await press(course, "/dates/L01", "prof", data=fields)).text
    answer = await ask(course, "POST", "/dates/L01", "prof", json={"opens": DUE, "due": None})
    assert (answer.status_code, answer.json()["opens"]) == (200, "2026-09-10T18:00:00Z")
    assert (await dates_of(course, "L01"))["due"] is None


async def test_a_lecture_has_no_page_of_late_work(course: Hub) -> None:
    """The page was there at its address, though no page leads to it, and stored a due date."""
    course.publish("L01", ItemKind.LECTURE)
    fields = {"action": "dates", "due": "2026-09-10T18:00", "timezone": "UTC"}
    told = "L01 is a lecture, which has no due date."
    assert told in (await see(course, "/marking/L01/late", "prof")).text
    for at in ("", "/preview"):
        answer = await press(course, f"/marking/L01/late{at}", "prof", data=fields)
        assert (answer.status_code, told in answer.text) == (400, True)
    assert (await dates_of(course, "L01"))["due"] is None


@pytest.mark.parametrize("never", ["9999-12-31T23:59:00-12:00", "0001-01-01T00:00:00+14:00"])
async def test_a_time_that_no_page_could_show_hides_no_item(course: Hub, never: str) -> None:
    """Converting it to another zone would break every page that lists the item."""
    rule = {"items": {"A1": {"visible_from": never}}}
    assert (await ask(course, "POST", "/visibility", "prof", json=rule)).status_code == 400
    form = {"name": "A1", "state": "from", "visible_from": never[:16], "timezone": "Asia/Tokyo"}
    assert (await press(course, "/visibility", "prof", data=form)).status_code == 400
    at = quote(never, safe="")
    assert (await see(course, f"/?as=student&at={at}", "prof")).status_code == 400
    assert (await see(course, "/course/items", "prof")).status_code == 200


async def test_an_emptied_end_does_not_bound_a_later_due_date(course: Hub) -> None:
    dates = {"due": DUE, "closes": CLOSES}
    await ask(course, "POST", "/dates/A1", "prof", json=dates)
    fields = {"due": "2026-09-20T18:00", "closes": "", "timezone": "UTC"}
    assert (await press(course, "/dates/A1", "prof", data=fields)).status_code == 303
    told = await dates_of(course)
    assert (told["due"], told["closes"]) == ("2026-09-20T18:00:00Z", None)
    back = {"due": None, "closes": "2026-09-05T18:00:00Z"}
    answer = await ask(course, "POST", "/dates/A1", "prof", json=back)
    assert (answer.status_code, answer.json()["due"]) == (200, "2026-09-03T18:00:00Z")


async def test_an_item_opens_by_the_course_file_and_by_the_form(course: Hub) -> None:
    assert "A2" not in await read(course, "/", "alice")
    fields = {"opens": "2026-08-31T09:00", "due": "", "closes": "", "timezone": "Europe/Berlin"}
    answer = await press(course, "/dates/A2", "prof", data=fields)
    assert answer.headers["location"].endswith("done=dates&item=A2")
    assert "A2" in await read(course, "/", "alice")
    assert (await dates_of(course, "A2"))["opens"] == "2026-08-31T07:00:00Z"


async def test_without_an_opening_an_item_that_was_shown_opens_by_the_course_file(
    course: Hub,
) -> None:
    """A2 was shown to everybody at once, a rule without a time."""
    show: dict[str, object] = {"items": {"A2": {}}}
    await ask(course, "POST", "/visibility", "prof", json=show)
    assert "A2" in await read(course, "/", "alice")
    told = (await ask(course, "POST", "/dates/A2", "prof", json={"opens": None})).json()
    assert told["opens"] == "2026-09-20T09:00:00Z"
    assert "A2" not in await read(course, "/", "alice")


async def test_the_form_says_that_no_opening_leaves_an_item_shown_by_hand(course: Hub) -> None:
    """It was shown to everybody at once; the form of dates takes back what it shows only."""
    told = "Students see it now, as chosen under All items. Empty leaves it so."
    assert told not in await read(course, "/course/items/A2", "prof")
    show: dict[str, object] = {"items": {"A2": {}}}
    await ask(course, "POST", "/visibility", "prof", json=show)
    page = await read(course, "/course/items/A2", "prof")
    assert (told in page, "shown now" in page) == (True, True)
    form = {"opens": "", "opens-shown": "", "timezone": "UTC"}
    assert (await press(course, "/dates/A2", "prof", data=form)).status_code == 303
    assert "A2" in await read(course, "/", "alice")


async def test_without_an_opening_a_hidden_item_stays_hidden(course: Hub) -> None:
    for rule in ({"hidden": True}, {"hidden": True, "visible_from": "2026-08-01T09:00:00+00:00"}):
        await ask(course, "POST", "/visibility", "prof", json={"items": {"A1": rule}})
        told = (await ask(course, "POST", "/dates/A1", "prof", json={"opens": None})).json()
        assert told["opens"] is None
        assert (await ask(course, "GET", "/visibility", "prof")).json()["A1"] == {"hidden": True}


async def test_a_date_that_another_sets_meanwhile_is_not_lost(
    course: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CourseLate.preview

    def preview(late: CourseLate, book: Gradebook, changes: Sequence[Change]) -> Preview:
        monkeypatch.setattr(CourseLate, "preview", original)
        work, due = LateWork(book), datetime(2026, 9, 10, 18, tzinfo=UTC)
        work.record([work.facts().with_dates("A1", {"due": due})], by="other", at=due)
        return original(late, book, changes)

    monkeypatch.setattr(CourseLate, "preview", preview)
    answer = await ask(course, "POST", "/dates/A1", "prof", json={"closes": CLOSES})
    assert answer.status_code == 409
    assert (await dates_of(course))["due"] == DUE.replace("+00:00", "Z")


async def test_an_item_that_another_hides_meanwhile_stays_hidden(
    course: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, hidden = CourseLate.preview, {"A1": Visibility(hidden=True)}
    rules = VisibilityRules(course.course / "hub-release" / ".visibility.json")

    def preview(late: CourseLate, book: Gradebook, changes: Sequence[Change]) -> Preview:
        rules.change(hidden)
        return original(late, book, changes)

    monkeypatch.setattr(CourseLate, "preview", preview)
    sent, before = {"opens": "2026-09-01T09:00Z", "due": DUE}, await dates_of(course)
    answer = await ask(course, "POST", "/dates/A1", "prof", json=sent)
    assert answer.status_code == 409
    assert "A1 was hidden or shown meanwhile" in answer.json()["detail"]
    assert rules.all()["A1"] == hidden["A1"]
    assert (await dates_of(course))["due"] == before["due"]


async def test_dates_whose_opening_cannot_be_stored_are_not_stored_in_part(course: Hub) -> None:
    rules = course.course / "hub-release" / ".visibility.json"
    rules.write_text("{")
    before = await dates_of(course)
    sent = {"opens": "2026-09-01T09:00Z", "due": DUE}
    assert (await ask(course, "POST", "/dates/A1", "prof", json=sent)).status_code == 409
    assert await dates_of(course) == before
    rules.unlink()
    assert (await ask(course, "POST", "/dates/A1", "prof", json=sent)).status_code == 200
    told = await dates_of(course)
    assert (told["opens"], told["due"]) == ("2026-09-01T09:00:00Z", DUE.replace("+00:00", "Z"))


async def test_a_form_opened_before_another_change_takes_nothing_of_it_back(course: Hub) -> None:
    page = await read(course, "/course/items/A1", "prof")
    shown = dict(re.findall(r'name="(\w+-shown)" value="([^"]*)"', page))
    assert set(shown) == {"opens-shown", "due-shown", "closes-shown"}
    await ask(course, "POST", "/dates/A1", "prof", json={"due": DUE})  # in another tab
    old = {"opens": "", "due": "2026-09-03T18:00", "closes": "2026-09-17T18:00"} | shown
    assert (await press(course, "/dates/A1", "prof", data=old)).status_code == 303
    told = await dates_of(course)
    assert (told["due"], told["closes"]) == tuple(t.replace("+00:00", "Z") for t in (DUE, CLOSES))
    refused = await press(course, "/dates/A1", "prof", data=old | {"due": "2026-09-05T18:00"})
    assert refused.status_code == 409
    assert (await dates_of(course)) == told


async def test_a_form_of_late_work_takes_no_date_of_another_back(course: Hub) -> None:
    page = await read(course, "/marking/A1/late", "prof")
    shown = dict(re.findall(r'name="(\w+-shown)" value="([^"]*)"', page))
    await ask(course, "POST", "/dates/A1", "prof", json={"due": DUE})
    old = {"action": "dates", "due": "2026-09-03T18:00", "closes": "2026-09-17T18:00"} | shown
    seen = await press(course, "/marking/A1/late/preview", "prof", data=old)
    version = {"version": hidden_field(seen.text, "version")}
    saved = await press(course, "/marking/A1/late", "prof", data=old | version)
    assert saved.status_code == 303
    assert (await dates_of(course))["due"] == DUE.replace("+00:00", "Z")


async def test_who_comes_too_early_is_told_the_time_as_it_was_written(hub_of: HubOf) -> None:
    text = 'timezone = "Europe/Berlin"\n[items.A1]\nopens = 2026-11-24T09:00\n'
    course = hub_of(text, "A1", "A2")
    zone = {"timezone": "America/New_York"}
    for path, fields in (
        ("/dates/A2", {"opens": "2026-11-24T09:00"}),
        ("/visibility", {"name": "A2", "state": "from", "visible_from": "2026-11-24T09:00"}),
    ):
        await press(course, path, "prof", data={**fields, **zone})
        for item in ("A1", "A2"):
            answer = await ask(course, "POST", f"/start-edit-deep/{item}")
            assert answer.json()["detail"] == "Not available until Tue 24 Nov 2026, 09:00"


async def test_moodles_dates_count_last_and_the_page_says_whose_they_are(hub_of: HubOf) -> None:
    told = "duedate = 1788500000\ncutoffdate = 1788600000\nallowsubmissionsfromdate = 1788400000\n"
    course = hub_of(f'[[assignments]]\nname = "A 1"\ndir = "A1"\n{told}', "A1")
    assert "A1" not in await read(course, "/", "alice")
    assert (await read(course, "/course/items/A1", "prof")).count("(Moodle)") == 3
    answer = (
        await ask(course, "POST", "/dates/A1", "prof", json={"due": "2026-09-20T12:00Z"})
    ).json()
    assert answer["closes"] == answer["due"], "submissions do not end before the due date"
    await ask(course, "POST", "/dates/A1", "prof", json={"opens": "2026-08-20T12:00Z"})
    assert "A1" in await read(course, "/", "alice")
    assert (await dates_of(course))["opens_from"] == "set by an instructor"


async def test_the_page_of_late_work_takes_and_refuses_the_same_dates(hub_of: HubOf) -> None:
    """A later due date moves Moodle's end with it; an emptied one may leave an end before it."""
    moodle = '[[assignments]]\nname = "A1"\nduedate = 1788500000\ncutoffdate = 1788600000\n'
    course = hub_of(f"{moodle}[items.A2]\ndue = 2026-12-01T18:00Z\n", "A1", "A2")
    await ask(course, "POST", "/dates/A2", "prof", json={"due": DUE, "closes": CLOSES})
    for item, due, status in (("A1", "2026-09-20T12:00", 200), ("A2", "", 400)):
        sent = {"action": "dates", "due": due}
        seen = await press(course, f"/marking/{item}/late/preview", "prof", data=sent)
        assert seen.status_code == status, seen.text
        saved = await press(course, f"/dates/{item}", "prof", data={"due": due})
        assert saved.status_code == (303 if status == 200 else status), saved.text


async def test_both_pages_know_when_an_item_opens(course: Hub) -> None:
    """A1 opens by a rule of visibility, A2 by the course's file, then earlier by a rule."""
    await ask(course, "POST", "/dates/A1", "prof", json={"opens": "2026-09-01T09:00Z"})

    async def taken(item: str, due: str) -> tuple[int, int]:
        sent = {"action": "dates", "due": due, "timezone": "UTC"}
        seen = await press(course, f"/marking/{item}/late/preview", "prof", data=sent)
        saved = await press(course, f"/dates/{item}", "prof", data=sent)
        return seen.status_code, saved.status_code

    assert await taken("A1", "2026-08-31T18:00") == (400, 400)
    assert await taken("A2", "2026-09-19T18:00") == (400, 400)
    await ask(course, "POST", "/dates/A2", "prof", json={"opens": "2026-09-10T09:00Z"})
    assert await taken("A2", "2026-09-19T18:00") == (200, 303)


async def test_another_date_leaves_the_due_date_of_a_run_of_feedback(course: Hub) -> None:
    later = datetime(2026, 9, 10, 18, tzinfo=UTC)
    with Gradebook(course.course / "gradebook.db") as book:
        change = PolicyChange("A1", StoredPolicy(due=later))
        LateWork(book).record([change], by="prof", at=later)
    await ask(course, "POST", "/dates/A1", "prof", json={"closes": CLOSES})
    sent = {"action": "dates", "closes": "2026-09-24T18:00", "timezone": "UTC"}
    for closes in ("2026-09-17T18:00:00Z", "2026-09-24T18:00:00Z"):
        told = await dates_of(course)
        assert (told["due"], told["closes"]) == ("2026-09-10T18:00:00Z", closes)
        assert told["due_from"] == "mograder feedback --due-date"
        seen = await press(course, "/marking/A1/late/preview", "prof", data=sent)
        version = {"version": hidden_field(seen.text, "version")}
        await press(course, "/marking/A1/late", "prof", data=sent | version)
    await ask(course, "POST", "/dates/A1", "prof", json={"due": None})
    assert (await dates_of(course))["due"] == "2026-09-03T18:00:00Z"


async def test_a_form_that_leaves_a_date_as_it_showed_it_does_not_set_it(course: Hub) -> None:
    fields = {"due": "2026-09-03T18:00", "closes": "2026-09-09T10:00", "timezone": "UTC"}
    assert (await press(course, "/dates/A1", "prof", data=fields)).status_code == 303
    told = await dates_of(course)
    assert (told["due_from"], told["closes_from"]) == ('[items."A1"]', "set by an instructor")


async def test_a_form_leaves_a_date_in_the_hour_that_clocks_repeat(course: Hub) -> None:
    """Europe/Berlin has 02:30 twice on that day: the form shows the later one without saying so."""
    late = "2026-10-25T01:30:00Z"
    await ask(course, "POST", "/dates/A1", "prof", json={"opens": late, "due": late})
    typed = {"opens": "2026-10-25T02:30", "due": "2026-10-25T02:30", "closes": "2026-11-01T12:00"}
    fields = typed | {"opens-shown": late, "due-shown": late, "timezone": "Europe/Berlin"}
    assert (await press(course, "/dates/A1", "prof", data=fields)).status_code == 303
    told = await dates_of(course)
    assert (told["opens"], told["due"], told["closes"]) == (late, late, "2026-11-01T11:00:00Z")


async def test_a_date_that_changes_marks_is_previewed_first(course: Hub) -> None:
    put(course.course, "alice", timedelta(hours=15))
    fields = {"due": "2026-12-24T12:00", "closes": "", "timezone": "UTC"}
    seen = await press(course, "/dates/A1", "prof", data=fields)
    assert seen.status_code == 200
    assert "1 of 1 marks change." in seen.text
    assert 'action="/dates/A1"' in seen.text
    assert (await dates_of(course))["due"] == "2026-09-03T18:00:00Z"
    version = {"version": hidden_field(seen.text, "version")}
    saved = await press(course, "/dates/A1", "prof", data=fields | version)
    assert saved.status_code == 303
    assert (await dates_of(course))["due"] == "2026-12-24T12:00:00Z"


async def test_dates_and_extensions_are_shown_wherever_the_item_is(course: Hub) -> None:
    await begin(course)
    until = datetime(2026, 9, 6, 18, tzinfo=UTC)
    change = Extension("A1", "alice", until=until)
    with Gradebook(course.course / "gradebook.db") as book:
        LateWork(book).record([change], by="prof", at=until)
    for path in ("/course/items", "/course/items/A1", "/board/A1", "/"):
        assert "2026-09-03T18:00:00+00:00" in await read(course, path, "prof"), path
    home = await read(course, "/", "alice")
    assert "2026-09-06T18:00:00+00:00" in home
    assert "extended" in home
    answer = await ask(course, "GET", "/standing/alice/A1")
    assert answer.json()["due"] == until.timestamp()


async def test_a_preview_of_another_day_has_the_dates_as_they_stand_on_that_day(
    hub_of: HubOf,
) -> None:
    course = hub_of("[items.A1]\ndue = 2026-09-03\ncloses = 2026-09-05\n", "A1", "A2")
    await ask(course, "POST", "/dates/A2", "prof", json={"due": DUE})
    change = Extension("A2", "prof", until=datetime(2026, 12, 1, tzinfo=UTC))
    with Gradebook(course.course / "gradebook.db") as book:
        LateWork(book).record([change], by="prof", at=course.clock.now())
    home = await read(course, "/?as=student&at=2026-09-07T12:00&timezone=UTC", "prof")
    assert re.findall(r"<h3>(A\d)</h3>", home) == ["A2", "A1"]
    assert "<span>closed <time" in home
    assert DUE in home
    assert "extended" not in home, "the instructor's own extension is not a student's"


async def test_when_an_item_closes_is_told_once_that_is_what_comes_next(hub_of: HubOf) -> None:
    toml = "[hub]\ncollect = true\n"
    toml += "[items.A1]\ndue = 2026-08-30\ncloses = 2026-12-01\n[items.A2]\ncloses = 2026-12-02\n"
    course = hub_of(toml, "A1", "A2")
    home = await read(course, "/", "alice")
    assert re.search(r"was due <time[^>]*>[^<]*</time>, closes <time", home)
    assert re.search(r"<span>closes <time", home)
    await begin(course)
    await ask(course, "POST", "/submit/alice/A1", "prof")
    shown = await read(course, "/submissions/alice/A1", "alice")
    assert re.search(r"This item <span[^>]*>was due", shown)


async def test_the_first_page_is_in_the_order_of_what_is_next(hub_of: HubOf) -> None:
    due_on = {"A1": "2026-09-30", "A2": "2026-08-01", "A3": "2026-09-02", "A5": "2026-08-15"}
    toml = "[hub]\ncollect = true\n"
    toml += "".join(f"[items.{name}]\ndue = {due}\n" for name, due in due_on.items())
    toml += "closes = 2026-08-16\n"
    toml += "".join(
        f"[items.A{at}]\ncloses = 2026-{day}\n" for at, day in ((6, "08-20"), (7, "09-05"))
    )
    course = hub_of(toml, *(f"A{number}" for number in range(1, 8)))
    home = await read(course, "/", "alice")
    assert re.findall(r"<h3>(A\d)</h3>", home) == ["A2", "A3", "A7", "A1", "A4", "A6", "A5"]
    assert "closed <time" in home


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/dates/A9", {"due": "2026-12-10T18:00", "timezone": "UTC"}),
        ("/dates/A9", {"opens": "2026-12-10T18:00", "timezone": "UTC"}),
        ("/marking/A9/late/preview", {"action": "dates", "due": "2026-12-10T18:00"}),
        ("/marking/A9/late", {"action": "dates", "due": "2026-12-10T18:00"}),
        ("/marking/A9/share", {"markers": "marta"}),
        ("/marking/A9/open", {"open": "1"}),
        ("/board/A9/messages", {"text": "Look at question 2."}),
    ],
)
async def test_an_item_that_the_course_does_not_have_is_named_and_nothing_is_kept(
    course: Hub, path: str, form: dict[str, str]
) -> None:
    answer = await press(course, path, "prof", data=form)
    assert (answer.status_code, "A9" in answer.text) == (404, True)
    assert not any("A9" in what for _, _, what, _ in course.audit())


async def test_an_item_may_get_its_dates_before_it_is_published(course: Hub) -> None:
    rule = {"items": {"A9": {"hidden": True}}}
    assert (await ask(course, "POST", "/visibility", "prof", json=rule)).status_code == 200
    assert (await ask(course, "POST", "/dates/A9", "prof", json={"due": DUE})).status_code == 200
