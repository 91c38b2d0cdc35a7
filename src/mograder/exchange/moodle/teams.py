"""Decides whether a row of grades is for a whole team on Moodle, or for one person only.

It is for the team if no other member has anything else: no row or file here, no upload of their own
on record, and on Moodle only the result of an earlier upload for the whole team. Each member is
then sent separately, so that each is listed, checked and protected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.grading import Outcome, Result, plan_marks, read_feedback
from mograder.clients.moodle.records import Assignment, Mark
from mograder.core.errors import InvalidInput
from mograder.exchange.moodle.identities import Person
from mograder.exchange.moodle.protection import Remembered, judge


@dataclass(frozen=True, slots=True)
class Teams:
    """The marks to send, and the members who get, or do not get, another member's row.

    ``of`` gives, for a member who gets another's row, that person's id. ``alone`` gives, for a
    person whose row is not for the whole team, the members who hold something else.
    ``rest`` gives, for the same person, all other members.
    """

    marks: tuple[Mark, ...]
    of: Mapping[int, int]
    alone: Mapping[int, tuple[int, ...]]
    rest: Mapping[int, tuple[int, ...]]


def for_teams(
    client: MoodleClient,
    assignment: Assignment,
    marks: Mapping[int, Mark],
    people: Sequence[Person],
    remembered: Remembered,
    *,
    force: bool,
) -> Teams:
    """Give all members of a team the mark of the only member with a row, if they form a team."""
    mates = _mates(marks, people) if assignment.team else {}
    wanted = [
        replace(marks[user], user_id=mate) for user, others in mates.items() for mate in others
    ]
    held = _holders(client, assignment, wanted, remembered, force=force) if wanted else {}
    found = list(marks.values())
    of: dict[int, int] = {}
    alone: dict[int, tuple[int, ...]] = {}
    for user, others in mates.items():
        own = tuple(mate for mate in others if held[mate])
        # A member whose team mark was changed on Moodle is listed as skipped.
        shown = [mate for mate in others if not own or held[mate] == _CHANGED]
        found += [replace(marks[user], user_id=mate) for mate in shown]
        of |= dict.fromkeys(shown, user)
        if own:
            alone[user] = own
    return Teams(tuple(found), of, alone, {user: mates[user] for user in alone})


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


def _holders(
    client: MoodleClient,
    assignment: Assignment,
    wanted: Sequence[Mark],
    remembered: Remembered,
    *,
    force: bool,
) -> dict[int, str]:
    """Return, for each member, whether they hold something else: empty, their own, or changed."""
    if force:
        own = {user for user, sent in remembered.sent.items() if not sent.team}
        return {mark.user_id: _OWN if mark.user_id in own else "" for mark in wanted}
    try:
        users = {mark.user_id for mark in wanted}  # members, and so participants
        plan = read_feedback(client, plan_marks(client, assignment, wanted, users))
    except InvalidInput:
        # The marks themselves are not valid; planning all of them gives a better message.
        return {mark.user_id: "" for mark in wanted}
    found = {}
    for outcome in plan.outcomes:
        user = outcome.mark.user_id
        sent, intent = remembered.sent.get(user), remembered.intended.get(user)
        if sent and not sent.team:
            found[user] = _OWN
            continue
        verdict = judge(client, assignment, outcome, remembered, force=False)
        if verdict.outcome.result is Result.UNCHANGED:
            found[user] = ""
        elif sent or intent:
            found[user] = _CHANGED if verdict.changed else ""
        else:
            found[user] = _OWN if _holds_something(outcome) else ""
    return found


def _holds_something(outcome: Outcome) -> bool:
    """Return whether Moodle holds a grade, a comment or a file; a hidden one counts as held."""
    held = outcome.held
    if held.grade is None:
        return False
    hidden = held.is_read and held.feedback is None
    says = held.feedback is not None and (held.feedback.comment or held.feedback.files)
    return outcome.before is not None or hidden or bool(says)
