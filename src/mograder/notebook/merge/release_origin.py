"""The release that an older copy came from, told by its text."""

from __future__ import annotations

from collections.abc import Sequence

from mograder.notebook.header_edit import read_key
from mograder.notebook.likeness import shared_lines
from mograder.notebook.merge.cell_states import CELL_HASHES

_ENOUGH = 0.6
"""Smallest share of a release's lines in a copy that came from it."""


def fitting_release(mine: str, releases: Sequence[str]) -> int | None:
    """Return the position of the release that a copy came from, the first of equal ones, or None.

    The copy's header has the hashes of its release's cells; without them, the release must have
    none either. Of several the one with most of its lines in the copy is returned. Texts are not
    parsed: a student's text is not trusted.
    """
    hashes = read_key(mine, CELL_HASHES)
    same = [each for each, text in enumerate(releases) if read_key(text, CELL_HASHES) == hashes]
    shares = {each: shared_lines(mine, releases[each]) for each in same}
    best = max(same, key=lambda each: (shares[each], -each), default=None)
    if best is None or (not hashes and shares[best] < _ENOUGH):
        return None
    return best
