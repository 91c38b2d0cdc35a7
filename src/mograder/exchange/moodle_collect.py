"""``mograder moodle fetch-submissions``: what was handed in on Moodle, one notebook a student.

The plan says what would be fetched from whom and why not from the others; fetching brings
everything beside first and then puts each file into its place. The files are named as 0.3.16 names
them: ``<user>.py``, with the times of submission in ``.fetch_metadata.json`` (compat.md 4, 9).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path, PurePosixPath

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.lookup import nfc
from mograder.core.shared import Progress
from mograder.exchange.arrivals import Arrivals, Shelf, arrivals, clean
from mograder.exchange.moodle_users import Roll
from mograder.exchange.people import Person, parse_username
from mograder.exchange.unpacking import visible_path
from mograder.transports.interface import RemoteFile
from mograder.transports.moodle.client import MoodleClient
from mograder.transports.moodle.records import Assignment, Submission, SubmissionState

METADATA = ".fetch_metadata.json"
"""Unix time of submission by username; penalties count from it."""

LATE = ".fetch_late.json"
"""Seconds after the deadline by username, extensions included, of those who were late."""

_MOST_FILES = 100


class Fate(StrEnum):
    """What becomes of one student's work."""

    FETCHED = "fetched"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Work:
    """One student's work: ``name`` is what its file is called here; ``why`` explains a skip.

    ``late`` is by how much it came after the deadline, None if it was on time or that is unknown.
    ``mates`` are the names here of those who handed it in together, ``team`` their group's name.
    ``before`` is the name that it had while the marking was anonymous, empty if it had none.
    """

    name: str
    full_name: str
    fate: Fate
    why: str = ""
    modified: datetime | None = None
    notebook: RemoteFile | None = None
    others: tuple[RemoteFile, ...] = ()
    late: timedelta | None = None
    team: str = ""
    mates: tuple[str, ...] = ()
    before: str = ""

    def places(self) -> tuple[tuple[RemoteFile, str], ...]:
        """Return each file with its path below the target directory; the notebook comes first.

        No path is hidden, and no two are the same.
        """
        found = [(self.notebook, f"{self.name}.py")] if self.notebook else []
        taken: set[str] = set()
        plain_first = sorted(self.others, key=lambda file: visible_path(file.name) != file.name)
        for file in plain_first:
            path = visible_path(file.name)
            while path.casefold() in taken:
                folder, _, last = path.rpartition("/")
                path = f"{folder}/_{last}" if folder else f"_{last}"
            taken.add(path.casefold())
            found.append((file, f"{self.name}.files/{path}"))
        return tuple(found)

    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Return what students called a file and its path here, where the two differ."""
        return tuple(
            (file.name, path)
            for file, path in self.places()
            if file != self.notebook and path != f"{self.name}.files/{nfc(file.name)}"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """Where submissions go, and how an assignment's notebook is called when there are several.

    ``force`` fetches again what is here already.
    """

    directory: Path
    notebooks: tuple[str, ...] = ()
    force: bool = False


def plan_collection(
    assignment: Assignment,
    submissions: Sequence[Submission],
    roll: Roll,
    target: Target,
    extensions: Mapping[int, datetime] | None = None,
) -> tuple[Work, ...]:
    """Decide what to fetch, from what Moodle says and what is here; changes nothing.

    ``extensions`` are the later deadlines by user id; without them the lateness of people with
    an extension stays unknown.

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
    here = _Here(target.directory, read_times(target.directory), target.force)
    works = []
    for person in roll.people:
        submission = teams.get(person.group) if assignment.team else own.get(person.user_id)
        work = _work(person, submission, roll, target, here)
        late = _late(work.modified, person, assignment.due, extensions)
        mates = _mates(person, roll) if assignment.team else ()
        team = person.team if assignment.team else ""
        works.append(replace(work, late=late, team=team, mates=mates))
    return tuple(sorted(_apart(works), key=lambda work: work.name.casefold()))


def collect(
    client: MoodleClient, works: Sequence[Work], target: Target, progress: Progress, now: datetime
) -> tuple[Work, ...]:
    """Fetch what the plan has, verified, and tell what became of each.

    What is here and differs is kept in ``.replaced/``. What arrived before a failure is put in its
    place, so that the command can be repeated for the rest.

    Raises:
        Busy: Another command fetches into the same directory.
        MograderError: Nothing arrives.
    """
    wanted = [work for work in works if work.fate is Fate.FETCHED]
    if not wanted and not any(work.fate is Fate.UNCHANGED for work in works):
        clean(target.directory)
        return tuple(works)
    with arrivals(target.directory) as held:
        shelf = Shelf(target.directory, held, now)
        times = dict(read_times(target.directory))
        for work in works:
            _take_over(work, shelf, times)
        done = _fetch(client, wanted, held, shelf, progress)
        for work in wanted:
            if work.modified is not None and done[work.name].fate is Fate.FETCHED:
                times[work.name] = int(work.modified.timestamp())
        finished = tuple(done.get(work.name, work) for work in works)
        shelf.write(METADATA, _json(times))
        _write_late(finished, target.directory, shelf)
    return finished


def _fetch(
    client: MoodleClient,
    wanted: Sequence[Work],
    held: Arrivals,
    shelf: Shelf,
    progress: Progress,
) -> dict[str, Work]:
    """Download all files and put complete work into its place; return the results by name."""
    places = {
        work.name: [
            (file, held.place(f"{work.name}/{path}", file, work.modified))
            for file, path in work.places()
        ]
        for work in wanted
    }
    problem = _download(client, places, progress)
    done: dict[str, Work] = {}
    missing: list[Path] = []
    for work in wanted:
        arrived = places[work.name]
        absent = [place for _, place in arrived if not place.is_file()]
        if absent:
            done[work.name] = replace(work, fate=Fate.FAILED, why=problem)
            missing += [place for _, place in arrived]
        else:
            done[work.name] = put_work(work, (place.read_bytes() for _, place in arrived), shelf)
    held.keep_only(missing)
    return done


def _download(
    client: MoodleClient,
    places: Mapping[str, list[tuple[RemoteFile, Path]]],
    progress: Progress,
) -> str:
    """Bring all files that an interrupted run has not brought; return what went wrong, if anything.

    Raises: :class:`~mograder.core.errors.MograderError` when not one file arrived.
    """
    files = [(file, path) for each in places.values() for file, path in each]
    waiting = [(file, path) for file, path in files if not path.is_file()]
    try:
        client.download_all(waiting, progress)
    except MograderError as error:
        if not any(path.is_file() for _, path in files):
            raise
        return str(error)
    return ""


def _take_over(work: Work, shelf: Shelf, times: dict[str, int]) -> None:
    """Give work that was fetched while the marking was anonymous the name of its student."""
    if not work.before:
        return
    for end in (".py", ".files"):
        shelf.rename(f"{work.before}{end}", f"{work.name}{end}")
    time = times.pop(work.before, None)
    if time is not None:
        times.setdefault(work.name, time)


def read_times(directory: Path, name: str = METADATA) -> Mapping[str, int]:
    """Return when everybody submitted, or another number by name, as an earlier fetch wrote it."""
    try:
        found = json.loads((directory / name).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): int(at) for name, at in found.items() if isinstance(at, int | float)}


@dataclass(frozen=True, slots=True)
class _Here:
    """The results of an earlier run; with ``force`` they are ignored."""

    directory: Path
    times: Mapping[str, int]
    force: bool

    def holds(self, name: str, work: Work) -> bool:
        """Tell whether the work is here under a name, and as new as on Moodle."""
        if self.force or work.modified is None:
            return False
        if self.times.get(name) != int(work.modified.timestamp()):
            return False
        return (self.directory / f"{name}{'.py' if work.notebook else '.files'}").exists()

    def has(self, name: str) -> bool:
        """Tell whether anything of that name is here."""
        return any((self.directory / f"{name}{end}").exists() for end in (".py", ".files"))


def _work(
    person: Person, submission: Submission | None, roll: Roll, target: Target, here: _Here
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
        fate=Fate.FETCHED,
        why="" if notebook else f"no notebook that stands out; look into {name}.files/",
        modified=submission.modified,
        notebook=notebook,
        others=tuple(file for file in submission.files if file != notebook),
    )
    former = f"Participant-{person.formerly}"
    if person.formerly and here.has(former):
        work = replace(work, before=former)
    if here.holds(name, work) or (work.before and here.holds(former, work)):
        return replace(work, fate=Fate.UNCHANGED)
    return work


def _late(
    modified: datetime | None,
    person: Person,
    due: datetime | None,
    extensions: Mapping[int, datetime] | None,
) -> timedelta | None:
    """Return by how much work came after the deadline of its student."""
    if modified is None or due is None or modified <= due:
        return None
    if person.extended and extensions is None:
        return None
    latest = max(due, (extensions or {}).get(person.user_id, due))
    return modified - latest if modified > latest else None


def _mates(person: Person, roll: Roll) -> tuple[str, ...]:
    """Return the names here of the other members of a person's team."""
    if not person.group:
        return ()
    others = (each for each in roll.people if each.group == person.group and each != person)
    return tuple(sorted(local_name(each, roll) for each in others))


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


def put_work(work: Work, contents: Iterable[bytes], shelf: Shelf) -> Work:
    """Put one student's files into their places; what was there and differs is kept.

    ``contents`` are those of :meth:`Work.places`, in its order.
    """
    try:
        for (_, path), content in zip(work.places(), contents, strict=True):
            shelf.put(path, content)
    except (OSError, MograderError) as error:
        return replace(work, fate=Fate.FAILED, why=str(error))
    return work


def _write_late(works: Sequence[Work], directory: Path, shelf: Shelf) -> None:
    """Write the seconds of lateness, as far as they are known."""
    known = read_times(directory, LATE)
    now = {work.name: int(work.late.total_seconds()) for work in works if work.late}
    judged = {work.name for work in works if work.modified is not None}
    late = {name: seconds for name, seconds in known.items() if name not in judged} | now
    if late or known:
        shelf.write(LATE, _json(late))


def _json(numbers: Mapping[str, int]) -> bytes:
    text = json.dumps(dict(sorted(numbers.items())), ensure_ascii=False, indent=2)
    return f"{text}\n".encode()
