"""Who takes part in the course on Moodle, and who may therefore use the hub (B28 to B34).

Deciding comes first and changes nothing; the door prints it and then lets it happen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import Conflict, NotFound
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
from mograder.transports.moodle.records import Participant

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

    def users(self) -> dict[Username, str]:
        """Full names by username, sorted by username.

        Raises: :class:`~mograder.core.errors.Forbidden` saying what to do when usernames are
        missing: a list with holes would lock students out.
        """
        if self.known.unnamed:
            raise need_names(self.known.unnamed, len(self.people))
        names = {self.known.usernames[person.user_id]: person.full_name for person in self.people}
        return dict(sorted(names.items()))


def first_configured(assignments: Sequence[Configured]) -> Configured:
    """Return the first configured assignment that is on Moodle (B29, B32; compat.md 9).

    Raises: :class:`NotFound` when `mograder moodle sync` has not been run yet.
    """
    for each in assignments:
        if each.id > 0:
            return each
    raise NotFound(
        "mograder.toml names no assignment on Moodle yet.", hint="Run `mograder moodle sync` first."
    )


def call_roll(
    client: MoodleClient, assignment_id: int, remembered: Sequence[Identity], naming: Naming
) -> Roll:
    """Ask Moodle who takes part in an assignment, and find their usernames.

    Raises: :class:`~mograder.core.errors.MograderError`, in particular
    :class:`~mograder.core.errors.InvalidInput` when two people would have one username.
    """
    listed = tuple(_person(each) for each in client.participants(assignment_id))
    people = with_memory(listed, remembered)
    return Roll(people, name_people(people, remembered, naming.mapping, naming.by))


def refuse_blind(roll: Roll, configured: Configured) -> None:
    """Raise :class:`Conflict` where Moodle hides who takes part."""
    if any(person.participant for person in roll.people):
        raise Conflict(
            f"{configured.name} is marked anonymously, so Moodle does not tell who takes part.",
            hint="Put another assignment first among the [[assignments]] of mograder.toml.",
        )


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


def _person(participant: Participant) -> Person:
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
    )
