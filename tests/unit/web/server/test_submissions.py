"""Handing in on an assignment server (B146, B147, B157, B158; compatibility-0.3.16.md 4)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import stat
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mograder.core.names import ItemName
from mograder.core.settings import load_settings
from mograder.notebook import MAX_NOTEBOOK
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import Extension, LateWork
from mograder.store.submissions.submissions import Submissions
from tests.support.assignment_app import Course
from tests.support.fake_disks import FailingDisk

STATUS = "/assignments/hw1/status?user=alice"
DUE = {"name": "hw1", "due": "2026-09-02T09:00:00Z", "cutoff": "2026-09-04T11:00:00+02:00"}
DAY = timedelta(days=1).total_seconds()


async def test_b157_b158_a_submission_has_its_time_in_its_name_and_a_link_leads_to_the_latest(
    course: Course,
) -> None:
    """Atomic, with its history, and a link to the latest; compatibility-0.3.16.md 4's answer.

    B157, B158.
    """
    answer = await course.submit("alice", b"one")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["status"], told["filename"]) == ("ok", "alice.py")
    course.clock.advance(5)
    await course.submit("alice", b"two")
    place = course.place()
    assert sorted(path.name for path in place.iterdir()) == [
        "alice.py",
        "alice_20260901T090000.py",
        "alice_20260901T090005.py",
    ]
    assert (place / "alice_20260901T090000.py").read_bytes() == b"one"
    assert stat.S_IMODE((place / "alice_20260901T090000.py").stat().st_mode) == 0o600
    await course.submit("alice", b"three")
    link = place / "alice.py"
    assert link.readlink() == Path("alice_20260901T090005-1.py")
    assert link.read_bytes() == b"three"


async def test_b156_everything_lies_where_the_layout_or_the_option_says(
    course: Course, tmp_path: Path
) -> None:
    await course.submit("alice", b"one")
    grades = {"grades": [{"username": "alice", "grade": "7"}]}
    await course.ask("POST", "/assignments/hw1/grades", "prof", json=grades)
    root = course.root
    assert (root / ".mograder-secret").is_file()
    assert (root / "hw1" / "grades.json").is_file()
    assert (root / "submitted" / "hw1" / "alice.py").is_symlink()
    course.restart(submissions_dir=tmp_path / "elsewhere")
    await course.submit("alice", b"one")
    assert (tmp_path / "elsewhere" / "hw1" / "alice.py").read_bytes() == b"one"


async def test_submissions_may_lie_where_0316_had_them(course: Course) -> None:
    (course.root / "hw1" / "hw1.py").write_bytes(b"not a submission")
    course.restart(submissions_dir=course.root)
    await course.submit("alice", b"one")
    assert (course.root / "hw1" / "alice.py").read_bytes() == b"one"
    listed = (await course.ask("GET", "/assignments/hw1/submissions", "prof")).json()
    assert [each["username"] for each in listed] == ["alice"]
    assert len((await course.ask("GET", "/assignments", "alice")).json()) == 1


FORM_OF_0316 = {
    "content": (
        b'------MograderBoundary\r\nContent-Disposition: form-data; name="file"; '
        b'filename="hw1.py"\r\nContent-Type: application/octet-stream\r\n\r\nprint(1)'
        b"\r\n------MograderBoundary--\r\n"
    ),
    "headers": {"Content-Type": "multipart/form-data; boundary=----MograderBoundary"},
}


@pytest.mark.parametrize(
    "more",
    [
        FORM_OF_0316,
        {"content": b"print(1)"},
        {"files": {"file": ("hw1.py", b"print(1)")}},
        {"files": {"anything": ("x", b"print(1)"), "second": ("y", b"other")}},
        {"files": {"file": ("hw1.py", b"print(1)")}, "data": {"note": "before or after"}},
    ],
)
async def test_the_first_file_of_a_form_or_the_body_itself_is_taken(
    course: Course, more: dict[str, object]
) -> None:
    answer = await course.ask("POST", "/assignments/hw1/submit?user=alice", "alice", **more)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    assert (course.place() / "alice.py").read_bytes() == b"print(1)"


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ("", 400, "Missing 'user' query parameter"),
        ("?user=", 400, "Missing 'user' query parameter"),
        (
            "?user=a%20b",
            400,
            "Invalid username: must be alphanumeric, underscore, hyphen, or dot",
        ),
        ("?user=a..b", 400, "Invalid username: must not contain '..'"),
        ("?user=__instructor__", 400, "Reserved username"),
        ("?user=-rf", 400, "Invalid username: it must not start with a dot or a dash"),
        (
            "?user=alice_20260310T200800",
            400,
            "Invalid username: it reads as the name of a submission",
        ),
        ("?user=alice&user=bob", 400, "The request has a field twice."),
    ],
)
async def test_a_bad_name_is_refused_in_0316s_words(
    course: Course, query: str, status: int, error: str
) -> None:
    answer = await course.ask("POST", f"/assignments/hw1/submit{query}", "prof", content=b"x")
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    "more", [{"content": b""}, {"files": {"file": ("a.py", b"")}}, {"files": {"file": ("", b"x")}}]
)
async def test_nothing_is_no_submission(course: Course, more: dict[str, object]) -> None:
    answer = await course.ask("POST", "/assignments/hw1/submit?user=alice", "alice", **more)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()) == (400, {"error": "No file data received"})


async def test_an_assignment_that_there_is_not_takes_nothing(course: Course) -> None:
    """compatibility-0.3.16.md 4: 0.3.16 made one of any name."""
    assert (await course.submit("alice", b"x", "zz")).status_code == 404
    assert not course.place("zz").exists()


async def test_what_is_too_large_is_refused_with_the_bound(course: Course) -> None:
    answer = await course.submit("alice", b"x" * (32 * 1024 * 1024 + 1))
    assert answer.status_code == 413
    assert "32 MB" in answer.json()["error"]


async def test_what_could_not_be_graded_is_refused_while_it_can_be_mended(course: Course) -> None:
    answer = await course.submit("alice", b"x" * (MAX_NOTEBOOK + 1))
    assert answer.status_code == 413
    assert "at most 16 MB: no larger one can be graded" in answer.json()["error"]
    assert not course.place().exists()
    assert (await course.submit("alice", b"x" * MAX_NOTEBOOK)).status_code == 200


async def test_the_same_bytes_again_are_no_second_submission(course: Course) -> None:
    first = (await course.submit("alice", b"same")).json()
    course.clock.advance(60)
    again = (await course.submit("alice", b"same")).json()
    assert first["repeated"] is False
    assert again["repeated"] is True
    assert again["receipt"] == first["receipt"]
    assert len(list(course.place().glob("alice_*"))) == 1
    course.restart()
    assert (await course.submit("alice", b"same")).json() == again


async def test_an_earlier_version_again_is_a_new_submission(course: Course) -> None:
    for data in (b"a", b"b", b"a"):
        last = (await course.submit("alice", data)).json()
    assert (last["repeated"], last["receipt"]["sequence"]) == (False, 3)
    assert (course.place() / "alice.py").read_bytes() == b"a"


async def test_b146_a_student_asks_for_their_own_status(course: Course) -> None:
    new = (await course.ask("GET", STATUS, "alice")).json()
    assert new == {
        "status": "new",
        "graded": False,
        "grade": None,
        "feedback": "",
        "feedback_available": False,
    }
    await course.submit("alice", b"x")
    assert (await course.ask("GET", STATUS, "alice")).json() == {**new, "status": "submitted"}
    missing = await course.ask("GET", "/assignments/hw1/status", "alice")
    assert missing.json() == {"error": "Missing 'user' query parameter"}


async def test_b147_the_instructor_lists_and_downloads_submissions(course: Course) -> None:
    await course.submit("bob", b"1")
    await course.submit("alice", b"2")
    course.clock.advance(1)
    receipt = (await course.submit("alice", b"3")).json()["receipt"]
    listed = await course.ask("GET", "/assignments/hw1/submissions", "prof")
    assert listed.json() == [
        {
            "username": user,
            "filename": f"{user}.py",
            "url": f"/assignments/hw1/submissions/{user}.py",
        }
        for user in ("alice", "bob")
    ]
    for name, content in (("alice.py", b"3"), ("alice_20260901T090000.py", b"2")):
        answer = await course.ask("GET", f"/assignments/hw1/submissions/{name}", "prof")
        assert answer.content == content
    (alice, _) = (await course.ask("GET", "/assignments/hw1/submissions?detail=1", "prof")).json()
    assert alice["history"] == ["alice_20260901T090000.py", "alice_20260901T090001.py"]
    assert alice["sha256"] == receipt["sha256"] == hashlib.sha256(b"3").hexdigest()
    absent = await course.ask("GET", "/assignments/hw1/submissions/zz.py", "prof")
    assert (absent.status_code, absent.json()) == (404, {"error": "Not found: zz.py"})


async def test_late_work_is_taken_and_marked(course: Course) -> None:
    course.write_manifest(DUE)
    course.clock.advance(1.5 * DAY)
    told = (await course.submit("alice", b"late")).json()
    assert told["late"] is True
    assert told["receipt"]["late"] is True
    detail = (await course.ask("GET", STATUS + "&detail=1", "alice")).json()
    assert (detail["late"], detail["can_submit"]) == (True, True)
    assert detail["receipt"] == told["receipt"]


async def test_after_the_cut_off_nothing_is_taken(course: Course) -> None:
    course.write_manifest(DUE)
    await course.submit("alice", b"in time")
    course.clock.advance(4 * DAY)
    answer = await course.submit("alice", b"too late")
    assert answer.status_code == 403
    assert answer.json()["reason"] == "closed"
    assert "closed on Fri 04 Sep 2026, 09:00 UTC" in answer.json()["error"]
    assert len(list(course.place().glob("alice_*"))) == 1
    detail = (await course.ask("GET", STATUS + "&detail=1", "alice")).json()
    assert detail["can_submit"] is False
    assert "closed on" in detail["why_not"]
    assert (await course.submit("alice", b"in time")).json()["repeated"] is True
    assert (await course.submit("alice", b"for her", by="prof")).status_code == 409


async def test_a_body_that_takes_its_time_is_as_late_as_its_request(course: Course) -> None:
    course.write_manifest({**DUE, "due": None, "cutoff": "2026-09-01T09:01:00Z"})

    async def slow() -> AsyncIterator[bytes]:
        yield b"x = "
        course.clock.advance(120)  # past the cut-off
        yield b"1"

    path = "/assignments/hw1/submit?user=alice"
    told = (await course.ask("POST", path, "alice", content=slow())).json()
    assert told["receipt"]["received"] == "2026-09-01T09:00:00.000Z"
    assert (course.place() / "alice.py").read_bytes() == b"x = 1"


async def test_who_has_an_extension_is_on_time(course: Course) -> None:
    course.write_manifest({**DUE, "extensions": {"alice": "2026-09-06T09:00:00Z"}})
    course.clock.advance(4 * DAY)
    assert (await course.submit("alice", b"x")).json()["late"] is False
    assert (await course.submit("bob", b"x")).status_code == 403


async def test_a_late_one_replaces_one_on_time_only_when_that_is_confirmed(
    course: Course,
) -> None:
    """Nobody loses what was on time by accident, and nobody loses the late one either."""
    course.write_manifest(DUE)
    await course.submit("alice", b"on time")
    course.clock.advance(1.5 * DAY)
    info = await course.submit("alice", b"late")
    assert info.status_code == 409
    told = info.json()
    assert told["reason"] == "late-would-replace"
    assert told["receipt"]["late"] is True
    assert "unless you confirm" in told["error"]
    assert "late=replace" not in told["error"], "people read it"
    link = course.place() / "alice.py"
    assert link.read_bytes() == b"on time"
    assert {path.read_bytes() for path in course.place().glob("alice_*")} == {b"on time", b"late"}
    assert (await course.submit("alice", b"late")).json()["receipt"] == told["receipt"]
    course.clock.advance(600)
    confirmed = (await course.submit("alice", b"late", query="&late=replace")).json()
    assert confirmed["receipt"] == told["receipt"]
    assert confirmed["late"] is True
    assert link.read_bytes() == b"late"
    assert (await course.submit("alice", b"later")).status_code == 200


async def test_an_extension_that_comes_later_makes_late_work_on_time(course: Course) -> None:
    course.write_manifest(DUE)
    course.clock.advance(1.5 * DAY)
    await course.submit("alice", b"late")
    course.write_manifest({**DUE, "extensions": {"alice": "2026-09-03T09:00:00Z"}})
    detail = (await course.ask("GET", STATUS + "&detail=1", "alice")).json()
    assert detail["late"] is False


async def test_a_submission_that_cannot_be_read_does_not_keep_its_student_from_submitting(
    course: Course,
) -> None:
    """Clients ask for the status before; a file that root fetched or restored may be unreadable."""
    (course.place() / "alice_20260901T000000.py").mkdir(parents=True)
    answer = await course.ask("GET", STATUS + "&detail=1", "alice")
    told = answer.json()
    assert (answer.status_code, told["receipt"], told["can_submit"]) == (200, None, True)
    assert (await course.submit("alice", b"one")).status_code == 200


async def test_a_course_of_0316_opens_in_place(course: Course) -> None:
    """Its submissions lie in ``<root>/<N>/``, beside files/ and grades.json.

    See compatibility-0.3.16.md 4.
    """
    place = course.root / "hw1"
    (place / "alice_20260310T200800.py").write_bytes(b"first")
    (place / "alice_20260311T200800.py").write_bytes(b"second")
    (place / "alice.py").symlink_to("alice_20260311T200800.py")
    (place / "bob.py").write_bytes(b"by mail")
    (place / "hw1.py").write_bytes(b"not a submission")
    (place / "grades.json").write_text('[{"userid": "alice", "grade": 9, "feedback": "ok"}]')
    (place / "feedback").mkdir()
    (place / "feedback" / "alice.html").write_text("<p>fine")
    status = (await course.ask("GET", STATUS, "alice")).json()
    assert status == {
        "status": "submitted",
        "graded": True,
        "grade": "9",
        "feedback": "ok",
        "feedback_available": True,
    }
    listed = (await course.ask("GET", "/assignments/hw1/submissions", "prof")).json()
    assert [each["username"] for each in listed] == ["alice", "bob"]
    again = (await course.submit("alice", b"second")).json()
    assert (again["repeated"], again["receipt"]["sequence"]) == (True, 2)
    assert again["receipt"]["received"] == "2026-03-11T20:08:00.000Z"
    new = (await course.submit("alice", b"third")).json()
    assert new["receipt"]["sequence"] == 3
    assert (place / "alice.py").read_bytes() == b"third"
    assert (place / "alice_20260310T200800.py").read_bytes() == b"first"
    assert (await course.submit("bob", b"second")).json()["receipt"]["sequence"] == 2
    assert [path.read_bytes() for path in place.glob("bob_*")].count(b"by mail") == 1
    assert (place / "hw1.py").read_bytes() == b"not a submission"
    assert not course.place().exists()


@pytest.mark.parametrize("kept", ["HW%20(%C3%A9)", "HW%20%28%C3%A9%29"])
async def test_what_0316_kept_under_an_encoded_name_is_the_assignments(
    course: Course, kept: str
) -> None:
    """compatibility-0.3.16.md 4: its clients' spellings, and new work is where it looks for it."""
    course.add("HW (é)", {"n.py": b"x = 1"})
    place, base = course.root / kept, "/assignments/HW%20(%C3%A9)"
    (place / "feedback").mkdir(parents=True)
    (place / "alice_20260310T200800.py").write_bytes(b"first")
    (place / "alice.py").symlink_to("alice_20260310T200800.py")
    (place / "grades.json").write_text('[{"username": "alice", "grade": 9, "feedback": "ok"}]')
    (place / "feedback" / "alice.html").write_text("<p>fine")
    status = (await course.ask("GET", f"{base}/status?user=alice", "alice")).json()
    assert (status["status"], status["grade"]) == ("submitted", "9")
    assert (await course.ask("GET", f"{base}/feedback/alice", "alice")).text == "<p>fine"
    listed = (await course.ask("GET", f"{base}/submissions", "prof")).json()
    assert [each["username"] for each in listed] == ["alice"]
    await course.ask("POST", f"{base}/submit?user=bob", "bob", content=b"second")
    await course.ask("POST", f"{base}/grades", "prof", json=[{"username": "bob", "grade": 8}])
    assert (place / "bob.py").read_bytes() == b"second"
    assert len(json.loads((place / "grades.json").read_text())) == 2
    assert {path.name for path in (course.root / "HW (é)").iterdir()} == {"files"}


async def test_a_receipt_is_genuine_only_as_it_was_given(course: Course) -> None:
    receipt = (await course.submit("alice", b"x")).json()["receipt"]
    assert receipt["sha256"] == hashlib.sha256(b"x").hexdigest()
    assert (receipt["size"], receipt["sequence"]) == (1, 1)
    assert receipt["received"] == "2026-09-01T09:00:00.000Z"

    async def verified(body: object) -> dict[str, object]:
        answer = await course.ask("POST", "/receipts/verify", json=body)
        told: dict[str, object] = answer.json()
        return told

    good = await verified(receipt)
    assert (good["valid"], good["stored"], good["counts"]) == (True, True, True)
    for field, value in (("late", True), ("sequence", 2), ("user", "bob"), ("size", 2)):
        assert (await verified({**receipt, field: value}))["valid"] is False
    assert await verified({**receipt, "extra": 1}) == {"error": "This is not a receipt"}
    twice = '{"user": "bob", ' + json.dumps(receipt).removeprefix("{")
    answer = await course.ask("POST", "/receipts/verify", content=twice)
    assert answer.json() == {"error": "Invalid JSON"}, "people read the first, programs the last"
    await course.submit("alice", b"y")
    assert (await verified(receipt))["counts"] is False
    (course.place() / receipt["filename"]).write_bytes(b"z")
    spoilt = await verified(receipt)
    assert (spoilt["valid"], spoilt["stored"]) == (True, False)


async def test_a_disk_that_is_full_is_told_and_nothing_is_lost(course: Course) -> None:
    await course.submit("alice", b"old")
    course.disk = FailingDisk(0, full=True)
    course.restart()
    answer = await course.submit("alice", b"new")
    assert answer.status_code == 503
    assert "disk is full" in answer.json()["error"]
    assert answer.headers["retry-after"] == "60"
    assert (course.place() / "alice.py").read_bytes() == b"old"


async def test_the_clock_may_go_back(course: Course) -> None:
    await course.submit("alice", b"one")
    course.clock._now = datetime(2026, 8, 30, tzinfo=UTC)
    told = (await course.submit("alice", b"two")).json()
    assert (told["repeated"], (course.place() / "alice.py").read_bytes()) == (False, b"two")


async def test_dates_of_the_course_and_extensions_of_its_gradebook_count_here_too(
    course: Course,
) -> None:
    (course.root / "mograder.toml").write_text(
        'timezone = "UTC"\n[items.hw1]\nopens = 2026-09-01T10:00\n'
        "due = 2026-09-01T12:00\ncloses = 2026-09-01T14:00\n"
    )
    course.restart(loaded=load_settings(course.root, environ={}))
    until = datetime(2026, 9, 3, tzinfo=UTC)
    with Gradebook(course.root / "gradebook.db") as book:
        change = Extension("hw1", "alice", until=until)
        LateWork(book).record([change], by="prof", at=until)
    assert (await course.submit("bob", b"early")).status_code == 404
    assert (await course.ask("GET", "/assignments", "bob")).json() == []
    assert len((await course.ask("GET", "/assignments", "prof")).json()) == 1
    course.clock.advance(6 * 3600)
    assert (await course.submit("bob", b"late")).status_code == 403
    answer = await course.submit("alice", b"late")
    assert (answer.status_code, answer.json()["late"]) == (200, False)
    listed = (await course.ask("GET", "/assignments?detail=1", "alice")).json()[0]
    assert listed["due"] == listed["cutoff"] == "2026-09-03T00:00:00.000Z"
    course.clock.advance(2 * DAY)
    assert (await course.submit("alice", b"later")).status_code == 403


async def test_receipts_are_verified_two_at_a_time(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = (await course.submit("alice", b"x")).json()["receipt"]
    holds, lock, counts = Submissions.holds, threading.Lock(), [0]

    def counted(self: Submissions, item: ItemName, filename: str, sha256: str) -> bool:
        with lock:
            counts.append(counts[-1] + 1)
        time.sleep(0.05)
        with lock:
            counts.append(counts[-1] - 1)
        return holds(self, item, filename, sha256)

    monkeypatch.setattr(Submissions, "holds", counted)
    asked = (course.ask("POST", "/receipts/verify", json=receipt) for _ in range(8))
    assert all(answer.json()["valid"] for answer in await asyncio.gather(*asked))
    assert max(counts) == 2
