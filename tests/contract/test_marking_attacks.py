"""Attacks on marking: one's own marks, names that stay hidden, and input that no page sends."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.support.marking_course import A, MarkingCourse, course, open_marking_course, texts_in

__all__ = ["course"]

API = f"/marking/-/api/{A}"
COMMENTS = f"{API}/questions/Essay/comments"
SURROGATE = "~=" + base64.urlsafe_b64encode(b"\xed\xa0\x80").decode().rstrip("=")


# ---- one's own marks ----


@pytest.fixture
async def own(course: MarkingCourse) -> MarkingCourse:
    """A course whose marker ``mia`` has handed in work too."""
    course.grade("mia")
    return course


async def test_a_marker_does_not_mark_their_own_answer(own: MarkingCourse) -> None:
    version = (await own.state("mia", user="ben"))["version"]
    refused = await own.save("mia", points=10, version=version)
    assert refused.status_code == 403
    assert "your own answer" in refused.json()["detail"]
    assert (await own.state("mia", user="ben"))["mark"] is None
    await own.saved("mia", points=4, user="ben")
    await own.saved("alice", points=4)


async def test_a_marker_is_told_which_answer_is_their_own(own: MarkingCourse) -> None:
    for user in ("mia", "ben", "prof"):
        mine = user == "mia"
        queue = (await own.ask("GET", f"{API}/queue", user, params={"question": "Essay"})).json()
        told = [each["id"] for each in queue["answers"] if each["own"]]
        assert told == [own.id_of("mia")] * mine
        assert (await own.state("mia", user=user))["own"] is mine


async def test_a_marker_changes_nothing_about_their_own_answer(own: MarkingCourse) -> None:
    note = {"question": "Essay", "cell": 1, "text": "mine"}
    for method, rest, body in (
        ("POST", "questions/Essay/undo", {"version": "0"}),
        ("PUT", "questions/Essay/group", {"separate": True}),
        ("POST", "annotations", note),
        ("PUT", "annotations/aa", note),
        ("DELETE", "annotations/aa", None),
    ):
        path = f"{API}/answers/{own.id_of('mia')}/{rest}"
        assert (await own.ask(method, path, json=body)).status_code == 403, (method, rest)


async def test_a_marker_changes_no_rubric_by_which_their_own_answer_is_marked(
    own: MarkingCourse,
) -> None:
    wish = {"text": "Clear.", "points": 2}
    made = (await own.ask("POST", COMMENTS, json=wish)).json()["comment"]
    item = f"{COMMENTS}/{made['id']}"
    await own.saved("mia", user="ben", saved=[made["id"]])
    more = {**wish, "points": 9, "position": made["position"], "version": made["version"]}
    for path, body in (
        (item, more),
        (f"{API}/questions/Essay/rubric", {"starts_at": "full"}),
    ):
        refused = await own.ask("PUT", path, json=body)
        assert refused.status_code == 403
        assert "your own answer" in refused.json()["detail"]
    assert (await own.state("mia", user="ben"))["mark"]["points"] == 2
    words = {**more, "text": "Clear, and short.", "points": 2}
    assert (await own.ask("PUT", item, json=words)).status_code == 200
    more["version"] = (await own.ask("GET", item)).json()["comment"]["version"]
    assert (await own.ask("PUT", item, "ben", json=more)).json()["changed"] == 1


async def test_a_marker_gets_no_share_of_their_own_answer(own: MarkingCourse) -> None:
    for _ in range(5):
        await own.ask("POST", f"/marking/{A}/share", "prof", data={"markers": "mia ben"})
        queue = (await own.ask("GET", f"{API}/queue", params={"question": "Essay"})).json()
        shares = {each["id"]: each["share"] for each in queue["answers"]}
        assert list(shares.values()) == ["mia", "mia", "ben", "ben"], "the own share first"
        assert shares[own.id_of("mia")] == "ben"


# ---- hidden names ----


async def test_a_submission_that_cannot_be_read_does_not_name_its_student(
    course: MarkingCourse,
) -> None:
    graded = course.hub.course / "autograded" / A
    for data in (b"", b"\xff\xfe\xfa\x00"):
        (graded / "alice.py").write_bytes(data)
        found = await course.state("alice")
        assert found["trouble"]
        assert not [each for each in texts_in(found) if "alice" in each], found["trouble"]
    (graded / "alice.py").unlink()
    handed_in = course.hub.course / "submitted" / A
    handed_in.mkdir(parents=True)
    (handed_in / "alice.py").symlink_to("/etc/passwd")
    found = await course.state("alice")
    assert not [each for each in texts_in(found) if "alice" in each], found["trouble"]


async def test_names_that_are_never_shown_are_shown_to_instructors_only(tmp_path: Path) -> None:
    async with open_marking_course(tmp_path / "never", names="never") as course:
        with course.book() as book:
            book.put_students({"alice": "Alice Ångström"})
        addresses = {
            "list": f"/marking/{A}?names=1",
            "queue": f"{API}/queue?question=Essay&names=1",
            "answer": f"{course.at('alice')}?names=1",
        }
        for address in addresses.values():
            hidden = (await course.ask("GET", address)).text
            assert "Answer " in hidden
            assert not [name for name in ("alice", "Alice", "bob") if name in hidden], address
            assert "Alice" in (await course.ask("GET", address, "prof")).text
        for address in (addresses["list"], f"/marking/{A}/questions/Essay"):
            assert "ames=1" not in (await course.ask("GET", address)).text
            assert 'id="names"' not in (await course.ask("GET", address)).text
        assert 'id="names"' in (await course.ask("GET", address, "prof")).text


# ---- input that no page sends ----


async def test_a_preview_of_impossible_points_is_refused_or_harmless(
    course: MarkingCourse,
) -> None:
    comment = await course.comment("Good", 2)
    mark = await course.saved("alice", saved=[comment["id"]])
    assert mark["mark"]["points"] == 2
    for points in ("nan", "inf", "-inf", "1e308", "-1e308", "x", "1" * 400):
        answer = await course.ask("GET", f"{COMMENTS}/{comment['id']}", params={"points": points})
        assert answer.status_code in (200, 400, 422), points


async def test_a_body_of_another_shape_is_refused(course: MarkingCourse) -> None:
    for body in (
        '{"points": NaN, "version": "0"}',
        '{"points": Infinity, "version": "0"}',
        '{"points": 1e308, "version": "0"}',
        '{"points": 1e999, "version": "0"}',
        '{"points": "5", "version": 0}',
        '{"points": [], "version": "0"}',
        '{"points": 5, "version": "0", "comment": "\\ud800"}',
        '{"points": 5, "version": "0", "comment": {"$ne": 1}}',
        '{"points": 5, "version": "0", "saved": [' + '"aa",' * 200 + '"aa"]}',
        '{"points": 5, "version": "0", "by": "prof"}',
        "[" * 100_000,
        "\x00",
        "null",
        "",
    ):
        response = await course.ask("PUT", course.at("alice"), content=body.encode())
        assert response.status_code in (400, 422), body[:50]
    huge = b'{"comment": "' + b"x" * 2_000_000 + b'"}'
    assert (await course.ask("PUT", course.at("alice"), content=huge)).status_code == 413
    assert (await course.state("alice"))["mark"] is None


async def test_an_address_of_no_question_is_not_found(course: MarkingCourse) -> None:
    for question in (SURROGATE, "~=AA", "~=", "~=%00", "~%2F", "%00", "x" * 3000):
        answer = f"{API}/answers/{course.id_of('alice')}/questions/{question}"
        for path in (
            answer,
            f"{answer}/history",
            f"{API}/questions/{question}/comments",
            f"{API}/queue?question={question}",
            f"/marking/{A}/questions/{question}",
        ):
            assert (await course.ask("GET", path)).status_code in (200, 400, 404), path


async def test_an_annotation_at_no_place_is_refused(course: MarkingCourse) -> None:
    path = f"{API}/answers/{course.id_of('alice')}/annotations"
    for place in (
        {"cell": -1},
        {"cell": 10**30},
        {"cell": 1, "first_line": -3, "last_line": 2},
        {"cell": 1, "first_line": 5, "last_line": 2},
        {"cell": 1, "first_line": 1e308, "last_line": 2},
        {"cell": 1, "saved_comment": "../x"},
        {"cell": 1, "question": "\x00"},
        {"cell": 1, "question": "no such question"},
    ):
        sent = {"question": "Essay", "text": "x", **place}
        response = await course.ask("POST", path, json=sent)
        assert response.status_code in (400, 404, 422), place


async def test_a_version_beyond_all_numbers_is_a_conflict(course: MarkingCourse) -> None:
    comment = await course.comment("Good", 2)
    path = f"{COMMENTS}/{comment['id']}"
    for version in (10**30, -(10**30)):
        change = {"text": "Better", "points": 3, "position": 0, "version": version}
        assert (await course.ask("PUT", path, json=change)).status_code == 409
        assert (await course.ask("DELETE", path, params={"version": version})).status_code == 409


async def test_a_name_that_is_no_answers_finds_no_file(course: MarkingCourse) -> None:
    for answer in ("..", "%2e%2e", "x/y", "0" * 16, "%00", "alice", "a" * 5000):
        for rest in ("outputs", "questions/Essay"):
            response = await course.ask("GET", f"{API}/answers/{answer}/{rest}")
            assert response.status_code in (400, 404, 405), (answer[:50], rest)


async def test_a_name_that_is_no_assignments_is_refused(course: MarkingCourse) -> None:
    for name in ("..", "%2e%2e", "x%2Fy", "../hw1", "%00", "HW1"):
        for rest in ("", "/queue?question=Q1"):
            for user in ("mia", "prof"):
                response = await course.ask("GET", f"/marking/-/api/{name}{rest}", user)
                assert response.status_code in (400, 403, 404, 200), (name, rest)
                assert "alice" not in response.text


async def test_a_release_at_a_time_beyond_the_calendar_is_refused(course: MarkingCourse) -> None:
    form = {"action": "release", "for": "all"}
    for moment, zone in (("0001-01-01T00:00", "Asia/Tokyo"), ("9999-12-31T23:59", "Etc/GMT+12")):
        sent = {**form, "visible_from": moment, "timezone": zone}
        answer = await course.ask("POST", f"/marking/{A}/release", "prof", data=sent)
        assert answer.status_code == 400, answer.text
