"""A new release brought into a student's copy, cell by cell. Pure: three texts in, a result out.

The author's cells that the student left alone are replaced, and the student's cells stay where they
are. A cell that both changed stays as the student has it, with the author's beside it as a comment.
Checks, marks and the header are always those of the new release.
"""

from __future__ import annotations

from dataclasses import dataclass

from mograder.core.errors import InvalidInput
from mograder.notebook.cells import parse_cells


class NotMergeable(InvalidInput):
    """A copy that is left as it is, with the reason in its message."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A place that the student has to look at.

    ``cell`` says which cell it is, in words; ``line`` is the line in the result, from 1.
    """

    cell: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Merge:
    """The result of a merge.

    ``replaced``, ``added`` and ``removed`` describe the author's cells that differ from the copy's,
    in the order of the notebook. ``changed`` is whether ``text`` differs from the copy.
    """

    text: str
    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    changed: bool = False


def merge(base: str | None, new: str, mine: str) -> Merge:
    """Return a student's copy with what the author changed between two releases.

    ``base`` is the release that the copy came from, None if it is not known; then the hashes in the
    copy's header tell which cells are the author's.

    Raises:
        NotMergeable: A text is not a notebook, or the result would not run as far as the copy.
    """
    for text, what in ((mine, "the copy"), (new, "the new release"), (base, "the old release")):
        if text is not None:
            try:
                parse_cells(text, what)
            except InvalidInput as error:
                raise NotMergeable(error.message, hint=error.hint) from error
    if mine in (base, new):
        return Merge(new, changed=mine != new)
    if base == new:
        return Merge(mine)
    raise NotMergeable("the copy: copies that were edited cannot be merged yet.")
