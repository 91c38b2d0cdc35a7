"""``mograder moodle sync``: write assignments and [moodle] into ``mograder.toml``.

Pure except for one atomic write. The teacher's own content stays: comments, order, other sections,
their own keys of an assignment (B32; compatibility-0.3.16.md 9: 0.3.16 loses the comments).
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict, deque
from collections.abc import Collection, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Table
from tomlkit.toml_document import TOMLDocument

from mograder.clients.moodle.records import Assignment
from mograder.clients.server_url import parse_moodle_url
from mograder.core.errors import InvalidInput
from mograder.core.name_lookup import counterpart
from mograder.core.settings import with_seconds
from mograder.store.filesystem.files import atomic_write

EDIT_LINK = "https://molab.marimo.io/new/#code/{content_lz}"
"""marimo's own online editor, as in `wasm-edit-links`."""


_DATES = ("duedate", "cutoffdate", "allowsubmissionsfromdate")
_TIGHT = re.compile(
    rf'^((?:url|dir) = "[^"\n]*"|course_id = \d+|(?:{"|".join(_DATES)}) = \d+)\n\[', re.MULTILINE
)
_OURS = frozenset({"name", "id", "cmid", *_DATES, "dir", "files"})
"""The keys of an assignment that are set from Moodle, and ``dir``."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The new text of the file, and the changes by assignment name."""

    text: str
    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    """Assignments that were not added because students do not see them on Moodle."""


@dataclass(frozen=True, slots=True)
class CourseOnMoodle:
    """The course and the assignments that sync found.

    ``complete``: these are all assignments, so that others in the file are gone from Moodle.
    ``hidden`` are the numbers of those that students do not see. The file is handed to students, so
    they are not added to it; those that it has already are kept and updated.
    """

    url: str
    course_id: int
    assignments: Sequence[Assignment]
    complete: bool = True
    edit_links: bool = False
    hidden: frozenset[int] = frozenset()


def merge(text: str, course: CourseOnMoodle, directories: Sequence[str] = ()) -> Merged:
    """Return the file's text with the course merged; ``directories`` are the local items.

    Raises:
        InvalidInput: The text is not TOML, or has the assignments of another course.
    """
    try:
        document = tomlkit.parse(with_seconds(text))
    except TOMLKitError as error:
        raise InvalidInput(f"mograder.toml cannot be read: {error}.") from error
    moodle = _section(document)
    if moodle is None:
        document["moodle"] = moodle = tomlkit.table()
    told = str(moodle.get("url") or ""), str(moodle.get("course_id") or "")
    _set(moodle, "url", course.url)
    _set(moodle, "course_id", course.course_id)
    tables = _tables(document)
    _refuse_another_course(told, course, tables)
    news: dict[str, list[str]] = {"added": [], "updated": [], "unchanged": [], "hidden": []}
    used = {str(table.get("dir")) for table in tables if table.get("dir")}
    for assignment in course.assignments:
        table = _table_of(assignment, tables)
        fresh = table is None
        if fresh and assignment.id in course.hidden:
            news["hidden"].append(assignment.name)
            continue
        table = tomlkit.table() if table is None else table
        names = str(table.get("name", "")), assignment.name
        changed = _fill(table, assignment)
        changed |= _fill_directory(table, names, directories, used)
        changed |= _fill_files(table, assignment, gap=not fresh)
        if fresh:
            tables.append(table)
        news["added" if fresh else "updated" if changed else "unchanged"].append(assignment.name)
    gone = _remove_gone(tables, course) if course.complete else {}
    if course.edit_links and "edit_links" not in document:
        links = tomlkit.table()
        links["Open in molab"] = EDIT_LINK
        document["edit_links"] = links
    dumped = _with_own_times(tomlkit.dumps(document), text)
    # An empty line stands between our last list of files and the next table, for readability.
    spaced = _TIGHT.sub(r"\1\n\n[", dumped).rstrip("\n") + "\n"
    written = text if dumped == text else spaced
    if _theirs(text, gone) != _theirs(written, ()):
        raise InvalidInput(
            "mograder.toml is written in a way in which it cannot be changed without a loss; it "
            "is as it was.",
            hint="Write [moodle] and each of the [[assignments]] as a table of its own.",
        )
    return Merged(written, removed=tuple(gone.values()), **{k: tuple(v) for k, v in news.items()})


def replace_course_file(path: Path, text: str) -> None:
    """Write the file atomically; a symbolic link stays one, and so do line ends of Windows."""
    target = path.resolve()
    there = target.exists()
    mode = target.stat().st_mode & 0o777 if there else 0o644
    ends = "\r\n" if there and b"\r\n" in target.read_bytes() else "\n"
    atomic_write(target, text.replace("\n", ends).encode(), mode)


def _with_own_times(dumped: str, text: str) -> str:
    """Write times without seconds where the teacher did; a file's other lines stay."""
    own: defaultdict[str, deque[str]] = defaultdict(deque)
    for line, read in zip(text.split("\n"), with_seconds(text).split("\n"), strict=True):
        own[read].append(line)
    return "\n".join(own[line].popleft() if own[line] else line for line in dumped.split("\n"))


def _refuse_another_course(told: tuple[str, str], course: CourseOnMoodle, tables: AoT) -> None:
    """Check that numbered assignments of the file are those of this course.

    Of another one they would be removed, or taken for those of the same numbers, with the teacher's
    own keys.

    Raises:
        InvalidInput: The file names another site or course.
    """
    url, number = told
    other = [f'url = "{course.url}"'] if url else []
    with suppress(InvalidInput):  # else it is no address of any site
        other = other if url and parse_moodle_url(url) != course.url else []
    if number not in ("", str(course.course_id)):
        other.append(f"course_id = {course.course_id}")
    if other and any(table.get("id") for table in tables):
        raise InvalidInput(
            f"mograder.toml has the assignments of course {number or '?'} on {url or course.url}, "
            f"not of course {course.course_id} on {course.url}; it is as it was.",
            hint="If it shall be this course's from now on, write "
            f"{' and '.join(other)} under [moodle]. Of its [[assignments]], those with an id that "
            "this course does not have are removed then; one without an id is found by its name, "
            "and keeps what you wrote.",
        )


def _section(document: TOMLDocument) -> MutableMapping[str, object] | None:
    """Return [moodle], also if it is written inline, with dots, or in several places."""
    moodle = document.get("moodle")
    return moodle if isinstance(moodle, MutableMapping) else None


def _tables(document: TOMLDocument) -> AoT:
    """Return [[assignments]]; [[moodle.assignments]] of old files is moved there.

    See compatibility-0.3.16.md 6.
    """
    moodle = _section(document)
    old = moodle.get("assignments") if moodle is not None else None
    if moodle is not None and old is not None:
        del moodle["assignments"]
    held = document.get("assignments")
    if isinstance(held, AoT):
        return held
    if held is not None:
        del document["assignments"]
    tables = tomlkit.aot()
    listed = held or old
    for each in listed if isinstance(listed, list) else ():
        table = each if isinstance(each, Table) else tomlkit.table()
        if each is not table:
            table.update(each)
        tables.append(table)
    document["assignments"] = tables
    found = document["assignments"]
    if not isinstance(found, AoT):
        raise TypeError("tomlkit gave back another list of tables than it was given")
    return found


def _theirs(text: str, removed: Collection[object]) -> tuple[object, ...]:
    """Return the content of a file that is not set from Moodle, whatever the file's layout.

    ``removed`` are the numbers of assignments that are left out.
    """
    tree = tomllib.loads(with_seconds(text))
    moodle = tree.pop("moodle", {})
    old = moodle.pop("assignments", [])
    assignments = tree.pop("assignments", old)
    tree.pop("edit_links", None)
    own = [
        {key: value for key, value in each.items() if key not in _OURS}
        for each in assignments
        if each.get("id") not in removed
    ]
    site = {key: value for key, value in moodle.items() if key not in ("url", "course_id")}
    return tree, site, [each for each in own if each]


def _table_of(assignment: Assignment, tables: AoT) -> Table | None:
    """Find an assignment's table: by its number, else by name if the table has no number."""
    listed = [table for table in tables if isinstance(table, Table)]
    numbered = (table for table in listed if table.get("id") == assignment.id)
    named = (t for t in listed if not t.get("id") and t.get("name") == assignment.name)
    return next(chain(numbered, named), None)


def _fill(table: Table, assignment: Assignment) -> bool:
    changed = _set(table, "name", assignment.name)
    changed |= _set(table, "id", assignment.id)
    changed |= _set(table, "cmid", assignment.cmid)
    dates = assignment.due, assignment.cutoff, assignment.opens
    for key, at in zip(_DATES, dates, strict=True):
        if at is not None or key == "duedate" or key in table:
            changed |= _set(table, key, int(at.timestamp()) if at else 0)
    return changed


def _fill_files(table: Table, assignment: Assignment, *, gap: bool) -> bool:
    """Replace the list of files if it differs; ``gap`` adds an empty line after it."""
    wanted = [(file.name, file.address) for file in assignment.attachments]
    held = [(each.get("name"), each.get("url")) for each in table.get("files", [])]
    if held == wanted:
        return False
    table.pop("files", None)
    files = tomlkit.aot()
    for name, address in wanted:
        each = tomlkit.table()
        each["name"] = name
        each["url"] = address
        files.append(each)
    if wanted:
        if gap:
            files[-1].add(tomlkit.nl())
        table["files"] = files
    return True


def _fill_directory(
    table: Table, names: tuple[str, str], directories: Sequence[str], used: set[str]
) -> bool:
    """Set the item's local directory, unless the teacher did, or another assignment has it.

    ``names`` are the assignment's name until now and its present one. A directory that belongs to
    the first has its submissions and marks already.
    """
    if table.get("dir"):
        return False
    found = next(filter(None, (counterpart(name, directories) for name in names)), "")
    if not found or found in used:
        return False
    used.add(found)
    return _set(table, "dir", found)


def _remove_gone(tables: AoT, course: CourseOnMoodle) -> dict[object, str]:
    """Remove the assignments that are gone from Moodle, and return their names by number."""
    there = {assignment.id for assignment in course.assignments}
    names = {each.get("id"): str(each.get("name", "")) for each in tables if each.get("id")}
    gone = {number: name for number, name in names.items() if number not in there}
    for place in reversed(range(len(tables))):
        if tables[place].get("id") in gone:
            del tables[place]
    return gone


def _set(table: MutableMapping[str, object], key: str, value: str | int) -> bool:
    """Set a key if its value differs; an equal value keeps its own spelling."""
    if key in table and table[key] == value:
        return False
    table[key] = value
    return True
