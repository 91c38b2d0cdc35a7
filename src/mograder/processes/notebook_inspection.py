"""What a stranger's notebook is, found out where that can harm only itself (``sandbox.apart``)."""

from __future__ import annotations

from dataclasses import dataclass

from mograder.notebook.denied_code import DEFAULT_DENIED, Denied
from mograder.notebook.integrity import Tampering, find_tampering
from mograder.notebook.screening import Screening, screen_submission
from mograder.notebook.syntax import check_notebook
from mograder.processes.isolated_call import IsolatedCall

_MOST_FINDINGS = 50


class Inspector:
    """Looks at texts, a few large ones at a time; the others wait for their turn.

    Each method raises :class:`InvalidInput` when the text is no marimo notebook, with the line,
    or when looking at it takes more time or memory than any notebook needs.
    """

    def __init__(self) -> None:
        self._apart = IsolatedCall()

    async def check(self, text: str, filename: str) -> None:
        """Return when it is a notebook that marimo can open."""
        await self._apart.call(_check, _Question(text, filename), size=len(text))

    async def screen(
        self, text: str, filename: str, *, release: str | None, denied: Denied = DEFAULT_DENIED
    ) -> Screening:
        """Return what a course denies in it, but for the cells that stand in its release (B133)."""
        question = _Question(text, filename, release, denied)
        return await self._apart.call(_screen, question, size=question.size)

    async def compare(self, text: str, filename: str, release: str) -> Tampering:
        """Return which of the release's checks are not as they were handed out."""
        question = _Question(text, filename, release)
        return await self._apart.call(_compare, question, size=question.size)


@dataclass(frozen=True, slots=True)
class _Question:
    text: str
    filename: str
    release: str | None = None
    denied: Denied = DEFAULT_DENIED

    @property
    def size(self) -> int:
        """All the characters that are to be parsed."""
        return len(self.text) + len(self.release or "")


def _check(question: _Question) -> None:
    check_notebook(question.text, question.filename)


def _screen(question: _Question) -> Screening:
    _check(question)
    found = screen_submission(
        question.text, question.filename, release=question.release, denied=question.denied
    )
    return Screening(found.denied[:_MOST_FINDINGS], found.unchecked[:_MOST_FINDINGS])


def _compare(question: _Question) -> Tampering:
    _check(question)
    return find_tampering(question.text, question.release or "", question.filename)
