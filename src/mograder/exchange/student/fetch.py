"""Fetch an assignment: its files are installed together, and no student's edits are lost (B149).

Everything is downloaded and unpacked beside the course first. Then each file is installed: one that
a student has edited is kept under another name, one that is as it was fetched is replaced, and one
that is the same is not touched. Other line ends alone are no edit.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.clients.course_server import RemoteAssignment, RemoteFile, Transport
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound, TooLarge
from mograder.core.files.windows_files import digests_of_file, reachable, same_file
from mograder.core.portable_names import fold
from mograder.core.tasks import Progress
from mograder.exchange.assignment_lookup import folder_of
from mograder.exchange.unpacking import is_hidden, safe_paths, unpack
from mograder.store.copies.student_folder import is_notebook
from mograder.store.filesystem.files import remove_tree
from mograder.store.filesystem.own_dir import folder_of_files
from mograder.store.filesystem.untrusted_dir import NewFile

OURS = ".mograder"
"""The program's own directory in a student's folder."""

_MOST_FILES = 500
_SAME_SECOND = 1000
_RECORD = ".fetched.json"


class Change(StrEnum):
    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """One file in its place; ``kept`` is the new path of an edited file that it replaced, if any.

    ``archive`` is the name of the zip that had it, empty for a file that the server lists itself.
    """

    name: str
    path: Path
    change: Change
    kept: Path | None = None
    archive: str = ""


class _Record(BaseModel):
    """SHA-256 of each file as it was fetched, to distinguish an edit from an old version."""

    model_config = ConfigDict(extra="ignore")

    files: dict[str, str] = {}


def fetch(
    transport: Transport,
    assignment: RemoteAssignment,
    out: Path,
    progress: Progress,
    now: datetime,
    *,
    own_folder: bool = False,
) -> tuple[FetchedFile, ...]:
    """Fetch an assignment's files into a directory, unpack zips, and return each file's outcome.

    The released notebooks are kept at ``<out>/.mograder/release/<assignment>/`` too, for `mograder
    validate` to compare with. After a failure, the next run continues with the files that arrived.
    With ``own_folder``, ``out`` has only this assignment, and takes the place of a folder that a
    zip has around a notebook and all of its files.

    Raises:
        MograderError: The server refuses or fails, or a name is not safe to write; nothing has
            changed then.
    """
    wanted = _wanted(assignment)
    if not wanted:
        raise NotFound(f"{assignment.name} has no files to fetch.", hint="Ask your teacher.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        ours = reachable(out / OURS, whole_tree=True)
        fetching = ours / "fetching" / folder_of(assignment)
        arrived = {name: fetching / PurePosixPath(name) for name in wanted}
        for name, file in wanted.items():
            target = arrived[name]
            target.parent.mkdir(parents=True, exist_ok=True)
            if not (file.digest and target.is_file() and _sha256(target) == file.digest.lower()):
                transport.download(file, target, progress)
        with _unpacked(arrived, ours, own_folder) as found:
            place = _Place(out, assignment, now)
            # Files that the server lists come first, then those from zips.
            ordered = sorted(found.items(), key=lambda each: (each[1][1], each[0]))
            fetched = tuple(place.install(name, *source) for name, source in ordered)
            place.remember()
        remove_tree(fetching)
    except OSError as error:
        raise InvalidInput(
            f"{error.filename or out} cannot be written: {error.strerror}."
        ) from error
    return fetched


def put_in_place(
    assignment: RemoteAssignment, target: Path, text: bytes, now: datetime
) -> FetchedFile:
    """Put a text of the student's into the place of a fetched file; an edited one is kept.

    Raises:
        MograderError: It cannot be written; nothing has changed then.
    """
    with _written(target, text) as source:
        return _Place(target.parent, assignment, now).replace(target.name, source)


def keep_beside(assignment: RemoteAssignment, target: Path, text: bytes, now: datetime) -> Path:
    """Write a text beside a file, under the name that an edited one is kept by; return its path.

    Raises:
        MograderError: It cannot be written.
    """
    with _written(target, text) as source:
        return _Place(target.parent, assignment, now).keep(target.name, source)


@contextmanager
def _written(target: Path, text: bytes) -> Iterator[Path]:
    ours = target.parent / OURS
    try:
        ours.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix="taking-", dir=ours, ignore_cleanup_errors=True
        ) as scratch:
            source = Path(scratch) / target.name
            source.write_bytes(text)
            yield source
    except OSError as error:
        raise InvalidInput(
            f"{error.filename or target} cannot be written: {error.strerror}."
        ) from error


def _wanted(assignment: RemoteAssignment) -> dict[str, RemoteFile]:
    """Return the files to fetch by their local path; hidden ones are left out."""
    local = safe_paths(file.name for file in assignment.files)
    if len(local) < len(assignment.files):
        raise InvalidInput("The server names one file twice.", hint="Tell your teacher.")
    files = {local[file.name]: file for file in assignment.files if not is_hidden(file.name)}
    if len(files) > _MOST_FILES:
        raise TooLarge(f"{assignment.name} has more than {_MOST_FILES} files.")
    return files


@contextmanager
def _unpacked(
    arrived: dict[str, Path], workshop: Path, own_folder: bool
) -> Iterator[dict[str, tuple[Path, str]]]:
    """Yield every downloaded file, and the name of its zip or "", by its local path.

    A file that the server lists wins over one in a zip.
    """
    found = {name: (path, "") for name, path in arrived.items()}
    taken = set(map(fold, found))
    # On Windows another program, such as a virus scanner, may hold a file there for a moment.
    with tempfile.TemporaryDirectory(
        prefix="unpacking-", dir=workshop, ignore_cleanup_errors=True
    ) as scratch:
        for number, name in enumerate(name for name in arrived if name.lower().endswith(".zip")):
            into = Path(scratch) / str(number)
            into.mkdir()
            inside = unpack(arrived[name], into)
            if own_folder and _is_packed_folder(inside, into, arrived):
                into /= inside[0].partition("/")[0]
                inside = tuple(each.partition("/")[2] for each in inside)
            new = [inner for inner in inside if fold(inner) not in taken]
            taken.update(map(fold, new))
            found |= {inner: (into / PurePosixPath(inner), name) for inner in new}
        yield found


def _is_packed_folder(inside: Sequence[str], into: Path, arrived: dict[str, Path]) -> bool:
    """Return whether a zip has one folder only, with the notebooks that the server lists, if any.

    Examples that are packed beside a notebook stay in their folder.
    """
    tops = {each.partition("/")[0] for each in inside}
    notebooks = {path.name for path in into.glob("*/*.py") if is_notebook(path)}
    listed = {name for name, path in arrived.items() if name.endswith(".py") and is_notebook(path)}
    return len(tops) == 1 and bool(notebooks) and listed <= notebooks


class _Place:
    """The directory that files are fetched into, and the record of its files."""

    def __init__(self, out: Path, assignment: RemoteAssignment, now: datetime) -> None:
        self._out = out
        self._stamp = f"{now.astimezone():%Y%m%dT%H%M%S}"
        self._beneath = folder_of_files(out, out / OURS / "staging")
        self._release = f"{OURS}/release/{folder_of(assignment)}"
        self._beneath.make_directory(self._release, mode=0o755)
        self._record = _Record()
        with suppress(MograderError, ValidationError):
            data = self._beneath.read(f"{self._release}/{_RECORD}", 1_000_000)
            self._record = _Record.model_validate_json(data)

    def install(self, name: str, source: Path, archive: str) -> FetchedFile:
        """Install one file, keep an edited one, and keep a copy of the release."""
        placed = self.replace(name, source, archive)
        self._record.files[name] = _sha256(source)
        if name.endswith(".py") and "/" not in name:
            with source.open("rb") as stream:
                self._beneath.copy(f"{self._release}/{name}", stream)
        return placed

    def replace(self, name: str, source: Path, archive: str = "") -> FetchedFile:
        parent, _, last = name.rpartition("/")
        if parent:
            self._beneath.make_directory(parent, mode=0o755)
        place, kept = self._out / PurePosixPath(name), None
        target = reachable(place)
        there = target.is_symlink() or target.exists()
        if there and target.is_file() and same_file(source, target):
            return FetchedFile(name, place, Change.UNCHANGED, None, archive)
        with source.open("rb") as stream:
            if there and not self._is_as_fetched(name, target):
                kept = self._beneath.replace_keeping(name, self._names(last), stream)
            else:
                self._beneath.copy(name, stream)
        aside = self._out / PurePosixPath(parent, kept) if kept else None
        return FetchedFile(name, place, Change.UPDATED if there else Change.NEW, aside, archive)

    def _is_as_fetched(self, name: str, target: Path) -> bool:
        if target.is_symlink() or not target.is_file():
            return False
        released = reachable(self._out / self._release / name)
        if "/" not in name and released.is_file() and same_file(released, target):
            return True
        return self._record.files.get(name) in digests_of_file(target)

    def keep(self, name: str, source: Path) -> Path:
        """Write a file beside another one, under the first free name for an edited one."""
        for kept in self._names(name):
            with source.open("rb") as stream:
                if self._beneath.copy(kept, stream, NewFile(replace=False)):
                    return self._out / kept
        raise Conflict(f"There is no free name left beside {name}.", hint="Remove earlier ones.")

    def remember(self) -> None:
        text = self._record.model_dump_json(indent=2)
        self._beneath.write(f"{self._release}/{_RECORD}", text.encode())

    def _names(self, name: str) -> Iterator[str]:
        """Yield names for an edited file, in the form that hubs use for earlier versions."""
        stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix
        yield f"{stem}.bak.{self._stamp}{suffix}"
        for number in range(1, _SAME_SECOND):
            yield f"{stem}.bak.{self._stamp}-{number}{suffix}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
