"""The summary of an upload of grades: one line for each person, for the terminal and for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from mograder.clients.moodle.grading import Outcome, Result
from mograder.exchange.moodle.grade_upload import Draft
from mograder.exchange.moodle.identities import Participants, Person
from mograder.exchange.moodle.protection import (
    BEFORE_FIRST,
    erased_comment,
    grade_text,
    replaced_files,
)

_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One line of the summary: the person, the result, the grade before and after, and the reason.

    ``along`` names what is sent beside a grade. ``changed`` names the fields changed on Moodle
    since our upload, with ``grader`` and ``changed_at``. ``erased`` is the comment on Moodle that
    is erased, ``replaced`` the feedback files there that are removed. ``team_of`` names the member
    whose row this person gets; ``not_for`` names the members who do not get this person's row.
    ``attempt`` is the student's latest attempt, counted from 1; 0 for a name that matches no
    participant.
    """

    name: str
    full_name: str
    result: Result
    before: str = ""
    after: str = ""
    why: str = ""
    along: str = ""
    changed: tuple[str, ...] = ()
    grader: str = ""
    changed_at: str = ""
    erased: str = ""
    replaced: tuple[str, ...] = ()
    team_of: str = ""
    not_for: tuple[str, ...] = ()
    attempt: int = 0


def summary(
    outcomes: Sequence[Outcome], participants: Participants, drafted: Draft
) -> list[SummaryRow]:
    """Return one line per marked person, by name, then one per name that matches no person."""
    people = {person.user_id: person for person in participants.people}
    names = {user: participants.local_name(person) for user, person in people.items()}
    lines = [_line(each, people, names, drafted) for each in outcomes]
    lines.sort(key=lambda line: line.name.casefold())
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
    grader, at = _changed_by(outcome, drafted) if verdict.changed else ("", "")
    replaced = replaced_files(outcome)
    erased = erased_comment(outcome)
    team_of = names.get(teams.of.get(user, 0), "")
    not_for = tuple(names[mate] for mate in teams.rest.get(user, ()))
    because = tuple(names[mate] for mate in teams.alone.get(user, ()))
    after = outcome.mark.grade if outcome.after is None else outcome.after
    reasons = (
        outcome.why,
        _changed_words(verdict.changed, grader, at, outcome.result),
        _team_words(team_of, not_for, because),
    )
    return SummaryRow(
        name=names[user],
        full_name=people[user].full_name,
        result=outcome.result,
        before=_shown(outcome.before, drafted.scale),
        after=_shown(after, drafted.scale),
        why="; ".join(filter(None, reasons)),
        along=_along(outcome, erased, replaced) if outcome.result is Result.CHANGED else "",
        changed=verdict.changed,
        grader=grader,
        changed_at=at,
        erased=erased,
        replaced=replaced,
        team_of=team_of,
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


def _team_words(team_of: str, not_for: Sequence[str], because: Sequence[str]) -> str:
    if not_for:
        holds = "holds something of their own" if len(because) == 1 else "hold something else"
        return f"not for the team ({', '.join(not_for)}): {', '.join(because)} {holds} on Moodle"
    return f"as {team_of}, for the whole team" if team_of else ""


def _changed_by(outcome: Outcome, drafted: Draft) -> tuple[str, str]:
    """Return the last grader on Moodle, and the time in UTC."""
    row = outcome.held.grade
    if row is None:
        return "", ""
    grader = drafted.graders.get(row.grader, f"user {row.grader}" if row.grader > 0 else "")
    return grader, f"{row.modified:%d %B %Y at %H:%M} UTC" if row.modified else ""


def _along(outcome: Outcome, erased: str, replaced: Sequence[str]) -> str:
    """Return the names of what is sent beside the grade."""
    mark = outcome.mark
    files = "1 file" if len(mark.files) == 1 else f"{len(mark.files)} files"
    short = erased if len(erased) <= _MOST_SHOWN else f"{erased[: _MOST_SHOWN - 1]}…"
    parts = (
        "comment" if mark.comment else "",
        f"erases the comment “{short}”" if erased else "",
        files if mark.files else "",
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
