"""A teacher's marks against a real Moodle's silence (README: Grades)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.grading import (
    Outcome,
    Plan,
    Result,
    plan_marks,
    send_marks,
)
from mograder.clients.moodle.records import (
    Assignment,
    Grade,
    GradingMethod,
    Held,
    Mark,
    WorkflowState,
)
from mograder.core.errors import Conflict, Forbidden, InvalidInput
from tests.contract.moodle.conftest import SignIn, Sized
from tests.support.moodle.recordings import recorded
from tests.support.moodle.replay import Replay, Reply

ALICE, BOB, CAROL, DORA, TEACHER = 4, 5, 6, 7, 3
PRAISE = "<p>Bien joué — <b>87.5</b> &amp; more</p>"
STUDENTS = frozenset({ALICE, BOB, CAROL, DORA})
WRITES = {"mod_assign_save_grade", "mod_assign_save_grades", ""}


def assignment(client: MoodleClient, number: int) -> Assignment:
    return next(each for each in client.assignments(2) if each.id == number)


def planned(client: MoodleClient, work: Assignment, marks: Sequence[Mark]) -> Plan:
    return plan_marks(client, work, marks, STUDENTS)


def marked(client: MoodleClient, number: int, marks: Sequence[Mark]) -> dict[int, Outcome]:
    """Plan and send; return the outcomes by person."""
    sent = send_marks(client, planned(client, assignment(client, number), marks))
    return {each.mark.user_id: each for each in sent}


def written(moodle: Replay) -> list[str]:
    """Return what was asked that changes something, uploads included."""
    asked = [request.fields.get("wsfunction", "") for request in moodle.requests]
    return [function for function in asked if function in WRITES]


@pytest.fixture
def ungraded(moodle: Replay) -> Replay:
    """The site with submissions of A1 to A4 and no grades."""
    moodle.begin(154)
    return moodle


def test_marks_with_a_file_are_saved_and_read_back(
    sign_in: SignIn, ungraded: Replay, sized: Sized
) -> None:
    """155, 158, 164, then 165: Moodle answers null to each of them."""
    file = Upload("alice_feedback.html", sized("alice_feedback.html", 20))
    marks = [
        Mark(ALICE, Decimal("87.5"), PRAISE, (file,)),
        Mark(BOB, Decimal(55)),
        Mark(CAROL, None, "only feedback"),
    ]
    client = sign_in("teach1")
    found = marked(client, 1, marks)
    assert {each.result for each in found.values()} == {Result.CHANGED}
    assert [each.after for each in found.values()] == [Decimal("87.5"), Decimal(55), None]
    held = {grade.user_id: grade.grade for grade in client.grades(1)}
    assert held == {ALICE: Decimal("87.5"), BOB: Decimal(55), CAROL: None}


def test_a_plan_changes_nothing(sign_in: SignIn, ungraded: Replay) -> None:
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 1), [Mark(ALICE, Decimal("87.5"), PRAISE)])
    assert [each.result for each in plan.outcomes] == [Result.CHANGED]
    assert plan.outcomes[0].before is None
    assert written(ungraded) == []


@pytest.mark.parametrize(
    ("mark", "why"),
    [
        (Mark(CAROL, Decimal(150), "x"), "above the maximum of 100"),
        (Mark(CAROL, Decimal(-5), "x"), "not a grade"),
        (Mark(CAROL, Decimal("NaN"), "x"), "not a grade"),
        (Mark(TEACHER, Decimal(10), "x"), "Not a participant"),
        (Mark(99999, Decimal(1), "x"), "Not a participant"),
        (Mark(CAROL, Decimal(1), "nul \x00"), "control character"),
    ],
)
def test_what_moodle_would_get_wrong_is_not_sent(
    mark: Mark, why: str, sign_in: SignIn, ungraded: Replay
) -> None:
    """160, 161, 169, 170, 357: dropped, or made up for nobody."""
    outcome = marked(sign_in("teach1"), 1, [mark])[mark.user_id]
    assert outcome.result is Result.SKIPPED
    assert why in outcome.why
    assert written(ungraded) == []


def test_one_wrong_mark_does_not_keep_the_others(sign_in: SignIn, ungraded: Replay) -> None:
    """173: save_grades would take one row and drop the other, and say null."""
    marks = [
        Mark(ALICE, Decimal(900)),
        Mark(BOB, Decimal(55)),
    ]
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 1), marks)
    assert [each.result for each in plan.outcomes] == [Result.SKIPPED, Result.CHANGED]


def test_a_grade_that_moodle_dropped_is_found_out(
    sign_in: SignIn, ungraded: Replay, sized: Sized
) -> None:
    """160: the maximum was lowered after we read the settings."""
    client = sign_in("teach1")
    stale = replace(assignment(client, 1), maximum=Decimal(1000))
    file = Upload("alice_feedback.html", sized("alice_feedback.html", 20))
    marks = [
        Mark(ALICE, Decimal("87.5"), PRAISE, (file,)),
        Mark(BOB, Decimal(55)),
        Mark(CAROL, Decimal(150), "x"),
    ]
    found = {o.mark.user_id: o for o in send_marks(client, planned(client, stale, marks))}
    assert found[BOB].result is Result.CHANGED
    assert found[CAROL].result is Result.FAILED
    assert "no grade instead of 150" in found[CAROL].why
    assert found[CAROL].after is None


def test_the_comment_goes_along_where_there_was_one(sign_in: SignIn, moodle: Replay) -> None:
    """329: left out, it is a database error; 332, 333: sent, it replaces the one before."""
    moodle.begin(331)
    comment = (
        '<script>alert(1)</script><p style="color:red" onclick="x()">a &lt; b <code>x</code></p>'
        "\nplain <unknown>"
    )
    client = sign_in("teach1")
    mark = Mark(CAROL, comment=comment)
    client.save_grade(1, mark, grade=Decimal(74), state="", draft=None)
    feedback = sign_in("carol").submission_status(1).feedback
    assert feedback is not None
    assert feedback.grade == 74
    assert feedback.comment == '<p style="color:#FF0000;">a &lt; b <code>x</code></p> plain '


def test_earlier_feedback_files_stay_without_new_ones(sign_in: SignIn, moodle: Replay) -> None:
    """176, 177."""
    moodle.begin(175)
    mark = Mark(BOB, comment="<p>bob 63</p>")
    sign_in("teach1").save_grade(1, mark, grade=Decimal(63), state="", draft=None)
    feedback = sign_in("bob").submission_status(1).feedback
    assert feedback is not None
    assert (feedback.comment, feedback.files[0].name) == ("<p>bob 63</p>", "bob.html")


def test_a_grade_with_an_exponent_arrives_as_a_number(sign_in: SignIn, moodle: Replay) -> None:
    """181; 163, 338: what Moodle cannot read, such as a comma, it refuses."""
    moodle.begin(180)
    mark = Mark(ALICE, Decimal("9.1E+1"), "<p>good</p>")
    outcome = marked(sign_in("teach1"), 2, [mark])[ALICE]
    assert (outcome.result, outcome.after) == (Result.CHANGED, Decimal(91))


def test_a_rubric_is_refused_before_it_is_reset(sign_in: SignIn, moodle: Replay) -> None:
    """226: a plain grade sets what a rubric holds to -1."""
    moodle.begin(225)
    client = sign_in("teach1")
    a4 = assignment(client, 4)
    with pytest.raises(Conflict, match="graded with a rubric") as caught:
        planned(client, a4, [Mark(ALICE, Decimal(66), "<p>rubric?</p>")])
    assert "Grade it in Moodle" in caught.value.hint
    assert written(moodle) == []


def without_editing(client: MoodleClient) -> MoodleClient:
    """Make a client whose account is not told the grading method, as a non-editing teacher's."""
    site = client.site()
    client._site = replace(site, functions=site.functions - {"core_course_get_course_module"})
    return client


def without_worksheet(work: Assignment) -> Assignment:
    return replace(work, feedback=replace(work.feedback, worksheet=False))


def test_where_a_rubric_is_hidden_one_mark_is_sent_and_the_others_after_it_was_kept(
    sign_in: SignIn, moodle: Replay
) -> None:
    """435, 438, 440: derived exchanges, with a list of the grades after each save."""
    moodle.begin(434)
    client = without_editing(sign_in("teach1"))
    work = without_worksheet(assignment(client, 20))
    assert client.grading_method(work) is GradingMethod.UNKNOWN
    marks = [Mark(BOB, Decimal(60), "other"), Mark(ALICE, Decimal(80), "team")]
    moodle.requests.clear()
    found = send_marks(client, planned(client, work, marks))
    assert [(each.mark.user_id, each.result) for each in found] == [
        (BOB, Result.CHANGED),
        (ALICE, Result.CHANGED),
    ]
    asked = [
        (request.fields["wsfunction"].removeprefix("mod_assign_"), request.fields.get("userid"))
        for request in moodle.requests
    ]
    first, second = asked.index(("save_grade", str(ALICE))), asked.index(("save_grade", str(BOB)))
    assert ("get_grades", None) in asked[first:second]


def test_where_a_rubric_is_hidden_and_erases_one_mark_the_others_are_not_sent(
    sign_in: SignIn, moodle: Replay
) -> None:
    """226, 228: Moodle answers null and holds -1."""
    moodle.begin(225)
    client = without_editing(sign_in("teach1"))
    a4 = assignment(client, 4)
    assert client.grading_method(a4) is GradingMethod.UNKNOWN
    marks = [Mark(ALICE, Decimal(66), "<p>rubric?</p>"), Mark(BOB, Decimal(50))]
    outcomes = tuple(Outcome(mark, Result.CHANGED, after=mark.grade) for mark in marks)
    alice, bob = send_marks(client, Plan(a4, outcomes, may_have_rubric=True))
    assert (alice.result, alice.after) == (Result.FAILED, None)
    assert "no grade instead of 66" in alice.why
    assert "If there is a rubric, grade in Moodle." in alice.why
    assert bob.result is Result.FAILED
    assert "Not sent: Moodle does not tell you whether there is a rubric" in bob.why
    assert written(moodle) == ["mod_assign_save_grade"]


@pytest.mark.parametrize(
    ("held", "first"),
    [
        pytest.param({}, ALICE, id="the highest"),
        pytest.param({ALICE: Decimal(70)}, BOB, id="one without a grade, which nothing erases"),
        pytest.param({ALICE: None}, BOB, id="not one that may be locked"),
        pytest.param({ALICE: Decimal(50), BOB: Decimal(60)}, BOB, id="one that would change"),
    ],
)
def test_the_mark_that_is_tried_erases_least_and_tells_most(
    held: dict[int, Decimal | None], first: int, sign_in: SignIn, ungraded: Replay
) -> None:
    outcomes = tuple(
        Outcome(
            Mark(user, after),
            Result.CHANGED,
            held.get(user),
            after,
            held=Held(grade=Grade(user, grade=held[user]) if user in held else None),
        )
        for user, after in ((BOB, Decimal(49)), (ALICE, Decimal(50)))
    )
    plan = Plan(assignment(sign_in("teach1"), 1), outcomes, may_have_rubric=True)
    assert plan.trial is not None
    assert plan.trial.mark.user_id == first


def test_a_rubric_made_meanwhile_is_found_out(sign_in: SignIn, moodle: Replay) -> None:
    """226, 228: the settings that we read were older."""
    moodle.begin(225)
    client = sign_in("teach1")
    a4 = assignment(client, 4)
    mark = Mark(ALICE, Decimal(66), "<p>rubric?</p>")
    plan = Plan(a4, (Outcome(mark, Result.CHANGED, None, Decimal(66)),))
    (outcome,) = send_marks(client, plan)
    assert outcome.result is Result.FAILED
    assert "no grade instead of 66" in outcome.why


def test_a_release_with_a_file_is_saved_and_read_back(
    sign_in: SignIn, moodle: Replay, sized: Sized
) -> None:
    """187, 189: students see no feedback until the state is ``released``."""
    moodle.begin(180)
    name = "A2 étude feedback.html"
    file = Upload(name, sized(name, 8))
    mark = Mark(ALICE, Decimal(91), "<p>good</p>", (file,), WorkflowState.RELEASED)
    client = sign_in("teach1")
    outcome = marked(client, 2, [mark])[ALICE]
    assert outcome.result is Result.CHANGED
    assert client.workflow_states(2)[ALICE] == "released"
    feedback = sign_in("alice").submission_status(2).feedback
    assert feedback is not None
    assert [each.name for each in feedback.files] == [name]


def test_a_state_that_moodle_did_not_keep_is_found_out(
    sign_in: SignIn, moodle: Replay, sized: Sized
) -> None:
    """185: any word is taken for a state, and hides the grade."""
    moodle.begin(180)
    name = "A2 étude feedback.html"
    file = Upload(name, sized(name, 8))
    mark = Mark(ALICE, Decimal(91), "<p>good</p>", (file,), WorkflowState.RELEASED)
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 2), [mark])
    moodle.between = lambda reply: replace(
        reply, body=reply.body.replace(b'"workflowstate": "released"', b'"workflowstate": "bogus"')
    )
    (outcome,) = send_marks(client, plan)
    assert outcome.result is Result.FAILED
    assert "'bogus' instead of 'released'" in outcome.why


def test_a_released_mark_stays_released(sign_in: SignIn, moodle: Replay) -> None:
    """193: an empty state would take the feedback away from the student again."""
    moodle.begin(192)
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 2), [Mark(ALICE, Decimal(92), "<p>92</p>")])
    assert plan.outcomes[0].state == "released"


def test_no_state_stays_none(sign_in: SignIn, moodle: Replay) -> None:
    """181, 182: Moodle shows none as "not marked"."""
    moodle.begin(180)
    outcome = marked(sign_in("teach1"), 2, [Mark(ALICE, Decimal(91), "<p>good</p>")])[ALICE]
    assert (outcome.result, outcome.state) == (Result.CHANGED, "")


def test_a_state_without_a_workflow_is_not_sent(sign_in: SignIn, ungraded: Replay) -> None:
    """195: Moodle would keep the word and show nothing of it."""
    client = sign_in("teach1")
    mark = Mark(ALICE, Decimal(55), workflow=WorkflowState.RELEASED)
    plan = planned(client, assignment(client, 1), [mark])
    assert plan.outcomes[0].state == ""


def test_a_blind_assignment_is_graded_by_the_real_number(sign_in: SignIn, moodle: Replay) -> None:
    """235, 237."""
    moodle.begin(234)
    outcome = marked(sign_in("teach1"), 3, [Mark(ALICE, Decimal(70), "<p>blind</p>")])[ALICE]
    assert (outcome.result, outcome.after) == (Result.CHANGED, Decimal(70))


@pytest.mark.parametrize(
    ("mark", "what"),
    [
        (Mark(ALICE, Decimal(50), "<p>c</p>"), "Feedback comments"),
        (Mark(ALICE, Decimal(50), files=(Upload("a8.html", Path(__file__)),)), "Feedback files"),
    ],
)
def test_feedback_of_a_type_that_is_off_is_refused(
    mark: Mark, what: str, sign_in: SignIn, moodle: Replay
) -> None:
    """304, 305: Moodle drops it without a word."""
    moodle.begin(316)
    a8 = next(each for each in sign_in("alice").assignments(2) if each.id == 8)
    with pytest.raises(Conflict, match=what):
        planned(sign_in("teach1"), a8, [mark])
    assert written(moodle) == []


def test_an_open_attempt_without_work_is_not_graded(sign_in: SignIn, moodle: Replay) -> None:
    """213: bob's second attempt was opened; the mark for his first would count for it."""
    moodle.begin(213)
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 1), [Mark(BOB, Decimal(40), "x")])
    assert plan.outcomes[0].result is Result.SKIPPED
    assert "Attempt 2 is open" in plan.outcomes[0].why


def test_who_did_not_submit_can_get_a_zero(sign_in: SignIn, ungraded: Replay) -> None:
    """167: 0 is a real grade."""
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 1), [Mark(DORA, Decimal(0))])
    assert plan.outcomes[0].result is Result.CHANGED
    assert plan.outcomes[0].after == 0


def test_the_same_grade_again_is_no_change(sign_in: SignIn, moodle: Replay) -> None:
    moodle.begin(214)
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 1), [Mark(CAROL, Decimal("70.00"))])
    assert plan.outcomes[0].result is Result.UNCHANGED
    assert send_marks(client, plan) == plan.outcomes
    assert written(moodle) == []


def test_an_assignment_without_points_is_refused(sign_in: SignIn, ungraded: Replay) -> None:
    client = sign_in("teach1")
    scale = replace(assignment(client, 1), maximum=None)
    with pytest.raises(InvalidInput, match="no points to give"):
        planned(client, scale, [Mark(ALICE, Decimal(1))])


def test_a_student_may_not_grade_and_nothing_is_sent(sign_in: SignIn, ungraded: Replay) -> None:
    client = sign_in("alice")
    with pytest.raises(Forbidden):
        planned(client, assignment(client, 1), [Mark(ALICE, Decimal(100))])
    assert written(ungraded) == []


def test_when_moodle_goes_down_the_rest_is_not_tried(sign_in: SignIn, ungraded: Replay) -> None:
    client = sign_in("teach1")
    marks = [Mark(ALICE, Decimal(1)), Mark(BOB, Decimal(2)), Mark(CAROL, Decimal(3))]
    plan = planned(client, assignment(client, 1), marks)
    ungraded.requests.clear()
    down = recorded(294)
    ungraded.between = lambda _: Reply(200, down.content_type, down.body)
    outcomes = send_marks(client, plan)
    assert {each.result for each in outcomes} == {Result.FAILED}
    assert written(ungraded) == ["mod_assign_save_grade"]
    ungraded.problems.clear()
