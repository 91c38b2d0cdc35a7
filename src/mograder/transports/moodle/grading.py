"""A teacher's marks: planned without a change, sent, and read back.

Moodle says "null" to a grade it drops, to a user that does not exist, to a rubric that it resets
and to a word that is no workflow state. So everything that it would get wrong is refused before
anything is sent, and afterwards we ask what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    TimedOut,
)
from mograder.core.shared import Progress
from mograder.transports.moodle.client import MoodleClient
from mograder.transports.moodle.models import short
from mograder.transports.moodle.records import (
    Assignment,
    Grade,
    GradingMethod,
    Mark,
    Submission,
    SubmissionState,
    WorkflowState,
)

_NO_GRADE = Decimal(-1)
"""What Moodle writes where there is none."""

_KEPT = Decimal("0.00001")
"""Moodle keeps five decimals."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_HOPELESS = (NotAuthenticated, Forbidden, Busy, TimedOut)
"""Failures that the next mark would meet as well."""

_NO_WORK = {SubmissionState.NEW, SubmissionState.REOPENED}


class Result(StrEnum):
    """What became of one mark."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    """Moodle holds this grade already, and there is no comment, file or state to send."""
    SKIPPED = "skipped"
    """Refused before anything was sent: ``why`` tells."""
    FAILED = "failed"
    """Sent, and Moodle did not keep it: ``why`` tells."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became, or (of a plan) would become, of one mark. Grades before and after.

    ``state`` is the workflow state to send, empty where the assignment has no workflow.
    """

    mark: Mark
    result: Result
    before: Decimal | None = None
    after: Decimal | None = None
    why: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What sending would do; ``outcomes`` in the order of the marks, for --dry-run."""

    assignment: Assignment
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class _Held:
    """What Moodle holds before anything is sent."""

    people: frozenset[int]
    grades: Mapping[int, Grade]
    work: Mapping[int, Submission]
    states: Mapping[int, str]


def plan_marks(client: MoodleClient, assignment: Assignment, marks: Sequence[Mark]) -> Plan:
    """Decide from what Moodle holds now what to do with each mark; changes nothing.

    Raises:
        Conflict: The assignment cannot take such marks at all: a rubric without choices, feedback
            of a type that is switched off.
        InvalidInput: Two marks are for one person, or there are no points to give.
        Forbidden: This account may not grade here.
    """
    _demand_possible(assignment, marks)
    _demand_method(client, assignment, marks)
    held = _held(client, assignment, marks)
    return Plan(assignment, tuple(_planned(assignment, mark, held) for mark in marks))


def send_marks(
    client: MoodleClient, plan: Plan, progress: Progress = lambda _: None
) -> tuple[Outcome, ...]:
    """Save what the plan has as CHANGED, then read grades and states back and tell the truth.

    Saving one mark twice leaves the same, so that the whole may be repeated after a failure.

    Raises:
        MograderError: What was saved could not be read back; nobody knows what Moodle holds.
    """
    outcomes = list(plan.outcomes)
    todo = [index for index, each in enumerate(outcomes) if each.result is Result.CHANGED]
    for count, index in enumerate(todo, 1):
        progress(f"{count} of {len(todo)}")
        try:
            _send(client, plan.assignment, outcomes[index])
        except _HOPELESS as error:
            for rest in todo[count - 1 :]:
                outcomes[rest] = _failed(outcomes[rest], f"Not saved: {error.message}")
            break
        except MograderError as error:
            outcomes[index] = _failed(outcomes[index], str(error))
    if any(each.result is Result.CHANGED for each in outcomes):
        outcomes = _read_back(client, plan.assignment, outcomes)
    return tuple(outcomes)


def _demand_possible(assignment: Assignment, marks: Sequence[Mark]) -> None:
    users = [mark.user_id for mark in marks]
    if len(set(users)) < len(users):
        raise InvalidInput(
            f"Two marks for one person are given for {assignment.name}.",
            hint="Keep one row for each person.",
        )
    if assignment.maximum is None and any(mark.grade is not None for mark in marks):
        raise InvalidInput(
            f"{assignment.name} has no points to give in Moodle (no grade, or a scale).",
            hint="Set Grade > Type to Point in the assignment's settings.",
        )
    off = [
        name
        for name, on, used in (
            ("Feedback comments", assignment.feedback.comments, any(m.comment for m in marks)),
            ("Feedback files", assignment.feedback.files, any(m.files for m in marks)),
        )
        if used and not on
    ]
    if off:
        raise Conflict(
            f"{' and '.join(off)} are switched off for {assignment.name}: Moodle would drop them "
            "without a word.",
            hint="Switch them on in the assignment's settings, under Feedback types.",
        )


def _demand_method(client: MoodleClient, assignment: Assignment, marks: Sequence[Mark]) -> None:
    chosen = [bool(mark.choices) for mark in marks]
    if not chosen:
        return
    method = client.grading_method(assignment)
    if all(chosen) and method in {GradingMethod.RUBRIC, GradingMethod.UNKNOWN}:
        return
    if method is GradingMethod.SIMPLE and not any(chosen):
        return
    if method is GradingMethod.SIMPLE:
        raise InvalidInput(
            f"{assignment.name} has no rubric to choose from.", hint="Give plain grades."
        )
    if method is GradingMethod.UNKNOWN:
        raise Conflict(
            f"Moodle does not tell whether {assignment.name} has a rubric, and a plain grade would "
            "erase what a rubric holds. Nothing was changed.",
            hint="Switch on 'Offline grading worksheet' under Feedback types (Moodle offers it "
            "only without a rubric), or grade this assignment in Moodle.",
        )
    raise Conflict(
        f"{assignment.name} is graded with a {method.value}: a plain grade would reset it to "
        "nothing. Nothing was changed.",
        hint="Grade it in Moodle, or set Grading method to Simple direct grading.",
    )


def _held(client: MoodleClient, assignment: Assignment, marks: Sequence[Mark]) -> _Held:
    grades = {grade.user_id: grade for grade in client.grades(assignment.id)}
    work = {row.user_id: row for row in client.submissions(assignment.id) if row.user_id}
    # An empty row proves nothing: a teacher who looks at an assignment gets one too.
    people = {user for user, row in work.items() if row.state not in _NO_WORK or row.attempt}
    wanted = {mark.user_id for mark in marks}
    if not wanted <= people:
        people |= {each.person.user_id for each in client.participants(assignment.id)}
    states: Mapping[int, str] = {}
    if assignment.workflow:
        states = {user: row.grading_status for user, row in work.items()}
        if wanted & people - set(states):
            # A state may stand without any row of work.
            states = {**client.workflow_states(assignment.id), **states}
    return _Held(frozenset(people), grades, work, states)


def _planned(assignment: Assignment, mark: Mark, held: _Held) -> Outcome:
    grade = held.grades.get(mark.user_id)
    before = grade.grade if grade else None
    after = before if mark.grade is None or mark.choices else _rounded(mark.grade)
    why = _objection(assignment, mark, held)
    if why:
        return Outcome(mark, Result.SKIPPED, before, before, why)
    now = _kept_state(held.states.get(mark.user_id, ""))
    state = str(mark.workflow or now) if assignment.workflow else ""
    same = after == before and state == (now if assignment.workflow else "")
    if same and not (mark.comment or mark.files or mark.choices):
        return Outcome(mark, Result.UNCHANGED, before, before, state=state)
    return Outcome(mark, Result.CHANGED, before, after, state=state)


def _kept_state(state: str) -> str:
    """Return what keeps a state: Moodle shows none as "not marked", and none must stay none."""
    return "" if state == WorkflowState.NOT_MARKED else state


def _objection(assignment: Assignment, mark: Mark, held: _Held) -> str:
    """Return why a mark must not be sent, or nothing."""
    if mark.user_id not in held.people:
        return (
            "Not a participant of this assignment (a teacher, suspended, or unknown): Moodle "
            "would make up a grade for nobody."
        )
    row = held.work.get(mark.user_id)
    if row and row.state in _NO_WORK and row.attempt > 0:
        return (
            f"Attempt {row.attempt + 1} is open and nothing is handed in yet: the mark would "
            "count for the empty attempt."
        )
    if _CONTROL.search(mark.comment):
        return "The comment holds a control character, which Moodle refuses."
    if mark.grade is None or mark.choices:
        return ""
    if not mark.grade.is_finite() or mark.grade < 0:
        return f"{mark.grade} is not a grade."
    if assignment.maximum is not None and _rounded(mark.grade) > assignment.maximum:
        return (
            f"{mark.grade:f} is above the maximum of {assignment.maximum:f}: Moodle would drop it."
        )
    return ""


def _send(client: MoodleClient, assignment: Assignment, outcome: Outcome) -> None:
    mark = outcome.mark
    draft = client.upload(mark.files).item if mark.files else None
    grade = _NO_GRADE if outcome.after is None else outcome.after
    client.save_grade(
        assignment.id,
        mark,
        grade=Decimal(0) if mark.choices else grade,
        state=outcome.state,
        draft=draft,
    )


def _read_back(
    client: MoodleClient, assignment: Assignment, outcomes: Sequence[Outcome]
) -> list[Outcome]:
    """Return the outcomes with what Moodle really holds."""
    grades = {grade.user_id: grade for grade in client.grades(assignment.id)}
    sent = [each for each in outcomes if each.result is Result.CHANGED]
    states = _states(client, assignment) if any(each.state for each in sent) else {}
    return [
        _checked(assignment, outcome, grades.get(outcome.mark.user_id), states)
        if outcome.result is Result.CHANGED
        else outcome
        for outcome in outcomes
    ]


def _states(client: MoodleClient, assignment: Assignment) -> Mapping[int, str]:
    """Return the workflow states as they are written, or where that is not offered, as shown."""
    if "mod_assign_get_user_flags" in client.site().functions:
        return client.workflow_states(assignment.id)
    return {row.user_id: row.grading_status for row in client.submissions(assignment.id)}


def _checked(
    assignment: Assignment, outcome: Outcome, grade: Grade | None, states: Mapping[int, str]
) -> Outcome:
    actual = grade.grade if grade else None
    state = states.get(outcome.mark.user_id, outcome.state)
    if grade is None and assignment.reopens == "untilpass":
        return replace(
            outcome, why="Moodle opened another attempt, so that it no longer lists this grade."
        )
    if outcome.mark.choices:
        if actual is None:
            return _failed(outcome, "Moodle did not take the choices of the rubric.")
        return replace(outcome, after=actual)
    if actual != outcome.after:
        shown = "no grade" if actual is None else f"{actual:f}"
        return replace(
            _failed(
                outcome,
                f"Moodle holds {shown} instead of {_words(outcome.after)}. It drops grades that "
                "are locked or overridden in the gradebook, or that a rubric gives; the comment "
                "may be saved. Look at this person in Moodle.",
            ),
            after=actual,
        )
    if state != outcome.state:
        return _failed(outcome, f"Moodle holds the state {state!r} instead of {outcome.state!r}.")
    return replace(outcome, after=actual)


def _failed(outcome: Outcome, why: str) -> Outcome:
    return replace(outcome, result=Result.FAILED, after=outcome.before, why=why)


def _words(grade: Decimal | None) -> str:
    return "no grade" if grade is None else f"{grade:f}"


def _rounded(grade: Decimal) -> Decimal:
    return short(grade.quantize(_KEPT)) if grade.is_finite() else grade
