"""A course's backups in ``[backup] directory``: writing the next, and the lines of ``hub check``.

``mograder hub backup --scheduled`` runs every night by a timer (``deploy/mograder-backup.timer``).
It reads back the new backup, and removes old ones. An incomplete backup, or one that was not read
back, has "-incomplete" in its name, and the newest complete one is always kept. Files that students
made unreadable are listed and do not make a backup incomplete.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from mograder.core.clock import from_unix
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.settings import LoadedSettings
from mograder.core.tasks import Progress
from mograder.operations.archive import verify
from mograder.operations.backup import Made, back_up, demand_new
from mograder.operations.report import Line, note, ok, problem

_INCOMPLETE = "-incomplete.tar.gz"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9.]+")
_LONGEST_NAME = 60
_UNFINISHED = ".hub-*.partial"
_UNFINISHED_DAYS = 1
"""Days without a write after which an unfinished backup counts as left by a killed run."""

_READ_BACK = 256 << 20
"""Most bytes of a backup that a check reads back; the scheduled job reads back every one."""

_SHOWN = 3
_AHEAD = timedelta(hours=1)
"""How far in the future a backup's time may be: another machine may have written it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One backup file, ``size`` in bytes, with its modification time."""

    path: Path
    size: int
    written: datetime

    @property
    def complete(self) -> bool:
        """Whether it was read back, and lacks only files that students made unreadable."""
        return not self.path.name.endswith(_INCOMPLETE)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The result of one run of the job; ``missing`` counts what its backup lacks by a fault."""

    path: Path
    made: Made
    removed: tuple[Path, ...]
    missing: int


def back_up_scheduled(loaded: LoadedSettings, report: Progress) -> Scheduled:
    """Write a backup into ``[backup] directory``, read it back, and remove the oldest."""
    directory = _directory(loaded)
    if directory is None:
        raise InvalidInput(
            "[backup] directory is not set, so there is no place for a backup.",
            hint="Set it in mograder.toml, or name a file.",
        )
    now = datetime.now(UTC)
    before = (now - timedelta(days=_UNFINISHED_DAYS)).timestamp()
    for partial in directory.glob(_UNFINISHED):  # of killed runs; they may be large
        with contextlib.suppress(FileNotFoundError):
            if partial.lstat().st_mtime < before:
                partial.unlink()
    begin = names_begin(loaded)
    name = f"{begin}-{now:%Y%m%dT%H%M%SZ}"
    path = directory / f"{name}{_INCOMPLETE}"  # until it has been read back
    made = back_up(loaded, path, report)
    verify(path, report)
    missing = len(made.left_out) - made.by_students
    if not missing:
        complete = directory / f"{name}.tar.gz"
        demand_new(complete)
        path = path.rename(complete)
    kept = list_backups(directory, begin)
    newest = next((each.path for each in kept if each.complete), path)
    spared = {path, newest}  # the others may be of the future
    beyond = kept[loaded.settings.backup.keep :]
    old = tuple(each.path for each in beyond if each.path not in spared)
    for each in old:
        each.unlink(missing_ok=True)
    return Scheduled(path, made, old, missing)


def names_begin(loaded: LoadedSettings) -> str:
    """Return how the names of a course's backups begin, since courses may share a directory.

    They differ if the hubs' addresses or the courses' directories do: the settings of one course
    may be copied from another, and two machines have the same paths.
    """
    hub, course = loaded.settings.hub, loaded.course_dir
    identity = os.fsencode(f"{hub.public_url}{hub.base_url}\0{course}")
    name = urlsplit(hub.public_url).hostname or course.name
    shown = _NOT_IN_A_NAME.sub("-", name)[:_LONGEST_NAME]
    return f"hub-{shown}-{hashlib.sha256(identity).hexdigest()[:8]}"


def list_backups(directory: Path, begin: str) -> list[Kept]:
    """Return the job's backups whose names begin so, the newest first. Raises: ``OSError``.

    A backup of another name is another course's, or an administrator's own.
    """
    own = re.compile(rf"{re.escape(begin)}-\d{{8}}T\d{{6}}Z(-incomplete)?\.tar\.gz")
    found = []
    for path in directory.iterdir():
        if own.fullmatch(path.name) and path.is_file():
            status = path.stat()
            written = from_unix(status.st_mtime)
            found.append(Kept(path, status.st_size, written))
    return sorted(found, key=lambda each: (each.written, each.path.name), reverse=True)


def backup_lines(loaded: LoadedSettings, now: datetime | None = None) -> Iterator[Line]:
    """Yield the faults of the newest backup, or one line that it is good."""
    directory = _directory(loaded)
    if directory is None:
        text = "backups: [backup] directory is not set, so no backups are checked"
        yield note("backups", text, "Set it, and enable mograder-backup.timer.")
        return
    try:
        kept = list_backups(directory, names_begin(loaded))
    except OSError as error:
        text = f"backups: {directory} cannot be listed ({error.strerror})"
        yield problem("backups", text, "Make it, or let the hub's user read it.")
        return
    if not kept:
        hint = "mograder hub backup --scheduled; deployed: systemctl start mograder-backup"
        yield problem("backups", f"backups: {directory} has no backup of this course", hint)
        return
    wrong = list(_faults(kept, loaded, now or datetime.now(UTC)))
    if wrong:
        yield from wrong
        return
    yield from _read_back(kept)


def _faults(kept: list[Kept], loaded: LoadedSettings, now: datetime) -> Iterator[Line]:
    newest, bounds = kept[0], loaded.settings.backup
    age = now - newest.written
    if -age > _AHEAD:
        text = f"backups: the newest, {newest.path}, is of {newest.written:%Y-%m-%d %H:%M} UTC"
        hint = "Was the clock wrong? Give it another name, or it hides that no new ones are made."
        yield problem("backups", text, hint)
    if age > timedelta(hours=bounds.max_age_hours):
        text = (
            f"backups: the newest, {newest.path}, is {age // timedelta(hours=1)} hours old "
            f"([backup] max_age_hours is {bounds.max_age_hours})"
        )
        hint = "systemctl list-timers mograder-backup; journalctl -u mograder-backup"
        yield problem("backups", text, hint)
    if newest.size == 0:  # also where only root may read it
        text = f"backups: the newest, {newest.path}, is empty"
        yield problem("backups", text, "journalctl -u mograder-backup")


def _read_back(kept: list[Kept]) -> Iterator[Line]:
    newest = kept[0]
    text = f"backups: {len(kept)}, the newest of {newest.written:%Y-%m-%d %H:%M} UTC"
    if newest.size > _READ_BACK and not newest.complete:
        text = f"backups: {newest.path} lacks something, or could not be read back"
        yield problem("backups", text, "journalctl -u mograder-backup")
        return
    if newest.size > _READ_BACK:
        yield ok("backups", f"{text}; large, so not read back here")
        return
    try:
        verified = verify(newest.path, lambda _: None)
    except MograderError as error:
        if isinstance(error.__cause__, PermissionError):  # only root may read it
            yield ok("backups", f"{text}; this user cannot read it back")
            return
        yield problem("backups", f"backups: {newest.path}: {error.message}", error.hint)
        return
    if verified.left_out:
        shown = "; ".join(verified.left_out[:_SHOWN])
        hint = "Let the hub's user read the files named here."
        tell = note if newest.complete else problem
        yield tell("backups", f"{text}, without {len(verified.left_out)}: {shown}", hint)
        return
    yield ok("backups", f"{text}, read back without a fault")


def _directory(loaded: LoadedSettings) -> Path | None:
    named = loaded.settings.backup.directory
    return loaded.path(named) if named else None
