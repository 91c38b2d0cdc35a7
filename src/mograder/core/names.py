"""The grammars of the names of users, items and files, which are safe as parts of a path.

A parsed name is a ``str`` of its own type, NFC-normalised, that can be joined to a directory
without leaving it: no separator, no leading dot or dash, no ``..``, no control character, bounded
length (security.md, "Input").
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import ClassVar, Self

from mograder.core import portable_names
from mograder.core.errors import InvalidInput

LOST_AND_FOUND = "lost+found"
"""The directory at the top of a volume that its file system has made, which only root can read."""

INSTRUCTOR = "__instructor__"
"""The reserved user of 0.3.16's instructor tokens (compatibility-0.3.16.md 1)."""

_REHEARSAL = "__rehearsal-"
_LONGEST = 1000
_MAX_CHARACTERS = 100
_MAX_BYTES = 200
_LONGEST_SPELLING = 4 * _MAX_CHARACTERS
"""A text of more characters is longer than a name also after NFC, which joins four at most."""


class _Name(str):
    """A validated name; construct it with :meth:`parse` only."""

    __slots__ = ()
    what: ClassVar[str] = "name"
    allowed: ClassVar[re.Pattern[str]] = re.compile(r"[\w][\w.@+ (),'&-]*")
    alphabet: ClassVar[str] = "letters, digits, spaces and . _ - + @ ( ) , ' &"
    reserved: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name, or raise :class:`InvalidInput` with the rule that it breaks."""
        name = nfc(text, _LONGEST_SPELLING)
        problem = cls._problem(name)
        if problem:
            raise InvalidInput(f"Invalid {cls.what} {_shown(text)}: {problem}.")
        return cls(name)

    @classmethod
    def parse_new(cls, text: str, others: Iterable[str] = ()) -> Self:
        """Return a name that is being chosen: every system can store it beside ``others``.

        Names from before this rule are still parsed by :meth:`parse`.
        """
        name = cls.parse(text)
        if problem := portable_names.problem(name):
            raise InvalidInput(
                f"Invalid {cls.what} {_shown(text)}: {problem}.",
                hint="Choose another one: students' computers run Windows and macOS, too.",
            )
        if double := portable_names.double_of(name, others):
            raise InvalidInput(
                f"Invalid {cls.what} {_shown(text)}: there is {_shown(double)} already.",
                hint="On Windows and macOS the two would be one. Choose another name.",
            )
        return name

    @classmethod
    def valid(cls, text: str) -> Self | None:
        """Return the name, None for a text that :meth:`parse` refuses."""
        name = nfc(text, _LONGEST_SPELLING)
        return None if cls._problem(name) else cls(name)

    @classmethod
    def complaint(cls, name: str) -> str:
        """Return why a name on a disk is not used, as a sentence; "" for a valid name."""
        try:
            if cls.parse(name) == name:
                return ""
        except InvalidInput as error:
            return error.message
        return f"Invalid {cls.what} {name!r}: it is not in the form NFC of Unicode."

    @classmethod
    def _problem(cls, name: str) -> str:
        if not name:
            return "it is empty"
        if len(name) > _MAX_CHARACTERS or len(name.encode("utf-8", "replace")) > _MAX_BYTES:
            return f"it is longer than {_MAX_CHARACTERS} characters"
        if name.startswith((".", "-")):
            return "it must not start with a dot or a dash"
        if ".." in name:
            return "it must not contain '..'"
        if name != name.strip() or name.endswith("."):
            return "it must not end with a dot or a space"
        if not cls.allowed.fullmatch(name):
            return f"use only {cls.alphabet}"
        if name in cls.reserved:
            return "this name is reserved"
        return ""


class Username(_Name):
    """A person's login name; names that begin with two underscores are the program's."""

    __slots__ = ()
    what = "username"
    allowed = re.compile(r"(?!__)[\w][\w.@+-]*")
    alphabet = "letters, digits and . _ - + @, not starting with '__'"
    reserved = frozenset({LOST_AND_FOUND})

    @classmethod
    def of_account(cls, text: str) -> Self:
        """Return the name of an account with credentials: a person, or 0.3.16's instructor.

        Not for names in a trusted header.
        """
        return cls(text) if text == INSTRUCTOR else cls.parse(text)

    @classmethod
    def claimed(cls, text: str) -> Self:
        """Return the name under which a person comes in, or is let in.

        One that Unicode turns into another is refused: at a provider that keeps the two apart,
        "\N{KELVIN SIGN}ate" is not "Kate".
        """
        name = cls.parse(text)
        if name != text:
            shown = ascii(text)[:200]
            raise InvalidInput(
                f"Invalid {cls.what} {shown}: it is another way to write {_shown(name)}.",
                hint="Two people may have these names elsewhere; here they would be one.",
            )
        return name


def rehearsal_user(number: int) -> Username:
    """Return the name of a user of a rehearsal, whose sessions no person opens.

    No person can have this name, and none can sign in with it: :meth:`Username.parse` refuses it.
    """
    return Username(f"{_REHEARSAL}{number}")


def is_rehearsal(user: str) -> bool:
    return user.startswith(_REHEARSAL)


class ItemName(_Name):
    """An assignment's or a lecture's name, the same as its directory and its notebook."""

    __slots__ = ()
    what = "name"
    reserved = frozenset({"user", "_marimo"})


class FileName(_Name):
    """One file's name, without any directory."""

    __slots__ = ()
    what = "file name"


def is_same_person(name: str, other: str) -> bool:
    """Whether two user names may be one person's: a sign-in and a Moodle differ in their case."""
    return nfc(name).casefold() == nfc(other).casefold()


def nfc(text: str, longest: int = _LONGEST) -> str:
    """Return text in Unicode's composed form, so that equal names compare as equal.

    A text of more than ``longest`` characters, too long for a name, is returned as it is: composing
    it takes time that grows with the square of its accents.
    """
    return text if len(text) > longest else unicodedata.normalize("NFC", text)


def _shown(text: str) -> str:
    clipped = text if len(text) <= 60 else text[:57] + "..."
    return repr(clipped)
