"""Which assignment a person means, and what it may be called on this machine (compat.md 4)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName
from mograder.transports.interface import RemoteAssignment

_SHOWN = 20
_NOT_IN_A_NAME = re.compile(r"[^\w.@+ (),'&-]")


def find_assignment(assignments: Sequence[RemoteAssignment], wanted: str) -> RemoteAssignment:
    """Return the assignment of that name, else of that number, else the only one that holds it.

    The last without regard to capitals, and one that begins with it as a whole word comes before:
    in a course with A1 and A10, "a1" is no riddle. Pure.

    Raises:
        NotFound: There is none; the message names those that there are.
        InvalidInput: Several hold it; the message names them.
    """
    text = unicodedata.normalize("NFC", wanted.strip())
    found: list[RemoteAssignment] = []
    for fits in (_by_name, _by_number, _by_first_words, _by_part) if text else ():
        found = [each for each in assignments if fits(each, text)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    if found:
        raise InvalidInput(
            f"'{wanted}' may mean {_listed(found)}.", hint="Give the whole name, or its ID."
        )
    there = f"There is {_listed(assignments)}." if assignments else "The server offers none."
    raise NotFound(f"There is no assignment '{wanted}'.", hint=there)


def folder_of(assignment: RemoteAssignment) -> str:
    """Return a directory's name for an assignment: its own, made safe where it is not; pure."""
    for text in (assignment.name, _NOT_IN_A_NAME.sub("_", assignment.name), assignment.key):
        try:
            return ItemName.parse(text.strip(" .")[:100])
        except InvalidInput:
            continue
    return f"assignment-{assignment.number or 0}"


def _by_name(each: RemoteAssignment, text: str) -> bool:
    return unicodedata.normalize("NFC", each.name) == text


def _by_number(each: RemoteAssignment, text: str) -> bool:
    return text.isdecimal() and each.number == int(text)


def _by_first_words(each: RemoteAssignment, text: str) -> bool:
    name = unicodedata.normalize("NFC", each.name).casefold()
    rest = name.removeprefix(text.casefold())
    return rest != name and not rest[:1].isalnum()


def _by_part(each: RemoteAssignment, text: str) -> bool:
    return text.casefold() in unicodedata.normalize("NFC", each.name).casefold()


def _listed(assignments: Sequence[RemoteAssignment]) -> str:
    names = [each.name for each in assignments]
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
