"""Students' work on Moodle: its notebooks, the local places of its files, and that of one zip.

The zip has all submissions, downloaded by hand from sites without web services. It identifies
people by their number for this assignment; the grading worksheet and the gradebook have the person
of each number (compatibility-0.3.16.md 9).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from mograder.clients.course_server import RemoteFile
from mograder.clients.moodle.grading_files import FILE, Submitted
from mograder.clients.moodle.records import Person
from mograder.core.errors import MograderError
from mograder.core.names import nfc
from mograder.exchange.collecting import CollectedFolder, CollectOutcome, arrivals
from mograder.exchange.moodle.identities import Participants, participant_name
from mograder.exchange.unpacking import unpack, visible_path
from mograder.notebook import MAX_NOTEBOOK
from mograder.store.submissions.submitted_files import METADATA

LATE = ".fetch_late.json"
"""File of seconds after the deadline, extensions included, by username of late students."""


@dataclass(frozen=True, slots=True)
class Work:
    """One student's work: ``name`` is the local name of its file; ``why`` explains a skip.

    ``late`` is the time after the deadline, None if it was on time or that is unknown. ``mates``
    are the local names of those who submitted it together, ``team`` their group's name. ``before``
    is the name that it had while the marking was anonymous or the username not known, else empty.
    ``from_zip``: the notebook was taken out of the :attr:`archive`.
    """

    name: str
    full_name: str
    fate: CollectOutcome
    why: str = ""
    modified: datetime | None = None
    notebook: RemoteFile | None = None
    others: tuple[RemoteFile, ...] = ()
    late: timedelta | None = None
    team: str = ""
    mates: tuple[str, ...] = ()
    before: str = ""
    from_zip: bool = False

    @property
    def archive(self) -> RemoteFile | None:
        """The zip that may hold the notebook: the only one, in work without any notebook."""
        zips = [file for file in self.others if _is_visible(PurePosixPath(file.name), ".zip")]
        loose = any(_is_visible(PurePosixPath(file.name), ".py") for file in self.others)
        return zips[0] if len(zips) == 1 and not (self.notebook or loose) else None

    @property
    def has_notebook(self) -> bool:
        return self.notebook is not None or self.from_zip

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
        """Return the students' file names and the local paths, if the two differ."""
        return tuple(
            (file.name, path)
            for file, path in self.places()
            if file != self.notebook and path != f"{self.name}.files/{nfc(file.name)}"
        )


@dataclass(frozen=True, slots=True)
class Target:
    """The directory for submissions, and the names of an assignment's notebook among several files.

    ``force`` fetches local files again.
    """

    directory: Path
    notebooks: tuple[str, ...] = ()
    force: bool = False


def choose_notebook(files: Sequence[RemoteFile], expected: Sequence[str]) -> RemoteFile | None:
    """Return the notebook in a submission: the file with an expected name, or the only one.

    Files whose names begin with a dot are none: systems and editors leave them there.
    """
    notebooks = [file for file in files if _is_visible(PurePosixPath(file.name), ".py")]
    named = [file for file in notebooks if PurePosixPath(file.name).name in expected]
    if len(named) == 1:
        return named[0]
    return notebooks[0] if len(notebooks) == 1 else None


def _is_visible(path: PurePosixPath, end: str) -> bool:
    return path.suffix.lower() == end and not path.name.startswith(".")


def put_work(work: Work, contents: Iterable[bytes], folder: CollectedFolder) -> Work:
    """Put one student's files into their places; existing files that differ are kept.

    ``contents`` are those of :meth:`Work.places`, in its order. An earlier notebook does not stay
    where it would be graded if none stands out now. The only notebook in a zip is taken out of it.
    """
    archive = work.archive
    try:
        if work.notebook is None and archive is None:
            folder.set_aside(f"{work.name}.py")
        for (file, path), content in zip(work.places(), contents, strict=True):
            folder.put(path, content)
            if file == archive and (notebook := _only_notebook(content)) is not None:
                folder.put(f"{work.name}.py", notebook)
                work = replace(work, why="its notebook was in a zip", from_zip=True)
            elif file == archive:
                folder.set_aside(f"{work.name}.py")
    except (OSError, MograderError) as error:
        return replace(work, fate=CollectOutcome.FAILED, why=str(error))
    return work


def _only_notebook(archive: bytes) -> bytes | None:
    """Return the only notebook in a zip; None for none or several, or if it cannot be unpacked."""
    with tempfile.TemporaryDirectory(prefix="mograder-zip-") as made, suppress(MograderError):
        packed, into = Path(made) / "work.zip", Path(made) / "files"
        packed.write_bytes(archive)
        found = [into / each for each in unpack(packed, into)]
        notebooks = [each for each in found if _is_visible(PurePosixPath(each), ".py")]
        if len(notebooks) == 1 and notebooks[0].stat().st_size <= MAX_NOTEBOOK:
            return notebooks[0].read_bytes()
    return None


def plan_zip(
    submitted: Sequence[Submitted], participants: Participants, target: Target
) -> tuple[Work, ...]:
    """Plan the placement of a zip's files by person; changes nothing.

    ``participants`` are those of the worksheet, by their number; a person who is not among them or
    has another name there, or whose username is unknown, or could be another person's as well, is
    called "Participant-N". A team's work is that of each member.
    """
    people, usernames = participants.people, participants.usernames
    shared = Counter(name.casefold() for name in usernames.values())
    works = []
    for number, named in {file.participant: file.person for file in submitted}.items():
        own = (file for file in submitted if (file.participant, file.plugin) == (number, FILE))
        files = tuple(map(_listed, own))
        notebook = choose_notebook(files, target.notebooks)
        why = "" if notebook else "no notebook that stands out; look into {}.files/"
        why = why if files else "handed in without a file"
        for person in _owners(people, number, named):
            username = usernames.get(person.user_id)
            doubled = username is not None and shared[username.casefold()] > 1
            name = participant_name(person.participant)
            if username and not doubled:
                name = username
            doubt = f"two people in the worksheet may be {username}" if doubled else ""
            if not person.user_id and (people or not number):
                doubt = f"“{named}” is nobody in the worksheet: a team?"
            works.append(
                Work(
                    name=name,
                    full_name=person.full_name,
                    fate=CollectOutcome.FETCHED if files else CollectOutcome.SKIPPED,
                    why=why.format(name) or doubt,
                    notebook=notebook,
                    others=tuple(file for file in files if file != notebook),
                    team=person.team and named,
                )
            )
    return tuple(sorted(works, key=lambda work: work.name.casefold()))


def _owners(people: Sequence[Person], number: int, named: str) -> Sequence[Person]:
    """Return whose the files with a number and a name are; a person without an id if not known.

    In the zip of an assignment for teams, both are those of the team; in older versions the name is
    "Team-Full name" there, and the number the person's.
    """
    one = _words(named)
    team = [each for each in people if each.team and _words(each.team) == one]
    alone = []
    for each in people:
        if each.participant != number:  # before the comparison of names, which is slow
            continue
        other = _words(each.full_name)
        # No full name may be shown: an address, or "Participant 8".
        short = len(other) < 2 or each.full_name.endswith(str(number))
        # Some languages write the same name in another order, and without a space.
        alike = sorted("".join(one)) == sorted("".join(other)) or one <= other or other <= one
        if short or alike:
            alone.append(each)
    return team or alone or [Person(0, "", participant=number)]


def _words(name: str) -> frozenset[str]:
    """Return a name's words without punctuation, of which Moodle leaves out some in a zip."""
    text = nfc(name).casefold().replace("_", " ").replace("-", " ")
    return frozenset("".join(each for each in text if each.isalnum() or each == " ").split())


def unpack_zip(
    submitted: Sequence[Submitted], works: Sequence[Work], target: Target, now: datetime
) -> tuple[Work, ...]:
    """Put the planned files into their places, and return the outcome of each work.

    A zip has no times of submission: those of an earlier fetch do not stay for files that changed.

    Raises:
        Busy: Another command fetches into the same directory.
    """
    contents = {_listed(file): file.content for file in submitted}
    with arrivals(target.directory) as held:
        folder = CollectedFolder(target.directory, held, now)
        fetched = [work for work in works if work.fate is CollectOutcome.FETCHED]
        newer = {work.name for work in fetched if not _is_here(work, contents, target.directory)}
        for name in (METADATA, LATE):
            folder.drop_numbers(name, newer)
        done = tuple(
            put_work(work, (contents[file] for file, _ in work.places()), folder)
            if work.fate is CollectOutcome.FETCHED
            else work
            for work in works
        )
        held.keep_only(())
    return done


def _is_here(work: Work, contents: Mapping[RemoteFile, bytes], directory: Path) -> bool:
    notebook, archive = directory / f"{work.name}.py", work.archive
    if work.notebook is None and notebook.exists():
        zipped = None if archive is None else _only_notebook(contents[archive])
        if zipped != notebook.read_bytes():
            return False
    paths = [(directory / path, contents[file]) for file, path in work.places()]
    return all(path.is_file() and path.read_bytes() == content for path, content in paths)


def _listed(file: Submitted) -> RemoteFile:
    """Return the file as a server would list it; the number distinguishes two students' files."""
    return RemoteFile(str(file.path), str(file.participant), len(file.content))
