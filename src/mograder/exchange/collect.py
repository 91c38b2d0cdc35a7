"""Collecting what was handed in: the latest of each person, with its time (B153).

A newer submission takes the place of an older one, which is kept under its own time as servers
keep them; ``.fetch_metadata.json`` says when each came in, which is what penalties go by.
"""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.names import Username
from mograder.core.shared import Progress
from mograder.exchange.arrivals import arrivals
from mograder.store.beneath import Beneath, NewFile
from mograder.transports.https_answers import RemoteSubmission
from mograder.transports.interface import RemoteAssignment, RemoteFile

METADATA = ".fetch_metadata.json"
_PRIVATE = 0o600
_SAME_SECOND = 1000
_TIMES = TypeAdapter(dict[str, float])


class Source(Protocol):
    """A server that gives an instructor what was handed in."""

    def submissions(self, assignment: RemoteAssignment) -> tuple[RemoteSubmission, ...]: ...

    def download(self, file: RemoteFile, to: Path, progress: Progress) -> None: ...


class Fate(StrEnum):
    """What became of one person's submission here."""

    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Collected:
    """One person's submission in its place; ``kept`` is where the one before it is now."""

    username: str
    path: Path
    fate: Fate
    submitted_at: datetime | None = None
    late: bool = False
    kept: Path | None = None
    problem: str = ""


def collect(
    source: Source,
    assignment: RemoteAssignment,
    out: Path,
    progress: Progress,
    *,
    force: bool = False,
) -> tuple[Collected, ...]:
    """Bring everybody's latest submission to ``<out>/<user>.py``.

    What is there already and not older is left alone, unless ``force`` asks for it again. A
    submission that cannot be brought does not keep the others back: it is told as a problem.

    Raises:
        Busy: Another command fetches into the same directory.
        MograderError: The list cannot be had, or nothing can be written.
    """
    listed = source.submissions(assignment)
    try:
        with arrivals(out) as held:
            held.keep_only(())
            try:
                shelf = _Shelf(out, held.path)
                found = [shelf.take(source, each, progress, force=force) for each in listed]
                shelf.remember()
            finally:
                held.keep_only(())
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written: {error.strerror}.") from error
    return tuple(found)


def problems(collected: Sequence[Collected]) -> tuple[Collected, ...]:
    """Return those that could not be brought."""
    return tuple(each for each in collected if each.problem)


class _Shelf:
    """The directory of submissions, and when each of them was handed in."""

    def __init__(self, out: Path, scratch: Path) -> None:
        self._out = out
        self._scratch = scratch
        self._beneath = Beneath(out, staging=scratch)
        self._times = self._read_times()

    def take(
        self, source: Source, one: RemoteSubmission, progress: Progress, *, force: bool
    ) -> Collected:
        """Bring one submission, unless it is here."""
        try:
            name = Username.parse(one.username)
            path = self._out / f"{name}.py"
            if not force and self._is_current(name, one, path):
                return self._told(one, path, Fate.UNCHANGED)
            arrived = self._scratch / f"{name}.py"
            source.download(one.file, arrived, progress)
            return self._put(name, one, arrived, path)
        except MograderError as error:
            path = self._out / "?"
            return Collected(one.username, path, Fate.SKIPPED, problem=str(error))

    def remember(self) -> None:
        """Write down when each was handed in, as 0.3.16 does: unix seconds by name."""
        text = json.dumps(self._times, indent=2, sort_keys=True)
        self._beneath.write(METADATA, text.encode(), NewFile(mode=_PRIVATE))

    def _put(self, name: str, one: RemoteSubmission, arrived: Path, path: Path) -> Collected:
        there = path.is_symlink() or path.exists()
        if there and path.is_file() and filecmp.cmp(arrived, path, shallow=False):
            self._note(name, one)
            return self._told(one, path, Fate.UNCHANGED)
        how = NewFile(mode=_PRIVATE, modified_ns=_nanoseconds(one.submitted_at))
        kept = None
        with arrived.open("rb") as stream:
            # A link leads to a submission of the history, which keeps its own name.
            if there and not path.is_symlink():
                old = self._beneath.replace_keeping(path.name, self._names(name, path), stream, how)
                kept = self._out / old if old else None
            else:
                self._beneath.copy(path.name, stream, how)
        self._note(name, one)
        fate = Fate.UPDATED if there else Fate.NEW
        return Collected(one.username, path, fate, one.submitted_at, one.late, kept)

    def _is_current(self, name: str, one: RemoteSubmission, path: Path) -> bool:
        """Whether the file here is the one that the server has; without times we must look."""
        if not path.is_file() or one.submitted_at is None:
            return False
        return self._times.get(name) == _seconds(one.submitted_at)

    def _note(self, name: str, one: RemoteSubmission) -> None:
        """Remember the server's time; where it tells none, the file's own has to do."""
        if one.submitted_at is None:
            self._times.pop(name, None)
        else:
            self._times[name] = _seconds(one.submitted_at)

    def _told(self, one: RemoteSubmission, path: Path, fate: Fate) -> Collected:
        return Collected(one.username, path, fate, one.submitted_at, one.late)

    def _names(self, name: str, path: Path) -> Iterator[str]:
        """The names that the submission before may have: its own time, as servers keep them."""
        known = self._times.get(name)
        seconds = known if known is not None else path.lstat().st_mtime
        stem = f"{name}_{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}"
        yield f"{stem}.py"
        for number in range(1, _SAME_SECOND):
            yield f"{stem}-{number}.py"

    def _read_times(self) -> dict[str, float]:
        with suppress(MograderError, ValidationError):
            return _TIMES.validate_json(self._beneath.read(METADATA, 10_000_000))
        return {}


def _seconds(moment: datetime) -> float:
    return moment.timestamp()


def _nanoseconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1e9)
