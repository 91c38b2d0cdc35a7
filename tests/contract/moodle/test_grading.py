"""A teacher's marks against a real Moodle's silence (README: Grades)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

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
    Earlier,
    Feedback,
    Grade,
    Held,
    Mark,
    WorkflowState,
)
from mograder.core.errors import Conflict, InvalidInput
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
    client = sign_in("teach1")
    marks = [Mark(ALICE, Decimal(900)), Mark(BOB, Decimal(55))]
    plan = planned(client, assignment(client, 1), marks)
    assert [each.result for each in plan.outcomes] == [Result.SKIPPED, Result.CHANGED]


@pytest.mark.parametrize(
    ("after", "number", "mark", "expected"),
    [
        pytest.param(
            192,
            2,
            Mark(ALICE, Decimal(92), "<p>92</p>"),
            {"state": "released"},
            id="a released mark stays so: an empty state would hide it again (193)",
        ),
        pytest.param(
            154,
            1,
            Mark(ALICE, Decimal(55), workflow=WorkflowState.RELEASED),
            {"state": ""},
            id="no state without a workflow: Moodle would keep the word (195)",
        ),
        pytest.param(
            213,
            1,
            Mark(BOB, Decimal(40), "x"),
            {
                "result": Result.SKIPPED,
                "why": "Attempt 2 is open and nothing is handed in yet: the mark would count for "
                "the empty attempt.",
            },
            id="an open attempt without work (213)",
        ),
        pytest.param(
            154,
            1,
            Mark(DORA, Decimal(0)),
            {"result": Result.CHANGED, "after": Decimal(0)},
            id="a zero for who did not submit is a grade (167)",
        ),
    ],
)
def test_a_mark_is_planned_by_what_moodle_holds(
    after: int,
    number: int,
    mark: Mark,
    expected: dict[str, object],
    sign_in: SignIn,
    moodle: Replay,
) -> None:
    moodle.begin(after)
    client = sign_in("teach1")
    (outcome,) = planned(client, assignment(client, number), [mark]).outcomes
    assert {name: getattr(outcome, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("after", "number", "mark", "grade"),
    [
        pytest.param(
            180,
            2,
            Mark(ALICE, Decimal("9.1E+1"), "<p>good</p>"),
            Decimal(91),
            id="an exponent, and no state, which Moodle shows as not marked (181, 182)",
        ),
        pytest.param(
            234,
            3,
            Mark(ALICE, Decimal(70), "<p>blind</p>"),
            Decimal(70),
            id="by the real number (235)",
        ),
    ],
)
def test_a_mark_is_sent_as_moodle_reads_it(
    after: int, number: int, mark: Mark, grade: Decimal, sign_in: SignIn, moodle: Replay
) -> None:
    moodle.begin(after)
    outcome = marked(sign_in("teach1"), number, [mark])[ALICE]
    assert (outcome.result, outcome.after, outcome.state) == (Result.CHANGED, grade, "")


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


def test_a_rubric_is_refused_before_it_is_reset(sign_in: SignIn, moodle: Replay) -> None:
    """226: a plain grade sets what a rubric holds to -1."""
    moodle.begin(225)
    client = sign_in("teach1")
    a4 = assignment(client, 4)
    with pytest.raises(Conflict, match="graded with a rubric") as caught:
        planned(client, a4, [Mark(ALICE, Decimal(66), "<p>rubric?</p>")])
    assert "Grade it in Moodle" in caught.value.hint
    assert written(moodle) == []


def test_where_a_rubric_is_hidden_and_erases_one_mark_the_others_are_not_sent(
    sign_in: SignIn, moodle: Replay
) -> None:
    """226, 228: Moodle answers null and holds -1."""
    moodle.begin(225)
    client = sign_in("teach1")
    a4 = assignment(client, 4)
    marks = [Mark(ALICE, Decimal(66), "<p>rubric?</p>"), Mark(BOB, Decimal(50))]
    outcomes = tuple(Outcome(mark, Result.CHANGED, after=mark.grade) for mark in marks)
    alice, bob = send_marks(client, Plan(a4, outcomes, may_have_rubric=True))
    assert (alice.result, alice.after) == (Result.FAILED, None)
    assert "no grade instead of 66" in alice.why
    assert "If there is a rubric, grade in Moodle." in alice.why
    assert bob.result is Result.FAILED
    assert "Not sent: Moodle does not tell you whether there is a rubric" in bob.why
    assert written(moodle) == ["mod_assign_save_grade"]


class Reopening(MoodleClient):
    """A Moodle that opens another attempt after each mark; ``kept`` are the grades it has taken."""

    kept: dict[int, Decimal | None]

    def save_grade(self, assignment_id: int, mark: Mark, **rest: object) -> None:
        self.kept.setdefault(mark.user_id, mark.grade)

    def grades(self, assignment_id: int) -> tuple[Grade, ...]:
        return ()

    def earlier_attempt(self, assignment_id: int, user_id: int) -> Earlier | None:
        return Earlier(0, Feedback(grade=self.kept[user_id]))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("reopens", ["untilpass", "automatic"])
def test_marks_after_which_moodle_opens_another_attempt_are_not_told_as_failed(
    reopens: str, hidden: bool
) -> None:
    """It lists the grades of the newest attempts only; ``hidden``: there may be a rubric."""
    marks = [Mark(ALICE, Decimal(66)), Mark(BOB, Decimal(50))]
    outcomes = tuple(Outcome(mark, Result.CHANGED, after=mark.grade) for mark in marks)
    plan = Plan(Assignment(1, 3, 2, "A1", reopens=reopens), outcomes, may_have_rubric=hidden)
    with Reopening("http://127.0.0.1:9", "0" * 32) as client:
        client.kept = {}
        sent = send_marks(client, plan)
    assert [each.result for each in sent] == [Result.CHANGED, Result.CHANGED]
    assert {"Moodle opened another attempt" in each.why for each in sent} == {True}


def test_an_attempt_that_moodle_opens_after_an_empty_grade_proves_nothing() -> None:
    """Where it opens one automatically, a rubric that is hidden would erase every mark."""
    marks = [Mark(ALICE, Decimal(66)), Mark(BOB, Decimal(50))]
    outcomes = tuple(Outcome(mark, Result.CHANGED, after=mark.grade) for mark in marks)
    plan = Plan(Assignment(1, 3, 2, "A1", reopens="automatic"), outcomes, may_have_rubric=True)
    with Reopening("http://127.0.0.1:9", "0" * 32) as client:
        client.kept = {ALICE: None}
        alice, bob = send_marks(client, plan)
    assert (alice.result, bob.result) == (Result.FAILED, Result.FAILED)
    assert "no grade instead of 66" in alice.why
    assert BOB not in client.kept, "it was not sent"


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


def test_the_same_grade_again_is_no_change(sign_in: SignIn, moodle: Replay) -> None:
    moodle.begin(214)
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 1), [Mark(CAROL, Decimal("70.00"))])
    assert plan.outcomes[0].result is Result.UNCHANGED
    assert send_marks(client, plan) == plan.outcomes
    assert written(moodle) == []


@pytest.fixture
def release(sized: Sized, moodle: Replay) -> Mark:
    """A mark of A2 that is to be released, with a file."""
    moodle.begin(180)
    name = "A2 étude feedback.html"
    file = Upload(name, sized(name, 8))
    return Mark(ALICE, Decimal(91), "<p>good</p>", (file,), WorkflowState.RELEASED)


def test_a_release_with_a_file_is_saved_and_read_back(sign_in: SignIn, release: Mark) -> None:
    """187, 189: students see no feedback until the state is ``released``."""
    client = sign_in("teach1")
    outcome = marked(client, 2, [release])[ALICE]
    assert outcome.result is Result.CHANGED
    assert client.workflow_states(2)[ALICE] == "released"
    feedback = sign_in("alice").submission_status(2).feedback
    assert feedback is not None
    assert [each.name for each in feedback.files] == [each.name for each in release.files]


def test_a_state_that_moodle_did_not_keep_is_found_out(
    sign_in: SignIn, moodle: Replay, release: Mark
) -> None:
    """185: any word is taken for a state, and hides the grade."""
    client = sign_in("teach1")
    plan = planned(client, assignment(client, 2), [release])
    moodle.between = lambda reply: replace(
        reply, body=reply.body.replace(b'"workflowstate": "released"', b'"workflowstate": "bogus"')
    )
    (outcome,) = send_marks(client, plan)
    assert outcome.result is Result.FAILED
    assert "'bogus' instead of 'released'" in outcome.why


def test_an_assignment_without_points_is_refused(sign_in: SignIn, ungraded: Replay) -> None:
    client = sign_in("teach1")
    scale = replace(assignment(client, 1), maximum=None)
    with pytest.raises(InvalidInput, match="no points to give"):
        planned(client, scale, [Mark(ALICE, Decimal(1))])


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
