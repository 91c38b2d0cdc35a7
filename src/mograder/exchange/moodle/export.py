"""``mograder moodle export``: the files that a person uploads to Moodle by hand.

Pure: Moodle's grading worksheet is filled with marks and comments, and the feedback files are
packed into one zip (compatibility-0.3.16.md 9). This also works for courses without web services.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.clients.file_upload import Upload
from mograder.clients.moodle.grading_files import (
    COMMENTS,
    Entry,
    FeedbackFile,
    Filled,
    Worksheet,
    feedback_zip,
    fill,
)
from mograder.clients.moodle.records import Person
from mograder.core.errors import InvalidInput
from mograder.exchange.grade_files import GradeLine, is_only_late, line_html
from mograder.exchange.moodle.identities import Participants, participant_name

_STATUS = "Status"


@dataclass(frozen=True, slots=True)
class Exported:
    """The filled worksheet, the zip (empty without feedback files), and names without a match.

    ``people`` are full names by participant, each only once. ``left_out`` counts the feedback files
    of an assignment for teams: Moodle 5 would take the number of a person for that of a team.
    """

    filled: Filled
    archive: bytes
    files: int
    unmatched: tuple[str, ...]
    people: Mapping[int, str]
    left_out: int = 0


def export(
    sheet: Worksheet,
    lines: Sequence[GradeLine],
    files: Mapping[str, tuple[Upload, ...]],
    participants: Participants,
    now: datetime,
    *,
    clear_comments: bool = False,
) -> Exported:
    """Fill a worksheet and pack the feedback files of the people in it.

    ``participants`` are those of the worksheet, by
    :func:`~mograder.exchange.moodle.identities.people_of`.
    An empty comment leaves the one in the worksheet as it is, unless ``clear_comments`` is given.

    Raises:
        InvalidInput: No name matches, a name matches two people, or a mark is above the maximum.
    """
    held = {row.participant: sheet.cell(row, COMMENTS) for row in sheet.rows}
    entries: dict[int, Entry] = {}
    unmatched: list[str] = []
    for line in lines:
        person = participants.find(line.who, from_here=line.from_here)
        if person is None:
            unmatched.append(line.who)
        elif person.participant in entries:
            raise InvalidInput(f"{person.shown} has two lines of grades ({line.who}).")
        else:
            entries[person.participant] = _entry(line, held[person.participant], clear_comments)
    packed: list[FeedbackFile] = []
    for student, uploads in files.items():
        person = participants.find(student, from_here=True)
        if person is None:
            unmatched.append(student)
            continue
        packed += [_packed(person, each) for each in uploads]
    if not entries and not packed:
        raise InvalidInput(
            "No student in the worksheet has a grade or a feedback file here.", hint=_hint(sheet)
        )
    left_out = len(packed) if any(person.team for person in participants.people) else 0
    packed = [] if left_out else packed
    return Exported(
        fill(sheet, entries, now),
        feedback_zip(packed) if packed else b"",
        len(packed),
        tuple(dict.fromkeys(unmatched)),
        _told_apart(participants.people, unmatched),
        left_out,
    )


def _entry(line: GradeLine, held: str, clear: bool) -> Entry:
    """Return a row's new values; our line about a deduction goes with it. ``held`` is the comment.

    Without a mark, the deduction may still be in the one that Moodle has.
    """
    is_stale = line.mark is not None and is_only_late(held)
    return Entry(line.mark, line_html(line, clear=clear or is_stale))


def _packed(person: Person, file: Upload) -> FeedbackFile:
    return FeedbackFile(
        person.participant, person.full_name, Path(file.name).name, file.path.read_bytes()
    )


def _told_apart(known: Sequence[Person], unmatched: Sequence[str]) -> Mapping[int, str]:
    """Return full names by participant, with the number where another one has the same name."""
    counted = Counter([*(person.full_name for person in known), *unmatched])
    return {
        each.participant: each.full_name
        if counted[each.full_name] == 1
        else f"{each.full_name} ({participant_name(each.participant)})"
        for each in known
    }


def _hint(sheet: Worksheet) -> str:
    end = sheet.columns.index(_STATUS) if _STATUS in sheet.columns else 5
    return (
        f"The worksheet identifies people by: {', '.join(sheet.columns[:end])}. Give by "
        "--match-column the one that your grades name students by, or run `mograder moodle "
        "sync-users` once, which remembers who is who."
    )
