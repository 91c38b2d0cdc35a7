"""Who takes part in the course on Moodle, and who may therefore use the hub (B28 to B34).

Deciding comes first and changes nothing; the door prints it and then lets it happen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mograder.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from mograder.core.lookup import listed as listed_names
from mograder.core.names import Username
from mograder.core.settings_model import Assignment as Configured
from mograder.exchange.people import (
    Known,
    MappingRow,
    NamedBy,
    Person,
    identities,
    name_people,
    need_names,
    with_memory,
)
from mograder.store.gradebook import Gradebook, Identity, existing_gradebook
from mograder.transports.moodle.client import MoodleClient
from mograder.transports.moodle.records import Assignment, Participant

_BLIND = re.compile(r"\D*(\d{1,18})")


@dataclass(frozen=True, slots=True)
class Naming:
    """How a person whose username Moodle does not show is named: by a file, or by ``by``."""

    mapping: Sequence[MappingRow] = ()
    by: NamedBy | None = None


@dataclass(frozen=True, slots=True)
class Roll:
    """The participants of one assignment, and what is known of their usernames."""

    people: tuple[Person, ...]
    known: Known
    groups: tuple[str, ...] = ()
    """Set if Moodle shows this account only the people of these groups (separate groups)."""

    def users(self) -> dict[Username, str]:
        """Full names by username, sorted by username.

        Raises: :class:`~mograder.core.errors.Forbidden` saying what to do when usernames are
        missing: a list with holes would lock students out.
        """
        if self.known.unnamed:
            raise need_names(self.known.unnamed, len(self.people))
        names = {self.known.usernames[person.user_id]: person.full_name for person in self.people}
        return dict(sorted(names.items()))


@dataclass(frozen=True, slots=True)
class OnMoodle:
    """The facts of an assignment that decide its participants: its ids, and anonymous marking."""

    id: int
    cmid: int
    revealed: bool = False

    @classmethod
    def of(cls, assignment: Assignment) -> Self:
        """Return it for an assignment as Moodle describes it."""
        return cls(assignment.id, assignment.cmid, assignment.revealed)


def call_roll(
    client: MoodleClient, work: OnMoodle, remembered: Sequence[Identity], naming: Naming
) -> Roll:
    """Ask Moodle who takes part in an assignment, and find their usernames.

    A teacher who may not see all groups is shown the people of their own groups; Moodle gives
    these only if it is asked for each group.

    Raises:
        NotFound: Moodle shows this account nobody.
        InvalidInput: Two people would have one username.
        MograderError: Moodle refuses, or cannot be reached.
    """
    listed = client.participants(work.id)
    groups: tuple[str, ...] = ()
    if not listed:
        listed, groups = _of_groups(client, work)
    if not listed:
        raise NotFound(
            "Moodle shows you no participants of this assignment.",
            hint="Is a student enrolled? With separate groups you see the students of your own "
            "groups only: have yourself added to a group, or ask for the capability "
            "moodle/site:accessallgroups.",
        )
    numbers = _former_numbers(client, work)
    found = (_person(each, numbers) for each in listed)
    people = with_memory(tuple(found), remembered)
    known = name_people(people, remembered, naming.mapping, naming.by)
    return Roll(people, known, groups)


def configured_on_moodle(assignments: Sequence[Configured]) -> tuple[Configured, ...]:
    """Return the configured assignments that are on Moodle.

    Raises: :class:`NotFound` when `mograder moodle sync` has not been run yet.
    """
    found = tuple(each for each in assignments if each.id > 0)
    if not found:
        raise NotFound(
            "mograder.toml names no assignment on Moodle yet.",
            hint="Run `mograder moodle sync` first.",
        )
    return found


def call_first_roll(
    client: MoodleClient,
    on_moodle: Sequence[Configured],
    remembered: Sequence[Identity],
    naming: Naming,
) -> Roll:
    """List the participants of the first assignment without anonymous marking (B29, B32).

    Raises:
        Conflict: All assignments are marked anonymously.
        Forbidden: Moodle shows this account some groups only; the others would be locked out.
        MograderError: As :func:`call_roll`.
    """
    for each in on_moodle:
        roll = call_roll(client, OnMoodle(each.id, each.cmid), remembered, naming)
        if roll.groups:
            raise Forbidden(
                f"Moodle shows you only the students of {listed_names(roll.groups)}, so a list of "
                "them would lock out all others.",
                hint="Run this command with an account that sees all groups (the capability "
                "moodle/site:accessallgroups).",
            )
        if not any(person.participant for person in roll.people):
            return roll
    raise Conflict(
        "Every assignment in mograder.toml is marked anonymously, so Moodle does not tell who "
        "takes part.",
        hint="Add one on Moodle that is not, and run `mograder moodle sync`.",
    )


def _of_groups(
    client: MoodleClient, work: OnMoodle
) -> tuple[tuple[Participant, ...], tuple[str, ...]]:
    """Return the people of the groups that this account may see, and the groups' names."""
    try:
        groups = client.allowed_groups(work.cmid) if work.cmid else ()
    except (Forbidden, InvalidInput, NotFound):  # the service lacks the function
        return (), ()
    found = {
        each.person.user_id: each
        for group in groups
        for each in client.participants(work.id, group.id)
    }
    return tuple(found.values()), tuple(group.name for group in groups)


def _former_numbers(client: MoodleClient, work: OnMoodle) -> Mapping[int, int]:
    """Return the numbers of "Participant N" by user id, where identities have been revealed.

    Files and lines of grades from the anonymous phase are named by these numbers.
    """
    if not work.revealed:
        return {}
    try:
        return {user: number for number, user in client.blind_identities(work.id).items()}
    except (Forbidden, InvalidInput, NotFound):
        return {}


def remembered_people(path: Path, site: str) -> tuple[Identity, ...]:
    """Return whom of a site the gradebook knows, without making or changing one."""
    gradebook = existing_gradebook(path)
    if gradebook is None:
        return ()
    with gradebook:
        return gradebook.identities(site)


def remember(gradebook: Gradebook, site: str, roll: Roll) -> None:
    """Keep who is who, and the full names that graders see (B31).

    Raises: :class:`Conflict` when the gradebook knows one username as somebody else.
    """
    known = identities(roll.people, roll.known.usernames)
    gradebook.put_identities(site, known)
    gradebook.put_students({each.username: each.full_name for each in known})


def _person(participant: Participant, numbers: Mapping[int, int]) -> Person:
    told = participant.person
    blind = not (told.email or told.username or told.roles)
    found = _BLIND.fullmatch(told.full_name) if blind else None
    return Person(
        user_id=told.user_id,
        full_name=told.full_name,
        username=told.username,
        email=told.email,
        idnumber=told.id_number,
        participant=int(found[1]) if found else 0,
        group=participant.group_id,
        team=participant.group_name,
        formerly=numbers.get(told.user_id, 0),
        extended=participant.extended,
    )
