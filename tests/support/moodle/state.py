"""What a recorded answer depends on, and which recorded change brings it about.

A scope is one thing that changes on its own: the work or the grade of one person on one
assignment, the course, the list of people. The site's state is, for each scope, the last
recorded change that happened. An answer holds in every state in which its scopes are as they were
when it was recorded; that is all that decides which of several answers is given.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache

from tests.support.moodle.recordings import NUMBERS, Recording, recorded, tape


class Aspect(StrEnum):
    WORK = "work"
    GRADE = "grade"
    FLAG = "flag"
    COURSE = "course"
    PEOPLE = "people"


@dataclass(frozen=True)
class Scope:
    """One thing that changes independently; person 0 in a dependence is any person."""

    aspect: Aspect
    assignment: int = 0
    person: int = 0

    def covers(self, other: Scope) -> bool:
        same = (self.aspect, self.assignment) == (other.aspect, other.assignment)
        return same and self.person in {0, other.person}


def _work(assignment: int, *people: int) -> tuple[Scope, ...]:
    return tuple(Scope(Aspect.WORK, assignment, person) for person in people)


def _grade(assignment: int, *people: int) -> tuple[Scope, ...]:
    return tuple(Scope(Aspect.GRADE, assignment, person) for person in people)


def _all(assignment: int, person: int) -> tuple[Scope, ...]:
    return tuple(Scope(each, assignment, person) for each in (Aspect.WORK, *_MARKING))


_MARKING = (Aspect.GRADE, Aspect.FLAG)
_COURSE = (Scope(Aspect.COURSE),)
_PEOPLE = (Scope(Aspect.PEOPLE),)
_TEAM = {10: (4, 5)}

_UNRECORDED: tuple[tuple[int, tuple[Scope, ...]], ...] = (
    (128, (*_work(1, 5, 6), *_work(2, 5), *_work(3, 4, 5), *_work(4, 4, 5))),
    (183, _grade(2, 4)),
    (258, _work(1, 7)),
    (303, _COURSE),
    (318, _PEOPLE),
)
"""Changes without a recorded request that later recordings show."""

_BY_BROWSER: Mapping[int, tuple[Scope, ...]] = {
    **dict.fromkeys(range(266, 274), _grade(1, 4, 5, 6, 7)),
    274: _grade(2, 4, 5, 6),
    **dict.fromkeys(range(342, 348), _grade(1, 4, 7)),
}
"""Changes made by imports through the web pages."""

_STILL: Mapping[int, tuple[int, ...]] = {
    165: (160, 161),
    182: (187,),
    238: (155,),
    239: (155,),
}
"""Answers that hold after other changes too, as other recordings prove.

A grade out of range leaves no grade, as in 165 (166, README); 188 shows the very row of 182. The
file of 238 is that of 155 (156).
"""

_REBUILT = (341, 348, 368)
"""After these the site was set up anew: nothing from before holds. What was derived is last."""

_CONTEXTS = {18: 1, 19: 2, 20: 3, 21: 4, 22: 5, 24: 7, 32: 10}
_OWNERS = {1: 4, 2: 4, 5: 5, 6: 5, 9: 6}
_FEEDBACK_OF = {1: 4, 2: 5, 7: 4}
_FILE = re.compile(r"/(\d+)/assign(submission|feedback)_file/\w+/(\d+)/")
_ALWAYS = {"invalidparameter", "nopermission", "nopermissions", "accessexception", "invalidtoken"}
"""Refusals that do not look at the state."""


def changes(recording: Recording) -> tuple[Scope, ...]:
    if recording.number in _BY_BROWSER:
        return _BY_BROWSER[recording.number]
    # One row of 355 was kept although the whole was refused.
    if recording.number == 355:
        return _grade(1, 4)
    if recording.refused:
        return ()
    return _changed(recording)


def _changed(recording: Recording) -> tuple[Scope, ...]:
    assignment = recording.assignment
    people = _people(recording)
    match recording.function:
        case "mod_assign_save_submission" | "mod_assign_submit_for_grading":
            return _work(assignment, *_TEAM.get(assignment, (NUMBERS[recording.actor],)))
        case "mod_assign_save_grade" | "mod_assign_save_grades":
            graded = _grade(assignment, *_TEAM.get(assignment, people))
            again = recording.params.get("addattempt") == "1"
            return (*graded, *_work(assignment, *people)) if again else graded
        case "mod_assign_set_user_flags":
            return tuple(Scope(Aspect.FLAG, assignment, person) for person in people)
        case (
            "mod_assign_lock_submissions"
            | "mod_assign_unlock_submissions"
            | "mod_assign_revert_submissions_to_draft"
            | "mod_assign_save_user_extensions"
        ):
            return _work(assignment, *people)
        case "core_course_edit_module":
            return _COURSE
    return ()


def _people(recording: Recording) -> tuple[int, ...]:
    wanted = re.compile(r"(?:^|\[)userids?(?:\]|$|\[)")
    return tuple(int(v) for k, v in recording.params.items() if wanted.search(k) and v.isdecimal())


def depends(recording: Recording) -> tuple[Scope, ...]:
    if isinstance(recording.answer, dict) and recording.answer.get("errorcode") in _ALWAYS:
        return ()
    found = _FILE.search(recording.path)
    if found:
        return _of_file(int(found[1]), found[2], int(found[3]))
    return _of_function(recording)


def _of_file(context: int, kind: str, row: int) -> tuple[Scope, ...]:
    assignment = _CONTEXTS[context]
    if kind == "submission":
        return _work(assignment, _OWNERS.get(row, 0))
    return _grade(assignment, _FEEDBACK_OF.get(row, 0))


def _of_function(recording: Recording) -> tuple[Scope, ...]:
    listed = [int(v) for k, v in recording.params.items() if k.startswith("assignmentids[")]
    own = NUMBERS.get(recording.actor.partition("@")[0], 0)
    match recording.function:
        case "mod_assign_get_submission_status":
            person = int(recording.params.get("userid", own)) if recording.assignment else 0
            return _all(recording.assignment, person)
        case "mod_assign_save_submission" | "mod_assign_submit_for_grading":
            return _work(recording.assignment, own)
        case "mod_assign_save_grade" | "mod_assign_save_grades":
            return _grade(recording.assignment, *_people(recording))
        case "mod_assign_get_submissions":
            return tuple(scope for number in listed for scope in _all(number, 0))
        case "mod_assign_get_user_flags":
            return tuple(Scope(each, number) for number in listed for each in _MARKING)
        case "mod_assign_get_grades":
            # A new attempt takes the grade out of the list (214); of what was derived this counts.
            attempts = _work(listed[0], 0) if recording.is_derived else ()
            return (*(scope for number in listed for scope in _grade(number, 0)), *attempts)
        case "mod_assign_list_participants" | "mod_assign_get_participant":
            return (*_all(recording.assignment, 0), *_PEOPLE)
        case "mod_assign_get_assignments" | "core_course_get_contents":
            return _COURSE
        case "core_enrol_get_enrolled_users":
            return _PEOPLE
    return ()


@dataclass
class World:
    """Which recorded changes have happened: the last one of each scope, by its place in time."""

    at: int
    last: dict[Scope, float] = field(default_factory=dict)

    @classmethod
    def after(cls, number: int) -> World:
        """Return the state right after a recording."""
        place = recorded(number).place
        return cls(place, dict(state_at(place)))

    @classmethod
    def before(cls, recording: Recording) -> World:
        """Return the state right before a recording."""
        return cls(recording.place, dict(state_at(recording.place - 0.25)))

    def holds(self, recording: Recording, only: Collection[int] = ()) -> bool:
        """Return whether an answer still holds, regarding some assignments."""
        needs = [s for s in depends(recording) if not only or s.assignment in only]
        if _epoch(recording.place) != _epoch(self.at):
            return not needs
        then = state_at(recording.place)
        still = {recorded(number).place for number in _STILL.get(recording.number, ())}
        return all(
            self.last.get(scope, -1) in {then.get(scope, -1), *still}
            for needed in needs
            for scope in {*then, *self.last}
            if needed.covers(scope)
        )

    def allows(self, recording: Recording) -> bool:
        """Whether a change can be the next one: it lies ahead, in what it changes."""
        if _epoch(recording.place) != _epoch(self.at):
            return False
        return all(recording.place > self.last.get(scope, -1) for scope in changes(recording))

    def apply(self, recording: Recording) -> None:
        """Let a change have happened."""
        for scope in changes(recording):
            self.last[scope] = recording.place


@cache
def state_at(place: float) -> Mapping[Scope, float]:
    """Return the last change of each scope up to a place in time."""
    return _fold(each for each in _all_changes() if each[0] <= place)


def _fold(found: Iterable[tuple[float, tuple[Scope, ...]]]) -> dict[Scope, float]:
    return {scope: place for place, scopes in found for scope in scopes}


@cache
def _all_changes() -> tuple[tuple[float, tuple[Scope, ...]], ...]:
    """Return all changes in time order; unrecorded ones lie between two recordings."""
    silent = [(recorded(number).place + 0.5, scopes) for number, scopes in _UNRECORDED]
    return tuple(sorted([*silent, *((each.place, changes(each)) for each in tape())], key=_place))


def _place(change: tuple[float, tuple[Scope, ...]]) -> float:
    return change[0]


def _epoch(place: int) -> int:
    """Return how often the site had been set up anew; before anything happened, never."""
    return sum(place > recorded(number).place for number in _REBUILT)
