"""``mograder moodle export``: the files that a person uploads to Moodle by hand.

Pure: the grading worksheet that Moodle gave comes back with marks and comments in it, and the
feedback files go into one zip (compat.md 9). For courses where web services are off, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.core.names import Username
from mograder.exchange.grades_csv import GradeLine, line_html
from mograder.exchange.people import Person, find_person, parse_username
from mograder.store.gradebook import Identity
from mograder.transports.moodle.archives import FeedbackFile, feedback_zip
from mograder.transports.moodle.worksheet import (
    IDENTIFIER,
    Entry,
    Filled,
    Worksheet,
    WorksheetRow,
    fill,
)
from mograder.transports.upload import Upload

_USERNAME = "Username"
_EMAIL = "Email address"
_IDNUMBER = "ID number"
_STATUS = "Status"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the worksheet name a person: ``[moodle] match_column, name_column``."""

    match: str = _USERNAME
    name: str = "Full name"


@dataclass(frozen=True, slots=True)
class Exported:
    """The filled worksheet, the zip (empty without feedback files), and who matched nobody."""

    filled: Filled
    archive: bytes
    files: int
    unmatched: tuple[str, ...]
    people: Mapping[int, str]


def export(
    sheet: Worksheet,
    lines: Sequence[GradeLine],
    files: Mapping[str, tuple[Upload, ...]],
    known: Sequence[Person],
    usernames: Mapping[int, Username],
    now: datetime,
    *,
    clear_comments: bool = False,
) -> Exported:
    """Fill a worksheet and pack the feedback files of the people in it.

    ``known`` are the worksheet's people by :func:`people_of`. An empty comment leaves the one in
    the worksheet as it is, unless ``clear_comments`` is given.

    Raises: :class:`InvalidInput` when nobody matches, a name may mean two people, or a mark is
    above the maximum.
    """
    entries: dict[int, Entry] = {}
    unmatched: list[str] = []
    for line in lines:
        person = find_person(line.who, known, usernames)
        if person is None:
            unmatched.append(line.who)
        elif person.participant in entries:
            raise InvalidInput(f"{person.shown} has two lines of grades ({line.who}).")
        else:
            comment = line_html(line, clear=clear_comments)
            entries[person.participant] = Entry(line.mark, comment)
    packed: list[FeedbackFile] = []
    for student, uploads in files.items():
        person = find_person(student, known, usernames)
        if person is None:
            unmatched.append(student)
            continue
        packed += [_packed(person, each) for each in uploads]
    if not entries and not packed:
        raise InvalidInput(
            "Nobody in the worksheet has a grade or a feedback file here.", hint=_hint(sheet)
        )
    return Exported(
        fill(sheet, entries, now),
        feedback_zip(packed) if packed else b"",
        len(packed),
        tuple(dict.fromkeys(unmatched)),
        {person.participant: person.full_name for person in known},
    )


def people_of(
    sheet: Worksheet, columns: Columns, remembered: Sequence[Identity], names: Mapping[str, str]
) -> tuple[tuple[Person, ...], Mapping[int, Username]]:
    """Return the worksheet's people, and those of their usernames that are known.

    From the match column where the site shows it, else from what the gradebook remembers by email,
    ID number or full name.
    """
    people = tuple(_person(sheet, row, columns) for row in sheet.rows)
    usernames: dict[int, Username] = {}
    for person in people:
        text = person.username or _remembered(person, remembered) or _by_name(person, names)
        username = parse_username(text)
        if username is not None:
            usernames[person.user_id] = username
    return people, usernames


def _person(sheet: Worksheet, row: WorksheetRow, columns: Columns) -> Person:
    # There is no user id in a worksheet: the participant's number, negative, stands for it.
    return Person(
        user_id=-row.participant,
        full_name=sheet.cell(row, columns.name) or sheet.cell(row, IDENTIFIER),
        username=(sheet.cell(row, columns.match) or sheet.cell(row, _USERNAME)).strip(),
        email=sheet.cell(row, _EMAIL).strip(),
        idnumber=sheet.cell(row, _IDNUMBER).strip(),
        participant=row.participant,
    )


def _remembered(person: Person, remembered: Sequence[Identity]) -> str:
    email, idnumber = person.email.casefold(), person.idnumber
    by_email = [each.username for each in remembered if email and each.email.casefold() == email]
    by_number = [each.username for each in remembered if idnumber and each.idnumber == idnumber]
    by_name = [each.username for each in remembered if each.full_name == person.full_name]
    return next((found[0] for found in (by_email, by_number, by_name) if len(found) == 1), "")


def _by_name(person: Person, names: Mapping[str, str]) -> str:
    found = [username for username, full_name in names.items() if full_name == person.full_name]
    return found[0] if len(found) == 1 else ""


def _packed(person: Person, file: Upload) -> FeedbackFile:
    return FeedbackFile(
        person.participant, person.full_name, Path(file.name).name, file.path.read_bytes()
    )


def _hint(sheet: Worksheet) -> str:
    end = sheet.columns.index(_STATUS) if _STATUS in sheet.columns else 5
    return (
        f"The worksheet identifies people by: {', '.join(sheet.columns[:end])}. Give by "
        "--match-column the one that your grades name students by, or run `mograder moodle "
        "sync-users` once, which remembers who is who."
    )
