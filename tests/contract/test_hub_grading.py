"""Grading on the hub: sources that are taken and never given out, and jobs with their progress."""

from __future__ import annotations

import asyncio
import hashlib
import stat

import pytest

from mograder.core.errors import InvalidInput
from mograder.grading.pages.notebook_page import render_notebook_page
from mograder.grading.submissions.grading_jobs import GradingRequest
from mograder.store.gradebook.grading_records import StudentGrade
from mograder.web.hub.app import ROUTES
from tests.support.hub_app import NOTEBOOK, Hub, HubOf, running, running_hub
from tests.support.hub_copies import ask, press, read
from tests.support.page_reader import barred_buttons

SECRET_TEXT = "the-hidden-test-of-question-one"
SOURCE = NOTEBOOK.replace("1 + 1", f'"{SECRET_TEXT}"')


def files(*more: tuple[str, bytes], text: str = SOURCE) -> list[tuple[str, tuple[str, bytes]]]:
    """A source of A1 as a multipart field."""
    return [("files", each) for each in (("A1.py", text.encode()), *more)]


def submit(hub: Hub, *students: str, item: str = "A1") -> None:
    """Have students' submissions of an item on the hub."""
    place = hub.course / "submitted" / item
    place.mkdir(parents=True, exist_ok=True)
    for student in students:
        (place / f"{student}.py").write_text(NOTEBOOK)


async def ended(hub: Hub, item: str = "A1") -> dict[str, object]:
    """Wait until the job of an item has ended, and return it."""
    job: dict[str, object] = {"state": "queued"}
    while job["state"] in ("queued", "running"):
        await asyncio.sleep(0.01)
        job = (await ask(hub, "GET", f"/autograde/{item}", "prof")).json()["job"]
    return job


async def begin(hub: Hub, item: str = "A1", **more: object) -> asyncio.Event:
    """Have the grading of an item begin, which goes on when the event is set."""
    hub.batch.hold = asyncio.Event()
    await ask(hub, "POST", f"/autograde/{item}", "prof", **more)
    await hub.batch.reached.wait()
    return hub.batch.hold


# Sources ---------------------------------------------------------------------------------


async def test_a_source_that_is_sent_is_kept_for_the_hub_alone(hub: Hub) -> None:
    answer = await ask(hub, "PUT", "/source/A1", "prof", files=files(("hidden/truth.csv", b"1\n")))
    assert answer.json() == {"status": "ok", "files": ["A1.py", "hidden/truth.csv"]}
    root = hub.course / ".mograder" / "sources"
    assert (root / "A1" / "A1.py").read_text() == SOURCE
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (root, root / "A1", root / "A1/hidden")}
    assert modes == {0o700}
    assert stat.S_IMODE((root / "A1" / "A1.py").stat().st_mode) == 0o600
    assert ("prof", "send source", "A1", "ok") in hub.audit()


async def test_the_hub_tells_digests_of_a_source_and_its_limits(hub: Hub) -> None:
    await ask(hub, "PUT", "/source/A1", "prof", files=files())
    held = (await ask(hub, "GET", "/source/A1", "prof")).json()
    digest = hashlib.sha256(SOURCE.encode()).hexdigest()
    assert held["files"] == {"A1.py": digest}
    assert (held["own"], held["most_mb"], held["most_files"]) == (False, 100, 200)
    assert (await ask(hub, "GET", "/source/A2", "prof")).json()["files"] == {}


async def test_a_source_may_begin_with_a_byte_order_mark(hub: Hub) -> None:
    sent = await ask(hub, "PUT", "/source/A1", "prof", files=files(text=f"\ufeff{SOURCE}"))
    assert sent.status_code == 200
    assert (hub.course / ".mograder/sources/A1/A1.py").read_bytes().startswith(b"\xef\xbb\xbf")


async def test_a_new_source_replaces_the_old_one_as_a_whole(hub: Hub) -> None:
    await ask(hub, "PUT", "/source/A1", "prof", files=files(("old.csv", b"1\n")))
    bad = await ask(hub, "PUT", "/source/A1", "prof", files=files(text="x = ("))
    assert bad.status_code == 400
    assert set((await ask(hub, "GET", "/source/A1", "prof")).json()["files"]) == {
        "A1.py",
        "old.csv",
    }
    await ask(hub, "PUT", "/source/A1", "prof", files=files(("new.csv", b"1\n")))
    assert set((await ask(hub, "GET", "/source/A1", "prof")).json()["files"]) == {
        "A1.py",
        "new.csv",
    }


@pytest.mark.parametrize("name", ["A2.py", "../A1.py", ".A1.py"])
async def test_a_source_without_the_items_notebook_is_refused(hub: Hub, name: str) -> None:
    sent = [("files", (name, SOURCE.encode()))]
    assert (await ask(hub, "PUT", "/source/A1", "prof", files=sent)).status_code == 400
    assert not (hub.course / ".mograder" / "sources" / "A1").exists()


async def test_the_courses_own_source_is_not_replaced(hub: Hub) -> None:
    own = hub.course / "source" / "A1" / "A1.py"
    own.parent.mkdir(parents=True)
    own.write_text(SOURCE)
    answer = await ask(hub, "PUT", "/source/A1", "prof", files=files(text=NOTEBOOK))
    assert answer.status_code == 409
    assert "source/A1" in answer.json()["detail"]
    assert own.read_text() == SOURCE
    held = (await ask(hub, "GET", "/source/A1", "prof")).json()
    assert (held["own"], held["files"]) == (True, {})


@pytest.mark.parametrize("user", ["alice", "prof"])
async def test_no_route_gives_a_source_out(hub: Hub, user: str) -> None:
    """Not to its author either: it is in the course, and a hub's pages can be made to leak."""
    await ask(hub, "PUT", "/source/A1", "prof", files=files())
    submit(hub, "alice")
    await ask(hub, "POST", "/download/A1", "alice")
    values = {"a": "A1", "item": "A1", "name": "A1", "user": "alice", "lecture": "A1"}
    values |= {"filename:path": "A1.py", "archive": "A1.py", "version": "v"}
    for route in [each for each in ROUTES if each.method == "GET" and each.path != "/events"]:
        path = route.path
        for key, value in values.items():
            path = path.replace(f"{{{key}}}", value)
        for accept in ("application/json", "text/html"):
            answer = await ask(hub, "GET", path, user, headers={"Accept": accept})
            assert SECRET_TEXT not in answer.text, route.path
    for path in ("/release/A1/../../.mograder/sources/A1/A1.py", "/release/A1/%2e%2e/A1.py"):
        assert SECRET_TEXT not in (await ask(hub, "GET", path, user)).text


async def test_a_source_is_sent_by_the_items_page(hub: Hub) -> None:
    answer = await press(hub, "/course/source/A1", "prof", files=files())
    assert answer.headers["location"] == "/course/items/A1?done=source&item=A1"
    text = await see(hub, answer.headers["location"])
    assert "The source of A1 was sent" in text
    assert "The hub grades with the source that was sent" in text


# Jobs ------------------------------------------------------------------------------------


async def test_grading_is_taken_as_a_job_and_counted(hub: Hub) -> None:
    submit(hub, "alice", "bob")
    answer = await ask(
        hub, "POST", "/autograde/A1", "prof", json={"students": ["bob"], "force": True}
    )
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["who"]) == ("queued", "prof")
    job = await ended(hub)
    assert (job["state"], job["total"], job["completed"], job["attention"]) == ("done", 2, 2, 1)
    assert hub.batch.asked == [("A1", GradingRequest(("bob",), force=True))]
    assert ("prof", "grade", "A1", "ok") in hub.audit()


async def test_a_student_is_named_as_the_file_is(hub: Hub) -> None:
    """Submissions collected elsewhere may have names that no user of the hub has."""
    submit(hub, "Jürgen Müller")
    answer = await ask(hub, "POST", "/autograde/A1", "prof", json={"students": ["Jürgen Müller"]})
    assert answer.status_code == 202
    await ended(hub)
    assert ">Jürgen Müller</th>" in await see(hub)


async def test_a_body_may_be_missing_and_unknown_fields_are_refused(hub: Hub) -> None:
    submit(hub, "alice")
    assert (await ask(hub, "POST", "/autograde/A1", "prof", json={"all": True})).status_code == 400
    assert (await ask(hub, "POST", "/autograde/A1", "prof")).status_code == 202


@pytest.mark.parametrize(
    ("path", "students", "status"),
    [
        ("/autograde/A1", ["mallory"], 400),
        ("/autograde/A2", [], 409),
        ("/autograde/L01", [], 400),
        ("/autograde/user", [], 400),
    ],
)
async def test_what_cannot_be_graded_is_refused(
    hub: Hub, path: str, students: list[str], status: int
) -> None:
    submit(hub, "alice")
    answer = await ask(hub, "POST", path, "prof", json={"students": students})
    assert answer.status_code == status
    assert hub.batch.asked == []


async def test_a_job_tells_its_progress_and_is_cancelled(hub: Hub) -> None:
    submit(hub, "alice", "bob")
    await begin(hub)
    job = (await ask(hub, "GET", "/autograde/A1", "prof")).json()["job"]
    assert (job["state"], job["completed"], job["total"]) == ("running", 1, 2)
    assert (await ask(hub, "DELETE", "/autograde/A1", "prof")).json()["cancelled"] is True
    job = await ended(hub)
    assert (job["state"], job["completed"]) == ("cancelled", 1)
    assert (await ask(hub, "DELETE", "/autograde/A1", "prof")).json()["cancelled"] is False
    assert ("prof", "cancel grading", "A1", "ok") in hub.audit()


async def test_jobs_run_one_after_the_other_in_the_order_of_arrival(hub: Hub) -> None:
    submit(hub, "alice")
    submit(hub, "alice", item="A2")
    go_on = await begin(hub, "A2")
    await ask(hub, "POST", "/autograde/A1", "prof")
    assert (await ask(hub, "GET", "/autograde/A1", "prof")).json()["job"]["state"] == "queued"
    go_on.set()
    await ended(hub)
    assert [item for item, _ in hub.batch.asked] == ["A2", "A1"]


async def test_the_same_request_twice_is_one_job_and_another_one_a_conflict(hub: Hub) -> None:
    submit(hub, "alice")
    submit(hub, "alice", item="A2")
    go_on = await begin(hub, "A2")
    for _ in range(2):
        assert (await ask(hub, "POST", "/autograde/A1", "prof")).status_code == 202
    assert (
        await ask(hub, "POST", "/autograde/A1", "prof", json={"force": True})
    ).status_code == 409
    go_on.set()
    assert (await ended(hub))["state"] == "done"
    assert [item for item, _ in hub.batch.asked] == ["A2", "A1"]


@pytest.mark.parametrize(
    ("failure", "told"),
    [(InvalidInput("No.", hint="Mend it."), "No. Mend it."), (KeyError("x"), "Something broke.")],
)
async def test_a_job_that_fails_says_why_and_the_next_one_runs(
    hub: Hub, failure: Exception, told: str
) -> None:
    submit(hub, "alice")
    hub.batch.failure = failure
    await ask(hub, "POST", "/autograde/A1", "prof")
    job = await ended(hub)
    assert job["state"] == "failed"
    assert str(job["error"]).startswith(told)
    hub.batch.failure = None
    await ask(hub, "POST", "/autograde/A1", "prof")
    assert (await ended(hub))["state"] == "done"


async def test_a_job_in_progress_goes_on_in_the_next_hub(hub: Hub) -> None:
    submit(hub, "alice", "bob")
    await begin(hub, json={"failed": True})
    async with running_hub(hub.course, '[hub]\ninstructors = ["prof"]\n') as again:
        job = await ended(again)
    assert (job["state"], job["completed"], job["failed"]) == ("done", 2, True)
    begun = hub.clock.now()
    assert again.batch.asked == [("A1", GradingRequest(failed_only=True, since=begun))]


async def test_a_hub_that_stops_leaves_its_job_to_the_next(hub_of: HubOf) -> None:
    other = hub_of('[hub]\ninstructors = ["prof"]\n', "A1")
    submit(other, "alice")
    async with running(other.app):
        await begin(other)
    row = await other.services.grading.jobs.of("A1")
    assert row is not None
    assert row.state.value == "running"


# Pages -----------------------------------------------------------------------------------


async def see(hub: Hub, path: str = "/course/items/A1") -> str:
    return await read(hub, path, "prof")


async def test_the_button_of_the_items_page_grades_without_scripts(hub: Hub) -> None:
    submit(hub, "alice")
    assert "1 student has submitted. Nothing is graded yet." in await see(hub)
    answer = await press(hub, "/autograde/A1", "prof", data={"force": "on"})
    assert answer.headers["location"] == "/course/items/A1?done=grading&item=A1"
    await ended(hub)
    assert hub.batch.asked == [("A1", GradingRequest(force=True))]
    assert "Last grading: 2 graded" in await see(hub)


async def test_the_button_says_beforehand_that_there_is_nothing_to_grade(hub: Hub) -> None:
    shown, why = await see(hub), "There is nothing to grade before a student has submitted."
    assert barred_buttons(shown) == {"Grade submissions": why}
    assert 'action="/autograde/A1"' not in shown
    assert (await press(hub, "/autograde/A1", "prof")).status_code == 409
    submit(hub, "alice")
    assert barred_buttons(await see(hub)) == {}


async def test_an_items_page_counts_what_was_graded_by_command(hub: Hub) -> None:
    """The hub has no job for it."""
    submit(hub, "alice")
    hub.grades.append(StudentGrade("A1", "alice", state="judged", run=1))
    assert "1 student has submitted. 1 is graded." in await see(hub)


async def test_the_page_of_a_running_job_tells_how_far_it_is_and_offers_to_cancel(hub: Hub) -> None:
    submit(hub, "alice")
    await begin(hub)
    text = await see(hub)
    assert "1 of 2 graded." in text
    assert '<progress class="meter" max="2" value="1"' in text
    assert '<noscript><meta http-equiv="refresh"' in text
    answer = await press(hub, "/course/cancel-grading/A1", "prof")
    assert answer.headers["location"] == "/course/items/A1?done=cancelled&item=A1"
    assert "after 1 of 2. What was graded is kept." in await see(hub)


async def test_what_needs_attention_stands_first_with_what_to_do(hub: Hub) -> None:
    submit(hub, "alice", "bob")
    hub.grades += [
        StudentGrade("A1", "alice", total=8.5, final=8.5, max_mark=10.0, state="judged"),
        StudentGrade("A1", "bob", state="needs attention", flags=("The judge ended early.",)),
    ]
    text = await see(hub)
    assert text.index(">bob</a>") < text.index(">alice</a>")
    assert "8.5 of 10" in text
    assert "The judge ended early. <span" in text
    students = (await ask(hub, "GET", "/autograde/A1", "prof")).json()["students"]
    assert [(each["student"], each["mark"]) for each in students] == [("bob", None), ("alice", 8.5)]


async def test_the_words_for_how_marks_came_about_are_explained_where_they_stand(hub: Hub) -> None:
    submit(hub, "alice")
    hub.grades.append(StudentGrade("A1", "alice", total=3.0, final=3.0, state="claimed"))
    text = await see(hub)
    assert "<strong>claimed</strong>: a check rests on what" in text
    assert "<strong>unprotected</strong>" not in text


async def test_a_graded_notebook_is_shown_as_a_page_that_can_do_nothing(hub: Hub) -> None:
    submit(hub, "alice", "bob")
    hub.grades.append(StudentGrade("A1", "alice", total=3.0, final=3.0, state="judged"))
    place = hub.course / "autograded" / "A1"
    place.mkdir(parents=True)
    written = render_notebook_page(NOTEBOOK, "A1.py", ())
    (place / "alice.html").write_text(written)
    (place / "bob.html").write_text("<html><script>alert(1)</script>")
    assert 'href="/course/items/A1/alice"' in await see(hub)
    answer = await ask(hub, "GET", "/course/items/A1/alice", "prof")
    assert answer.text == written
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert ("prof", "read result", "alice/A1", "ok") in hub.audit()
    for user in ("bob", "carol", "..%2fA1%2falice", "%2e%2e"):
        assert (await ask(hub, "GET", f"/course/items/A1/{user}", "prof")).status_code == 404


async def test_an_item_that_is_not_there_has_no_page(hub: Hub) -> None:
    await read(hub, "/course/items/zz", "prof", 404)
