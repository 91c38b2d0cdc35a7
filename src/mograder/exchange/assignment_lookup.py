"""Look up the assignment that a typed name means, and an assignment's local name; pure.

The rules are those of :mod:`mograder.core.name_lookup`. An assignment on Moodle is also found by
its local names: its ``dir`` and ``name`` in mograder.toml, or the item's directory that belongs to
it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mograder.clients.course_server import RemoteAssignment
from mograder.clients.moodle.records import Assignment, Course
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.name_lookup import Entry, Words, counterpart, find
from mograder.core.names import ItemName, nfc
from mograder.core.operating_system import SYSTEM
from mograder.core.portable_names import problem
from mograder.core.sections.settings_model import Assignment as Configured

_NOT_IN_A_NAME = re.compile(r"[^\w.@+ (),'&-]")
_LABEL_0316 = re.compile(r"A\d+")
_NOT_IN_A_SLUG = re.compile(r"[^a-z0-9]+")
ON_MOODLE = Words(where="on Moodle", empty="The course has no assignments yet.")
_ON_SERVER = Words(where="on the server", empty="The server offers none.")


def choose_assignment(
    argument: str,
    there: Sequence[Assignment],
    configured: Sequence[Configured] = (),
    directories: Sequence[str] = (),
) -> Assignment:
    """Return the assignment on Moodle that an argument means, by its name there or here.

    ``directories`` are the names of the course's items on this machine.

    Raises:
        NotFound: No assignment matches; the hint lists all assignments.
        InvalidInput: Several match; the message lists them.
    """
    names = [each.name for each in there]
    taken = {_item(each) for each in configured}
    items: dict[int, list[str]] = {each.id: [] for each in there}
    for directory in directories:
        title = "" if directory in taken else counterpart(directory, names)
        if title:
            items[there[names.index(title)].id].append(directory)
    entries = [
        Entry(
            each.name,
            (*_configured_names(each.id, each.name, configured), *items[each.id]),
            each.id,
        )
        for each in there
    ]
    return there[find(argument, entries, ON_MOODLE)]


def choose_remote(
    argument: str,
    there: Sequence[RemoteAssignment],
    configured: Sequence[Configured] = (),
    words: Words = _ON_SERVER,
) -> RemoteAssignment:
    """Return the assignment with the name or number; raises as :func:`choose_assignment`."""
    entries = [
        Entry(each.name, _configured_names(each.number, each.name, configured), each.number)
        for each in there
    ]
    return there[find(argument, entries, words)]


def folder_of(assignment: RemoteAssignment, *, windows: bool = SYSTEM == "windows") -> str:
    """Return a directory name for an assignment: its own name, made safe if necessary; pure."""
    for text in (assignment.name, _NOT_IN_A_NAME.sub("_", assignment.name), assignment.key):
        name = ItemName.valid(text.strip(" .")[:100])
        if name is not None:
            return f"_{name[:99]}" if windows and problem(name) else name
    return f"assignment-{assignment.number or 0}"


def folder_0316(name: str) -> str:
    """Return the directory in which 0.3.16's dashboard puts an assignment; "" for none; pure.

    It ignores ``dir``, and several assignments may have the same one.
    """
    label = _LABEL_0316.match(name)
    return label[0] if label else _NOT_IN_A_SLUG.sub("-", name.lower()).strip("-")[:30]


def only_course(courses: Sequence[Course]) -> int:
    """Return the number of the only course that there is.

    Raises:
        InvalidInput: There are several courses, which the message lists.
        NotFound: There is no course.
    """
    if len(courses) == 1:
        return courses[0].id
    if not courses:
        raise NotFound(
            "You are in no course on this Moodle.", hint="Have yourself enrolled in your course."
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
    """Return an assignment's local name, used in submitted/, feedback/ and the gradebook.

    It is the item in the ``dir`` of mograder.toml, else the item's directory that belongs to the
    assignment, else the assignment's own name, made safe as a directory's name. However the
    assignment was named on the command line, the result is the same. ``chosen`` is the assignment
    on Moodle; if Moodle was not asked, ``argument`` is looked up in mograder.toml and among
    ``directories``.

    Raises:
        InvalidInput: ``argument`` matches several assignments.
    """
    if chosen is not None:
        table = next((each for each in configured if each.id == chosen.id), None)
        if table is not None and table.dir:
            return table.item
        return _own_name(chosen.name, chosen.id, configured, directories)
    names = {
        (_item(each) or _own_name(each.name, each.id, configured, directories)): each
        for each in configured
    }
    entries = [Entry(name, (each.name,), each.id or None) for name, each in names.items()] + [
        Entry(name) for name in directories if name not in names
    ]
    try:
        return entries[find(argument, entries)].name
    except NotFound:
        return folder_of(RemoteAssignment(argument, argument))


def _own_name(
    name: str, number: int, configured: Sequence[Configured], directories: Sequence[str]
) -> str:
    """Return the directory of an assignment that has no ``dir``; no other assignment has it."""
    others = [each for each in configured if each.id != number]
    belonging = counterpart(name, directories)
    if belonging and not any(
        belonging in (_item(each), counterpart(each.name, directories)) for each in others
    ):
        return belonging
    folder = _folder(name, number)
    shared = any(folder in (_item(each), _folder(each.name, each.id)) for each in others)
    return f"{folder} ({number})" if shared and number else folder


def _folder(name: str, number: int) -> str:
    return folder_of(RemoteAssignment(str(number), name, number=number))


def _configured_names(
    number: int | None, name: str, configured: Sequence[Configured]
) -> tuple[str, ...]:
    """Return the names in mograder.toml of an assignment, found by number or by name."""
    tables = [
        each
        for each in configured
        if (each.id == number if each.id else nfc(each.name) == nfc(name))
    ]
    named = (name for each in tables for name in (each.dir, _item(each), each.name) if name)
    return tuple(dict.fromkeys(named))


def _item(configured: Configured) -> str:
    """Return the name of the item in an assignment's ``dir``, empty if it has none."""
    return configured.item if configured.dir else ""
