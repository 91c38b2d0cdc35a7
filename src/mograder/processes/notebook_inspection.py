"""Inspections of untrusted notebooks, for an isolated process (:mod:`.isolated_call`).

Each raises :class:`InvalidInput` when the text is not a marimo notebook, with the line.
"""

from __future__ import annotations

from mograder.notebook.integrity.denied_code import DEFAULT_DENIED, Denied
from mograder.notebook.integrity.integrity import Tampering, find_tampering
from mograder.notebook.integrity.screening import Screening, screen_submission
from mograder.notebook.integrity.unanswered import unanswered
from mograder.notebook.syntax import check_notebook

_MOST_FINDINGS = 50


def screen(
    text: str, filename: str, *, release: str | None, denied: Denied = DEFAULT_DENIED
) -> Screening:
    """Return the denied code in a notebook, except in cells of its release (B133)."""
    check_notebook(text, filename)
    found = screen_submission(text, filename, release=release, denied=denied)
    return Screening(found.denied[:_MOST_FINDINGS], found.unchecked[:_MOST_FINDINGS])


def compare(text: str, filename: str, release: str) -> Tampering:
    """Return which of the release's checks are changed in a notebook."""
    check_notebook(text, filename)
    return find_tampering(text, release, filename)


def find_unanswered(text: str, filename: str, release: str) -> tuple[str, ...]:
    """Return which questions are still as they were handed out."""
    check_notebook(text, filename)
    return unanswered(text, release, filename)[:_MOST_FINDINGS]
