"""A student's own folder: a directory for each assignment, and the state in ``.mograder``.

The layout is 0.3.16's where it has one (compatibility-0.3.16.md 5):
``.mograder/check_cache/<nb>.json`` and ``.mograder/submissions/<nb>.json``, ``<nb>`` being the
file's name with its ending. New since then are receipts with the notebooks they are for, notebooks
waiting to be sent, feedback, and the server's last answer. Every write is synced to disk before its
method returns.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.clock import from_unix
from mograder.core.errors import InvalidInput, NotFound, TooLarge
from mograder.core.files.disk import DISK, Place, explained_when_full, move_file
from mograder.core.files.windows_files import digests, reachable, same_text, unlink
from mograder.core.names import FileName, ItemName
from mograder.core.operating_system import SYSTEM
from mograder.core.portable_names import local_name, server_name
from mograder.notebook import MAX_NOTEBOOK
from mograder.store.copies.workspaces import CopyState
from mograder.store.filesystem.files import (
    PARKED,
    atomic_write,
    exchange_or_rename,
    remove_tree,
)
from mograder.store.submissions.submitted_files import names_for

M = TypeVar("M", bound=BaseModel)

STATE = ".mograder"
_LARGEST_RECORD = 20_000_000
_LARGEST_DOCUMENT = 128_000_000
_EARLIER = re.compile(r"\.bak\.\d{8}T\d{6}(-\d+)?\Z")
_MOST_LOOKED_AT = 200
_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook in the student's folder; ``mtime`` is the Unix time of its last save."""

    folder: str
    path: Path
    mtime: float

    @property
    def saved(self) -> datetime:
        return from_unix(self.mtime)


class SentNotebook(BaseModel):
    """The last submission that the server acknowledged; 0.3.16 has only ``file_mtime``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    file_mtime: float
    notebook: str = ""
    digest: str = ""
    filename: str = ""
    submitted_at: datetime | None = None
    late: bool = False
    repeated: bool = False
    receipt: str = ""
    """The receipt's file, relative to the course's folder; empty if the server gave none."""


class Waiting(BaseModel):
    """A notebook to be submitted that the server has not yet acknowledged."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: str
    digest: str
    file_mtime: float
    kept_at: datetime
    late: bool = False
    why: str = ""
    """Why it could not be sent, in words for the student; empty while it is being sent."""
    aside: str = ""
    """The name in ``set-aside`` of what waited before and was set aside for it; or empty."""


class _Named(BaseModel):
    """The field common to all records of a notebook; empty in those of 0.3.16."""

    model_config = ConfigDict(extra="ignore")

    notebook: str = ""


class StudentFolder:
    """The files of one student's course; thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / STATE

    def directory(self, folder: str) -> Path:
        return self.root / ItemName.parse(folder)

    def notebook(self, folder: str) -> Notebook | None:
        """Return the notebook of an assignment; None before it is fetched.

        It is the one named like its folder; else one of the released ones, else the first by
        name. Modules come behind notebooks; earlier versions kept beside it are ignored.
        """
        directory = self.directory(folder)
        given = {path.name: path for path in self._releases(folder)}
        files = sorted(directory.glob("*.py"))[:_MOST_LOOKED_AT]
        plain = (path for path in files if path.is_file() and not path.name.startswith("."))
        found = [path for path in plain if not _EARLIER.search(path.stem)]
        found.sort(key=lambda path: not is_notebook(given.get(path.name) or path))
        found.sort(key=lambda path: (path.stem != folder, path.name not in given))
        for path in found[:1]:
            with suppress(FileNotFoundError):
                return Notebook(folder, path, path.stat().st_mtime)
        return None

    def read(self, notebook: Notebook) -> bytes:
        """Return a notebook's bytes. Raises: NotFound, TooLarge, InvalidInput (unreadable)."""
        data = _bytes(notebook.path, MAX_NOTEBOOK)
        if data is None:
            raise NotFound("The notebook is gone.", hint="Fetch the assignment again.")
        return data

    def released(self, notebook: Notebook) -> Path | None:
        """Return the release that was fetched last: an assignment may have had another title."""
        name, kept = notebook.path.name, self._releases(notebook.folder)
        found = (path for path in kept if path.name == name)
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    def state_of(self, notebook: Notebook | None) -> CopyState | None:
        """Return the state of a notebook, in the words of the page; None before it is fetched."""
        if notebook is None:
            return None
        data: bytes | None = None
        with suppress(InvalidInput):  # one unreadable notebook must not break the whole list
            data = _bytes(notebook.path, MAX_NOTEBOOK)
        sent = self.sent(notebook)
        if sent is not None and (
            sent.digest in digests(data or b"")
            or (not sent.digest and abs(sent.file_mtime - notebook.mtime) < 1e-3)
        ):
            return CopyState.SUBMITTED
        released = self.released(notebook)
        with suppress(InvalidInput):
            original = None if released is None else _bytes(released, MAX_NOTEBOOK)
            if data is not None and original is not None and same_text(data, original):
                return CopyState.DOWNLOADED
        return CopyState.EDITED

    def record(self, kind: str, notebook: Notebook, shape: type[M]) -> M | None:
        # Folders of before 1.0 have the names without the ending.
        for name in (notebook.path.name, notebook.path.stem):
            found = _read(self._record_path(kind, notebook, name), shape)
            if found is not None:
                return found
        return None

    def put_record(self, kind: str, notebook: Notebook, record: BaseModel) -> None:
        """Write a record of a notebook to the file that 0.3.16 reads."""
        path = self._record_path(kind, notebook, notebook.path.name)
        self._write(path, record.model_dump_json(indent=2).encode())

    def sent(self, notebook: Notebook) -> SentNotebook | None:
        return self.record("submissions", notebook, SentNotebook)

    def name_of(self, notebook: Notebook) -> str:
        return notebook.path.relative_to(self.root).as_posix()

    def keep(self, notebook: Notebook, *, late: bool, now: datetime) -> Waiting:
        """Copy a notebook to the outbox, where it stays until it is acknowledged.

        A different notebook that was waiting there is kept in ``.mograder/set-aside``. It waits
        until this one does: a kill before the record is written leaves this text with that of the
        other.
        """
        data = self.read(notebook)
        _checked(notebook.path.name)
        before, earlier, aside = self.waiting(notebook.folder), None, ""
        if before is not None:  # its digest may be that of the text before
            earlier = _bytes(self.waiting_file(notebook.folder, before), MAX_NOTEBOOK)
        if earlier is not None and not same_text(earlier, data):
            target = self._free(self.state / "set-aside", notebook.folder, now)
            self._write(target, earlier)
            aside = target.name
        waiting = Waiting(
            file=notebook.path.name,
            digest=hashlib.sha256(data).hexdigest(),
            file_mtime=notebook.mtime,
            kept_at=now,
            late=late,
            aside=aside,
        )
        self._write(self._outbox(notebook.folder) / waiting.file, data)
        self.put_waiting(notebook.folder, waiting)
        return waiting

    def waiting(self, folder: str) -> Waiting | None:
        place = self._outbox(folder)
        found = _read(place / "about.json", Waiting)
        return found if found is not None and (place / found.file).is_file() else None

    def put_waiting(self, folder: str, waiting: Waiting) -> None:
        path = self._outbox(folder) / "about.json"
        self._write(path, waiting.model_dump_json(indent=2).encode())

    def waiting_file(self, folder: str, waiting: Waiting) -> Path:
        return self._outbox(folder) / _checked(waiting.file)

    def set_aside(self, folder: str, now: datetime) -> Path | None:
        """Move the waiting notebook, if any, to ``.mograder/set-aside``; return its path there."""
        waiting, target = self.waiting(folder), None
        if waiting is not None:
            target = self._free(self.state / "set-aside", folder, now)
            self._move(self.waiting_file(folder, waiting), target)
        self.forget_waiting(folder)
        return target

    def take_back(self, folder: str, waiting: Waiting, before: Waiting | None) -> None:
        """Remove a notebook that :meth:`keep` put into the outbox; what waited before waits again.

        ``before`` is the record of that, None if nothing waited. If its file was removed meanwhile,
        the newer notebook goes on to wait. There is no moment at which nothing waits.
        """
        if before is None or not waiting.aside:
            self.forget_waiting(folder)
            return
        with suppress(FileNotFoundError):
            aside = self.state / "set-aside" / waiting.aside
            self._move(aside, self.waiting_file(folder, before))
            self.put_waiting(folder, before)

    def acknowledged(self, notebook: Notebook, sent: SentNotebook, now: datetime) -> None:
        """Record a submission, and keep the bytes that the server has acknowledged."""
        self.put_record("submissions", notebook, sent)
        # Last: after a crash before this it is sent again, and the server recognises the same
        # bytes.
        waiting = self.waiting(notebook.folder)
        if waiting is not None:
            target = self._free(self.state / "submitted", notebook.folder, now)
            self._move(self.waiting_file(notebook.folder, waiting), target)
        self.forget_waiting(notebook.folder)

    def put_feedback(self, folder: str, documents: tuple[tuple[str, bytes], ...]) -> None:
        """Replace the feedback: names and contents. An equal copy stays: a page may be open."""
        place = self._feedback(folder)
        # End what an interrupted replacement left where the system cannot exchange directories:
        # the copy beside ``place`` would be in the way of each later one.
        parked, there = (reachable(each) for each in (place.with_name(PARKED + place.name), place))
        if there.is_dir():
            remove_tree(parked)
        elif parked.is_dir():
            DISK.rename(Place.of(parked), Place.of(there))
        wanted = [(_plain(name), content) for name, content in documents]
        with suppress(InvalidInput, NotFound, TooLarge):
            if [(each.name, self.document(each)) for each in self.feedback(folder)] == wanted:
                return
        staged = place.with_name(f".{secrets.token_hex(6)}")
        self._make(staged)
        for number, (name, content) in enumerate(wanted):
            self._write(staged / f"{number:02}" / name, content)
        old: Path | None = staged
        try:
            with explained_when_full():
                old = exchange_or_rename(staged, place)
        finally:
            if old is not None:
                remove_tree(old)

    def feedback(self, folder: str) -> tuple[Path, ...]:
        place = self._feedback(folder)
        return tuple(sorted(path for path in place.glob("*/*") if path.is_file()))

    def document(self, path: Path) -> bytes:
        """Return the bytes of a fetched document. Raises: NotFound, TooLarge, InvalidInput."""
        data = _bytes(path, _LARGEST_DOCUMENT)
        if data is None:
            raise NotFound("This document was fetched anew.", hint="Open the feedback again.")
        return data

    def known(self, shape: type[M]) -> M | None:
        return _read(self.state / "student.json", shape)

    def put_known(self, known: BaseModel) -> None:
        self._write(self.state / "student.json", known.model_dump_json(indent=2).encode())

    def _releases(self, folder: str) -> list[Path]:
        """Return the kept copies of all notebooks that were released for an assignment."""
        top = self.state / "release" / ItemName.parse(folder)
        return sorted(
            [*(self.directory(folder) / STATE / "release").glob("*/*.py"), *top.glob("*.py")]
        )

    def _record_path(self, kind: str, notebook: Notebook, name: str) -> Path:
        """Return the record's file of this name, or another one if another notebook uses it."""
        plain = self.state / kind / f"{name}.json"
        there = _read(plain, _Named)
        names = ("", self.name_of(notebook), notebook.path.name, notebook.path.stem)
        if there is None or there.notebook in (*names, str(notebook.path)):
            return plain
        return plain.with_name(f"{notebook.folder}--{name}.json")

    def _outbox(self, folder: str) -> Path:
        return self.state / "outbox" / ItemName.parse(folder)

    def _feedback(self, folder: str) -> Path:
        return self.state / "feedback" / ItemName.parse(folder)

    def forget_waiting(self, folder: str) -> None:
        place = self._outbox(folder)
        with explained_when_full():
            unlink(reachable(place / "about.json"))
        shutil.rmtree(reachable(place, whole_tree=True), ignore_errors=True)

    def _free(self, place: Path, folder: str, now: datetime) -> Path:
        self._make(place)
        paths = (place / name for name in names_for(folder, now))
        return next(path for path in paths if not path.exists())

    def _move(self, file: Path, target: Path) -> None:
        """Move a file; copy one that another program holds open on Windows."""
        self._make(target.parent)
        try:
            move_file(file, target)
        except PermissionError:
            self._write(target, _bytes(file, MAX_NOTEBOOK) or b"")

    def _write(self, path: Path, data: bytes) -> None:
        self._make(path.parent)
        atomic_write(path, data, 0o600)

    def _make(self, directory: Path) -> None:
        try:
            # When run as root, another user builds environments below ``.mograder``: it needs
            # access.
            mode = 0o755 if directory == self.state else 0o700
            reachable(directory).mkdir(mode=mode, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"{directory} cannot be made: {error.strerror}.",
                hint="Start the dashboard in a folder of your own.",
            ) from error


def _checked(name: str) -> str:
    """Return a file's local name if the server's name for it is valid. Raises: InvalidInput."""
    FileName.parse(server_name(name))
    return name


def _plain(name: str) -> str:
    """Return a file name chosen by a server if it is valid, else a fixed name."""
    with suppress(InvalidInput):
        return local_name(FileName.parse(name), windows=SYSTEM == "windows")
    return "feedback.html" if name.lower().endswith((".html", ".htm")) else "feedback.txt"


def is_notebook(path: Path) -> bool:
    """Return whether a file begins as a marimo notebook; False if it cannot be read."""
    with suppress(OSError), reachable(path).open("rb") as file:
        return b"marimo.App(" in file.read(_HEAD)
    return False


def _bytes(path: Path, limit: int) -> bytes | None:
    """Return a file's bytes, None if it is gone. Raises: TooLarge, InvalidInput (unreadable)."""
    try:
        with reachable(path).open("rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror}.",
            hint="See that you may read it, and that its disk works; nothing was changed.",
        ) from error
    if len(data) > limit:
        raise TooLarge(f"{path.name} is larger than {limit // 1_000_000} MB.")
    return data


def _read(path: Path, shape: type[M]) -> M | None:
    with suppress(ValidationError, InvalidInput):
        data = _bytes(path, _LARGEST_RECORD)
        return None if data is None else shape.model_validate_json(data)
    return None
