"""Similar submissions of an assignment, and the lines that two of them have in common."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError
from mograder.core.names import ItemName
from mograder.core.settings import LoadedSettings
from mograder.grading.marking.graded_work import WorkFiles
from mograder.grading.marking.similar_pairs import (
    NotebookTerms,
    Place,
    SimilarPair,
    groups_of,
    read_terms,
    similar_pairs,
)
from mograder.notebook.points import GRADERS_CELLS
from mograder.notebook.source.release import with_hidden_tests
from mograder.processes.isolated_call import IsolatedCall
from mograder.store.course.course import find_release, read_notebook
from mograder.store.filesystem.files import entry_named

_FILE = "submission.py"
_MOST_LINES = 5000
"""Lines of a submission that are shown at most."""


@dataclass(frozen=True, slots=True)
class ComparedWork:
    """The files of an assignment that are compared.

    ``given`` are the files with text that is not the students' own: the source and the releases.
    """

    autograded: Path
    submitted: Path
    given: tuple[Path, ...]

    def files(self) -> WorkFiles:
        return WorkFiles(self.autograded, self.submitted)


@dataclass(frozen=True, slots=True)
class SimilarWork:
    """The similar pairs of a class, the largest share first, and the groups that they make.

    ``students`` counts the submissions compared. ``identical`` are the students of files that are
    the same to the letter, and not the teacher's: these count also where many have them. ``unread``
    are students whose submission cannot be read, ``cut`` those of whose submission only a part was
    compared, as it is too long. ``without_given``: neither source nor release was
    found, so that common text of the teacher counts.
    """

    students: int
    pairs: tuple[SimilarPair, ...]
    groups: tuple[tuple[str, ...], ...]
    identical: tuple[tuple[str, ...], ...]
    unread: tuple[str, ...]
    cut: tuple[str, ...]
    without_given: bool

    def pair(self, one: str, other: str) -> SimilarPair | None:
        """Return the pair of two students, in any order; None if it is not similar."""
        wanted = tuple(sorted((one, other)))
        return next((each for each in self.pairs if (each.one, each.other) == wanted), None)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a submission; ``matches`` are the numbers of the matches that it belongs to."""

    number: int
    text: str
    matches: tuple[int, ...]


def compared_work(loaded: LoadedSettings, item: ItemName, source: Path | None) -> ComparedWork:
    dirs = loaded.settings.dirs
    autograded, submitted = (
        entry_named(loaded.path(each), item) for each in (dirs.autograded, dirs.submitted)
    )
    places = (loaded.path(each) for each in (dirs.release, loaded.settings.hub.release_dir))
    given = (source, *(find_release(source, item, [place]) for place in places))
    return ComparedWork(autograded, submitted, tuple(filter(None, given)))


async def similar_work(work: ComparedWork, tell: Callable[[], None] = lambda: None) -> SimilarWork:
    """Compare all submissions of an assignment; ``tell`` is called after each that was read."""
    apart = IsolatedCall()
    texts = await asyncio.to_thread(lambda: list(_given(work.given)))
    given = [await apart.call(partial(read_terms, text, _FILE), size=len(text)) for text in texts]
    submissions: dict[str, NotebookTerms] = {}
    same: defaultdict[bytes, list[str]] = defaultdict(list)
    unread = []
    files = work.files()
    for student in await asyncio.to_thread(files.students):
        try:
            text = await asyncio.to_thread(files.handed_in_first, student)
            is_own = await asyncio.to_thread(files.has_handed_in, student)
            # In a copy of ours, without the cells that grading added.
            own = partial(read_terms, text, _FILE, () if is_own else GRADERS_CELLS)
            submissions[student] = await apart.call(own, size=len(text))
        except (MograderError, OSError):
            unread.append(student)
        else:
            if is_own and text not in texts:
                same[hashlib.sha256(text.encode("utf-8", "replace")).digest()].append(student)
        tell()
    pairs = await asyncio.to_thread(similar_pairs, submissions, given)
    identical = sorted(tuple(each) for each in same.values() if len(each) > 1)
    cut = tuple(student for student, terms in submissions.items() if terms.is_cut)
    groups = groups_of(pairs)
    return SimilarWork(
        len(submissions), pairs, groups, tuple(identical), tuple(unread), cut, not given
    )


def marked_lines(text: str, places: Sequence[Place]) -> tuple[Line, ...]:
    """Return the lines of a submission, each with the numbers (from 1) of its matches."""
    lines = text.split("\n")[:_MOST_LINES]
    matches: list[list[int]] = [[] for _ in lines]
    for number, place in enumerate(places, start=1):
        for at in range(place.first - 1, min(place.last, len(lines))):
            matches[at].append(number)
    return tuple(
        Line(number, line, tuple(found))
        for number, (line, found) in enumerate(zip(lines, matches, strict=True), start=1)
    )


def _given(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the teacher's texts: each notebook as it is, and what students get of it."""
    for path in paths:
        try:
            text = read_notebook(path)
        except (MograderError, OSError):
            continue
        yield text
        try:
            yield with_hidden_tests(text, path.name, ())
        except InvalidInput:
            continue
