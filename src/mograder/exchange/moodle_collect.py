"""``mograder moodle fetch-submissions``: what was handed in on Moodle, one notebook a student.

The plan says what would be fetched from whom and why not from the others; fetching brings
everything beside first and then puts each file into its place. The files are named as 0.3.16 names
them: ``<user>.py``, with the times of submission in ``.fetch_metadata.json`` (compat.md 4, 9).
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.shared import Progress
from mograder.exchange.moodle_users import Roll
from mograder.exchange.people import Person, parse_username
from mograder.exchange.unpacking import is_hidden, safe_path
from mograder.store.files import atomic_write
from mograder.transports.interface import RemoteFile
from mograder.transports.moodle.client import MoodleClient
from mograder.transports.moodle.records import Assignment, Submission, SubmissionState

METADATA = ".fetch_metadata.json"
"""Unix time of submission by username; penalties count from it."""

REPLACED = ".replaced"
"""Where a notebook goes that was fetched before and is replaced by a newer one."""

_MOST_FILES = 100


class Fate(StrEnum):
    """What becomes of one student's work."""

    FETCHED = "fetched"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Work:
    """One student's work: ``name`` is what its file is called here; ``why`` explains a skip."""

    name: str
    full_name: str
    fate: Fate
    why: str = ""
    modified: datetime | None = None
    notebook: RemoteFile | None = None
    others: tuple[RemoteFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """Where submissions go, and how an assignment's notebook is called when there are several.

    ``force`` fetches again what is here already.
    """

    directory: Path
    notebooks: tuple[str, ...] = ()
    force: bool = False


def plan_collection(
    assignment: Assignment, submissions: Sequence[Submission], roll: Roll, target: Target
) -> tuple[Work, ...]:
    """Decide what to fetch, from what Moodle says and what is here; changes nothing.

    Raises: :class:`InvalidInput` when the assignment takes no files at all.
    """
    if not assignment.accepts.files:
        raise InvalidInput(
            f"{assignment.name} takes no files on Moodle, so there are no notebooks to fetch.",
            hint="Switch “File submissions” on in the assignment's settings, or read the answers "
            "on Moodle.",
        )
    own = {each.user_id: each for each in submissions if each.user_id}
    teams = {each.group_id: each for each in submissions if not each.user_id}
    times = read_times(target.directory)
    works = []
    for person in roll.people:
        submission = teams.get(person.group) if assignment.team else own.get(person.user_id)
        works.append(_work(person, submission, roll, target, times))
    return tuple(sorted(_apart(works), key=lambda work: work.name.casefold()))


def collect(
    client: MoodleClient, works: Sequence[Work], target: Target, progress: Progress, now: datetime
) -> tuple[Work, ...]:
    """Fetch what the plan has, verified, and tell what became of each.

    What is here and differs is kept in ``.replaced/``. What arrived before a failure is put in its
    place, so that the command can be repeated for the rest.

    Raises: :class:`~mograder.core.errors.MograderError` when nothing arrives.
    """
    wanted = [work for work in works if work.fate is Fate.FETCHED]
    if not wanted:
        return tuple(works)
    target.directory.mkdir(parents=True, exist_ok=True)
    times = dict(read_times(target.directory))
    done: dict[str, Work] = {}
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=target.directory) as scratch:
        places = _places(wanted, Path(scratch))
        problem = _download(client, places, progress)
        for work in wanted:
            if all(path.is_file() for _, path in places[work.name]):
                files = ((file, path.read_bytes()) for file, path in places[work.name])
                done[work.name] = put_work(work, files, target, now)
            else:
                done[work.name] = replace(work, fate=Fate.FAILED, why=problem)
            if work.modified is not None and done[work.name].fate is Fate.FETCHED:
                times[work.name] = int(work.modified.timestamp())
    _write_times(target.directory, times)
    return tuple(done.get(work.name, work) for work in works)


def _download(
    client: MoodleClient,
    places: Mapping[str, list[tuple[RemoteFile, Path]]],
    progress: Progress,
) -> str:
    """Bring all files; return what went wrong, empty if nothing did.

    Raises: :class:`~mograder.core.errors.MograderError` when not one file arrived.
    """
    files = [(file, path) for each in places.values() for file, path in each]
    try:
        client.download_all(files, progress)
    except MograderError as error:
        if not any(path.is_file() for _, path in files):
            raise
        return str(error)
    return ""


def read_times(directory: Path) -> Mapping[str, int]:
    """Return when everybody submitted, as an earlier fetch wrote it down."""
    try:
        found = json.loads((directory / METADATA).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): int(at) for name, at in found.items() if isinstance(at, int | float)}


def _work(
    person: Person,
    submission: Submission | None,
    roll: Roll,
    target: Target,
    times: Mapping[str, int],
) -> Work:
    name = local_name(person, roll)
    work = Work(name, person.full_name, Fate.SKIPPED)
    if submission is None or submission.state in (SubmissionState.NEW, SubmissionState.REOPENED):
        return replace(work, why="nothing handed in")
    if submission.state is SubmissionState.DRAFT:
        return replace(work, why="a draft, not handed in yet")
    if not submission.files:
        return replace(work, why="handed in without a file")
    if len(submission.files) > _MOST_FILES:
        return replace(work, why=f"more than {_MOST_FILES} files")
    notebook = choose_notebook(submission.files, target.notebooks)
    work = replace(
        work,
        why="" if notebook else f"no notebook that stands out; look into {name}.files/",
        modified=submission.modified,
        notebook=notebook,
        others=tuple(file for file in submission.files if file != notebook),
    )
    if not target.force and _is_here(work, target.directory, times):
        return replace(work, fate=Fate.UNCHANGED)
    return replace(work, fate=Fate.FETCHED)


def _apart(works: Sequence[Work]) -> list[Work]:
    """Refuse to put two people's work under one name; two of them may share an email address."""
    counted = Counter(work.name.casefold() for work in works)
    why = "another student has the same name here: give each a username by --map"
    return [
        replace(work, fate=Fate.SKIPPED, why=why) if counted[work.name.casefold()] > 1 else work
        for work in works
    ]


def local_name(person: Person, roll: Roll) -> str:
    """Return what a person's files are called: the username, else the email address.

    Where the marking is anonymous it is "Participant-N", so that nobody is told who it is.
    """
    if person.participant:
        return f"Participant-{person.participant}"
    known = roll.known.usernames.get(person.user_id)
    return known or parse_username(person.email) or f"moodle-{person.user_id}"


def choose_notebook(files: Sequence[RemoteFile], expected: Sequence[str]) -> RemoteFile | None:
    """Return the notebook among what somebody handed in: the released one's name, or the only."""
    notebooks = [file for file in files if PurePosixPath(file.name).suffix.lower() == ".py"]
    named = [file for file in notebooks if PurePosixPath(file.name).name in expected]
    if len(named) == 1:
        return named[0]
    return notebooks[0] if len(notebooks) == 1 else None


def _is_here(work: Work, directory: Path, times: Mapping[str, int]) -> bool:
    if work.modified is None or times.get(work.name) != int(work.modified.timestamp()):
        return False
    return (directory / f"{work.name}{'.py' if work.notebook else '.files'}").exists()


def _places(works: Sequence[Work], scratch: Path) -> dict[str, list[tuple[RemoteFile, Path]]]:
    """Give every file a place of its own to arrive at; names from Moodle play no part in it."""
    places: dict[str, list[tuple[RemoteFile, Path]]] = {}
    for number, work in enumerate(works):
        files = [work.notebook] if work.notebook else []
        places[work.name] = [
            (file, scratch / f"{number}-{position}")
            for position, file in enumerate([*files, *work.others])
        ]
    return places


def put_work(
    work: Work, files: Iterable[tuple[RemoteFile, bytes]], target: Target, now: datetime
) -> Work:
    """Put one student's files into their places; what was there and differs is kept.

    Names come from students, so each is checked; hidden files are nobody's work.
    """
    try:
        for file, content in files:
            if file == work.notebook:
                _replace(target.directory, f"{work.name}.py", content, now)
            elif not is_hidden(path := safe_path(file.name)):
                _replace(target.directory, f"{work.name}.files/{path}", content, now)
    except (OSError, MograderError) as error:
        return replace(work, fate=Fate.FAILED, why=str(error))
    return work


def _replace(base: Path, name: str, content: bytes, now: datetime) -> None:
    """Write a file below ``base``; a link that stands there is replaced, not followed."""
    target = base / name
    if target.is_file():
        before = target.read_bytes()
        if before == content:
            return
        kept = base / REPLACED / f"{now.astimezone():%Y%m%dT%H%M%S}" / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(kept, before, 0o600)
    target.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(target, content, 0o600)


def _write_times(directory: Path, times: Mapping[str, int]) -> None:
    text = json.dumps(dict(sorted(times.items())), ensure_ascii=False, indent=2)
    atomic_write(directory / METADATA, f"{text}\n".encode(), 0o600)
