"""Equal answers over HTTP: found together, marked once, taken out and put back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mograder.grading.marking.equal_answers import AnswerGroup, answer_groups
from mograder.web.marking import api_answers
from tests.support.marking_course import (
    A,
    MarkingCourse,
    open_marking_course,
    submission_of,
    texts_in,
)

API = f"/marking/-/api/{A}"
ALONE = "Quite another essay."


@pytest.fixture
async def course(tmp_path: Path) -> AsyncIterator[MarkingCourse]:
    async with open_marking_course(tmp_path / "course", "alice", "bob", "eve") as course:
        course.grade("dan", submission_of(ALONE))
        course.grade("zoe", submission_of("my  ESSAY."))
        yield course


async def groups(course: MarkingCourse, question: str = "Essay") -> list[list[str]]:
    response = await course.ask("GET", f"{API}/groups", params={"question": question})
    assert response.status_code == 200, response.text
    names = {course.id_of(each): each for each in course.students}
    return [[names[each] for each in group["answers"]] for group in response.json()["groups"]]


async def separate(course: MarkingCourse, student: str, *, to: bool = True) -> Any:
    address = f"{course.at(student)}/group"
    response = await course.ask("PUT", address, json={"separate": to})
    assert response.status_code == 200, response.text
    return response.json()["group"]


async def points(course: MarkingCourse, of: Sequence[str]) -> list[float | None]:
    marks = [(await course.state(each))["mark"] for each in of]
    return [mark and mark["points"] for mark in marks]


async def test_equal_answers_are_found_by_question(course: MarkingCourse) -> None:
    assert await groups(course) == [["alice", "bob", "eve", "zoe"]]
    assert await groups(course, "Q4") == [["alice", "bob", "dan", "eve", "zoe"]]
    state = await course.state("zoe")
    assert state["group"]["size"] == 4
    assert (await course.state("dan"))["group"] is None
    response = await course.ask("GET", f"{API}/queue", params={"question": "Essay"})
    told = {each["id"]: each["group"] for each in response.json()["answers"]}
    assert told[course.id_of("dan")] is None
    assert told[course.id_of("alice")] == told[course.id_of("zoe")] == state["group"]["id"]
    everything = (await course.ask("GET", f"{API}/groups", params={"question": "Essay"})).json()
    assert not any(name in text for text in texts_in(everything) for name in course.students)


async def test_groups_follow_a_changed_submission(course: MarkingCourse) -> None:
    await groups(course)
    course.grade("eve", submission_of(ALONE), later=5)
    assert await groups(course) == [["alice", "bob", "zoe"], ["dan", "eve"]]


async def test_one_mark_for_the_whole_group(course: MarkingCourse) -> None:
    await groups(course)
    await course.saved("bob", user="ben", points=2, comment="Mine.")
    saved = await course.saved("alice", points=7, comment="All.", to="group")
    assert (saved["also"], saved["kept"]) == (2, 1)
    everybody = ["alice", "bob", "eve", "zoe", "dan"]
    assert await points(course, everybody) == [7, 2, 7, 7, None]
    history = await course.ask("GET", f"{course.at('zoe')}/history")
    assert [each["marker"] for each in history.json()["entries"]] == ["mia", ""]
    marked = [what for by, action, what, _ in course.hub.audit() if (by, action) == ("mia", "mark")]
    assert sorted(marked) == [f"{each}/{A}/Essay" for each in ("alice", "eve", "zoe")]


async def test_equal_answers_get_no_mark_that_was_made_on_an_earlier_answer(
    course: MarkingCourse,
) -> None:
    run = (await course.state("alice"))["run"]
    course.grade("alice", submission_of(ALONE), later=5)
    assert await groups(course) == [["bob", "eve", "zoe"], ["alice", "dan"]]
    saved = await course.saved("alice", points=7, to="group", run=run)
    assert (saved["also"], saved["look_again"]) == (0, True)
    assert await points(course, ["alice", "dan", "bob"]) == [7, None, None]


async def test_an_answer_that_was_graded_anew_since_the_groups_were_found_gets_no_mark_of_theirs(
    course: MarkingCourse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def graded_meanwhile(*of: Any) -> tuple[AnswerGroup, ...]:
        found = await answer_groups(*of)
        course.grade("eve", submission_of(ALONE), later=5)
        return found

    seen = await course.state("alice")
    course.grade("dan", submission_of(ALONE), later=3)  # so that the groups are found again
    with monkeypatch.context() as patch:
        patch.setattr(api_answers, "answer_groups", graded_meanwhile)
        saved = await course.saved("alice", points=7, to="group", version=seen["version"])
    assert (saved["also"], saved["kept"]) == (2, 1)
    assert await points(course, ["alice", "bob", "eve", "zoe"]) == [7, 7, None, 7]


async def test_an_answer_taken_out_is_marked_alone(course: MarkingCourse) -> None:
    await groups(course)
    group = await separate(course, "zoe")
    assert (group["separate"], group["size"]) == (True, 4)
    assert (await course.state("alice"))["group"]["size"] == 3
    assert (await course.saved("alice", points=7, to="group"))["also"] == 2
    assert await points(course, ["zoe"]) == [None]
    refused = await course.save("zoe", points=1, to="group")
    assert refused.status_code == 400
    back = await separate(course, "zoe", to=False)
    assert (back["separate"], back["size"]) == (False, 4)
    assert (await course.saved("alice", points=8, to="group"))["also"] == 3


async def test_an_answer_without_a_group_is_not_marked_as_one(course: MarkingCourse) -> None:
    refused = await course.save("dan", points=1, to="group")
    assert refused.status_code == 400
    assert "no group" in refused.text
    assert await points(course, ["dan"]) == [None]
