"""Grades and feedback over the wire (B147; compatibility-0.3.16.md 4)."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import pytest

from mograder.core.errors import Conflict
from mograder.store.assignment_server.grades import FeedbackUpload, Grades, Mark, parse_entries
from tests.support.assignment_app import Course
from tests.support.threads import at_once

GRADES = "/assignments/hw1/grades"
FEEDBACK = "/assignments/hw1/feedback"


class _FullDisk(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_b147_the_instructor_uploads_grades(course: Course) -> None:
    """B147: merged by user, and told to each person as text."""
    body = {
        "grades": [
            {"username": "alice", "grade": 8.5, "feedback": "Good.", "Q1": "3"},
            {"userid": "bob", "grade": "", "feedback": "?"},
            {"username": "dan", "grade": "", "feedback": ""},
        ],
        "workflow_state": "released",
    }
    first = await course.ask("POST", GRADES, "prof", json=body)
    assert (first.status_code, first.json()) == (200, {"status": "ok", "count": 3})
    more = [{"username": "alice", "grade": "9"}, {"username": "carol", "grade": 0}]
    second = await course.ask("POST", GRADES, "prof", json={"grades": more})
    assert second.json()["count"] == 4
    status = (await course.ask("GET", "/assignments/hw1/status?user=alice", "alice")).json()
    assert (status["graded"], status["grade"], status["feedback"]) == (True, "9", "Good.")
    for user, is_graded in (("bob", True), ("dan", False)):  # words alone are shown, too
        given = (await course.ask("GET", f"/assignments/hw1/status?user={user}", user)).json()
        assert (given["graded"], given["grade"]) == (is_graded, None)
    text = (course.root / "hw1" / "grades.json").read_text()
    assert text.startswith('[\n  {\n    "username": "alice"')
    assert json.loads(text)[0]["Q1"] == "3"


async def test_the_grade_uploaded_last_is_shown_whichever_way_it_names_the_person(
    course: Course,
) -> None:
    """A file from Moodle has numbers and names, the gradebook has names.

    Each is a bare list, which crashed 0.3.16's connection (compatibility-0.3.16.md 4).
    """

    async def shown(**grade: object) -> tuple[str, str]:
        answer = await course.ask("POST", GRADES, "prof", json=[grade])
        assert answer.json()["count"] == 1
        status = (await course.ask("GET", "/assignments/hw1/status?user=alice", "alice")).json()
        return status["grade"], status["feedback"]

    assert await shown(username="alice", grade="5", feedback="Fine.") == ("5", "Fine.")
    assert await shown(userid=12, username="alice", grade="6") == ("6", "Fine.")
    assert await shown(username="alice", grade="7") == ("7", "Fine.")
    assert await shown(username="alice", feedback="Good.") == ("7", "Good.")


def test_two_entries_of_one_person_become_one_and_no_other_persons_goes(tmp_path: Path) -> None:
    both = b'[{"username": "12", "grade": 1}, {"userid": 3, "username": "12", "grade": 2}]'
    (tmp_path / "hw1").mkdir()
    (tmp_path / "hw1" / "grades.json").write_bytes(both)
    grades = Grades(tmp_path / "hw1")
    assert grades.merge(parse_entries(b'[{"username": "12", "grade": 4}]')) == 1
    assert grades.of("12") == Mark("4", "")
    assert grades.of("3") is None, "it may be registered by another student"
    other = b'[{"userid": 12, "username": "bob", "grade": 5}]'
    assert grades.merge(parse_entries(other)) == 2
    assert grades.merge(parse_entries(b'[{"userid": 3, "username": "12", "grade": 6}]')) == 2
    assert (grades.of("bob"), grades.of("12")) == (Mark("5", ""), Mark("6", ""))


@pytest.mark.parametrize("order", [1, -1])
def test_a_user_id_that_is_another_persons_name_replaces_nothing_of_theirs(
    tmp_path: Path, order: int
) -> None:
    """Names may be numbers; the gradebook's uploads have names, those from Moodle both."""
    rows = [b'[{"username": "12", "grade": 4}]', b'[{"userid": 12, "username": "bob", "grade": 5}]']
    grades = Grades(tmp_path / "hw1")
    for row in rows[::order]:
        grades.merge(parse_entries(row))
    assert grades.merge(parse_entries(b'[{"userid": 12, "feedback": "Fine."}]')) == 2
    assert (grades.of("bob"), grades.of("12")) == (Mark("5", "Fine."), Mark("4", ""))


def test_an_entry_by_user_id_gets_its_name_later(tmp_path: Path) -> None:
    grades = Grades(tmp_path / "hw1")
    grades.merge(parse_entries(b'[{"userid": 12, "grade": 4}, {"username": "bob", "Q1": 1}]'))
    assert grades.merge(parse_entries(b'[{"userid": 12, "username": "bob"}]')) == 1
    assert grades.merge(parse_entries(b'[{"username": "bob", "grade": 5}]')) == 1
    assert (grades.of("bob"), grades.of("12")) == (Mark("5", ""), None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"{", "Invalid JSON"),
        (b"", "Invalid JSON"),
        (b"[NaN]", "Invalid JSON"),
        (b"[" * 5000, "Invalid JSON"),
        (b'{"grades": 1}', "Expected a list of grades, or an object with a list 'grades'"),
        (b"3", "Expected a list of grades, or an object with a list 'grades'"),
        (b"[1]", "Grade 1 is not an object"),
        (b'[{"grade": 1}]', "Grade 1 has neither 'userid' nor 'username'"),
        (b'[{"username": "a"}, {"username": " "}]', "Grade 2 has neither"),
        (b'[{"username": "a", "x": 1e999}]', "Grade 1 is nested too deeply, or has a number"),
    ],
)
async def test_of_a_bad_upload_nothing_is_used(course: Course, body: bytes, error: str) -> None:
    answer = await course.ask("POST", GRADES, "prof", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)
    assert not (course.root / "hw1" / "grades.json").exists()


def test_rows_of_nobody_that_0316_stored_are_kept_and_shown_to_nobody(tmp_path: Path) -> None:
    """It stores the rows of any CSV file; those of nobody must not withhold the others."""
    of_nobody: list[dict[str, object]] = [{"student": "x", "mark": 1}, {"student": "y", "mark": 2}]
    (tmp_path / "hw1").mkdir()
    (tmp_path / "hw1" / "grades.json").write_text(json.dumps([*of_nobody, {"username": "bob"}]))
    grades = Grades(tmp_path / "hw1")
    assert (grades.of(""), grades.of("x")) == (None, None)
    assert grades.merge(parse_entries(b'[{"username": "bob", "grade": 3}]')) == 3
    stored = json.loads((tmp_path / "hw1" / "grades.json").read_text())
    assert stored == [*of_nobody, {"username": "bob", "grade": 3}]
    assert grades.of("bob") == Mark("3", "")


def test_two_who_upload_at_once_lose_nothing(tmp_path: Path) -> None:
    def upload(number: int) -> object:
        entries = parse_entries(json.dumps([{"username": f"u{number}", "grade": 1}]).encode())
        return Grades(tmp_path / "hw1").merge(entries)

    counts = at_once(8, upload)
    assert max(count for count in counts if isinstance(count, int)) == 8
    assert len(json.loads((tmp_path / "hw1" / "grades.json").read_text())) == 8


async def test_grades_that_were_spoilt_by_hand_are_not_overwritten(course: Course) -> None:
    path = course.root / "hw1" / "grades.json"
    path.write_text("[{")
    answer = await course.ask("POST", GRADES, "prof", json=[{"username": "a", "grade": 1}])
    assert answer.status_code == 409
    assert "cannot be read" in answer.json()["error"]
    assert path.read_text() == "[{"
    with pytest.raises(Conflict):
        Grades(course.root / "hw1").of("a")


async def test_feedback_goes_to_whom_it_is_for(course: Course) -> None:
    files = [
        ("files", ("alice.html", b"<h1>Alice</h1>")),
        ("any", ("C:\\out\\bob.html", b"<h1>Bob</h1>")),
    ]
    told = await course.ask("POST", FEEDBACK, "prof", files=files)
    assert told.json() == {"status": "ok", "files": ["alice.html", "bob.html"]}
    answer = await course.ask("GET", f"{FEEDBACK}/alice", "alice")
    assert answer.content == b"<h1>Alice</h1>"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("sandbox ")
    assert "allow-same-origin" not in answer.headers["content-security-policy"]
    status = (await course.ask("GET", "/assignments/hw1/status?user=alice", "alice")).json()
    assert status["feedback_available"] is True
    none = await course.ask("GET", f"{FEEDBACK}/carol", "carol")
    assert (none.status_code, none.json()) == (404, {"error": "Feedback not available"})


async def test_feedback_of_many_megabytes_passes_through(course: Course) -> None:
    files = [("f", (f"u{number}.html", bytes([number]) * 700_000)) for number in range(6)]
    told = await course.ask("POST", FEEDBACK, "prof", files=files)
    assert len(told.json()["files"]) == 6
    assert (course.root / "hw1" / "feedback" / "u5.html").read_bytes() == b"\5" * 700_000


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"json": []}, "Expected multipart/form-data"),
        ({"files": {"f": ("", b"x")}}, "No files received"),
        ({"files": {"f": ("../.html", b"x")}}, "Invalid file name"),
        ({"files": {"f": (".alice.html", b"x")}}, "Invalid file name"),
        (
            {"content": b"--b\r\nbroken", "headers": {"Content-Type": "multipart/form-data"}},
            "Expected multipart/form-data",
        ),
    ],
)
async def test_feedback_that_is_none_is_refused(
    course: Course, more: dict[str, object], error: str
) -> None:
    answer = await course.ask("POST", FEEDBACK, "prof", **more)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(error)


async def test_feedback_that_breaks_off_leaves_nothing(course: Course) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="alice.html"\r\n\r\n<p>'
        b'\r\n--b\r\nContent-Disposition: form-data; name="f"; filename="bob.html"\r\n\r\n<p'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = await course.ask("POST", FEEDBACK, "prof", content=body, headers=headers)
    assert answer.status_code == 400
    assert list((course.root / "hw1" / "feedback").iterdir()) == []


async def test_a_disk_that_fills_up_while_feedback_arrives_is_told(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FeedbackUpload, "open", lambda *_: io.BufferedWriter(_FullDisk()))
    files = [("f", ("alice.html", b"<p>" * 500_000))]
    answer = await course.ask("POST", FEEDBACK, "prof", files=files)
    assert answer.status_code == 503
    assert "disk is full" in answer.json()["error"]
