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
            folder = CollectedFolder(out, held, now)
            run = _Collecting(source, assignment, out, held, folder, read_numbers(out))
            newer = {Username.valid(one.username) for one in listed if not run.is_current(one)}
            # The times of what may be replaced: a kill must leave none there.
            folder.drop_numbers(METADATA, {name for name in newer if name})
            try:
                found = [run.take(each, progress, force=force) for each in listed]
            finally:  # also after an interruption: of what is in its place, and of the rest
                folder.write_numbers(METADATA, run.times)
                held.keep_only(())
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}.") from error
    return tuple(found)


@dataclass
class _Collecting:
    source: Source
    assignment: RemoteAssignment
    out: Path
    held: Arrivals
    folder: CollectedFolder
    times: dict[str, float]
    is_failing: bool = False
    """Whether the server failed at the last person whose submission was requested."""

    def take(self, one: RemoteSubmission, progress: Progress, *, force: bool) -> Collected:
        """Fetch one submission, unless it is here.

        Raises:
            MograderError: The server failed twice in a row, and does not answer another request.
        """
        at = one.submitted_at
        try:
            name = Username.parse(one.username)
            path = self.out / f"{name}.py"
            if not force and self.is_current(one):
                return Collected(one.username, path, CollectOutcome.UNCHANGED, at, one.late)
            arrived = self.held.path / path.name
            self.source.download(one.file, arrived, progress)
            self.times.pop(name, None)
            fate, kept = self.folder.put(path.name, arrived.read_bytes(), at)
        except MograderError as error:
            if not isinstance(error, _OF_ONE_FILE):
                if self.is_failing:
                    self.source.submissions(self.assignment)  # raises if the server is away
                self.is_failing = not self.is_failing
            return Collected(one.username, None, CollectOutcome.SKIPPED, problem=str(error))
        self.is_failing = False
        if at is not None:  # 0.3.16 sends no time: it is unknown then
            self.times[name] = at.timestamp()
        return Collected(one.username, path, fate, at, one.late, kept)

    def is_current(self, one: RemoteSubmission) -> bool:
        """Return whether the local file is the server's; False without a time of submission."""
        name, at = Username.valid(one.username), one.submitted_at
        if name is None or at is None or self.times.get(name) != at.timestamp():
            return False
        return (self.out / f"{name}.py").is_file()


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
