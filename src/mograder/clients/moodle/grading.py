"""A teacher's marks: planned without a change, sent, and read back.

Moodle answers "null" to a grade it drops, to a user that does not exist, to a rubric that it resets
and to an unknown workflow state. So everything that it would get wrong is refused before anything
is sent, and the result is read back afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.fields import short
from mograder.clients.moodle.records import (
    Assignment,
    Feedback,
    Grade,
    GradingMethod,
    Held,
    Mark,
    Submission,
    SubmissionState,
    WorkflowState,
)
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    RemoteFailed,
    TimedOut,
)
from mograder.core.tasks import Progress

_NO_GRADE = Decimal(-1)

_KEPT = Decimal("0.00001")
"""The precision of grades on Moodle."""

_AT_ONCE = 4

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_HOPELESS = (NotAuthenticated, Forbidden, Busy, TimedOut)
"""Failures that the next mark would have as well."""

_UNPROVEN = (
    "Moodle does not tell you whether there is a rubric, so this mark was sent first, and the "
    "others were kept back. If there is a rubric, grade in Moodle. If only this person's grade is "
    "locked or overridden there, run it again, without this person. An editing teacher can also "
    "switch on 'Offline grading worksheet' under Feedback types: Moodle offers it only without a "
    "rubric."
)

_KEPT_BACK = (
    "Not sent: Moodle does not tell you whether there is a rubric, and the mark that was sent "
    "first was not found there as it was sent."
)
_ORDER = tuple(WorkflowState)
_NO_WORK = {SubmissionState.NEW, SubmissionState.REOPENED}


class Result(StrEnum):
    """The outcome of one mark."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    """Moodle has this grade already, and there is no comment, file or state to send."""
    SKIPPED = "skipped"
    """Refused before anything was sent; the reason is in ``why``."""
    FAILED = "failed"
    """Sent, and Moodle did not keep it; the reason is in ``why``."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one mark, actual or (in a plan) expected, with the grades before and after.

    ``state`` is the workflow state to send, empty if the assignment has no workflow. ``held`` is
    Moodle's state before; ``kept`` is the grade that it holds after sending, and ``names`` are
    Moodle's names of the files that were sent.
    """

    mark: Mark
    result: Result
    before: Decimal | None = None
    after: Decimal | None = None
    why: str = ""
    state: str = ""
    held: Held = field(default_factory=Held)
    kept: Grade | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The expected outcomes, in the order of the marks, for --dry-run.

    ``may_have_rubric``: Moodle does not tell this account whether there is a rubric, which a plain
    grade would erase, so :attr:`trial` is sent and read back before the others.
    """

    assignment: Assignment
    outcomes: tuple[Outcome, ...]
    may_have_rubric: bool = False

    @property
    def trial(self) -> Outcome | None:
        """The mark to send first, which erases least if there is a rubric.

        People without a grade on Moodle come first, and among them the highest mark. None if no
        mark can erase anything, as comments for people without a grade.
        """

        def fitness(outcome: Outcome) -> tuple[bool, bool, bool, Decimal]:
            # Moodle stores an empty grade for a plain one where there is a rubric, and where the
            # grade is locked. The person then has a grade, so the next upload sends another
            # person's mark first.
            empty = outcome.held.grade is None
            after = Decimal(0) if outcome.after is None else outcome.after
            return empty, outcome.before is None, after != outcome.before, after

        if not self.may_have_rubric:
            return None
        able = [
            each
            for each in self.outcomes
            if each.result is Result.CHANGED
            and each.after is not None
            and not hides_comment(self.assignment, each)
        ]
        return max(able, key=fitness, default=None)


@dataclass(frozen=True, slots=True)
class _State:
    people: frozenset[int]
    grades: Mapping[int, Grade]
    work: Mapping[int, Submission]
    states: Mapping[int, str]


def plan_marks(
    client: MoodleClient,
    assignment: Assignment,
    marks: Sequence[Mark],
    people: Set[int],
    *,
    may_go_back: bool = True,
) -> Plan:
    """Plan what to do with each mark, from Moodle's present state; changes nothing.

    ``marks`` hold one for each person; ``people`` are the user ids of the participants. Unless a
    mark ``may_go_back``, a workflow state that is further than its own stays.
    """
    pointless = assignment.maximum is None and not assignment.scale
    if pointless and any(mark.grade is not None for mark in marks):
        raise InvalidInput(
            f"{assignment.name} has no points to give in Moodle: it is not graded.",
            hint="Set Grade > Type to Point in the assignment's settings.",
        )
    method = client.grading_method(assignment) if marks else GradingMethod.SIMPLE
    if method not in {GradingMethod.SIMPLE, GradingMethod.UNKNOWN}:
        raise Conflict(
            f"{assignment.name} is graded with a {method.value}: a plain grade would reset it to "
            "nothing. Nothing was changed.",
            hint="Grade it in Moodle, or set Grading method to Simple direct grading.",
        )
    held = _held(client, assignment, marks, people)
    outcomes = tuple(_planned(assignment, mark, held, may_go_back=may_go_back) for mark in marks)
    return Plan(assignment, outcomes, method is GradingMethod.UNKNOWN)


def read_feedback(client: MoodleClient, plan: Plan) -> Plan:
    """Read the comments and files that Moodle holds for the marks that are to be sent.

    Only for people with a grade on Moodle: others have no feedback, and the request would create an
    empty submission.
    """

    def read(outcome: Outcome) -> Outcome:
        held = outcome.held
        if outcome.result is not Result.CHANGED or not held.grade or held.is_read:
            return outcome
        feedback = client.held_feedback(plan.assignment.id, outcome.mark.user_id)
        if feedback is None and not (plan.assignment.workflow and held.state != "released"):
            feedback = Feedback()  # it is not hidden
        return replace(outcome, held=replace(held, is_read=True, feedback=feedback))

    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return replace(plan, outcomes=tuple(pool.map(read, plan.outcomes)))


HIDDEN = (
    "Moodle does not show the comment that it holds before the grade is released, and a grade "
    "alone would erase it. Without --grades-only, add a column feedback with the comment (empty, "
    "with --clear-comments, to erase it)."
)


def hides_comment(assignment: Assignment, outcome: Outcome) -> bool:
    """Return whether a mark without a comment could erase one that this account cannot read."""
    held = outcome.held
    may_hold = assignment.feedback.comments and held.grade is not None and held.is_read
    return bool(may_hold) and held.feedback is None and outcome.mark.comment is None


def send_marks(
    client: MoodleClient, plan: Plan, progress: Progress = lambda _: None
) -> tuple[Outcome, ...]:
    """Save the marks that are CHANGED, then read back grades and states and return the results.

    Saving a mark twice gives the same result, so the whole may be repeated after a failure. A mark
    whose answer was lost is CHANGED if Moodle holds it. If Moodle cannot be read afterwards, sent
    marks are FAILED, and ``why`` says that Moodle may hold them. Where there may be a rubric, one
    mark is sent and read back first, and the others only if Moodle took it.
    """
    plan = read_feedback(client, plan)
    trial = plan.trial
    if trial is None:
        return _send_and_read(client, plan, progress)
    (tried,) = _send_and_read(client, replace(plan, outcomes=(trial,)), progress)
    others = replace(plan, outcomes=tuple(each for each in plan.outcomes if each is not trial))
    if _shows_no_rubric(tried):
        rest = _send_and_read(client, others, progress)
    else:
        rest = tuple(
            _failed(each, _KEPT_BACK) if each.result is Result.CHANGED else each
            for each in others.outcomes
        )
        if tried.result is Result.FAILED and tried.kept is not None:
            tried = replace(tried, why=f"{tried.why} {_UNPROVEN}")
    by_user = {each.mark.user_id: each for each in (tried, *rest)}
    return tuple(by_user[each.mark.user_id] for each in plan.outcomes)


def _send_and_read(client: MoodleClient, plan: Plan, progress: Progress) -> tuple[Outcome, ...]:
    sent, asked = _send_all(client, plan, progress)
    outcomes = tuple(sent.get(each.mark.user_id, each) for each in plan.outcomes)
    if not asked:
        return outcomes
    assignment = plan.assignment
    try:
        grades = {grade.user_id: grade for grade in client.grades(assignment.id)}
        shown = any(each.state for each in outcomes if each.mark.user_id in asked)
        states = _states(client, assignment) if shown else {}
        return tuple(
            _checked(client, assignment, outcome, grades.get(outcome.mark.user_id), states)
            if outcome.mark.user_id in asked
            else outcome
            for outcome in outcomes
        )
    except MograderError as error:
        why = f"Sent, but Moodle could not be asked what it holds: {error.message} Run it again."
        return tuple(
            _failed(each, why)
            if each.mark.user_id in asked and each.result is Result.CHANGED
            else each
            for each in outcomes
        )


def _shows_no_rubric(tried: Outcome) -> bool:
    """Return whether Moodle took a plain grade, as it does only without a rubric."""
    if tried.kept is None:  # the next attempt is open, if Moodle took the grade
        return tried.result is Result.CHANGED
    if tried.kept.grade != _wanted(tried):
        return False
    before = tried.held.grade
    return before is None or (before.grade, before.modified) != (
        tried.kept.grade,
        tried.kept.modified,
    )


def _send_all(
    client: MoodleClient, plan: Plan, progress: Progress
) -> tuple[dict[int, Outcome], set[int]]:
    """Send one mark after the other; stop after a failure that the next would have too.

    Returns the outcomes by person, and the people whose marks Moodle has saved, or may have.
    """
    todo = [each for each in plan.outcomes if each.result is Result.CHANGED]
    sent: dict[int, Outcome] = {}
    asked: set[int] = set()
    for count, outcome in enumerate(todo, 1):
        progress(f"{count} of {len(todo)}")
        user = outcome.mark.user_id
        try:
            sent[user] = replace(outcome, names=_send(client, plan.assignment, outcome))
            asked.add(user)
        except MograderError as error:
            sent[user] = _failed(outcome, str(error))
            if isinstance(error, TimedOut | RemoteFailed):
                asked.add(user)
            if isinstance(error, _HOPELESS):
                why = f"Not saved: {error.message}"
                sent |= {each.mark.user_id: _failed(each, why) for each in todo[count:]}
                break
    return sent, asked


def refuse_dropped_feedback(assignment: Assignment, marks: Iterable[Mark]) -> None:
    """Raise Conflict for comments or files that Moodle would drop silently (recording 304)."""
    given = tuple(marks)
    comments = any(mark.comment for mark in given) and not assignment.feedback.comments
    files = any(mark.files for mark in given) and not assignment.feedback.files
    off = ["“Feedback comments”"] * comments + ["“Feedback files”"] * files
    if off:
        raise Conflict(
            f"{assignment.name} drops what you would send: {' and '.join(off)} are off on Moodle.",
            hint="Switch them on in the assignment's settings, under Feedback types, or send the "
            "marks alone: --grades-only.",
        )


def _held(
    client: MoodleClient, assignment: Assignment, marks: Sequence[Mark], people: Set[int]
) -> _State:
    grades = {grade.user_id: grade for grade in client.grades(assignment.id)}
    work = {row.user_id: row for row in client.submissions(assignment.id) if row.user_id}
    # An empty row proves nothing: Moodle creates one for a teacher who opens an assignment.
    working = {user for user, row in work.items() if row.state not in _NO_WORK or row.attempt}
    known = frozenset(people | working)
    states: Mapping[int, str] = {}
    if assignment.workflow:
        states = {user: row.grading_status for user, row in work.items()}
        if {mark.user_id for mark in marks} & known - set(states):
            # A user may have a state without a row of work.
            states = {**client.workflow_states(assignment.id), **states}
    return _State(known, grades, work, states)


def _planned(assignment: Assignment, mark: Mark, held: _State, *, may_go_back: bool) -> Outcome:
    grade, row = held.grades.get(mark.user_id), held.work.get(mark.user_id)
    attempt = max(grade.attempt if grade else 0, row.attempt if row else 0)
    found = Held(attempt, grade, held.states.get(mark.user_id, ""))
    before = grade.grade if grade else None
    after = before if mark.grade is None else _rounded(mark.grade)
    why = _objection(assignment, mark, held)
    if why:
        return Outcome(mark, Result.SKIPPED, before, before, why, held=found)
    now = kept_state(held.states.get(mark.user_id, ""))
    state = sent_state(mark, now, may_go_back=may_go_back) if assignment.workflow else ""
    same = after == before and state == (now if assignment.workflow else "")
    if same and mark.comment is None and not mark.files:
        return Outcome(mark, Result.UNCHANGED, before, before, state=state, held=found)
    return Outcome(mark, Result.CHANGED, before, after, state=state, held=found)


def sent_state(mark: Mark, now: str, *, may_go_back: bool) -> str:
    """Return the workflow state to send with a mark: the present one if that is to stay."""
    wanted = mark.workflow
    if wanted is None:
        return now
    further = now in _ORDER and _ORDER.index(WorkflowState(now)) > _ORDER.index(wanted)
    return now if further and not may_go_back else wanted.value


def kept_state(state: str) -> str:
    """Return the state to send to keep a state: "" if Moodle shows "not marked"."""
    return "" if state == WorkflowState.NOT_MARKED else state


def _objection(assignment: Assignment, mark: Mark, held: _State) -> str:
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
    if _CONTROL.search(mark.comment or ""):
        return "The comment holds a control character, which Moodle refuses."
    if mark.grade is None:
        return ""
    if not mark.grade.is_finite() or mark.grade < 0:
        return f"{mark.grade} is not a grade."
    if assignment.scale and (mark.grade < 1 or mark.grade != mark.grade.to_integral_value()):
        return f"{mark.grade:f} is not the number of an item of the scale."
    if assignment.maximum is not None and _rounded(mark.grade) > assignment.maximum:
        return (
            f"{mark.grade:f} is above the maximum of {assignment.maximum:f}: Moodle would drop it."
        )
    return ""


def _send(client: MoodleClient, assignment: Assignment, outcome: Outcome) -> tuple[str, ...]:
    """Send one mark, with Moodle's present comment if the mark has none.

    Returns the names of its files on Moodle.
    """
    mark, held, kind = outcome.mark, outcome.held.feedback, {}
    if hides_comment(assignment, outcome):
        raise Conflict(HIDDEN)
    if mark.comment is None and held is not None and held.comment:
        mark = replace(mark, comment=held.comment)
        kind = {"comment_format": held.comment_format}
    draft = client.upload(mark.files) if mark.files else None
    grade = _NO_GRADE if outcome.after is None else outcome.after
    client.save_grade(
        assignment.id,
        mark,
        grade=grade,
        state=outcome.state,
        draft=draft.item if draft else None,
        **kind,
    )
    return draft.names if draft else ()


def _states(client: MoodleClient, assignment: Assignment) -> Mapping[int, str]:
    """Return the workflow states as stored, or if the site does not offer that, as shown."""
    if "mod_assign_get_user_flags" in client.site().functions:
        return client.workflow_states(assignment.id)
    return {row.user_id: row.grading_status for row in client.submissions(assignment.id)}


def _checked(
    client: MoodleClient,
    assignment: Assignment,
    outcome: Outcome,
    grade: Grade | None,
    states: Mapping[int, str],
) -> Outcome:
    outcome = replace(outcome, kept=grade)
    if outcome.result is Result.FAILED:
        return _after_failure(outcome, grade, states)
    actual = grade.grade if grade else None
    state = states.get(outcome.mark.user_id, outcome.state)
    if grade is None and _is_reopened(client, assignment, outcome):
        return replace(
            outcome, why="Moodle opened another attempt, so that it no longer lists this grade."
        )
    if actual != outcome.after:
        return replace(
            _failed(
                outcome,
                f"Moodle holds {_words(actual)} instead of {_words(outcome.after)}. It drops "
                "grades that are locked or overridden in the gradebook, or that a rubric gives; "
                "the comment may be saved. Look at this person in Moodle.",
            ),
            after=actual,
        )
    if state != outcome.state:
        return _failed(outcome, f"Moodle holds the state {state!r} instead of {outcome.state!r}.")
    return replace(outcome, after=actual)


def _is_reopened(client: MoodleClient, assignment: Assignment, outcome: Outcome) -> bool:
    """Return whether Moodle saved a grade and then opened another attempt, which has none yet.

    "untilpass" opens one after a grade only; "automatic" also after the empty grade that Moodle
    stores in place of one that it drops, so the attempt that was graded is read.
    """
    if assignment.reopens != "automatic":
        return assignment.reopens == "untilpass"
    earlier = client.earlier_attempt(assignment.id, outcome.mark.user_id)
    found = None if earlier is None else (earlier.attempt, earlier.feedback.grade)
    return found == (outcome.held.attempt, outcome.after)


def _after_failure(outcome: Outcome, grade: Grade | None, states: Mapping[int, str]) -> Outcome:
    """Return the outcome of a mark whose answer was lost, by the grade that Moodle holds now."""
    actual, wanted = grade.grade if grade else None, _wanted(outcome)
    before = outcome.held.grade
    saved = grade is not None and (before is None or grade.modified != before.modified)
    state = states.get(outcome.mark.user_id, outcome.state)
    if saved and actual == wanted and state == outcome.state:
        return replace(
            outcome,
            result=Result.CHANGED,
            after=actual,
            why="the answer was lost, and Moodle has saved it",
        )
    return replace(outcome, after=actual, why=f"{outcome.why} Moodle holds {_words(actual)}.")


def _wanted(outcome: Outcome) -> Decimal | None:
    before = outcome.held.grade.grade if outcome.held.grade else None
    return before if outcome.mark.grade is None else _rounded(outcome.mark.grade)


def _failed(outcome: Outcome, why: str) -> Outcome:
    return replace(outcome, result=Result.FAILED, after=outcome.before, why=why)


def _words(grade: Decimal | None) -> str:
    return "no grade" if grade is None else f"{grade:f}"


def _rounded(grade: Decimal) -> Decimal:
    return short(grade.quantize(_KEPT)) if grade.is_finite() else grade
