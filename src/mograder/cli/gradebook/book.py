"""The gradebook of a command, and the assignments and students that its arguments name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mograder.core.clock import SystemClock
from mograder.core.errors import NotFound
from mograder.core.name_lookup import Words, find_name, listed
from mograder.core.names import nfc
from mograder.core.operating_system import account_name
from mograder.core.settings import LoadedSettings
from mograder.grading.course_late import export_if_set
from mograder.store.gradebook.gradebook import Gradebook, viewed_gradebook
from mograder.store.gradebook.grading_records import StudentGrade


@contextmanager
def changed_book(loaded: LoadedSettings) -> Iterator[Gradebook]:
    """Open or make the gradebook, to change marks; export them at the end if that is set.

    After a failure those that were recorded before it are exported as well.
    """
    with Gradebook(loaded.gradebook_path) as book:
        try:
            yield book
        except BaseException:
            with suppress(Exception):  # the failure itself is told
                export_if_set(loaded, book, SystemClock().now())
            raise
        export_if_set(loaded, book, SystemClock().now())


@contextmanager
def existing_book(loaded: LoadedSettings, *, writes: bool = True) -> Iterator[Gradebook]:
    """Open the gradebook as :func:`changed_book`, without ``writes`` to read; raises NotFound."""
    path = loaded.gradebook_path
    if not path.is_file():
        raise NotFound(f"There is no gradebook {path}.", hint="`mograder autograde` makes it.")
    with changed_book(loaded) if writes else viewed_gradebook(path) as book:
        yield book


@contextmanager
def viewed_or_empty(path: Path, *, trial: bool = False) -> Iterator[Gradebook]:
    """View a gradebook as :func:`viewed_gradebook`; without one, an empty one that is not kept."""
    if path.is_file():
        with viewed_gradebook(path, trial=trial) as book:
            yield book
    else:
        with (
            TemporaryDirectory(prefix="mograder-gradebook-") as place,
            Gradebook(Path(place) / path.name) as book,
        ):
            yield book


def assignment_named(book: Gradebook, typed: str) -> str:
    names = [each.name for each in book.assignments()]
    return find_name(typed, names, Words(where="in the gradebook", empty="It has none yet."))


def grade_named(
    grades: Sequence[StudentGrade], student: str, where: str = "this assignment"
) -> StudentGrade:
    """Return a student's marks; ``where`` names their assignments in the error without any."""
    wanted = nfc(student)
    for grade in grades:
        if nfc(grade.student) == wanted:
            return grade
    known = listed(sorted({each.student for each in grades}))
    raise NotFound(
        f"The gradebook has no marks of {student!r} for {where}.",
        hint=f"It has: {known}." if known else "It has none of any student.",
    )


def marker_name() -> str:
    return account_name(nameless="user {}")
