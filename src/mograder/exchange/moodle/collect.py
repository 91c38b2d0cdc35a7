"""``mograder moodle fetch-submissions``: fetch submissions from Moodle, one notebook a student.

The plan has the submissions to fetch, and the reasons why others are not. Fetching downloads
everything first and then puts each file into its place (:mod:`mograder.exchange.collecting`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.records import Assignment, Person, Submission, SubmissionState
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.tasks import Progress
from mograder.exchange.collecting import Arrivals, CollectedFolder, CollectOutcome, arrivals, clean
from mograder.exchange.moodle.identities import (
    Participants,
    names_without_username,
    participant_name,
)
from mograder.exchange.moodle.submitted_work import LATE, Target, Work, choose_notebook, put_work
from mograder.store.submissions.submitted_files import METADATA, read_numbers

_MOST_FILES = 100


def plan_collection(
    assignment: Assignment,
    submissions: Sequence[Submission],
    participants: Participants,
    target: Target,
    extensions: Mapping[int, datetime] | None = None,
) -> tuple[Work, ...]:
    """Decide what to fetch, from Moodle's data and the local files; changes nothing.

    ``extensions`` are the later deadlines by user id; without them the lateness of people with an
    extension stays unknown.

    Raises:
        InvalidInput: The assignment takes no files at all.
    """
    if not assignment.accepts.files:
        raise InvalidInput(
            f"{assignment.name} takes no files on Moodle, so there are no notebooks to fetch.",
            hint="Switch “File submissions” on in the assignment's settings, or read the answers "
            "on Moodle.",
        )
    own = {each.user_id: each for each in submissions if each.user_id}
    teams = {each.group_id: each for each in submissions if not each.user_id}
    here = _Here(target.directory, read_numbers(target.directory), target.force)
    works = []
    for person in participants.people:
        submission = teams.get(person.group) if assignment.team else own.get(person.user_id)
        work = _work(person, submission, participants, target, here)
        late = _late(work.modified, person, assignment.due, extensions)
        work = replace(work, late=late)
        if assignment.team:
            others = (each for each in participants.people if each.group == person.group != 0)
            mates = (participants.local_name(each) for each in others if each != person)
            work = replace(work, team=person.team, mates=tuple(sorted(mates)))
        works.append(work)
    counted = Counter(work.name.casefold() for work in works)  # two may share an email address
    why = "another student has the same name here: give each a username by --map"
    alone = [
        replace(work, fate=CollectOutcome.SKIPPED, why=why, before="")
        if counted[work.name.casefold()] > 1
        else work
        for work in works
    ]
    return tuple(sorted(alone, key=lambda work: work.name.casefold()))


def collect(
    client: MoodleClient, works: Sequence[Work], target: Target, progress: Progress, now: datetime
) -> tuple[Work, ...]:
    """Fetch the planned submissions, verified, and return the outcome of each.

    Local files that differ are kept in ``.replaced/``. Files that arrived before a failure are put
    in their places, so that the command can be repeated for the rest.

    Raises:
        Busy: Another command fetches into the same directory.
        MograderError: No file arrived.
    """
    wanted = [work for work in works if work.fate is CollectOutcome.FETCHED]
    if not wanted and not any(work.fate is CollectOutcome.UNCHANGED for work in works):
        clean(target.directory)
        return tuple(works)
    with arrivals(target.directory) as held:
        folder = CollectedFolder(target.directory, held, now)
        times = read_numbers(target.directory)
        done: dict[str, Work] = {}
        try:
            for work in works:
                _take_over(work, folder, times)
            for work in _fetch(client, wanted, held, folder, progress, times):
                done[work.name] = work
        finally:  # also of what is in its place before a failure or an interruption
            times |= {
                name: int(work.modified.timestamp())
                for name, work in done.items()
                if work.modified is not None and work.fate is CollectOutcome.FETCHED
            }
            if times:
                folder.write_numbers(METADATA, times)
        finished = tuple(done.get(work.name, work) for work in works)
        known = read_numbers(target.directory, LATE)
        now_late = {each.name: int(each.late.total_seconds()) for each in finished if each.late}
        judged = {each.name for each in finished if each.modified is not None}
        judged |= {each.before for each in finished}
        late = {name: seconds for name, seconds in known.items() if name not in judged} | now_late
        if late or known:
            folder.write_numbers(LATE, late)
    return finished


def _fetch(
    client: MoodleClient,
    wanted: Sequence[Work],
    held: Arrivals,
    folder: CollectedFolder,
    progress: Progress,
    times: dict[str, float],
) -> Iterator[Work]:
    """Download all files and put complete work into its place; yield the outcome of each.

    Work that changes has no time in ``times`` and in the file of times from then on, so that none
    has the time of earlier work, however the run ends.
    """
    places = {
        work.name: [
            (file, held.place(f"{work.name}/{path}", file, work.modified))
            for file, path in work.places()
        ]
        for work in wanted
    }
    missing, problem = _download(client, places, progress)
    absent: list[Path] = []
    whole = {name for name, each in places.items() if all(place.is_file() for _, place in each)}
    for name in (METADATA, LATE):
        folder.drop_numbers(name, whole)
    for work in wanted:
        arrived = [place for _, place in places[work.name]]
        if work.name in whole:
            times.pop(work.name, None)
            yield put_work(work, (place.read_bytes() for place in arrived), folder)
        else:
            own = (str(missing[place]) for place in arrived if place in missing)
            yield replace(work, fate=CollectOutcome.FAILED, why=next(own, problem))
            absent += arrived
    held.keep_only(absent)


def _download(
    client: MoodleClient,
    places: Mapping[str, list[tuple[RemoteFile, Path]]],
    progress: Progress,
) -> tuple[Mapping[Path, MograderError], str]:
    """Download the files that an interrupted run did not.

    Returns why single files are missing, and the message of a failure that ended it, or "".

    Raises:
        MograderError: Not one file arrived.
    """
    files = [(file, path) for each in places.values() for file, path in each]
    waiting = [(file, path) for file, path in files if not path.is_file()]
    missing: Mapping[Path, MograderError] = {}
    ended: MograderError | None = None
    try:
        missing = client.download_all(waiting, progress)
    except MograderError as error:
        ended = error
    failed = ended or next(iter(missing.values()), None)
    if failed is not None and not any(path.is_file() for _, path in files):
        raise failed
    return missing, "" if ended is None else str(ended)


def _take_over(work: Work, folder: CollectedFolder, times: dict[str, float]) -> None:
    """Rename work that was fetched under another name to its student's present one."""
    if not work.before:
        return
    for end in (".py", ".files"):
        folder.rename(f"{work.before}{end}", f"{work.name}{end}")
    time = times.pop(work.before, None)
    if time is not None:
        times.setdefault(work.name, time)


@dataclass(frozen=True, slots=True)
class _Here:
    """The results of an earlier run; with ``force`` they are ignored."""

    directory: Path
    times: Mapping[str, float]
    force: bool

    def holds(self, name: str, work: Work) -> bool:
        """Return whether the work is here under a name, and as new as on Moodle."""
        if self.force or work.modified is None:
            return False
        if int(self.times.get(name, -1)) != int(work.modified.timestamp()):
            return False
        return (self.directory / f"{name}{'.py' if work.notebook else '.files'}").exists()

    def has(self, name: str) -> bool:
        paths = [self.directory / f"{name}{end}" for end in (".py", ".files")]
        return any(path.exists() and not path.is_symlink() for path in paths)


def _work(
    person: Person,
    submission: Submission | None,
    participants: Participants,
    target: Target,
    here: _Here,
) -> Work:
    name = participants.local_name(person)
    work = Work(name, person.full_name, CollectOutcome.SKIPPED)
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
        fate=CollectOutcome.FETCHED,
        why="" if notebook else f"no notebook that stands out; look into {name}.files/",
        modified=submission.modified,
        notebook=notebook,
        others=tuple(file for file in submission.files if file != notebook),
    )
    work = replace(work, before=_former(person, participants, here))
    if here.holds(name, work) or (work.before and here.holds(work.before, work)):
        # Without a notebook of its own, work has one here only if that was in a zip.
        has_one = any((here.directory / f"{n}.py").is_file() for n in (name, work.before))
        return replace(work, fate=CollectOutcome.UNCHANGED, why="" if has_one else work.why)
    return work


def _former(person: Person, participants: Participants, here: _Here) -> str:
    """Return the earlier name of a person's files in this directory, "" if there is none.

    It is from an anonymous marking, or from before the username was known.
    """
    if person.participant:
        return ""
    names = list(names_without_username(person))
    if person.formerly:
        names.insert(0, participant_name(person.formerly))
    present = participants.local_name(person)
    earlier = [name for name in names if name != present and here.has(name)]
    if not earlier:
        return ""
    anothers = {
        name
        for each in participants.people
        if each.user_id != person.user_id
        for name in (participants.local_name(each), *names_without_username(each))
    }
    return next((name for name in earlier if name not in anothers), "")


def _late(
    modified: datetime | None,
    person: Person,
    due: datetime | None,
    extensions: Mapping[int, datetime] | None,
) -> timedelta | None:
    """Return how long after the student's deadline work was submitted, None if it was not late."""
    if modified is None or due is None or modified <= due:
        return None
    if person.extended and extensions is None:
        return None
    latest = max(due, (extensions or {}).get(person.user_id, due))
    return modified - latest if modified > latest else None
