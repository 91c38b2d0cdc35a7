"""Which assignment a person means by what they typed; pure.

compat.md 4: the exact name, the number, the only name that contains it. A course with A1, A10 and
A11 would make "A1" ambiguous so, hence names that begin with it as a whole word come before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.settings_model import Assignment as Configured
from mograder.transports.interface import RemoteAssignment
from mograder.transports.moodle.records import Assignment, Course

T = TypeVar("T")

_NOT_A_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class _Name:
    name: str
    number: int


def choose_assignment(
    argument: str, there: Sequence[Assignment], configured: Sequence[Configured] = ()
) -> Assignment:
    """Return the assignment on Moodle that an argument means; a configured ``dir`` counts too.

    Raises: :class:`NotFound` with what there is, :class:`InvalidInput` when several match.
    """
    names = [_Name(each.name, each.id) for each in there]
    return there[_choose(argument, names, configured)]


def choose_remote(
    argument: str, there: Sequence[RemoteAssignment], configured: Sequence[Configured] = ()
) -> RemoteAssignment:
    """The same, of what a transport lists.

    Raises: as :func:`choose_assignment`.
    """
    names = [_Name(each.name, each.number or 0) for each in there]
    return there[_choose(argument, names, configured)]


def choose_course(courses: Sequence[Course], wanted: int) -> int:
    """Return the course's number: as told, else the only one that there is.

    Raises: :class:`InvalidInput` listing the courses when there are several, or none.
    """
    if wanted:
        return wanted
    if len(courses) == 1:
        return courses[0].id
    if not courses:
        raise NotFound(
            "You are in no course on this Moodle.", hint="Have yourself enrolled as a teacher."
        )
    listed = "\n".join(f"  {each.id}  {each.full_name}" for each in courses[:30])
    raise InvalidInput(
        "You are in several courses on Moodle; say which one.",
        hint=f"--course-id, or [moodle] course_id in mograder.toml:\n{listed}",
    )


def local_name(
    argument: str,
    configured: Sequence[Configured],
    directories: Sequence[str],
    chosen: Assignment | None = None,
) -> str:
    """Return the name that an assignment has here: as configured, as an item's directory is called.

    Where neither is so, it is what was typed. ``chosen`` is the assignment on Moodle, if known.
    """
    for each in configured:
        if each.dir and (argument in (each.dir, each.name) or (chosen and each.id == chosen.id)):
            return each.dir
    if argument in directories:
        return argument
    begun = [
        each.dir
        for each in configured
        if each.dir and (_begins(each.dir, argument) or _begins(each.name, argument))
    ]
    if len(begun) == 1:
        return begun[0]
    on_moodle = matching_directory(chosen.name, directories) if chosen else ""
    return matching_directory(argument, directories) or on_moodle or argument


def matching_directory(name: str, directories: Sequence[str]) -> str:
    """Return the only directory that a Moodle name belongs to, empty when none or several do."""
    tests: tuple[Callable[[str], bool], ...] = (
        lambda each: each == name,
        lambda each: _plain(each) == _plain(name),
        lambda each: _first_word(each) == _first_word(name),
    )
    found = _first_match(directories, tests)
    return found[0] if len(found) == 1 else ""


def _choose(argument: str, names: Sequence[_Name], configured: Sequence[Configured]) -> int:
    by_dir = {each.id for each in configured if each.dir and _begins(each.dir, argument)}
    exact_dir = {each.id for each in configured if each.dir == argument}
    tests: tuple[Callable[[_Name], bool], ...] = (
        lambda each: each.name == argument,
        lambda each: str(each.number) == argument,
        lambda each: each.number in exact_dir,
        lambda each: each.number in by_dir,
        lambda each: _plain(each.name) == _plain(argument),
        lambda each: _begins(each.name, argument),
        lambda each: each.name.casefold().startswith(argument.casefold()),
        lambda each: argument.casefold() in each.name.casefold(),
        lambda each: _first_word(each.name) == _first_word(argument),
    )
    found = _first_match(names, tests) if argument.strip() else []
    if len(found) == 1:
        return names.index(found[0])
    if found:
        raise InvalidInput(
            f"'{argument}' may mean {_listed(found[:10])}.",
            hint="Give the whole name, or the number.",
        )
    raise NotFound(
        f"No assignment on Moodle matches '{argument}'.",
        hint=f"There are: {_listed(names[:20])}."
        if names
        else "The course has no assignments yet.",
    )


def _listed(names: Sequence[_Name]) -> str:
    return ", ".join(f"{each.name} ({each.number})" for each in names)


def _first_match(things: Sequence[T], tests: Sequence[Callable[[T], bool]]) -> list[T]:
    """Return what passes the first test that anything passes."""
    for test in tests:
        found = [each for each in things if test(each)]
        if found:
            return found
    return []


def _begins(name: str, start: str) -> bool:
    """Whether a name begins so, as a whole word: "A1. Introduction" with "A1", not with "A"."""
    rest = name.casefold().removeprefix(start.casefold())
    return rest != name.casefold() and (not rest or not rest[0].isalnum())


def _plain(name: str) -> str:
    return _NOT_A_LETTER.sub("", name).casefold()


def _first_word(name: str) -> str:
    return next(iter(_NOT_A_LETTER.split(name.strip().casefold())), "")
