"""``mograder moodle upload-feedback``: marks, comments and feedback files to Moodle.

First everything is matched and decided, which changes nothing and is what ``--dry-run`` prints;
then each mark is sent and read back (``transports.moodle.grading``). What Moodle confirmed is
remembered in the gradebook, so that the same command again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from mograder.core.errors import Busy, Conflict, InvalidInput, NotFound
from mograder.core.shared import Progress
from mograder.exchange.grades_file import GradeLine
from mograder.exchange.moodle_collect import local_name
from mograder.exchange.moodle_users import Roll
from mograder.exchange.people import Person, find_person
from mograder.store.gradebook import Gradebook, Sent
from mograder.transports.moodle.client import MoodleClient
from mograder.transports.moodle.grading import Outcome, Plan, Result, plan_marks, send_marks
from mograder.transports.moodle.marks import comment_html, mark_text
from mograder.transports.moodle.records import Assignment, Mark, WorkflowState
from mograder.transports.upload import Upload

_KINDS = frozenset({".html", ".pdf", ".txt", ".md"})
_ORDER = tuple(WorkflowState)


@dataclass(frozen=True, slots=True)
class Told:
    """One line of the summary: who, what became of it, the grade before and after, and why.

    ``along`` says what is sent beside a grade.
    """

    name: str
    full_name: str
    result: Result
    before: str = ""
    after: str = ""
    why: str = ""
    along: str = ""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What is to be sent, by person, and what belongs to nobody on Moodle.

    ``wordless`` are those of whose comment nothing was said, so that Moodle's is to stay.
    """

    marks: Mapping[int, Mark]
    unmatched: tuple[str, ...]
    wordless: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Wishes:
    """How marks are to be sent.

    ``state`` None leaves the marking workflow alone; ``exact`` is a state that the teacher asked
    for by name, which may also take back a release. ``force`` overwrites what somebody changed on
    Moodle since our last upload. ``grades_only`` sends neither comments nor files.
    """

    state: WorkflowState | None
    exact: bool = False
    force: bool = False
    grades_only: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that nothing was done about yet: ours and the transport's."""

    plan: Plan
    digests: Mapping[int, str]
    unmatched: tuple[str, ...]


def feedback_files(directory: Path) -> Mapping[str, tuple[Upload, ...]]:
    """Return the feedback files of a directory by student.

    ``<student>.html`` and the like, and all that is in a folder ``<student>/``.
    """
    found: dict[str, list[Upload]] = {}
    for path in _visible(directory):
        if path.is_dir():
            inside = [Upload(each.name, each) for each in _visible(path) if each.is_file()]
            found.setdefault(path.name, []).extend(inside)
        elif path.suffix.lower() in _KINDS:
            found.setdefault(path.stem, []).append(Upload(path.name, path))
    return {student: tuple(files) for student, files in found.items() if files}


def _visible(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if not path.name.startswith("."))


def gather(
    lines: Sequence[GradeLine],
    files: Mapping[str, tuple[Upload, ...]],
    roll: Roll,
    *,
    grades_only: bool = False,
) -> Gathered:
    """Match grades and feedback files with the people of an assignment.

    Raises: :class:`InvalidInput` when a name may mean two people, or one person comes twice.
    """
    names = {person.user_id: local_name(person, roll) for person in roll.people}
    marks: dict[int, Mark] = {}
    worded: set[int] = set()
    unmatched: list[str] = []
    for line in lines:
        person = _find(line.who, roll, names)
        if person is None:
            unmatched.append(line.who)
            continue
        if person.user_id in marks:
            raise InvalidInput(f"{person.shown} has two lines of grades ({line.who}).")
        comment = None if grades_only else line.comment
        if comment is not None:
            worded.add(person.user_id)
        marks[person.user_id] = Mark(person.user_id, line.mark, comment_html(comment or ""))
    for student, uploads in () if grades_only else files.items():
        person = _find(student, roll, names)
        if person is None:
            unmatched.append(student)
        else:
            mark = marks.get(person.user_id, Mark(person.user_id))
            marks[person.user_id] = replace(mark, files=uploads)
    # A person without a mark, a word or a file is in the list for nothing.
    kept = {user: mark for user, mark in marks.items() if mark.grade is not None or _says(mark)}
    return Gathered(kept, tuple(dict.fromkeys(unmatched)), frozenset(kept.keys() - worded))


def draft(
    client: MoodleClient,
    assignment: Assignment,
    roll: Roll,
    gathered: Gathered,
    sent: Mapping[int, Sent],
    wishes: Wishes,
) -> Draft:
    """Decide what sending would do; changes nothing.

    Raises: :class:`NotFound` when there is nothing to send, and as
    :func:`~mograder.transports.moodle.grading.plan_marks` for what Moodle would lose or spoil.
    """
    if not gathered.marks:
        listed = ", ".join(gathered.unmatched[:5])
        raise NotFound(
            "There are no grades and no feedback for anybody in this assignment.",
            hint=f"Nobody on Moodle matches: {listed}."
            if listed
            else "Grade first, or give --grades-csv or --feedback-dir.",
        )
    states = _states(client, assignment, gathered.marks.keys()) if wishes.state else {}
    comments = _comments_to_keep(client, assignment, gathered.wordless)
    marks = [
        with_state(
            replace(mark, comment=comments.get(mark.user_id, mark.comment)),
            states.get(mark.user_id, ""),
            assignment,
            wishes,
        )
        for mark in _for_teams(gathered.marks, assignment, roll)
    ]
    _demand_feedback_types(assignment, marks)
    digests = {mark.user_id: digest(mark) for mark in marks}
    plan = plan_marks(client, assignment, marks)
    outcomes = tuple(
        settle(outcome, digests, sent.get(outcome.mark.user_id), wishes)
        for outcome in plan.outcomes
    )
    return Draft(replace(plan, outcomes=outcomes), digests, gathered.unmatched)


def send(
    client: MoodleClient,
    drafted: Draft,
    gradebook: Gradebook,
    progress: Progress,
    now: datetime,
) -> tuple[Outcome, ...]:
    """Send what the draft has, read it back, and remember what Moodle confirmed."""
    outcomes = send_marks(client, drafted.plan, progress)
    for outcome in outcomes:
        if outcome.result is not Result.CHANGED:
            continue
        user = outcome.mark.user_id
        sent = Sent(user, drafted.digests[user], _grade_text(outcome.after))
        try:
            gradebook.record_sent(client.url, drafted.plan.assignment.id, sent, now)
        except Busy as error:
            # Moodle has it, and that is what counts: next time it is sent once more.
            progress(f"It was sent, but could not be noted down. {error.message}")
            break
    return outcomes


def summary(outcomes: Sequence[Outcome], roll: Roll, unmatched: Sequence[str]) -> list[Told]:
    """Return a line for everybody who has a mark, by name, then for those whom nobody knows."""
    people = {person.user_id: person for person in roll.people}
    lines = [
        Told(
            name=local_name(people[each.mark.user_id], roll),
            full_name=people[each.mark.user_id].full_name,
            result=each.result,
            before=_grade_text(each.before),
            after=_grade_text(each.after if each.after is not None else each.mark.grade),
            why=each.why or ("for the whole team" if each.mark.whole_team else ""),
            along=_along(each) if each.result is Result.CHANGED else "",
        )
        for each in outcomes
    ]
    lines.sort(key=lambda line: line.name.casefold())
    strangers = [
        Told(name, "", Result.SKIPPED, why="takes no part in this assignment on Moodle")
        for name in unmatched
    ]
    return [*lines, *strangers]


def digest(mark: Mark) -> str:
    """Return a fingerprint of all that is sent for one person."""
    parts = [
        _grade_text(mark.grade),
        mark.comment,
        str(mark.workflow or ""),
        str(mark.whole_team),
        *(f"{choice.criterion}={choice.level}:{choice.remark}" for choice in mark.choices),
    ]
    for file in mark.files:
        with file.path.open("rb") as stream:
            parts.append(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}")
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _along(outcome: Outcome) -> str:
    """Name what goes beside the grade."""
    mark = outcome.mark
    files = "1 file" if len(mark.files) == 1 else f"{len(mark.files)} files"
    parts = ("comment" if mark.comment else "", files if mark.files else "", outcome.state)
    return ", ".join(filter(None, parts))


def _find(text: str, roll: Roll, names: Mapping[int, str]) -> Person | None:
    for person in roll.people:
        if names[person.user_id].casefold() == text.strip().casefold():
            return person
    return find_person(text, roll.people, roll.known.usernames)


def _says(mark: Mark) -> bool:
    return bool(mark.comment or mark.files)


def _demand_feedback_types(assignment: Assignment, marks: Sequence[Mark]) -> None:
    """Refuse what the assignment would drop without a word (recording 304)."""
    comments = any(mark.comment for mark in marks) and not assignment.feedback.comments
    files = any(mark.files for mark in marks) and not assignment.feedback.files
    off = ["“Feedback comments”"] * comments + ["“Feedback files”"] * files
    if off:
        raise Conflict(
            f"{assignment.name} drops what you would send: {' and '.join(off)} are off on Moodle.",
            hint="Switch them on in the assignment's settings, under Feedback types, or send the "
            "marks alone: --grades-only.",
        )


def _comments_to_keep(
    client: MoodleClient, assignment: Assignment, wordless: frozenset[int]
) -> Mapping[int, str]:
    """Return the comments that Moodle shows and that sending a bare grade would erase.

    Only of those who have been graded and have a row of work: asking about others makes one.
    """
    if not wordless or not assignment.feedback.comments:
        return {}
    graded = {each.user_id for each in client.grades(assignment.id)}
    rows = {each.user_id for each in client.submissions(assignment.id)}
    held = {
        user: client.submission_status(assignment.id, user).feedback
        for user in sorted(wordless & graded & rows)
    }
    return {user: feedback.comment for user, feedback in held.items() if feedback}


def _states(client: MoodleClient, assignment: Assignment, users: Set[int]) -> Mapping[int, str]:
    """Return how far everybody's marking is; asked for by name only where no work tells it."""
    if not assignment.workflow:
        return {}
    states = {each.user_id: each.grading_status for each in client.submissions(assignment.id)}
    return (
        states
        if users <= states.keys()
        else {
            **client.workflow_states(assignment.id),
            **states,
        }
    )


def _for_teams(marks: Mapping[int, Mark], assignment: Assignment, roll: Roll) -> list[Mark]:
    """Let one mark count for a whole team, unless several of the team have one of their own."""
    if not assignment.team:
        return list(marks.values())
    groups = {person.user_id: person.group for person in roll.people}
    marked = Counter(groups[user] for user in marks)
    return [
        replace(mark, whole_team=bool(groups[user]) and marked[groups[user]] == 1)
        for user, mark in marks.items()
    ]


def with_state(mark: Mark, held: str, assignment: Assignment, wishes: Wishes) -> Mark:
    """Set the workflow state; what is further along stays, unless it was asked for by name."""
    if not assignment.workflow or wishes.state is None:
        return mark
    further = held in _ORDER and _ORDER.index(WorkflowState(held)) > _ORDER.index(wishes.state)
    return mark if further and not wishes.exact else replace(mark, workflow=wishes.state)


def settle(
    outcome: Outcome, digests: Mapping[int, str], sent: Sent | None, wishes: Wishes
) -> Outcome:
    """Leave out what was sent already, and what somebody changed on Moodle since."""
    if outcome.result is not Result.CHANGED or sent is None or wishes.force:
        return outcome
    held = _grade_text(outcome.before)
    if held != sent.grade:
        return replace(
            outcome,
            result=Result.SKIPPED,
            why=f"changed on Moodle since our upload, from {sent.grade or 'none'} to "
            f"{held or 'none'}; --force overwrites it",
        )
    if digests[outcome.mark.user_id] == sent.digest:
        return replace(outcome, result=Result.UNCHANGED)
    return outcome


def _grade_text(grade: Decimal | None) -> str:
    return "" if grade is None else mark_text(grade)
