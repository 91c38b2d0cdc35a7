"""The students that a release names: persons, and the members of groups."""

from __future__ import annotations

from collections.abc import Collection

from mograder.core.errors import NotFound
from mograder.store.gradebook.gradebook import Gradebook
from mograder.store.gradebook.late_work import LateWork


def chosen_students(
    book: Gradebook, students: Collection[str], groups: Collection[str]
) -> frozenset[str] | None:
    """Return the students who are named, and the members of the groups; None for all.

    Raises:
        NotFound: There is no such group.
    """
    if not students and not groups:
        return None
    known = LateWork(book).facts().groups() if groups else {}
    for group in groups:
        if group not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise NotFound(f"There is no group {group[:100]!r}.", hint=f"The groups: {listed}.")
    return frozenset(students).union(*(known[group] for group in groups))
