"""Released marks on the hub: what students see, and requests to look at a mark again."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from mograder.grading.late_changes import extension
from mograder.grading.late_work import moment
from mograder.grading.release import regrade_requests, releasing
from mograder.grading.release.regrade_requests import RequestRules
from mograder.grading.release.releasing import ReleasedMarks
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.grading_records import WHOLE, MarkEntry
from mograder.store.gradebook.late_work import LateWork, Membership
from mograder.store.marking.annotations import Annotations, AnnotationWish, Place
from mograder.store.marking.regrade_requests import RegradeRequests
from tests.support.event_stream import listening
from tests.support.feedback_pages import EVIL
from tests.support.gradebooks import AT
from tests.support.grader_app import PUBLIC, proxied_grader
from tests.support.hub_app import Hub, built_hub
from tests.support.hub_copies import press, read, see
from tests.support.page_reader import Reader, barred_buttons, hidden_field
from tests.support.released_course import ESSAY, ReleasedCourse, later, open_released_course

MARKER, OTHER_ITEM = "marta", '["A2"]\n'
ASKING = {"action": "ask", "question": "Essay", "text": "Is the second part not right?"}
THREAD = "/marking/A1/requests/1"


@pytest.fixture
def course(hub: Hub) -> Iterator[ReleasedCourse]:
    """Marks of A1 in the gradebook of the hub, whose clock shows :data:`AT`."""
    hub.clock.advance((AT - hub.clock.now()).total_seconds())
    with open_released_course(hub.course) as course:
        course.mark("alice", 6, marker=MARKER)
        (hub.course / "marking.json").write_text('["A1"]\n')
        yield course


async def post(hub: Hub, path: str, user: str, **fields: object) -> httpx.Response:
    return await press(hub, path, user, data=fields)


async def release(hub: Hub, whom: str = "all", **more: object) -> httpx.Response:
    fields = {"action": "release", "for": whom, **more}
    return await post(hub, "/marking/A1/release", "prof", **fields)


async def ask(hub: Hub, user: str = "alice", **more: object) -> httpx.Response:
    return await post(hub, "/marks/alice/A1/requests", user, **{**ASKING, **more})


async def decide(hub: Hub, user: str, **fields: object) -> httpx.Response:
    """Send the form of the page of the request, as the person sees it."""
    page = (await see(hub, THREAD, user)).text
    hidden = {
        name: found[1] if (found := re.search(rf'name="{name}" value="([^"]*)"', page)) else "1"
        for name in ("seen", "version")
    }
    return await post(hub, THREAD, user, **{"text": "Yes.", **hidden, **fields})


def seen_mark(text: str) -> str:
    """Return the mark of the page of marks."""
    found = re.search(r'<p class="score"><strong>([^<]*)</strong> of 20 marks', text)
    return found[1] if found else ""


# What students see -----------------------------------------------------------------------


async def test_nothing_is_seen_before_the_release(hub: Hub, course: ReleasedCourse) -> None:
    for path in ("/marks/alice/A1", "/marks/alice/A1/page"):
        assert (await see(hub, path)).status_code == 404
    assert "/marks/" not in await read(hub, "/")
    assert (await ask(hub)).status_code == 404


async def test_a_hub_without_a_gradebook_makes_none_for_students(hub: Hub) -> None:
    assert (await see(hub, "/")).status_code == 200
    assert (await see(hub, "/marks/alice/A1")).status_code == 404
    assert not (hub.course / "gradebook.db").exists()


async def test_the_first_page_shows_the_mark_and_the_page_its_reasons(
    hub: Hub, course: ReleasedCourse
) -> None:
    answer = await release(hub)
    assert answer.headers["location"] == "/marking/A1/release?done=marks-release&item=2"
    assert ("prof", "release marks", "A1: alice, bob", "ok") in hub.audit()
    home = await read(hub, "/")
    assert "<strong>13.5/20</strong>" in home
    page = await read(hub, "/marks/alice/A1")
    assert seen_mark(page) == "13.5"
    for reason in ("Q1: sum", "ValueError: ü", "7.5 of 10 marks", "Essay is fair."):
        assert reason in page, reason
    assert (await see(hub, "/marks/carol/A1", "carol")).status_code == 404


async def test_the_page_of_feedback_has_a_strict_policy(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    answer = await see(hub, "/marks/alice/A1/page")
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'; ")
    assert "<strong>13.5</strong> of 20 marks" in answer.text
    assert "<script" not in answer.text


async def test_a_release_at_a_time_is_seen_from_then_on(hub: Hub, course: ReleasedCourse) -> None:
    at = later(60).replace(tzinfo=None).isoformat(timespec="minutes")
    done = (await release(hub, visible_from=at, timezone="UTC")).headers["location"]
    told = Reader(await read(hub, done, "prof")).words
    assert "The marks of 2 students will be visible from the time that you chose." in told
    assert "students were released" not in told
    assert (await see(hub, "/marks/alice/A1")).status_code == 404
    hub.clock.advance(3600)
    assert (await see(hub, "/marks/alice/A1")).status_code == 200


@pytest.mark.usefixtures("no_pauses")
async def test_open_first_pages_hear_of_a_release_and_each_of_its_own_answer(
    hub: Hub, course: ReleasedCourse
) -> None:
    assert re.search(r'id="other-marks" data-live [^>]* hidden>', await read(hub, "/"))
    async with listening(hub, "alice") as alice, listening(hub, "bob") as bob:
        await release(hub)
        assert (await alice.news(), await bob.news()) == (["course"], ["course"])
        await ask(hub)
        await decide(hub, MARKER, action="answer", text="Which part?")
        assert await alice.news() == ["marks"]
        assert bob.parts.empty()
        # The form has one field for the time of both buttons.
        again = {"action": "take-back", "note": "A mistake.", "visible_from": "2030-01-01T10:00"}
        await release(hub, **again)
        assert await alice.news() == ["course"]


async def test_the_release_page_finds_students_by_name_and_state(
    hub: Hub, course: ReleasedCourse
) -> None:
    async def found(query: str = "") -> list[str]:
        page = await read(hub, f"/marking/A1/release{query}", "prof")
        return re.findall(r'<th role="rowheader" scope="row">([^<]*)</th>', page)

    await release(hub, "student:alice")
    assert await found() == ["alice", "bob", "carol"]
    assert await found("?q=AL") == ["alice"]
    assert await found("?state=RELEASED") == ["alice"]
    assert await found("?state=NO_MARK&q=c") == ["carol"]
    assert await found("?state=NO_MARK&q=a&page=9") == ["carol"]
    assert await found("?q=nobody") == await found("?state=CHANGED") == []
    assert await found("?state=bogus&page=x") == ["alice", "bob", "carol"]


async def test_the_release_page_says_what_to_look_at_before_a_release(
    hub: Hub, course: ReleasedCourse
) -> None:
    assert "Look first" not in await read(hub, "/marking/A1/release", "prof")
    fewer = ESSAY.model_copy(update={"available": 2.0})
    questions = (course.result("bob").questions[0], fewer)
    course.grade("bob", questions=questions, max_mark=12.0, submission_sha256="b" * 64)
    staff = await read(hub, "/marking/A1/release?q=bob", "prof")
    assert "Look first at the marks of alice, bob, carol." in staff
    assert "The table of marks is another one than when this was graded" not in staff
    assert "Look again at Essay" in staff
    assert "The total is more than the maximum: 16.5 of 12" in staff


async def test_pages_of_marks_show_fifty_students_at_once(hub: Hub, course: ReleasedCourse) -> None:
    submitted = hub.course / "submitted" / "A1"
    submitted.mkdir(parents=True)
    for number in range(60):
        course.grade(f"student{number:02}")
        (submitted / f"student{number:02}.py").touch()
    for path in ("/course/items/A1", "/marking/A1/late"):
        text = await read(hub, path, "prof")
        assert text.count('role="rowheader"') == 50, path
        assert f'href="{path}?page=2#marks"' in text
        assert "51 to 6" in await read(hub, f"{path}?page=2", "prof")
    first = await read(hub, "/marking/A1/release?q=student", "prof")
    assert "1 to 50 of 60" in first
    assert first.count('role="rowheader"') == 50
    assert 'href="/marking/A1/release?page=2&q=student&state=#students"' in html.unescape(first)
    assert 'value="student:student59"' in first, "the form has all students"
    second = await read(hub, "/marking/A1/release?page=2&q=student", "prof")
    assert "51 to 60 of 60" in second


async def test_later_marks_are_seen_after_the_next_release_only(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    course.mark("alice", 9, marker=MARKER)
    assert seen_mark(await read(hub, "/marks/alice/A1")) == "13.5"
    staff = await read(hub, "/marking/A1/release", "prof")
    assert "1 mark changed since the release." in staff
    item = await read(hub, "/course/items/A1", "prof")
    assert "1 mark changed since the release:" in item
    await release(hub)
    assert seen_mark(await read(hub, "/marks/alice/A1")) == "16.5"


async def test_an_items_page_finds_a_changed_mark_without_parsing_the_releases_of_the_class(
    hub: Hub, course: ReleasedCourse, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(60):
        course.grade(f"student{number:02}")
        course.mark(f"student{number:02}", 6)
    await release(hub)
    course.mark("student59", 9)  # on the second page
    parsed, parse = list[str](), releasing.parse_marks

    def noted(text: str) -> ReleasedMarks:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(releasing, "parse_marks", noted)
    item = await read(hub, "/course/items/A1", "prof")
    assert "1 mark changed since the release:" in item
    assert 0 < len(parsed) <= 51


async def test_the_pages_of_marking_count_the_requests_that_wait(
    hub: Hub, course: ReleasedCourse
) -> None:
    course.mark("carol", 5)
    await release(hub)
    for path in ("/marking", "/marking/A1"):
        assert "everything is marked" in await read(hub, path, "prof")
    await ask(hub)
    for user, path in (("prof", "/marking"), ("prof", "/marking/A1"), (MARKER, "/marking")):
        page = await read(hub, path, user)
        assert "everything is marked" not in page
        assert "1 request waits" in page
        assert re.search(r"Requests to look again <span[^>]*>1</span>", page)
    await decide(hub, MARKER, action="keep")
    assert "everything is marked" in await read(hub, "/marking", "prof")


async def test_an_items_page_names_the_checks_that_all_or_no_students_pass(
    hub: Hub, course: ReleasedCourse
) -> None:
    """Three students are too few to say anything."""
    assert "Checks to look at" not in await read(hub, "/course/items/A1", "prof")
    for number in range(5):
        course.grade(f"student{number}")
    page = ""
    async with asyncio.timeout(30):  # the page does not wait long for the statistics
        while "Checks to look at" not in page:
            page = await read(hub, "/course/items/A1", "prof")
    assert "Nearly every student passes." in page or "Hardly any student passes" in page


async def test_marks_that_are_taken_back_leave_a_note(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    fields = {"action": "take-back", "for": "student:alice"}
    assert (await post(hub, "/marking/A1/release", "prof", **fields)).status_code == 400
    await post(hub, "/marking/A1/release", "prof", **fields, note=f"A mistake. {EVIL}")
    page = await read(hub, "/marks/alice/A1")
    assert "These marks were taken back: " in page
    assert "A mistake." in page
    assert "<script>alert" not in page
    assert "13.5" not in page
    home = await read(hub, "/")
    assert "was taken back: A mistake." in home
    assert "13.5" not in home
    assert (await see(hub, "/marks/alice/A1/page")).status_code == 404
    assert seen_mark(await read(hub, "/marks/bob/A1", "bob")) == "16.5"


@contextmanager
def hidden_tests(hub: Hub, zone: str = "") -> Iterator[tuple[Hub, ReleasedCourse]]:
    """Yield a hub and the course, with hidden tests and a due date in an hour."""
    due = int(later(60).timestamp())
    toml = f'[hub]\ninstructors = ["prof"]\n[[assignments]]\nname = "A1"\nduedate = {due}\n'
    toml = f'timezone = "{zone}"\n{toml}'
    with (
        open_released_course(hub.course, toml) as course,
        built_hub(hub.course, toml, "A1") as other,
    ):
        other.clock.advance((AT - other.clock.now()).total_seconds())
        course.grade_hidden("alice", "bob")
        course.release("alice")
        yield other, course


async def test_marks_with_hidden_tests_wait_for_the_deadline(hub: Hub) -> None:
    with hidden_tests(hub) as (other, course):
        for path in ("/", "/marks/alice/A1", "/marks/alice/A1/page"):
            text = await read(other, path)
            assert "13.5" not in text, path
            assert "be told after" in text, path
        staff = await read(other, "/marking/A1/release", "prof")
        assert "alice does not see their marks before" in staff
        assert "the last due date is then" in staff
        assert staff.count("told after") == 1, "bob's marks are not released"
        page = await read(other, "/marks/alice/A1")
        assert re.findall(r'Ask to look again<span class="unseen"> at (\w+)', page) == ["Essay"]
        until = extension("A1", "bob", until=later(120))
        LateWork(course.book).record([until], by="prof", at=AT)
        other.clock.advance(3600)
        staff = await read(other, "/marking/A1/release", "prof")
        assert "an extension of a student runs until then" in staff
        assert "be told after" in await read(other, "/marks/alice/A1")
        other.clock.advance(3600)
        staff = await read(other, "/marking/A1/release", "prof")
        assert "not see their marks" not in staff
        assert "<strong>13.5/20</strong>" in await read(other, "/")


async def test_pages_tell_times_in_the_zone_of_the_course_and_scripts_in_the_readers(
    hub: Hub,
) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    with hidden_tests(hub, str(zone)) as (other, _):
        at = later(60).astimezone(zone)
        element = f'<time datetime="{at.isoformat()}">{moment(at, zone)}</time>'
        assert f"will be told after {element}" in await read(other, "/")
        page = await read(other, "/marks/alice/A1")
        assert page.count(element) == 2, "the mark, and that of the question"
        assert moment(at, zone) in await read(other, "/marks/alice/A1/page")
        assert "UTC" not in await read(other, "/marks/alice/A1/page")


async def test_the_time_for_requests_begins_when_marks_are_told(hub: Hub) -> None:
    with hidden_tests(hub) as (other, course):
        until = extension("A1", "bob", until=later(21 * 24 * 60))
        LateWork(course.book).record([until], by="prof", at=AT)
        other.clock.advance(22 * 86_400)
        assert "Ask to look again" in await read(other, "/marks/alice/A1")
        await ask(other)
        assert "The time for requests" not in await read(other, "/marks/alice/A1")


async def test_an_extension_hides_no_marks_that_were_seen_and_its_preview_says_so(hub: Hub) -> None:
    with hidden_tests(hub) as (other, _):
        other.clock.advance(3601)
        fields = {"action": "add", "student": "bob", "until": "2026-12-24T18:00"}
        preview = (await post(other, "/marking/A1/late/preview", "prof", **fields)).text
        assert "tell results of hidden tests are told after <time" in preview
        assert "Seen already, and so not hidden again: the marks of alice." in preview
        assert "A1, bob: due <time" in preview
        version = hidden_field(preview, "version")
        await post(other, "/marking/A1/late", "prof", **fields, version=version)
        for path in ("/", "/marks/alice/A1", "/marks/alice/A1/page"):
            assert "13.5" in await read(other, path), path
        await release(other)
        staff = await read(other, "/marking/A1/release", "prof")
        assert "bob does not see their marks before" in staff
        assert "be told after" in await read(other, "/marks/bob/A1", "bob")


async def test_a_release_for_nobody_known_is_refused(hub: Hub, course: ReleasedCourse) -> None:
    for whom in ("student:nobody", "group:x", ""):
        assert (await release(hub, whom)).status_code in (400, 404), whom
    assert (await see(hub, "/marks/alice/A1")).status_code == 404


async def test_a_group_is_released_and_no_other_student(hub: Hub, course: ReleasedCourse) -> None:
    """Members without a submission do not prevent the release of the others' marks."""
    members = [Membership("Tuesday", student) for student in ("bob", "carol", "zoe")]
    LateWork(course.book).record(members, by="prof", at=AT)
    assert 'value="group:Tuesday"' in await read(hub, "/marking/A1/release", "prof")
    answer = await release(hub, "group:Tuesday")
    assert answer.headers["location"].endswith("done=marks-release&item=1")
    assert (await see(hub, "/marks/bob/A1", "bob")).status_code == 200
    assert (await see(hub, "/marks/alice/A1")).status_code == 404


async def test_the_preview_is_what_a_release_would_show(hub: Hub, course: ReleasedCourse) -> None:
    answer = await see(hub, "/marking/A1/release/alice", "prof")
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'; ")
    assert "<strong>13.5</strong> of 20 marks" in answer.text
    assert (await see(hub, "/marking/A1/release/nobody", "prof")).status_code == 404
    assert (await see(hub, "/marking/A9/release", "prof")).status_code == 404


# Requests --------------------------------------------------------------------------------


async def test_from_a_question_to_another_mark(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    assert (await ask(hub)).headers["location"] == "/marks/alice/A1?done=ask"
    assert "1 request waits" in await read(hub, "/")
    listed = await read(hub, "/marking/-/requests", MARKER)
    assert "alice" not in listed, "names are hidden from markers"
    assert "alice" not in await read(hub, THREAD, MARKER)
    assert listed.index("For you") < listed.index(ASKING["text"]) < listed.index("For others")
    hub.clock.advance(60)
    await decide(hub, MARKER, action="answer", text="Which part?")
    assert "1 answered: read it" in await read(hub, "/")
    await ask(hub, action="reply", text="The one about waves.")
    answer = await decide(hub, MARKER, action="change", points="8,5", text="You are right.")
    assert answer.headers["location"] == f"{THREAD}?done=change"
    page = await read(hub, "/marks/alice/A1")
    assert seen_mark(page) == "16"
    for told in (
        "Which part?",
        "You are right.",
        "6 → <strong>8.5</strong> (+2.5)",
        "Course staff",
    ):
        assert told in page, told
    assert MARKER not in page, "students are not told who marked"
    assert "<strong>16/20</strong>" in await read(hub, "/")
    assert "8.5 of 10 marks" in await read(hub, "/marks/alice/A1/page")
    last = course.book.history("A1", "alice")[-1]
    assert (last.points, last.marker, last.comment) == (8.5, MARKER, "Essay is fair.")


async def test_one_mark_for_a_submission_can_be_asked_about(
    hub: Hub, course: ReleasedCourse
) -> None:
    """Its checks have no marks of their own, so none of them can get another one."""
    (question,) = course.result("alice").questions[:1]
    found = question.model_copy(update={"available": None, "earned": None})
    course.grade("alice", questions=(found,), max_mark=100.0, source_sha256="c" * 64)
    given = {WHOLE: MarkEntry(60, "Good.")}
    course.book.record_marks("A1", "alice", given, marker=MARKER, at=AT)
    await release(hub)
    page = await read(hub, "/marks/alice/A1")
    assert page.count('name="action" value="ask"') == 1
    assert '<input type="hidden" name="question" value="">' in page
    await ask(hub, question="")
    answer = await decide(hub, MARKER, action="change", points="65", text="You are right.")
    assert answer.status_code == 303
    page = await read(hub, "/marks/alice/A1")
    assert "60 → <strong>65</strong>" in page
    assert page.count("You are right.") == 2, "in the thread, and as the reason"
    course.book.record_marks("A1", "bob", {WHOLE: MarkEntry(8)}, marker=MARKER, at=AT)
    await release(hub)
    page = await read(hub, "/marks/bob/A1", "bob")
    assert re.findall(r'name="question" value="(.*?)"', page) == ["Q1", ""], "not about Essay alone"
    by_hand = await post(hub, "/marks/bob/A1/requests", "bob", **ASKING)
    assert by_hand.status_code == 400


async def test_a_question_that_a_mark_for_the_whole_covers_since_is_offered_no_other_mark(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    assert "Give another mark" in await read(hub, THREAD, "prof")
    course.book.record_marks("A1", "alice", {WHOLE: MarkEntry(9)}, marker=MARKER, at=AT)
    page = await read(hub, THREAD, "prof")
    assert "One mark for the whole submission counts" in page
    assert "Give another mark" not in page
    assert (await decide(hub, "prof", action="change", points="8")).status_code == 409
    assert (await decide(hub, "prof", action="keep")).status_code == 303


async def test_a_thread_tells_no_points_of_marks_that_were_taken_back(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    fields = {"action": "take-back", "for": "all", "note": "They come on Friday."}
    await post(hub, "/marking/A1/release", "prof", **fields)
    await decide(hub, MARKER, action="change", points="8.5", text="You are right.")
    page = (await see(hub, "/marks/alice/A1")).text
    assert "You are right." in page
    assert "The mark was changed." in page
    assert "8.5" not in page
    await release(hub)
    assert "8.5" in (await see(hub, "/marks/alice/A1")).text


async def test_a_decision_that_the_student_does_not_see_yet_says_so(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    added = ESSAY.model_copy(update={"key": "Added"})
    questions = (*course.result("alice").questions, added)
    course.grade("alice", questions=questions, max_mark=30.0, source_sha256="c" * 64)
    answer = await decide(hub, MARKER, action="change", points="8.5")
    assert seen_mark(await read(hub, "/marks/alice/A1")) == "13.5"
    page = await read(hub, answer.headers["location"], MARKER)
    assert "The new mark is recorded." in page
    assert "The student sees it now" not in page
    assert "and no other question waits" in page


async def test_a_thread_can_be_read_when_the_time_is_over(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    await ask(hub)
    hub.clock.advance(15 * 24 * 3600)
    page = await read(hub, "/marks/alice/A1")
    assert ASKING["text"] in page
    assert "The time for requests ended" in page
    assert "Ask to look again" not in page
    assert (await ask(hub, question="Q1")).status_code == 403


async def test_hostile_words_are_shown_as_text(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    await ask(hub, text=EVIL)
    for path, user in (
        ("/marks/alice/A1", "alice"),
        ("/marks/alice/A1", "prof"),
        ("/marking/-/requests", "prof"),
        (THREAD, "prof"),
    ):
        text = await read(hub, path, user)
        assert "<script>alert" not in text, path
        assert "<img src=" not in text.replace('<img src="/static', ""), path
        assert "\u202e" not in text, path


async def test_words_that_are_too_long_are_refused(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    assert (await ask(hub, text="x" * 4001)).status_code == 400
    assert (await ask(hub, text="x" * 100_000)).status_code == 413
    assert (await ask(hub, text=" ")).status_code == 400
    assert RegradeRequests(course.book).of() == ()


async def test_a_marker_of_another_item_reads_and_answers_nothing(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    (hub.course / "marking.json").write_text(OTHER_ITEM)
    assert ASKING["text"] not in await read(hub, "/marking/-/requests", MARKER)
    assert (await see(hub, THREAD, MARKER)).status_code == 403
    assert (await decide(hub, MARKER, action="change", points="10")).status_code == 403
    moved = THREAD.replace("A1", "A2")
    assert (await see(hub, moved, MARKER)).status_code == 404
    fields = {"action": "change", "points": "10", "text": "x", "seen": "1"}
    assert (await post(hub, moved, MARKER, **fields)).status_code == 404
    assert course.book.grades("A1")[0].final == 13.5


async def test_a_marker_decides_only_what_goes_to_them(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    await ask(hub, question="Q1")
    assert (await see(hub, THREAD, MARKER)).status_code == 200
    for action in ("answer", "change", "keep", "assign", "reopen"):
        answer = await decide(hub, MARKER, action=action, points="10", to=MARKER)
        assert answer.status_code == 403, action
    await decide(hub, "prof", action="assign", to=MARKER)
    assert (await decide(hub, MARKER, action="assign", to="")).status_code == 403
    assert (await decide(hub, MARKER, action="keep")).status_code == 303


async def test_nobody_decides_on_their_own_mark(hub: Hub, course: ReleasedCourse) -> None:
    """A person may be student and marker of a course."""
    course.grade(MARKER)
    course.mark(MARKER, 5, marker=MARKER)
    await release(hub)
    own = f"/marks/{MARKER}/A1/requests"
    assert (await post(hub, own, MARKER, **ASKING)).status_code == 303
    (request,) = RegradeRequests(course.book).of()
    assert request.assignee == ""
    fields = {"text": "Yes.", "seen": str(request.last)}
    await post(hub, THREAD, "prof", **fields, action="assign", to=MARKER)
    (request,) = RegradeRequests(course.book).of()
    assert request.assignee == MARKER
    fields["seen"] = str(request.last)
    for action in ("answer", "keep", "change"):
        answer = await post(hub, THREAD, MARKER, **fields, action=action, points="10")
        assert answer.status_code == 403, action


@pytest.mark.parametrize("again", [True, False])
async def test_a_request_about_a_question_that_was_removed_since_is_read_and_closed(
    hub: Hub, course: ReleasedCourse, *, again: bool
) -> None:
    await release(hub)
    await ask(hub)
    left = course.result("alice").questions[:1]
    course.grade("alice", questions=left, max_mark=10.0, source_sha256="c" * 64)
    if again:
        await release(hub)
    assert ASKING["text"] in await read(hub, "/marks/alice/A1")
    assert "no such question any more" in await read(hub, THREAD, "prof")
    assert (await decide(hub, "prof", action="change", points="5")).status_code == 404
    closed = await decide(hub, "prof", action="keep", text="It does not count for anybody.")
    assert closed.status_code == 303
    (request,) = RegradeRequests(course.book).of()
    assert not request.waits
    assert "It does not count for anybody." in await read(hub, "/marks/alice/A1")


async def test_a_decision_says_what_else_it_would_release(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    await ask(hub, question="Q1")
    assert "releases all marks" not in await read(hub, THREAD, "prof")
    course.mark("alice", 1, marker=MARKER)
    page = " ".join((await read(hub, THREAD, "prof")).split())
    assert "so these changes, too: Essay 6 → 1." in page
    course.book.record_marks("A1", "alice", {WHOLE: MarkEntry(2)}, marker=MARKER, at=AT)
    course.release("alice", at=later(60))
    page = " ".join((await read(hub, THREAD, "prof")).split())
    assert f"submission – → 2, what was to be released on {moment(later(60))}." in page


async def test_a_decision_says_that_it_would_release_comments_at_lines_too(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub, question="Q1")
    notes = Annotations(course.book)
    notes.add("A1", "alice", AnnotationWish(Place("Q1", 0), "Here.", None, MARKER, AT))
    assert "releases all marks" not in await read(hub, THREAD, "prof")
    notes.add("A1", "alice", AnnotationWish(Place("Essay", 1), "Hm", None, MARKER, AT))
    page = " ".join((await read(hub, THREAD, "prof")).split())
    assert "so these changes, too: comments." in page


async def test_points_that_are_no_mark_are_refused(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    await ask(hub)
    for points in ("", "nan", "inf", "-1", "11", "ten", "1_0", "\uff11\uff10"):
        answer = await decide(hub, "prof", action="change", points=points, text="My answer.")
        assert answer.status_code == 400, points
        assert "My answer." in answer.text
    assert course.book.grades("A1")[0].final == 13.5


async def test_points_that_the_pressed_button_does_not_record_are_not_dropped(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    for action, points in (("keep", "8,5"), ("answer", "8,5"), ("keep", "<ten>")):
        answer = await decide(hub, MARKER, action=action, points=points, text="<i>You are right.")
        assert answer.status_code == 400
        shown = Reader(answer.text)
        assert f"You wrote {points} points, and did not press Change the mark." in shown.words
        assert ("value", points) in shown.attributes
        assert "<i>You are right." in shown.text
        (request,) = RegradeRequests(course.book).of()
        assert len(request.messages) == 1
    assert (await decide(hub, MARKER, action="keep", points="6")).status_code == 303


async def test_words_beside_the_button_that_takes_a_request_back_are_sent(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    await ask(hub, action="withdraw", text="I had misread it.")
    assert "I had misread it." in await read(hub, THREAD, "prof")
    (request,) = RegradeRequests(course.book).of()
    assert not request.waits


async def test_words_of_an_answer_are_there_again_below_what_was_said_meanwhile(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    (request,) = RegradeRequests(course.book).of()
    await ask(hub, action="reply", text="One more word.")
    fields = {"text": "A <long> answer.", "points": "9", "seen": str(request.last)}
    answer = await post(hub, THREAD, MARKER, action="change", version="", **fields)
    assert answer.status_code == 409
    shown = Reader(answer.text)
    assert "There is a newer message in this thread. Nothing was recorded. Read it" in shown.words
    assert "One more word." in answer.text
    assert "A &lt;long&gt; answer.</textarea>" in answer.text
    assert ("value", "9") in shown.attributes
    hidden = {name: hidden_field(answer.text, name) for name in ("seen", "version")}
    again = await post(hub, THREAD, MARKER, action="answer", text="A <long> answer.", **hidden)
    assert again.status_code == 303


async def test_words_that_are_refused_are_on_the_page_again(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    await decide(hub, "prof", action="assign", to="", text="")
    given = await decide(hub, MARKER, action="keep", text="I see <it>.")
    again = await ask(hub, text="And <this>?")
    await decide(hub, "prof", action="keep")
    decided = await decide(hub, MARKER, action="keep", text="I see <it>.")
    reply = await ask(hub, action="reply", text="And <this>?")
    answers = given, decided, again, reply
    assert [each.status_code for each in answers] == [403, 403, 409, 403]
    for answer in answers[:2]:
        assert "readonly>I see &lt;it&gt;.</textarea>" in answer.text
    for answer in answers[2:]:
        assert "readonly>And &lt;this&gt;?</textarea>" in answer.text
        assert "Nothing was recorded." in answer.text


async def test_two_decisions_do_not_pass_each_other(hub: Hub, course: ReleasedCourse) -> None:
    await release(hub)
    await ask(hub)
    (request,) = RegradeRequests(course.book).of()
    await decide(hub, MARKER, action="answer", text="Wait.")
    fields = {"action": "change", "points": "9", "text": "Yes.", "seen": str(request.last)}
    assert (await post(hub, THREAD, "prof", **fields)).status_code == 409
    assert course.book.grades("A1")[0].final == 13.5


async def test_a_mark_that_was_changed_meanwhile_is_not_overwritten(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    page = await read(hub, THREAD, "prof")
    (request,) = RegradeRequests(course.book).of()
    version = hidden_field(page, "version")
    course.mark("alice", 7, marker="max")
    fields = {"action": "change", "points": "9", "text": "Yes.", "seen": str(request.last)}
    answer = await post(hub, THREAD, "prof", **fields, version=version)
    assert answer.status_code == 409
    with Gradebook(course.loaded.gradebook_path) as book:
        assert book.grades("A1")[0].final == 14.5


async def test_a_mark_that_was_changed_since_its_release_is_not_offered_to_be_kept(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    course.mark("alice", 7, marker="max")
    page = await read(hub, THREAD, "prof")
    why = "The mark was changed since it was released: give another mark, with the points that"
    assert barred_buttons(page) == {"Keep the mark": f"{why} shall count."}
    assert 'value="keep"' not in page
    assert (await decide(hub, "prof", action="keep")).status_code == 409
    assert (await decide(hub, "prof", action="change", points="7")).status_code == 303


async def test_a_request_about_the_whole_mark_that_is_no_more_can_be_closed(
    hub: Hub, course: ReleasedCourse
) -> None:
    course.book.record_marks("A1", "alice", {WHOLE: MarkEntry(9)}, marker=MARKER, at=AT)
    await release(hub)
    await ask(hub, question=WHOLE)
    course.mark("alice", 7, marker="max")
    page = await read(hub, THREAD, "prof")
    assert barred_buttons(page) == {}
    assert "Marks of questions count in place of this one" in page
    await decide(hub, "prof", action="keep")
    assert "The request is closed." in await read(hub, f"{THREAD}?done=keep", "prof")
    assert "The request was closed." in await read(hub, "/marks/alice/A1")


async def test_the_mark_stays_unless_points_are_given_and_the_next_request_follows(
    hub: Hub, course: ReleasedCourse
) -> None:
    await release(hub)
    await ask(hub)
    await ask(hub, question="Q1")
    other = "/marking/A1/requests/2"
    checked = (await read(hub, other, "prof")).split('id="mark-title"')[1]
    assert "failed:" in checked, "the question's checks"
    assert "What the student reads" in checked
    text = await read(hub, THREAD, "prof")
    main = re.findall(r'<button class="button main"[^>]*value="(\w+)"', text)
    assert main == ["keep"]
    assert re.search(r'<input id="points"[^>]*value=', text) is None
    answer = await decide(hub, "prof", action="keep", points="")
    after = await read(hub, answer.headers["location"], "prof")
    assert f'class="button main" href="{other}"' in after
    assert "1 more waits for you" in after
    await post(hub, other, "prof", action="keep", text="No.", seen="2")
    last = await read(hub, f"{other}?done=keep", "prof")
    assert "No other request waits for you." in last


async def test_the_pages_of_staff_work_in_the_grader_too(tmp_path: Path) -> None:
    with open_released_course(tmp_path) as course:
        course.release()
        marks = ("A1", "alice", "Essay")
        number = regrade_requests.ask(
            course.book, RequestRules(14, "marker"), marks, EVIL, later(1)
        )
        (request,) = RegradeRequests(course.book).of()
        course.mark("bob", 3)
        async with (
            proxied_grader(tmp_path, instructors="anna") as grader,
            grader.through_proxy("anna") as anna,
        ):
            thread = f"/marking/A1/requests/{number}"
            for path in ("/marking/A1/release", "/marking/A1/release/bob", thread):
                page = await anna.get(path, headers={"Accept": "text/html"})
                assert page.status_code == 200, path
                assert "<script>alert" not in page.text, path
            listed = (await anna.get("/marking/-/requests")).text
            assert "A1, Essay: alice" in listed
            form = {"Accept": "text/html", "Origin": PUBLIC}
            fields = {"action": "change", "points": "8.5", "text": "Yes.", "seen": request.last}
            answer = await anna.post(thread, headers=form, data=fields)
            assert answer.headers["location"].endswith(f"{thread}?done=change")
        assert course.book.grades("A1")[0].final == 16
