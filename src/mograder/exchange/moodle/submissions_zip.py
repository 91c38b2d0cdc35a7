"""Submissions downloaded from Moodle by hand as one zip, for sites without web services.

The zip identifies people by their number for this assignment; the grading worksheet and the
gradebook have the person of each number (compatibility-0.3.16.md 9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.zips import FILE, Submitted
from mograder.core.names import Username
from mograder.exchange.arrivals import arrivals
from mograder.exchange.collecting import CollectedFolder, CollectOutcome
from mograder.exchange.moodle.identities import Person, participant_name
from mograder.exchange.moodle.submitted_work import Target, Work, choose_notebook, put_work


def plan_zip(
    submitted: Sequence[Submitted],
    people: Sequence[Person],
    usernames: Mapping[int, Username],
    target: Target,
) -> tuple[Work, ...]:
    """Plan the placement of a zip's files by person; changes nothing.

    ``people`` are those of the worksheet, by their number; a person who is not among them, or whose
    username is unknown, is called "Participant-N".
    """
    known = {person.participant: person for person in people}
    works = []
    for number in dict.fromkeys(file.participant for file in submitted):
        files = tuple(_listed(file) for file in submitted if _is_file_of(file, number))
        person = known.get(number)
        username = usernames.get(person.user_id) if person else None
        notebook = choose_notebook(files, target.notebooks)
        name = username or participant_name(number)
        works.append(
            Work(
                name=name,
                full_name=person.full_name if person else "",
                fate=CollectOutcome.FETCHED if files else CollectOutcome.SKIPPED,
                why=_why(files, notebook, name),
                notebook=notebook,
                others=tuple(file for file in files if file != notebook),
            )
        )
    return tuple(sorted(works, key=lambda work: work.name.casefold()))


def unpack_zip(
    submitted: Sequence[Submitted], works: Sequence[Work], target: Target, now: datetime
) -> tuple[Work, ...]:
    """Put the planned files into their places, and return the outcome of each work.

    Raises:
        Busy: Another command fetches into the same directory.
    """
    contents = {_listed(file): file.content for file in submitted}
    with arrivals(target.directory) as held:
        folder = CollectedFolder(target.directory, held, now)
        done = tuple(
            put_work(work, (contents[file] for file, _ in work.places()), folder)
            if work.fate is CollectOutcome.FETCHED
            else work
            for work in works
        )
        held.keep_only(())
    return done


def _is_file_of(file: Submitted, number: int) -> bool:
    return file.participant == number and file.plugin == FILE


def _listed(file: Submitted) -> RemoteFile:
    """Return the file as a server would list it; the number distinguishes two students' files."""
    return RemoteFile(str(file.path), str(file.participant), len(file.content))


def _why(files: Sequence[RemoteFile], notebook: RemoteFile | None, name: str) -> str:
    if not files:
        return "handed in without a file"
    return "" if notebook else f"no notebook that stands out; look into {name}.files/"
