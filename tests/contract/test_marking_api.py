"""Marking over HTTP, as its pages do it: saving, conflicts, undo, rubrics, hidden names."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import text

from mograder.grading.marking.shown_work import WorkToShow
from mograder.web.marking import api_answers
from tests.support.marking_course import A, MarkingCourse, course, submission_of, texts_in

__all__ = ["course"]

API = f"/marking/-/api/{A}"
COMMENTS = f"{API}/questions/Essay/comments"


async def queue(
    course: MarkingCourse, question: str = "Essay", user: str = "mia", **more: Any
) -> Any:
    params = {"question": question, **more}
    response = await course.ask("GET", f"{API}/queue", user, params=params)
    assert response.status_code == 200, response.text
    return response.json()


# ---- looking ----


async def test_the_overview_counts_what_waits(course: MarkingCourse) -> None:
    await course.saved("alice", points=8)
    found = (await course.ask("GET", API)).json()
    told = [
        (q["key"], q["available"], q["state"], q["marked"], q["waiting"], q["total"])
        for q in found["questions"]
    ]
    assert told == [
        ("Q1", 10, "automatic", 0, 0, 3),
        ("Q2", 5, "automatic", 0, 0, 3),
        ("Essay", 10, "manual", 1, 2, 3),
        ("Q4", 5, "manual", 0, 3, 3),
    ]


async def test_an_answer_comes_with_the_words_of_its_question(course: MarkingCourse) -> None:
    essay = await course.state("alice")
    assert "<math" in essay["scale"]
    assert "Essay (10 marks)" in essay["task"]
    assert "Marking Scale" not in essay["task"]
    assert "Question 4" in (await course.state("alice", "Q4"))["task"]
    assert (await course.state("alice", "Q1"))["task"] == ""


async def test_the_order_is_the_markers_own_and_stays(course: MarkingCourse) -> None:
    for number in range(20):
        course.grade(f"student{number}")
    first, again = await queue(course), await queue(course)
    others = await queue(course, user="ben")
    ids = [each["id"] for each in first["answers"]]
    assert ids == [each["id"] for each in again["answers"]]
    assert sorted(ids) == sorted(each["id"] for each in others["answers"])
    assert ids != [each["id"] for each in others["answers"]]
    assert [each["label"] for each in first["answers"]] == [f"Answer {n}" for n in range(1, 24)]


async def test_names_are_hidden_unless_asked_for(course: MarkingCourse) -> None:
    with course.book() as book:
        book.put_students({"alice": "Alice Ångström"})
    hidden = [await queue(course), await course.state("alice"), await course.state("alice", "Q1")]
    for each in texts_in(hidden):
        assert "alice" not in each
        assert "Alice" not in each
    shown = await queue(course, names="1")
    assert {each["label"] for each in shown["answers"]} == {"Alice Ångström", "bob", "eve"}
    response = await course.ask("GET", course.at("alice"), params={"names": "1"})
    assert response.json()["label"] == "Alice Ångström"


async def test_the_page_of_the_notebook_as_it_ran_is_nameless_and_inert(
    course: MarkingCourse,
) -> None:
    address = (await course.state("alice"))["outputs"]
    page = await course.ask("GET", address)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "frame-ancestors 'self'" in policy
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    assert "alice" not in page.text
    assert "<p>seen</p>" in page.text
    assert "<script" not in page.text


async def test_a_page_that_is_not_ours_is_not_shown(course: MarkingCourse) -> None:
    path = course.hub.course / "autograded" / A / "alice.html"
    text = path.read_text()
    for other in (
        "<html>its own</html>",
        text.replace("<!-- end of cells -->", "<iframe></iframe><!-- end of cells -->"),
    ):
        path.write_text(other)
        response = await course.ask("GET", f"{API}/answers/{course.id_of('alice')}/outputs")
        assert response.status_code == 404, response.text


async def test_an_answer_shows_the_students_cells_beside_the_authors(
    course: MarkingCourse,
) -> None:
    essay = await course.state("alice", "Essay")
    own = [each for each in essay["cells"] if each["own"]]
    assert [(each["kind"], each["html"]) for each in own] == [("text", "<p>My essay.</p>")]
    assert "<math" in essay["solution"][0]["html"]
    assert "SOLUTION" not in essay["solution"][0]["code"]
    assert essay["auto"] is None
    assert not essay["reason_needed"]
    first = await course.state("alice", "Q1")
    assert [each["code"] for each in first["cells"] if each["own"]] == ["helper = 1", "area = 3.1"]
    fourth = await course.state("alice", "Q4")
    assert [each["code"] for each in fourth["cells"] if each["own"]] == ['plot = "my plot"']
    auto = first["auto"]
    assert (auto["points"], auto["state"]) == (7.5, "judged")
    (label,) = auto["labels"]
    assert label["conditions"][1] == {
        "message": "too small",
        "passed": False,
        "reason": "<b>why</b>",
    }
    whole = await course.state("alice", "")
    assert sum(each["own"] for each in whole["cells"]) == 5


async def test_a_submission_that_is_no_notebook_is_shown_as_it_is(course: MarkingCourse) -> None:
    course.grade("alice", "this is <script> not python", later=5)
    found = await course.state("alice")
    assert found["text"].startswith("this is <script> not python")
    assert found["cells"] == []
    assert "submission.py:1" in found["trouble"]


async def test_a_result_that_was_changed_in_the_gradebook_is_not_shown(
    course: MarkingCourse,
) -> None:
    with course.book() as book, book.writing() as connection:
        connection.execute(text("UPDATE grading_runs SET result = replace(result, '7.5', '9.5')"))
    found = await course.state("alice", "Q1")
    assert found["auto"]["labels"] == []
    assert "changed after it was signed" in found["trouble"]


# ---- saving ----


async def test_a_mark_is_saved_and_seen_by_the_gradebook(course: MarkingCourse) -> None:
    saved = await course.saved("alice", points=8, comment="Good: $x^2$.")
    assert saved["mark"]["points"] == 8
    assert saved["mark"]["marker"] == "mia"
    assert "<math" in saved["mark"]["html"]
    assert saved["total"] is None, "Q4 waits"
    saved = await course.saved("alice", "Q4", points=2.5)
    assert saved["total"] == 23
    with course.book() as book:
        grade = next(each for each in book.grades(A) if each.student == "alice")
    assert (grade.total, grade.manual) == (23, 10.5)
    assert ("mia", "mark", f"alice/{A}/Essay", "ok") in course.hub.audit()


async def test_the_second_of_two_markers_sees_the_first_and_decides(course: MarkingCourse) -> None:
    version = (await course.state("alice"))["version"]
    await course.saved("alice", user="ben", points=3, comment="Thin.", version=version)
    refused = await course.save("alice", points=9, comment="Fine.", version=version)
    assert refused.status_code == 409
    told = refused.json()
    assert (told["now"]["points"], told["now"]["comment"]) == (3, "Thin.")
    assert told["now"]["marker"] == "ben"
    assert (await course.state("alice"))["mark"]["comment"] == "Thin.", "nothing was saved"
    await course.saved("alice", points=9, comment="Fine.", version=told["version"])
    history = (await course.ask("GET", course.at("alice") + "/history")).json()["entries"]
    texts = [(each["marker"], each["comment"]) for each in history if each["marker"]]
    assert texts == [("mia", "Fine."), ("ben", "Thin.")]


async def test_marks_of_other_questions_do_not_conflict(course: MarkingCourse) -> None:
    version = (await course.state("alice"))["version"]
    await course.saved("alice", "Q4", user="ben", points=1)
    await course.saved("alice", points=9, version=version)


async def test_the_same_change_sent_again_is_saved_once(course: MarkingCourse) -> None:
    """The hub was killed before its answer arrived, so the page sends the change again."""
    version = (await course.state("alice"))["version"]
    one = await course.saved("alice", points=4, comment="x", version=version)
    two = await course.saved("alice", points=4, comment="x", version=version)
    assert one == two
    history = (await course.ask("GET", course.at("alice") + "/history")).json()["entries"]
    assert sum(each["marker"] == "mia" for each in history) == 1


async def test_undo_takes_back_the_markers_own_last_change_step_by_step(
    course: MarkingCourse,
) -> None:
    for points, comment in ((1, "a"), (2, "b"), (3, "c")):
        saved = await course.saved("alice", points=points, comment=comment)
    left = []
    while saved["undo"]:
        path, body = course.at("alice") + "/undo", {"version": saved["version"]}
        response = await course.ask("POST", path, json=body)
        assert response.status_code == 200, response.text
        saved = response.json()
        left.append(saved["mark"] and (saved["mark"]["points"], saved["mark"]["comment"]))
    assert left == [(2, "b"), (1, "a"), None]
    response = await course.ask("POST", path, json={"version": saved["version"]})
    assert response.status_code == 409
    assert response.json()["detail"] == "There is no change of yours to take back."


async def test_undo_does_not_take_back_another_persons_change(course: MarkingCourse) -> None:
    await course.saved("alice", points=1, comment="mine")
    other = await course.saved("alice", user="ben", points=2, comment="theirs")
    path = course.at("alice") + "/undo"
    response = await course.ask("POST", path, json={"version": other["version"]})
    assert response.status_code == 409
    assert response.json()["now"]["comment"] == "theirs"
    assert not (await course.state("alice"))["undo"]
    assert (await course.state("alice", user="ben"))["undo"]
    response = await course.ask("POST", path, "ben", json={"version": other["version"]})
    assert response.json()["mark"]["marker"] == "mia", "whose mark it is again"
    assert (await course.state("alice"))["undo"]
    history = (await course.ask("GET", course.at("alice") + "/history")).json()["entries"]
    told = [(each["marker"], each["comment"], each["restored"]) for each in history[:3]]
    assert told == [("mia", "mine", True), ("ben", "theirs", False), ("mia", "mine", False)]


async def test_another_mark_than_gradings_needs_a_reason(course: MarkingCourse) -> None:
    refused = await course.save("alice", "Q1", points=9)
    assert refused.status_code == 400
    assert refused.json()["detail"].startswith("reason: ")
    await course.saved("alice", "Q1", points=7.5), "the same mark needs none"
    saved = await course.saved("alice", "Q1", points=9, reason="The check is wrong.")
    assert saved["mark"]["reason"] == "The check is wrong."


async def test_a_new_result_under_a_mark_asks_to_look_again_and_changes_nothing(
    course: MarkingCourse,
) -> None:
    await course.saved("alice", "Q1", points=9, reason="so")
    course.grade("alice", points=10, later=5)
    found = await course.state("alice", "Q1")
    assert (found["mark"]["points"], found["look_again"]) == (9, True)
    entry = next(e for e in (await queue(course, "Q1"))["answers"] if e["id"] == found["id"])
    assert entry["look_again"]
    saved = await course.saved("alice", "Q1", points=9, reason="so")
    assert not saved["look_again"], "looked at again"


async def test_new_work_under_a_mark_asks_to_look_again(course: MarkingCourse) -> None:
    await course.saved("alice", points=9)
    course.grade("alice", submission_text(), later=5)
    found = await course.state("alice")
    assert (found["mark"]["points"], found["look_again"]) == (9, True)


async def test_a_mark_made_on_an_answer_that_was_graded_again_is_not_saved_unseen(
    course: MarkingCourse,
) -> None:
    seen = await course.state("alice")
    course.grade("alice", submission_text(), later=5)
    change = {"points": 9, "run": seen["run"]}
    refused = await course.save("alice", **change, version=seen["version"])
    assert refused.status_code == 409
    told = refused.json()
    assert told["now"] is None
    assert told["run"] != seen["run"]
    saved = await course.saved("alice", **change, version=told["version"])
    assert (saved["mark"]["points"], saved["look_again"]) == (9, True), "saved, and still asked"
    change = {"points": 9, "run": told["run"], "version": saved["version"]}
    assert not (await course.saved("alice", **change))["look_again"]


async def test_a_mark_made_on_an_answer_that_was_graded_while_it_was_parsed_is_not_saved_unseen(
    course: MarkingCourse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def graded_meanwhile(*work: Any) -> WorkToShow:
        course.grade("alice", submission_of("Another essay."), later=5)
        return WorkToShow(*work)

    with monkeypatch.context() as patch:
        patch.setattr(api_answers, "WorkToShow", graded_meanwhile)
        seen = await course.state("alice")
    assert "Another essay." not in str(seen["cells"])
    change = {"points": 9, "run": seen["run"], "version": seen["version"]}
    assert (await course.save("alice", **change)).status_code == 409


async def test_a_mark_that_cannot_be_is_refused_by_its_field(course: MarkingCourse) -> None:
    wrong: tuple[tuple[dict[str, Any], str], ...] = (
        ({"points": 11}, "Essay"),
        ({"points": -1}, "Essay"),
        ({"points": "NaN"}, "points"),
        ({"points": 1, "adjustment": 1}, "adjustment"),
        ({"points": 1, "saved": ["abc"]}, "saved"),
        ({"points": 1, "saved": ["../x"]}, "saved"),
        ({"points": 1, "comment": "x" * 20_001}, "comment"),
        ({"points": 1, "to": "all"}, "to"),
        ({"points": 1, "other": 1}, "other"),
    )
    for change, named in wrong:
        response = await course.save("alice", **change)
        assert response.status_code == 400, change
        assert named in response.json()["detail"]
    assert (await course.state("alice"))["mark"] is None


async def test_there_is_nothing_at_unknown_answers_and_questions(course: MarkingCourse) -> None:
    for path in (
        f"{API}/answers/0123456789abcdef/questions/Essay",
        f"{API}/answers/{course.id_of('alice')}/questions/Q9",
        f"{API}/answers/{course.id_of('alice')}/questions/~=!!",
        f"{API}/answers/alice/questions/Essay",
        f"{API}/answers/0123456789abcdef/outputs",
    ):
        assert (await course.ask("GET", path)).status_code == 404, path


# ---- rubric ----


async def test_points_below_zero_can_be_written_on_a_phone(course: MarkingCourse) -> None:
    """The keypad for decimal numbers of an iPhone has no minus."""
    page = (await course.ask("GET", f"/marking/{A}/questions/Essay")).text
    fields = re.findall(r'<input\s+id="(?:adjustment|item-points)"[^>]*>', page)
    assert len(fields) == 2
    assert not [each for each in fields if "inputmode" in each]


async def test_points_by_saved_comments_follow_their_changes(course: MarkingCourse) -> None:
    good, bad = await course.comment("Good.", 6), await course.comment("Late.", -2)
    saved = await course.saved("alice", saved=[good["id"], bad["id"]], adjustment=0.5)
    assert saved["mark"]["points"] == 4.5
    await course.saved("bob", saved=[good["id"]])
    await course.saved("eve", points=6, saved=[good["id"]], comment="By hand.")
    path = f"{COMMENTS}/{good['id']}"
    told = (await course.ask("GET", path, params={"points": "8"})).json()
    changes = {each["id"]: (each["before"], each["after"]) for each in told["changes"]}
    assert changes == {course.id_of("alice"): (4.5, 6.5), course.id_of("bob"): (6, 8)}
    body = {"text": "Very good.", "points": 8, "position": 0, "version": good["version"]}
    changed = await course.ask("PUT", path, "ben", json=body)
    assert changed.json()["changed"] == 2
    for student, points in (("alice", 6.5), ("bob", 8), ("eve", 6)):
        mark = (await course.state(student))["mark"]
        assert (mark["points"], mark["marker"]) == (points, "mia"), student
    history = (await course.ask("GET", course.at("bob") + "/history")).json()["entries"]
    assert [each["again"] for each in history] == [True, False, False]
    again = await course.ask("PUT", path, "ben", json=body)
    assert (again.status_code, again.json()["changed"]) == (200, 0), "nothing is left to change"
    refused = await course.ask("PUT", path, json={**body, "text": "Mine."})
    assert refused.status_code == 409
    assert refused.json()["now"]["text"] == "Very good."


async def test_points_given_as_a_number_stay_when_a_comment_without_points_gets_some(
    course: MarkingCourse,
) -> None:
    plain = await course.comment("Well said.")
    await course.saved("alice", points=6, saved=[plain["id"]])
    await course.saved("bob", saved=[plain["id"]])
    body = {"text": "Well said.", "points": 2, "position": 0, "version": plain["version"]}
    changed = await course.ask("PUT", f"{COMMENTS}/{plain['id']}", "ben", json=body)
    assert (changed.status_code, changed.json()["changed"]) == (200, 0)
    for student, points in (("alice", 6), ("bob", None)):
        mark = (await course.state(student))["mark"]
        assert (mark["points"], mark["marker"], mark["adjustment"]) == (points, "mia", None)


async def test_a_sum_stays_within_the_marks_and_may_start_full(course: MarkingCourse) -> None:
    big, minus = await course.comment("All.", 50), await course.comment("Wrong unit.", -3)
    assert (await course.saved("alice", saved=[big["id"]]))["mark"]["points"] == 10
    assert (await course.saved("bob", saved=[minus["id"]]))["mark"]["points"] == 0
    response = await course.ask("PUT", f"{API}/questions/Essay/rubric", json={"starts_at": "full"})
    assert response.json() == {"starts_at": "full", "changed": 1}
    assert (await course.state("bob"))["mark"]["points"] == 7
    assert (await course.saved("eve", adjustment=0))["mark"]["points"] == 10


async def test_a_retired_comment_stays_in_marks_and_leaves_the_bank(course: MarkingCourse) -> None:
    made = await course.comment("Fine.", 3)
    await course.saved("alice", saved=[made["id"]])
    path = f"{COMMENTS}/{made['id']}"
    stale = await course.ask("DELETE", path, params={"version": "999"})
    assert stale.status_code == 409
    gone = await course.ask("DELETE", path, params={"version": str(made["version"])})
    assert gone.status_code == 200
    bank = (await course.ask("GET", COMMENTS)).json()
    assert (bank["comments"], [each["id"] for each in bank["retired"]]) == ([], [made["id"]])
    assert (await course.state("alice"))["mark"]["points"] == 3
    assert (await course.ask("DELETE", path, params={"version": "1"})).status_code == 404


async def test_equal_comments_are_one_and_hostile_ones_are_text(course: MarkingCourse) -> None:
    hostile = "<img src=x onerror=alert(1)> [x](javascript:alert(1)) $\\href{javascript:1}{x}$"
    one, two = await course.comment(hostile), await course.comment(hostile)
    assert one["id"] == two["id"]
    for html in (
        one["html"],
        (await course.saved("alice", points=1, comment=hostile))["mark"]["html"],
    ):
        assert "<img" not in html
        assert "href" not in html.replace("\\href", "")
    response = await course.ask("POST", f"{API}/preview", json={"text": hostile})
    assert response.json()["html"] == one["html"]


async def test_undo_of_a_rubric_mark_takes_the_points_of_now(course: MarkingCourse) -> None:
    good = await course.comment("Good.", 6)
    await course.saved("alice", saved=[good["id"]])
    await course.saved("alice", points=1)
    body = {"text": "Good.", "points": 4, "position": 0, "version": good["version"]}
    await course.ask("PUT", f"{COMMENTS}/{good['id']}", json=body)
    version = (await course.state("alice"))["version"]
    response = await course.ask("POST", course.at("alice") + "/undo", json={"version": version})
    assert response.json()["mark"]["points"] == 4


# ---- annotations and shares ----


async def test_annotations_are_kept_changed_and_removed(course: MarkingCourse) -> None:
    path = f"{API}/answers/{course.id_of('alice')}/annotations"
    body: dict[str, Any] = {"question": "Essay", "cell": 8, "first_line": 1, "last_line": 2}
    made = (await course.ask("POST", path, json={**body, "text": "See $x$"})).json()
    assert (made["by"], made["outdated"]) == ("mia", False)
    found = (await course.state("alice"))["annotations"]
    assert [(each["id"], each["first_line"], each["last_line"]) for each in found] == [
        (made["id"], 1, 2)
    ]
    changed = {**body, "text": "Other", "version": made["version"]}
    ok = await course.ask("PUT", f"{path}/{made['id']}", "ben", json=changed)
    assert ok.status_code == 200, ok.text
    stale = await course.ask("PUT", f"{path}/{made['id']}", json=changed)
    assert (stale.status_code, stale.json()["now"]["text"]) == (409, "Other")
    course.grade("alice", submission_text(), later=5)
    assert (await course.state("alice"))["annotations"][0]["outdated"]
    gone = await course.ask("DELETE", f"{path}/{made['id']}")
    assert gone.status_code == 200
    assert (await course.state("alice"))["annotations"] == []
    for wrong in ({"text": ""}, {"text": "x", "last_line": None}, {"text": "x", "first_line": 9}):
        refused = await course.ask("POST", path, json={**body, **wrong})
        assert refused.status_code == 400, wrong


async def test_a_comment_at_a_submission_is_not_put_at_a_newer_one(course: MarkingCourse) -> None:
    path = f"{API}/answers/{course.id_of('alice')}/annotations"
    opened = await course.state("alice")
    body = {"question": "Essay", "cell": 8, "text": "Why?", "submission": opened["submission"]}
    assert (await course.ask("POST", path, json=body)).status_code == 200
    course.grade("alice", submission_text(), later=5)
    refused = await course.ask("POST", path, json=body)
    assert (refused.status_code, "newer submission" in refused.text) == (409, True)
    now = await course.state("alice")
    assert len(now["annotations"]) == 1
    body["submission"] = now["submission"]
    assert not (await course.ask("POST", path, json=body)).json()["outdated"]


def submission_text() -> str:
    return "import marimo\n\napp = marimo.App()\n"


@pytest.mark.parametrize("points", [True, "5"])
async def test_points_that_are_no_number_are_refused_and_not_read_as_one(
    course: MarkingCourse, points: object
) -> None:
    assert (await course.save("alice", points=points)).status_code == 400
    assert (await course.state("alice"))["mark"] is None
    assert (await course.saved("alice", points=5))["mark"]["points"] == 5
