"""Submissions from an assignment server (B153), and pages of feedback to send there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from mograder.clients.assignment_server.protocol import RemoteSubmission
from mograder.clients.course_server import RemoteAssignment, RemoteFile
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.names import Username
from mograder.core.tasks import Progress
from mograder.exchange.collecting import Arrivals, CollectedFolder, CollectOutcome, arrivals
from mograder.store.submissions.submitted_files import METADATA, read_numbers

_PAGE = ".html"
_ONE_UPLOAD = 20_000_000
"""Bytes of one upload."""

_OF_ONE_FILE = (NotFound, InvalidInput, Conflict)
"""Failures that say nothing about the next file."""


class Source(Protocol):
    """A server that lists and serves submissions to an instructor."""

    def submissions(self, assignment: RemoteAssignment) -> tuple[RemoteSubmission, ...]: ...

    def download(self, file: RemoteFile, to: Path, progress: Progress) -> None: ...


@dataclass(frozen=True, slots=True)
class Collected:
    """One person's submission in its place; ``kept`` is the new path of the one it replaced.

    ``problem`` is the reason why there is none.
    """

    username: str
    path: Path | None
    change: CollectOutcome
    submitted_at: datetime | None = None
    late: bool = False
    kept: Path | None = None
    problem: str | None = None


def collect(
    source: Source,
    assignment: RemoteAssignment,
    out: Path,
    progress: Progress,
    now: datetime,
    *,
    force: bool = False,
) -> tuple[Collected, ...]:
    """Fetch the latest submission of each person to ``<out>/<user>.py``.

    A file that is as new as the server's is left alone, unless ``force`` is given. If a submission
    cannot be fetched, its result has a ``problem`` and the others are still fetched.

    Raises:
        Busy: Another command fetches into the same directory.
        MograderError: The list cannot be fetched, nothing can be written, or the server has gone
            away meanwhile; the files that were fetched stay.
    """
    listed = source.submissions(assignment)
    try:
        with arrivals(out) as held:
            held.keep_only(())
            collecting = _Collecting(source, assignment, out, held, now)
            collecting.drop_times(listed)
            try:
                found = [collecting.take(each, progress, force=force) for each in listed]
            finally:  # also after an interruption: of what is in its place, and of the rest
                collecting.write_times()
                held.keep_only(())
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}.") from error
    return tuple(found)


class _Collecting:
    """One run: the directory of submissions, and the times of submission."""

    def __init__(
        self,
        source: Source,
        assignment: RemoteAssignment,
        out: Path,
        held: Arrivals,
        now: datetime,
    ) -> None:
        self._source = source
        self._assignment = assignment
        self._out = out
        self._held = held
        self._folder = CollectedFolder(out, held, now)
        self._times = read_numbers(out)
        self._is_failing = False
        """Whether the server failed at the last person whose submission was requested."""

    def drop_times(self, listed: Sequence[RemoteSubmission]) -> None:
        """Remove from the file the times of what may be replaced: a kill must leave none there."""
        newer = {
            name
            for one in listed
            if (name := Username.valid(one.username))
            and not self._is_current(name, one.submitted_at, self._out / f"{name}.py")
        }
        self._folder.drop_numbers(METADATA, newer)

    def take(self, one: RemoteSubmission, progress: Progress, *, force: bool) -> Collected:
        """Fetch one submission, unless it is here.

        Raises:
            MograderError: The server failed twice in a row, and does not answer another request.
        """
        at = one.submitted_at
        try:
            name = Username.parse(one.username)
            path = self._out / f"{name}.py"
            if not force and self._is_current(name, at, path):
                return Collected(one.username, path, CollectOutcome.UNCHANGED, at, one.late)
            arrived = self._held.path / path.name
            self._source.download(one.file, arrived, progress)
            self._times.pop(name, None)
            placed = self._folder.put(path.name, arrived.read_bytes(), at)
        except MograderError as error:
            if not isinstance(error, _OF_ONE_FILE):
                if self._is_failing:
                    self._source.submissions(self._assignment)  # raises if the server is away
                self._is_failing = not self._is_failing
            return Collected(one.username, None, CollectOutcome.SKIPPED, problem=str(error))
        self._is_failing = False
        if at is not None:  # 0.3.16 sends no time: it is unknown then
            self._times[name] = at.timestamp()
        return Collected(one.username, path, placed.fate, at, one.late, placed.kept)

    def write_times(self) -> None:
        self._folder.write_numbers(METADATA, self._times)

    def _is_current(self, name: str, at: datetime | None, path: Path) -> bool:
        """Return whether the local file is the server's; False without a time of submission."""
        return at is not None and path.is_file() and self._times.get(name) == at.timestamp()


def find_pages(directory: Path) -> tuple[Path, ...]:
    """Return the feedback pages in a directory: ``<user>.html``, one for each person.

    Raises:
        NotFound: There is no such directory, or no page in it.
        InvalidInput: The name of a page is not a valid username.
    """
    if not directory.is_dir():
        raise NotFound(f"There is no directory {directory}.", hint="Give it by --feedback-dir.")
    pages = sorted(
        path
        for path in directory.iterdir()
        if path.suffix == _PAGE and path.is_file() and not path.name.startswith(".")
    )
    if not pages:
        raise NotFound(f"{directory} holds no feedback pages.", hint="They are called USER.html.")
    for page in pages:
        Username.parse(page.stem)
    return tuple(pages)


def batches(pages: Sequence[Path], most: int = _ONE_UPLOAD) -> tuple[tuple[Path, ...], ...]:
    """Split pages into uploads of at most ``most`` bytes, or one page: web servers limit bodies."""
    parts: list[list[Path]] = []
    left = 0
    for page in pages:
        size = page.stat().st_size
        if not parts or size > left:
            parts.append([])
            left = most
        parts[-1].append(page)
        left -= size
    return tuple(map(tuple, parts))
