"""``mograder moodle upload-feedback``: send marks, comments and feedback files to Moodle.

First everything is matched and planned, which changes nothing; ``--dry-run`` prints the plan. Then
each mark is sent and read back (``clients.moodle.grading``). The marks to send are recorded in the
gradebook before, and Moodle's confirmed state afterwards, so that the same command again changes
nothing, and continues where an interrupted one ended. The summary has one line for each person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from mograder.clients.file_upload import Upload
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.grading import (
    Outcome,
    Plan,
    Result,
    plan_marks,
    read_feedback,
    refuse_dropped_feedback,
    send_marks,
)
from mograder.clients.moodle.records import Assignment, Mark, Person, WorkflowState
from mograder.clients.moodle.texts import Scale
from mograder.core.errors import Busy, Conflict, Forbidden, InvalidInput, NotFound
from mograder.core.name_lookup import counted
from mograder.core.tasks import Progress
from mograder.exchange.grade_files import GradeLine, line_html
from mograder.exchange.moodle.identities import Participants
from mograder.exchange.moodle.protection import (
    BEFORE_FIRST,
    Remembered,
    Verdict,
    erased_comment,
    grade_text,
    holds_mark,
    known_unchanged,
    replaced_files,
    settle_plan,
    settled,
    to_remember,
)
from mograder.store.gradebook.gradebook import Gradebook, SentGrade

_MOST_SHOWN = 60
_KINDS = frozenset({".html", ".pdf", ".txt", ".md"})


@dataclass(frozen=True, slots=True)
class GradeInput:
    """The marks to send, by person, and the rows and files that match no person on Moodle.

    ``uncommented`` are the people with a mark whose comment is empty here, and not just missing.
    """

    marks: Mapping[int, Mark]
    unmatched: tuple[str, ...]
    uncommented: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """Options for sending marks.

    ``state`` is for assignments with a marking workflow; with ``exact`` the teacher named it, so
    that it may take back a release. ``force`` overwrites changes made on Moodle since our last
    upload.
    """

    state: WorkflowState
    exact: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that is not carried out yet, and the reason for each decision.

    ``graders`` maps Moodle's user ids to the names of those who may have changed a grade.
    """

    plan: Plan
    verdicts: Mapping[int, Verdict]
    unmatched: tuple[str, ...]
    teams: Teams
    remembered: Remembered
    graders: Mapping[int, str]
    scale: tuple[str, ...] = ()


def feedback_files(directory: Path) -> Mapping[str, tuple[Upload, ...]]:
    """Return the feedback files of a directory by student.

    They are ``<student>.html`` and the like, and all files in a folder ``<student>/``.
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
    participants: Participants,
    *,
    grades_only: bool = False,
    clear_comments: bool = False,
) -> GradeInput:
    """Match grades and feedback files with the people of an assignment.

    An empty comment leaves the one on Moodle as it is, unless ``clear_comments`` is given, or that
    one is just our line about a deduction.

    Raises:
        InvalidInput: A name may mean two people, or two inputs are for one person.
    """
    marks: dict[int, Mark] = {}
    unmatched: list[str] = []
    uncommented: set[int] = set()
    for line in lines:
        person = person_of(line, participants)
        if person is None:
            unmatched.append(line.who)
            continue
        if person.user_id in marks:
            raise InvalidInput(
                f"{person.shown} has two lines of grades ({line.who}).",
                hint="Give --grades-csv with one line for each person; mograder gradebook export "
                "--format moodle writes such a file from the gradebook.",
            )
        comment = None if grades_only else line_html(line, clear=clear_comments)
        marks[person.user_id] = Mark(person.user_id, line.mark, comment)
        if not grades_only and line.mark is not None and line_html(line, clear=True) == "":
            uncommented.add(person.user_id)
    for student, uploads in () if grades_only else files.items():
        person = participants.find(student, from_here=True)
        if person is None:
            unmatched.append(student)
        else:
            mark = marks.get(person.user_id, Mark(person.user_id))
            if mark.files:
                raise InvalidInput(f"{person.shown} has feedback under two names ({student}).")
            marks[person.user_id] = replace(mark, files=uploads)
    # Drop people without a mark, a comment or a file.
    empty = (None, None, ())
    kept = {u: mark for u, mark in marks.items() if (mark.grade, mark.comment, mark.files) != empty}
    return GradeInput(kept, tuple(dict.fromkeys(unmatched)), frozenset(uncommented))


def person_of(line: GradeLine, participants: Participants) -> Person | None:
    """Return None if no participant matches; raises InvalidInput if the line may mean two."""
    return participants.find(line.who, from_here=line.from_here, is_user_id=line.is_user_id)


def draft(
    client: MoodleClient,
    assignment: Assignment,
    participants: Participants,
    gathered: GradeInput,
    remembered: Remembered,
    options: UploadOptions,
    scale: Scale | None = None,
) -> Draft:
    """Plan what to send; changes nothing.

    Raises:
        NotFound: There is nothing to send.
        MograderError: As :func:`~mograder.clients.moodle.grading.plan_marks`.
    """
    if not gathered.marks:
        listed = ", ".join(gathered.unmatched[:5])
        raise NotFound(
            "There are no grades and no feedback for anybody in this assignment.",
            hint=f"Nobody on Moodle matches: {listed}."
            if listed
            else "Grade first, or give --grades-csv or --feedback-dir.",
        )
    refuse_dropped_feedback(assignment, gathered.marks.values())
    mates = _mates(gathered.marks, participants.people) if assignment.team else {}
    wanted = _with_mates(gathered, mates)
    marks = [replace(mark, workflow=options.state) for mark in wanted.marks.values()]
    people = {person.user_id for person in participants.people}
    plan = plan_marks(client, assignment, marks, people, may_go_back=options.exact)
    outcomes = (known_unchanged(o, remembered.sent.get(o.mark.user_id)) for o in plan.outcomes)
    plan = read_feedback(client, replace(plan, outcomes=tuple(outcomes)))
    force, uncommented = options.force, wanted.uncommented
    judged = settle_plan(client, plan, remembered, force=force, uncommented=uncommented)
    teams = _teams(mates, plan, judged, remembered, force=force)
    shown = gathered.marks.keys() | teams.of.keys()
    verdicts = [each for each in judged if each.outcome.mark.user_id in shown]
    graders: dict[int, str] = {}
    if any(each.changed for each in verdicts):
        with suppress(Conflict, Forbidden, NotFound):  # Moodle refuses them
            people_there = client.enrolled(assignment.course_id)
            graders = {person.user_id: person.full_name for person in people_there}
    return Draft(
        replace(plan, outcomes=tuple(each.outcome for each in verdicts)),
        {each.outcome.mark.user_id: each for each in verdicts},
        gathered.unmatched,
        teams,
        remembered,
        graders,
        scale.items if scale else (),
    )


def send(
    client: MoodleClient,
    drafted: Draft,
    gradebook: Gradebook,
    progress: Progress,
    now: datetime,
) -> tuple[Outcome, ...]:
    """Record the marks to send, send them, read them back, and record the result.

    Raises:
        Busy: The gradebook cannot be written before anything is sent.
    """
    number = drafted.plan.assignment.id
    me = client.site().user_id
    drafted = _settle(client, drafted, gradebook, now)
    intents = [
        _record(drafted, each) for each in drafted.plan.outcomes if each.result is Result.CHANGED
    ]
    if intents:
        gradebook.record_intents(client.url, number, intents, now)
    outcomes = send_marks(client, drafted.plan, progress)
    # Moodle holds all of a mark that was sent now, or read and found to be equal.
    confirmed = [
        _record(drafted, each, me)
        for each in outcomes
        if each.result is Result.CHANGED or (each.result is Result.UNCHANGED and each.held.is_read)
    ]
    try:
        gradebook.record_sent(client.url, number, confirmed, now)
    except Busy as error:
        # Moodle has the marks and the intents are recorded: the next upload compares them.
        progress(f"It was sent, but could not be noted down. {error.message}")
    return outcomes


def _settle(client: MoodleClient, drafted: Draft, gradebook: Gradebook, now: datetime) -> Draft:
    """Record what an interrupted upload saved, before its intents are overwritten."""
    sent, intended = drafted.remembered.sent, drafted.remembered.intended
    found = [
        settled(verdict, sent.get(user), intended.get(user))
        for user, verdict in drafted.verdicts.items()
        if verdict.outcome.result is Result.CHANGED
    ]
    ours = {each.user_id: each for each in found if each is not None}
    if not ours:
        return drafted
    gradebook.record_sent(client.url, drafted.plan.assignment.id, tuple(ours.values()), now)
    left = {user: intent for user, intent in intended.items() if user not in ours}
    return replace(drafted, remembered=Remembered({**sent, **ours}, left))


def _record(drafted: Draft, outcome: Outcome, me: int = 0) -> SentGrade:
    user = outcome.mark.user_id
    verdict = replace(drafted.verdicts[user], outcome=outcome)
    team = user in drafted.teams.of or user in drafted.teams.of.values()
    return to_remember(verdict, drafted.remembered.sent.get(user), team=team, me=me)


def scale_of(
    client: MoodleClient, assignment: Assignment, participants: Participants
) -> Scale | None:
    """Return the scale that an assignment is graded by, None if it is graded by points.

    Raises:
        Forbidden: Moodle shows neither the names nor the number of the items, so a number that is
            too large could not be refused; Moodle would reset the grade.
    """
    if not assignment.scale:
        return None
    items = client.scale_items(assignment)
    if items:
        return Scale(len(items), items)
    count = client.scale_size(assignment, participants.people[0].user_id)
    if not count:
        raise Forbidden(
            f"{assignment.name} is graded by a scale, and Moodle does not tell you its items.",
            hint="Ask a teacher who may edit the assignment to send the grades, or set Grade > "
            "Type to Point in its settings.",
        )
    return Scale(count)


@dataclass(frozen=True, slots=True)
class Teams:
    """The members who get, or do not get, another member's row.

    ``of`` gives, for a member who gets another's row, that person's id. ``alone`` gives, for a
    person whose row is not for the whole team, the members who hold something else.
    ``rest`` gives, for the same person, all other members.
    """

    of: Mapping[int, int]
    alone: Mapping[int, tuple[int, ...]]
    rest: Mapping[int, tuple[int, ...]]


def _teams(
    mates: Mapping[int, tuple[int, ...]],
    plan: Plan,
    judged: Sequence[Verdict],
    remembered: Remembered,
    *,
    force: bool,
) -> Teams:
    """Decide which teams get the mark of their only member with a row.

    ``judged`` are the verdicts about a plan in which every mate has the mark.
    """
    held = {
        verdict.outcome.mark.user_id: _holds_else(planned, verdict, remembered, force=force)
        for planned, verdict in zip(plan.outcomes, judged, strict=True)
    }
    of: dict[int, int] = {}
    alone: dict[int, tuple[int, ...]] = {}
    for user, others in mates.items():
        own = tuple(mate for mate in others if held[mate])
        # A member whose team mark was changed on Moodle is listed as skipped.
        shown = [mate for mate in others if not own or held[mate] == _CHANGED]
        of |= dict.fromkeys(shown, user)
        if own:
            alone[user] = own
    return Teams(of, alone, {user: mates[user] for user in alone})


_OWN, _CHANGED = "own", "changed"


def _mates(marks: Mapping[int, Mark], people: Sequence[Person]) -> dict[int, tuple[int, ...]]:
    """Return the other members of each team in which one person only has a mark."""
    groups: dict[int, list[int]] = {}
    for person in people:
        if person.group:
            groups.setdefault(person.group, []).append(person.user_id)
    found = {}
    for members in groups.values():
        marked = [user for user in members if user in marks]
        if len(marked) == 1 and len(members) > 1:
            found[marked[0]] = tuple(user for user in members if user != marked[0])
    return found


def _with_mates(gathered: GradeInput, mates: Mapping[int, tuple[int, ...]]) -> GradeInput:
    """Return the marks with those that the members of teams may get by another one's row."""
    row_of = {mate: user for user, others in mates.items() for mate in others}
    theirs = {mate: replace(gathered.marks[user], user_id=mate) for mate, user in row_of.items()}
    uncommented = {mate for mate, user in row_of.items() if user in gathered.uncommented}
    return replace(
        gathered,
        marks={**gathered.marks, **theirs},
        uncommented=gathered.uncommented | uncommented,
    )


def _holds_else(planned: Outcome, verdict: Verdict, remembered: Remembered, *, force: bool) -> str:
    """Return whether a member holds something else: empty, their own, or changed."""
    user, held = planned.mark.user_id, planned.held
    sent, intent = remembered.sent.get(user), remembered.intended.get(user)
    if sent and not sent.team:
        return _OWN
    if force or (planned.result is not Result.SKIPPED and holds_mark(verdict)):
        return ""
    if sent or intent:
        return _CHANGED if verdict.changed else ""
    # A hidden grade, comment or file counts as held.
    hidden = held.is_read and held.feedback is None
    says = held.feedback is not None and (held.feedback.comment or held.feedback.files)
    holds = held.grade is not None and (planned.before is not None or hidden or says)
    return _OWN if holds else ""


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One line of the summary, and of ``--json``: what came of a person's grade, and the reason.

    ``sent`` names what is sent beside a grade; ``changed_on_moodle`` the fields changed there since
    our upload. ``erased_comment`` and ``removed_files`` are on Moodle and go. ``team_of`` names the
    member whose row this person gets; ``not_for`` names the members who do not get this person's
    row. ``attempt`` is the student's latest attempt, counted from 1; None for a name that matches
    no participant.
    """

    student: str
    full_name: str
    result: Result
    before: str | None = None
    after: str | None = None
    sent: str = ""
    why: str = ""
    changed_on_moodle: tuple[str, ...] = ()
    changed_by: str | None = None
    changed_at: str | None = None
    erased_comment: str | None = None
    removed_files: tuple[str, ...] = ()
    team_of: str | None = None
    not_for: tuple[str, ...] = ()
    attempt: int | None = None


def summary(
    outcomes: Sequence[Outcome], participants: Participants, drafted: Draft
) -> list[SummaryRow]:
    """Return one line per marked person, by name, then one per name that matches no person."""
    people = {person.user_id: person for person in participants.people}
    names = {user: participants.local_name(person) for user, person in people.items()}
    lines = [_line(each, people, names, drafted) for each in outcomes]
    lines.sort(key=lambda line: line.student.casefold())
    strangers = [
        SummaryRow(name, "", Result.SKIPPED, why="takes no part in this assignment on Moodle")
        for name in drafted.unmatched
    ]
    return [*lines, *strangers]


def _line(
    outcome: Outcome, people: Mapping[int, Person], names: Mapping[int, str], drafted: Draft
) -> SummaryRow:
    user, teams = outcome.mark.user_id, drafted.teams
    verdict = drafted.verdicts[user]
    row, grader, at = outcome.held.grade, "", ""
    if verdict.changed and row is not None:  # the last grader on Moodle
        grader = drafted.graders.get(row.grader, f"user {row.grader}" if row.grader > 0 else "")
        at = f"{row.modified:%d %B %Y at %H:%M} UTC" if row.modified else ""
    replaced = replaced_files(outcome)
    erased = erased_comment(outcome)
    team_of = names.get(teams.of.get(user, 0), "")
    not_for = tuple(names[mate] for mate in teams.rest.get(user, ()))
    because = tuple(names[mate] for mate in teams.alone.get(user, ()))
    after = outcome.mark.grade if outcome.after is None else outcome.after
    team = f"as {team_of}, for the whole team" if team_of else ""
    if not_for:
        holds = "holds something of their own" if len(because) == 1 else "hold something else"
        team = f"not for the team ({', '.join(not_for)}): {', '.join(because)} {holds} on Moodle"
    reasons = (
        outcome.why,
        _changed_words(verdict.changed, grader, at, outcome.result),
        team,
    )
    return SummaryRow(
        student=names[user],
        full_name=people[user].full_name,
        result=outcome.result,
        before=_shown(outcome.before, drafted.scale) or None,
        after=_shown(after, drafted.scale) or None,
        sent=_along(outcome, erased, replaced) if outcome.result is Result.CHANGED else "",
        why="; ".join(filter(None, reasons)),
        changed_on_moodle=verdict.changed,
        changed_by=grader or None,
        changed_at=at or None,
        erased_comment=erased or None,
        removed_files=replaced,
        team_of=team_of or None,
        not_for=not_for,
        attempt=outcome.held.attempt + 1,
    )


def _changed_words(changed: Sequence[str], grader: str, at: str, result: Result) -> str:
    if not changed:
        return ""
    first = changed[0] == BEFORE_FIRST
    what = BEFORE_FIRST if first else "changed on Moodle since our upload"
    said = f"{what} ({', '.join(changed[first:])}{grader and f', by {grader}'}"
    said += f", {at})" if at else ")"
    return f"{said}; --force overwrites it" if result is Result.SKIPPED else f"{said}; overwritten"


def _along(outcome: Outcome, erased: str, replaced: Sequence[str]) -> str:
    """Return the names of what is sent beside the grade."""
    mark = outcome.mark
    short = erased if len(erased) <= _MOST_SHOWN else f"{erased[: _MOST_SHOWN - 1]}…"
    parts = (
        "comment" if mark.comment else "",
        f"erases the comment “{short}”" if erased else "",
        counted(len(mark.files), "file") if mark.files else "",
        f"removes {', '.join(replaced)}" if replaced else "",
        outcome.state,
        f"for attempt {outcome.held.attempt + 1}" if outcome.held.attempt else "",
    )
    return ", ".join(filter(None, parts))


def _shown(grade: Decimal | None, scale: Sequence[str]) -> str:
    """Return a grade as text: for a scale the item's name, if it is known."""
    if grade is None or not scale:
        return grade_text(grade)
    whole = grade == grade.to_integral_value() and 1 <= grade <= len(scale)
    return scale[int(grade) - 1] if whole else grade_text(grade)
