"""The participants of the course, from Moodle and the gradebook (B28 to B34)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import Assignment, Person
from mograder.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from mograder.core.name_lookup import listed as listed_names
from mograder.core.sections.settings_model import Assignment as Configured
from mograder.exchange.moodle.identities import (
    Naming,
    Participants,
    identities,
    name_people,
    numbered,
    with_memory,
)
from mograder.store.gradebook.gradebook import Gradebook, Identity, existing_gradebook


def list_participants(
    client: MoodleClient, assignment: Assignment, remembered: Sequence[Identity], naming: Naming
) -> Participants:
    """List the participants of an assignment on Moodle, and find their usernames.

    A teacher who may not see all groups is shown the people of their own groups; Moodle gives these
    only if it is asked for each group.

    Raises:
        NotFound: Moodle shows no participants to this account.
        InvalidInput: Two people would have one username.
        MograderError: Moodle refuses, or cannot be reached.
    """
    listed = client.participants(assignment.id)
    groups: tuple[str, ...] = ()
    if not listed:
        listed, groups = _of_groups(client, assignment)
    if not listed:
        raise NotFound(
            "Moodle shows you no participants of this assignment.",
            hint="Is a student enrolled? With separate groups you see the students of your own "
            "groups only: have yourself added to a group, or ask for the capability "
            "moodle/site:accessallgroups.",
        )
    # Files and lines of grades from the anonymous phase are named by these numbers.
    numbers: dict[int, int] = {}
    if assignment.revealed:
        with suppress(Forbidden, InvalidInput, NotFound):
            blind = client.blind_identities(assignment.id)
            numbers = {user: number for number, user in blind.items()}
    found = (numbered(each, numbers.get(each.user_id, 0)) for each in listed)
    people = with_memory(tuple(found), remembered)
    usernames = name_people(people, remembered, naming.mapping, naming.by)
    return Participants(people, usernames, groups)


def configured_on_moodle(assignments: Sequence[Configured]) -> tuple[Configured, ...]:
    """Return the assignments on Moodle; raises NotFound before any `mograder moodle sync`."""
    found = tuple(each for each in assignments if each.id > 0)
    if not found:
        raise NotFound(
            "mograder.toml names no assignment on Moodle yet.",
            hint="Run `mograder moodle sync` first.",
        )
    return found


def list_first_participants(
    client: MoodleClient,
    on_moodle: Sequence[Configured],
    remembered: Sequence[Identity],
    naming: Naming,
    course_of: Callable[[MoodleClient], int],
) -> Participants:
    """List the participants of the first assignment without anonymous marking (B29, B32).

    One that is restricted to some students counts only if all are, as far as this account sees
    that: Moodle does not list the others. ``course_of`` returns the course's number; it may raise
    NotFound, InvalidInput or Forbidden.

    Raises:
        Conflict: All assignments are marked anonymously.
        Forbidden: Moodle shows only some groups to this account; the others would be locked out.
        MograderError: As :func:`list_participants`.
    """
    restricted = _restricted(client, course_of)
    for each in sorted(on_moodle, key=lambda each: each.id in restricted):
        assignment = Assignment(each.id, each.cmid, 0, each.name)
        participants = list_participants(client, assignment, remembered, naming)
        if participants.groups:
            raise Forbidden(
                f"Moodle shows you only the students of {listed_names(participants.groups)}, so a "
                "list of them would lock out all others.",
                hint="Run this command with an account that sees all groups (the capability "
                "moodle/site:accessallgroups).",
            )
        if not any(person.participant for person in participants.people):
            return replace(participants, only_of=each.name if each.id in restricted else "")
    raise Conflict(
        "Every assignment in mograder.toml is marked anonymously, so Moodle does not tell who "
        "takes part.",
        hint="Add one on Moodle that is not, and run `mograder moodle sync`.",
    )


def _restricted(client: MoodleClient, course_of: Callable[[MoodleClient], int]) -> frozenset[int]:
    """Return the ids of a course's assignments that are for some students only."""
    # The course is not known, or the service lacks the function.
    with suppress(Forbidden, InvalidInput, NotFound):
        found = client.contents(course_of(client))
        return frozenset(
            each.instance for each in found if each.is_for_some and each.kind == "assign"
        )
    return frozenset()


def _of_groups(
    client: MoodleClient, assignment: Assignment
) -> tuple[tuple[Person, ...], tuple[str, ...]]:
    """Return the people of the groups that this account may see, and the groups' names."""
    try:
        groups = client.allowed_groups(assignment.cmid) if assignment.cmid else ()
    except (Forbidden, InvalidInput, NotFound):  # the service lacks the function
        return (), ()
    found = {
        each.user_id: each
        for group in groups
        for each in client.participants(assignment.id, group.id)
    }
    return tuple(found.values()), tuple(group.name for group in groups)


def remembered_people(path: Path, site: str) -> tuple[Identity, ...]:
    """Return a site's people from the gradebook, without creating or changing it."""
    gradebook = existing_gradebook(path)
    if gradebook is None:
        return ()
    with gradebook:
        return gradebook.identities(site)


def remember(gradebook: Gradebook, site: str, participants: Participants, naming: Naming) -> None:
    """Record identities, and the full names that graders see (B31).

    A username that the mapping file has once is taken from an account that does not take part.

    Raises:
        Conflict: The gradebook has another person for one of the usernames.
    """
    known = identities(participants.people, participants.usernames)
    counted: Counter[str] = Counter(row.username for row in naming.mapping)
    taken = {each.username for each in known if counted[each.username] == 1}
    gradebook.put_identities(site, known, taken)
    gradebook.put_students({each.username: each.full_name for each in known})
