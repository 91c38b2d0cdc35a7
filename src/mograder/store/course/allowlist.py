"""The access list ``allowed_users.txt``: the users of the hub besides its staff (B37 to B44).

An instructor edits the file, and the change applies from the next request on. A file that cannot
be read admits no student: admitting every user would be the worse error.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mograder.auth.credentials import Role
from mograder.core.errors import Conflict
from mograder.core.files.disk import DISK, Disk
from mograder.core.log import get_logger
from mograder.core.names import Username
from mograder.store.filesystem.parsed_file import ParsedFile, Stamp, UnreadableFileError

_HEADING = "# Allowed users — managed by mograder sync-users"
_LIMIT = 10_000_000
_COMMENT = re.compile(r"(?:^|\s)#.*")
_log = get_logger(__name__)


class MoreUsers(Protocol):
    """Users who may enter besides those in the file; asked for every request, so from memory.

    ``decides``: whether it counts at all. ``version`` differs after a user was removed.
    ``students`` are all of them who are known before they come, without teachers.
    """

    def decides(self) -> bool: ...

    def has(self, username: str) -> bool: ...

    def students(self) -> frozenset[str]: ...

    def version(self) -> Hashable: ...


@dataclass(frozen=True, slots=True)
class _Listed:
    """The text of the file, without a byte order mark, and the names in it.

    ``trouble`` is why it cannot be read, "" if it can.
    """

    text: str = ""
    users: frozenset[str] = frozenset()
    trouble: str = ""


class Allowlist:
    """The names on the access list, checked for changes on every call; thread-safe.

    With ``more``, those users may enter as well; without a file, nobody else then.

    Mutable state: ``more``, which is set when the hub starts.
    """

    def __init__(self, path: Path, *, disk: Disk = DISK) -> None:
        self._path = path
        self._file = ParsedFile(path, self._parse, _LIMIT, "only staff may enter", disk=disk)
        self.more: MoreUsers | None = None

    def allows(self, username: str, role: Role) -> bool:
        """Return whether the user may enter: instructors and markers always, others if listed.

        Without the file every user may enter (B40, B44), with an empty one only these (B41).
        """
        if role is not Role.STUDENT:
            return True
        users, name = self._users(), username
        if self.more is not None and self.more.decides():
            return (users is not None and name in users) or self.more.has(name)
        return users is None or name in users

    def replace(self, users: Iterable[str], heading: str = _HEADING) -> tuple[Username, ...]:
        """Write and return a new list: each name once, sorted; it applies at once (B30, B35).

        ``heading`` is the first line, a comment that names the origin of the list.

        Raises: :class:`InvalidInput` for a name that is not a valid username,
        :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        listed = sorted({Username.claimed(name) for name in map(str.strip, users) if name})
        text = "".join(f"{line}\n" for line in (heading, *listed))
        with self._file.alone() as write:  # else names being added could bring the old list back
            write(text.encode())
        return tuple(listed)

    def rewrite(self, text: str, stamp: str | None = None) -> frozenset[str]:
        """Replace the file by the lines of ``text``, and return their names, which are valid.

        ``stamp`` is the text of the file's :meth:`stamp` from before; None for any.

        Raises: :class:`Conflict` if it cannot be read or has another stamp,
        :class:`~mograder.core.errors.Busy` when the disk is full.
        """
        with self._file.alone() as write:
            self._file.known("nothing was saved", "Mend the file first.")
            if stamp not in (None, str(self.stamp())):
                raise Conflict(
                    "The access list was changed since you opened it, so nothing was saved.",
                    hint="Go back, keep a copy of your lines, and reload the page.",
                )
            write("".join(f"{line}\n" for line in text.splitlines()).encode())
        return parse_users(text)

    def add(self, users: Iterable[Username]) -> None:
        """Add names below the lines of the list; begin one where ``more`` decides without it.

        Raises: :class:`Conflict` if it cannot be read, :class:`~mograder.core.errors.Busy` when the
        disk is full.
        """
        with self._file.alone() as write:
            known = self._file.known("nobody was added to it", "Mend the file first.")
            new = sorted({*users} - (frozenset() if known is None else known.users))
            anybody = known is None and (self.more is None or not self.more.decides())
            if anybody or not new:
                return
            before = _HEADING.encode() if known is None else self._path.read_bytes().rstrip()
            write(b"\n".join([before, *map(str.encode, new), b""]))

    def stamp(self) -> Stamp | None:
        """Return a value that differs after every change of the file; None without a file."""
        return self._file.stamp()

    def version(self) -> Hashable:
        """Return a value that differs after every change of those who may enter."""
        return self.stamp(), None if self.more is None else self.more.version()

    def listed(self) -> tuple[str, ...] | None:
        users = self._users()
        return None if users is None else tuple(sorted(users))

    def students(self) -> frozenset[str] | None:
        """Return the names in the file and the students of ``more``; None if every user may enter.

        Staff may be in the file.
        """
        users = self._users()
        if self.more is not None and self.more.decides():
            return (users or frozenset()) | self.more.students()
        return users

    def text(self) -> str:
        """Return the lines of the file with its comments; "" without one that can be read."""
        listed = self._listed()
        return "" if listed is None else listed.text

    def trouble(self) -> str:
        """Return why the file cannot be read; "" if it can, and without one."""
        listed = self._listed()
        return "" if listed is None else listed.trouble

    def _users(self) -> frozenset[str] | None:
        listed = self._listed()
        return None if listed is None else listed.users

    def _listed(self) -> _Listed | None:
        """Return the content of the file; None without one, no user if it cannot be read."""
        try:
            listed = self._file.get()
        except UnreadableFileError as error:
            return _Listed(trouble=str(error))
        # A dangling symbolic link counts as an unreadable list, not as a missing one.
        dangling = listed is None and self._path.is_symlink()
        return _Listed(trouble="it is a link to a file that is missing") if dangling else listed

    def _parse(self, content: bytes) -> _Listed:
        text = content.decode("utf-8-sig", "replace")
        users = parse_users(text)
        if useless := useless_names(users):
            others = f" and {len(useless) - 1} more" if useless[1:] else ""
            why = "%s: %s is not let in%s: nobody can have this name"
            _log.error(why, self._path.name, useless[0], others)
        return _Listed(text, users)


def useless_names(users: Iterable[str]) -> list[str]:
    """Return the names that no account can have, in ASCII, sorted.

    Unicode turns some of them into another person's; those of a file that is not UTF-8 are garbled.
    """
    return sorted(ascii(name) for name in users if Username.valid(name) != name)


def parse_users(text: str) -> frozenset[str]:
    return frozenset(name for _, name in numbered_names(text))


def numbered_names(text: str) -> Iterator[tuple[int, str]]:
    """Yield the names in a list as :func:`parse_users`, each with the number of its line.

    A comment begins with ``#`` at the line's start or after white space. Within a word, as in the
    names of guests in Entra ID ("bob#EXT#@example"), ``#`` begins none: the part before it is
    another person's name.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if name := _COMMENT.sub("", line).strip():
            yield number, name
