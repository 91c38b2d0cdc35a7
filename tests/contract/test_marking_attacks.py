"""Attacks on marking: one's own marks, names that stay hidden, and input that no page sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.marking_course import A, MarkingCourse, open_marking_course, texts_in

API = f"/marking/api/{A}"


@pytest.fixture
async def course(tmp_path: Path) -> AsyncIterator[MarkingCourse]:
    async with open_marking_course(tmp_path / "course") as course:
        yield course


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


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("POST", "questions/Essay/undo", {"version": "0"}),
        ("POST", "annotations", {"question": "Essay", "cell": 1, "text": "mine"}),
        ("PUT", "annotations/aa", {"question": "Essay", "cell": 1, "text": "mine"}),
        ("DELETE", "annotations/aa", None),
    ],
)
async def test_a_marker_changes_nothing_about_their_own_answer(
    own: MarkingCourse, method: str, rest: str, body: object
) -> None:
    path = f"{API}/answers/{own.id_of('mia')}/{rest}"
    assert (await own.ask(method, path, json=body)).status_code == 403


async def test_a_marker_gets_no_share_of_their_own_answer(own: MarkingCourse) -> None:
    for _ in range(5):
        made = await own.ask("PUT", f"{API}/shares", "prof", json={"markers": ["mia", "ben"]})
        assert made.json() == {"counts": {"ben": 2, "mia": 2}}
        queue = (await own.ask("GET", f"{API}/queue", params={"question": "Essay"})).json()
        shares = {each["id"]: each["share"] for each in queue["answers"]}
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
