"""Identities: a Moodle user's username on the hub and in our files; pure.

An ordinary teacher sees no usernames on Moodle, so a person is identified by the user id there, by
email and by ID number. The username is taken from a mapping file that the teacher gives, from the
gradebook, or from Moodle if it shows one. In a grading worksheet, a person is identified by the
number of "Participant N" and by the other columns that the site shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mograder.clients.moodle.grading_files import IDENTIFIER, Worksheet
from mograder.clients.moodle.records import Person
from mograder.core.csv_table import read_table
from mograder.core.errors import Forbidden, InvalidInput, MograderError
from mograder.core.names import Username, nfc
from mograder.store.gradebook.gradebook import Identity

USERNAME_COLUMNS = ("username", "user", "hub username", "login")
KEY_COLUMNS: Mapping[str, str] = {
    "user_id": "user_id",
    "userid": "user_id",
    "id": "user_id",
    "moodle id": "user_id",
    "email": "email",
    "email address": "email",
    "idnumber": "idnumber",
    "id number": "idnumber",
    "full name": "full_name",
    "full_name": "full_name",
    "name": "full_name",
}
"""Columns of a mapping file, in lower case, and the attribute of a Moodle user each one has."""

_OWN_KEYS = ("user_id", "email", "idnumber")
"""The attributes that no two people share, the most reliable one first."""

_USERNAME = "Username"
_EMAIL = "Email address"
_IDNUMBER = "ID number"
_TEAM = "Group"
"""Columns of a grading worksheet; the last one is in those of assignments for teams."""

_BLIND = re.compile(r"\D*(\d{1,18})")
_NUMBERED = re.compile(r"participant[ _-]*(\d{1,18})[ _-]*")


class NamedBy(StrEnum):
    """The source of usernames that Moodle does not show."""

    EMAIL = "email"
    EMAIL_NAME = "email-name"
    IDNUMBER = "idnumber"


_SHOWN_BY: Mapping[NamedBy, str] = {
    NamedBy.EMAIL: "email addresses",
    NamedBy.EMAIL_NAME: "email addresses",
    NamedBy.IDNUMBER: "ID numbers",
}


@dataclass(frozen=True, slots=True)
class MappingRow:
    """One line of a mapping file: a username, and the keys to find its person by."""

    line: int
    username: Username
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Naming:
    """The source of usernames that Moodle does not show: a mapping file, or ``by``."""

    mapping: Sequence[MappingRow] = ()
    by: NamedBy | None = None


@dataclass(frozen=True, slots=True)
class Participants:
    """The participants of one assignment, and their usernames by Moodle's user id, if known."""

    people: tuple[Person, ...]
    usernames: Mapping[int, Username]
    groups: tuple[str, ...] = ()
    """Set if Moodle shows this account only the people of these groups (separate groups)."""
    only_of: str = ""
    """The name of the assignment, if it is restricted to some students: others are not listed."""

    @property
    def unnamed(self) -> tuple[Person, ...]:
        return tuple(each for each in self.people if each.user_id not in self.usernames)

    @property
    def renamed(self) -> tuple[Person, ...]:
        """The participants whom Moodle shows with another username than they have here."""
        return tuple(
            each
            for each in self.people
            if each.username and each.username != self.usernames.get(each.user_id, each.username)
        )

    def users(self, by: NamedBy | None = None) -> dict[Username, str]:
        """Return full names by username, sorted by username; ``by`` is what these are made of.

        Raises:
            Forbidden: Usernames are missing. A list with holes would lock students out, so the
                hint says how to complete it.
        """
        if self.unnamed:
            raise need_names(self.unnamed, len(self.people), by)
        names = {self.usernames[person.user_id]: person.full_name for person in self.people}
        return dict(sorted(names.items()))

    def local_name(self, person: Person) -> str:
        """Return the name of a person's files: the username, else the email address.

        If the marking is anonymous it is "Participant-N", so that nothing reveals the person.
        """
        if person.participant:
            return participant_name(person.participant)
        return self.usernames.get(person.user_id) or names_without_username(person)[0]

    def find(
        self, text: str, *, from_here: bool = False, is_user_id: bool = False
    ) -> Person | None:
        """Return the person that a file's name or a line of grades means, None if none matches.

        It may be the username or local name, the email address, ID number, number or full name on
        Moodle. With ``from_here`` the text is a name of this course's files or gradebook, perhaps
        of somebody who has left, and not taken for a full name. Only with ``is_user_id`` is it
        taken for Moodle's user id: a username may be the user id of another person.

        Raises:
            InvalidInput: It may mean two people.
        """
        wanted = nfc(text.strip()).casefold()
        if not wanted:
            return None
        # The local name counts before usernames: another person's may be "participant-7".
        named = [each for each in self.people if self.local_name(each).casefold() == wanted]
        if len(named) == 1:
            return named[0]
        found_number = _NUMBERED.fullmatch(wanted)
        number = int(found_number[1]) if found_number else 0
        tests: list[Callable[[Person], bool]] = [
            lambda person: self.usernames.get(person.user_id, "").casefold() == wanted,
            # Of a renamed account only the name here is in this course's files; the new one may be
            # that of somebody else there.
            lambda person: (
                person.username.casefold() == wanted
                and not (from_here and person.user_id in self.usernames)
            ),
            lambda person: person.email.casefold() == wanted,
            lambda person: person.idnumber.casefold() == wanted,
            # "Participant N", also after identities were revealed.
            lambda person: bool(number) and number in (person.participant, person.formerly),
        ]
        if is_user_id:
            tests.append(lambda person: str(person.user_id) == wanted)
        if not from_here:
            tests.append(lambda person: person.full_name.casefold() == wanted)
        for test in tests:
            found = [person for person in self.people if test(person)]
            if len(found) > 1:
                both = ", ".join(f"{person.shown} (user {person.user_id})" for person in found[:3])
                raise InvalidInput(f"{text!r} may mean {both}.", hint="Use their usernames.")
            if found:
                return found[0]
        return None


def parse_mapping(data: bytes, name: str) -> tuple[MappingRow, ...]:
    """Read a mapping file: CSV with a username column and at least one of id, email, idnumber.

    Raises:
        InvalidInput: A line is wrong; the message names it.
    """
    table = read_table(data, name)
    user = table.column(*USERNAME_COLUMNS)
    keys = {
        number: KEY_COLUMNS[column.lower()]
        for number, column in enumerate(table.columns)
        if column.lower() in KEY_COLUMNS
    }
    if user is None or not keys:
        raise InvalidInput(
            f"{name} does not say which Moodle user is whom.",
            hint="Its first line names the columns: username, and one of email, idnumber, user_id.",
        )
    rows = []
    for row in table.rows:
        if len(row.cells) <= max(user, *keys):
            raise InvalidInput(f"{name}, line {row.line}: there are too few columns.")
        try:
            username = Username.claimed(row.cell(user))
        except MograderError as error:
            raise InvalidInput(f"{name}, line {row.line}: {error.message}") from error
        told = {key: row.cell(column) for column, key in keys.items() if row.cell(column)}
        rows.append(MappingRow(row.line, username, told))
    return tuple(rows)


def name_people(
    people: Sequence[Person],
    remembered: Iterable[Identity] = (),
    mapping: Sequence[MappingRow] = (),
    by: NamedBy | None = None,
) -> dict[int, Username]:
    """Return usernames by user id: of the file, else the gradebook, else Moodle, else ``by``.

    An account that is renamed on Moodle keeps its name here, and so its work, marks and sign-in.

    Raises:
        InvalidInput: Two people would have one username, or a username is not valid.
    """
    memory = {each.user_id: each.username for each in remembered}
    mapped = _mapped(people, mapping)
    found: dict[int, Username] = {}
    owners: dict[str, Person] = {}
    for person in people:
        derived = {
            NamedBy.EMAIL: person.email,
            NamedBy.EMAIL_NAME: person.email.partition("@")[0],
            NamedBy.IDNUMBER: person.idnumber,
        }
        text = (
            mapped.get(person.user_id)
            or memory.get(person.user_id)
            or person.username
            or (derived[by] if by else "")
        )
        if not text:
            continue
        try:
            username = found[person.user_id] = Username.claimed(text)
        except MograderError as error:
            raise InvalidInput(
                f"{person.shown} cannot be named {text!r} here. {error.message}",
                hint="Give this person another username in a mapping file (--map).",
            ) from error
        other = owners.setdefault(username, person)
        if other is not person:
            raise InvalidInput(
                f"{other.shown} and {person.shown} would both be {username}.",
                hint="Give each a username of their own in a mapping file (--map).",
            )
    return found


def need_names(unnamed: Sequence[Person], total: int, by: NamedBy | None = None) -> Forbidden:
    """Return the error for missing usernames, with the remedies: a right, a file, or an option."""
    listed = ", ".join(person.shown for person in unnamed[:3])
    more = f" and {len(unnamed) - 3} more" if len(unnamed) > 3 else ""
    what = "usernames" if by is None else _SHOWN_BY[by]
    told, so = f"any {what}", "nobody can be matched with the hub"
    if len(unnamed) < total:
        told = f"the {what} of {listed}{more}"
        so = "they cannot be matched with the hub, and the list would lock them out"
    return Forbidden(
        f"Moodle does not show you {told}, so {so}.",
        hint=(
            "One of these solves it:\n"
            "  - a mapping file with a line for each of them, --map FILE: CSV with the columns "
            "username and email (or idnumber, or user_id);\n"
            "  - your Moodle administrator lets teachers see usernames: the capability "
            "moodle/user:viewalldetails for your role;\n"
            "  - where usernames are the email addresses, or what stands before their @: "
            "--username-from email, or email-name (or idnumber).\n"
            "What was matched once is remembered in the gradebook."
        ),
    )


def numbered(person: Person, formerly: int = 0) -> Person:
    """Return a person as Moodle lists them for an assignment, with the numbers of "Participant N".

    ``formerly`` is the one before the identities were revealed, else 0.
    """
    blind = not (person.email or person.username or person.roles)
    found = _BLIND.fullmatch(person.full_name) if blind else None
    return replace(person, participant=int(found[1]) if found else 0, formerly=formerly)


def people_of(
    sheet: Worksheet,
    remembered: Sequence[Identity],
    names: Mapping[str, str],
    *,
    match_column: str,
    name_column: str,
) -> Participants:
    """Return the people of a grading worksheet, with those of their usernames that are known.

    The columns are those that identify a person: ``[moodle] match_column, name_column``.
    Usernames are taken from the match column if the site shows it, else from the gradebook by
    email, ID number or full name; by the latter none that has another email or ID number.
    """
    people = tuple(
        Person(
            user_id=-row.participant,  # a worksheet has no user ids
            full_name=sheet.cell(row, name_column) or sheet.cell(row, IDENTIFIER),
            username=(sheet.cell(row, match_column) or sheet.cell(row, _USERNAME)).strip(),
            email=sheet.cell(row, _EMAIL).strip(),
            idnumber=sheet.cell(row, _IDNUMBER).strip(),
            participant=row.participant,
            team=sheet.cell(row, _TEAM).strip(),
        )
        for row in sheet.rows
    )
    usernames: dict[int, Username] = {}
    for person in people:
        text = person.username or _remembered(person, remembered, names)
        username = parse_username(text)
        if username is not None:
            usernames[person.user_id] = username
    return Participants(people, usernames)


def participant_name(number: int) -> str:
    return f"Participant-{number}"


def names_without_username(person: Person) -> tuple[str, ...]:
    """Return the names of a person's files while the username is not known, the best one first.

    The second one is for a site that did not show the email address; 0.3.16 wrote the last one.
    """
    by_email = parse_username(person.email)
    by_number = (f"moodle-{person.user_id}", f"user_{person.user_id}")
    return (by_email, *by_number) if by_email else by_number


def parse_username(text: str) -> Username | None:
    try:
        return Username.claimed(text.strip())
    except InvalidInput:
        return None


def identities(people: Sequence[Person], usernames: Mapping[int, Username]) -> list[Identity]:
    """Return the identities to record in the gradebook: people whose username is known."""
    return [
        Identity(
            person.user_id,
            usernames[person.user_id],
            person.full_name,
            person.email,
            person.idnumber,
        )
        for person in people
        if person.user_id in usernames and not person.participant
    ]


def with_memory(people: Sequence[Person], remembered: Iterable[Identity]) -> tuple[Person, ...]:
    """Complete people's data from Moodle by what it showed earlier."""
    memory = {each.user_id: each for each in remembered}
    return tuple(
        replace(
            person,
            email=person.email or memory[person.user_id].email,
            idnumber=person.idnumber or memory[person.user_id].idnumber,
        )
        if person.user_id in memory and not person.participant
        else person
        for person in people
    )


def _remembered(person: Person, remembered: Sequence[Identity], names: Mapping[str, str]) -> str:
    email, idnumber = person.email.casefold(), person.idnumber
    by_email = [each.username for each in remembered if email and each.email.casefold() == email]
    by_number = [each.username for each in remembered if idnumber and each.idnumber == idnumber]
    others = {
        each.username
        for each in remembered
        if _differ(each.email, person.email) or _differ(each.idnumber, person.idnumber)
    }
    known = [(each.username, each.full_name) for each in remembered]
    by_name, by_students = (
        [user for user, name in pairs if name == person.full_name and user not in others]
        for pairs in (known, names.items())
    )
    found = (by_email, by_number, by_name, by_students)
    return next((each[0] for each in found if len(each) == 1), "")


def _mapped(people: Sequence[Person], mapping: Sequence[MappingRow]) -> dict[int, str]:
    """Match the lines of a mapping with people, by the most reliable column of all lines first.

    Raises:
        InvalidInput: One column gives a person two usernames.
    """
    found: dict[int, MappingRow] = {}
    left = mapping
    for key in (*_OWN_KEYS, "full_name"):
        named: dict[int, MappingRow] = {}
        rest = []
        for row in left:
            matching = _matching(row, key, people)
            if len(matching) != 1:
                rest.append(row)
                continue
            other = named.setdefault(matching[0].user_id, row)
            if other.username != row.username and matching[0].user_id not in found:
                person = matching[0]
                raise InvalidInput(
                    f"Lines {other.line} and {row.line} of the mapping file both mean "
                    f"{person.shown}, as {other.username} and {row.username}.",
                    hint=f"Leave one of them, or add a column user_id ({person.user_id} is this "
                    "person).",
                )
        left = rest
        found = named | found
    return {user_id: row.username for user_id, row in found.items()}


def _matching(row: MappingRow, key: str, people: Sequence[Person]) -> list[Person]:
    wanted = nfc(row.keys.get(key, "")).casefold()
    if not wanted:
        return []
    found = [person for person in people if str(getattr(person, key)).casefold() == wanted]
    if key in _OWN_KEYS:
        return found
    return [
        person
        for person in found
        if not any(_differ(row.keys.get(own, ""), str(getattr(person, own))) for own in _OWN_KEYS)
    ]


def _differ(one: str, other: str) -> bool:
    """Return whether both are known and differ: two people may have one full name."""
    return bool(one and other) and nfc(one).casefold() != nfc(other).casefold()
