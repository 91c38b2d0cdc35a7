"""Calls for isolated processes about untrusted notebooks: inspecting and merging them.

Previews merge hundreds of copies, many to a process, since starting one takes longer than a merge.
A copy on which a process fails costs its own line only: the others of its batch are merged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from mograder.core.errors import Busy, InvalidInput
from mograder.core.tasks import SingleFlight
from mograder.notebook.cells import parse_cells
from mograder.notebook.denied_code import (
    DEFAULT_DENIED,
    Denied,
    Screening,
    screen_submission,
)
from mograder.notebook.integrity import describe_tampering
from mograder.notebook.merge.cell_merge import Merge, merge
from mograder.notebook.parsing import check_notebook
from mograder.notebook.version_diff import (
    VersionDifference,
    told_difference,
    unanswered,
    version_difference,
)
from mograder.processes.isolated_call import IsolatedCall

_MOST_FINDINGS = 50


def screen(
    text: str, filename: str, *, release: str | None, denied: Denied = DEFAULT_DENIED
) -> Screening:
    """Return the denied code in a notebook, except in cells of its release (B133)."""
    check_notebook(text, filename)
    found = screen_submission(text, filename, release=release, denied=denied)
    return Screening(found.denied[:_MOST_FINDINGS], found.unchecked[:_MOST_FINDINGS])


def compare(text: str, filename: str, release: str) -> tuple[str, ...]:
    """Return what a notebook has changed of its release, in words for graders."""
    check_notebook(text, filename)
    return describe_tampering(parse_cells(text, filename), parse_cells(release, filename))


def find_unanswered(text: str, filename: str, release: str) -> tuple[str, ...]:
    """Return which questions are still as they were handed out."""
    check_notebook(text, filename)
    return unanswered(text, release, filename)[:_MOST_FINDINGS]


_SECONDS = 6


@dataclass(frozen=True, slots=True)
class MergeQuestion:
    """A copy to merge, ``mine``; ``base`` is the release that it came from, None if unknown."""

    base: str | None
    new: str
    mine: str

    @property
    def size(self) -> int:
        return len(self.mine) + len(self.new) + len(self.base or "")


@dataclass(frozen=True, slots=True)
class MergeOutline:
    """What a merge would do, without the text; ``reason`` is why it cannot be done, else ""."""

    replaced: int = 0
    added: int = 0
    removed: int = 0
    conflicts: int = 0
    changed: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MergeProposal:
    """A merge that was computed to be looked at, and its difference from the copy."""

    merge: Merge
    difference: VersionDifference


class CopyMerger:
    """Merges copies, large ones in processes of their own.

    Mutable state: ``_alike``, the merges under way of copies that are their release as it was: when
    a class begins with an updated item, those that wait share one.
    """

    def __init__(self) -> None:
        self._apart = IsolatedCall()
        self._batches = IsolatedCall(seconds=_SECONDS)
        self._alike: SingleFlight[MergeQuestion, Merge] = SingleFlight()

    async def merge(self, question: MergeQuestion) -> Merge:
        """Return the merge of one copy.

        Raises: :class:`~mograder.notebook.merge.cell_merge.NotMergeable`, :class:`InvalidInput`
        when it takes too much time or memory, :class:`Busy` when its process is killed.
        """
        call = partial(_merge, question)
        if question.mine != question.base:
            return await self._apart.call(call, size=question.size)
        return await self._alike.get(question, lambda _: self._apart.call(call, size=question.size))

    async def close(self) -> None:
        await self._alike.close()

    async def propose(self, question: MergeQuestion, whose: str) -> MergeProposal:
        """Return the merge of a person's copy, and how it differs from the copy.

        Raises: as :meth:`merge`; :class:`Busy` also when too many of theirs wait.
        """
        call = partial(_propose, question)
        return await self._apart.call(call, size=question.size, whose=whose)

    async def same(self, one: str, other: str) -> bool:
        """Return whether two texts have the same cells; marimo's version may differ.

        The editor writes a notebook anew when it opens it, which is no edit of its student's.
        """
        size = len(one) + len(other)
        try:
            return await self._apart.call(partial(_same, one, other), size=size)
        except InvalidInput:
            return False

    async def outlines(self, questions: Sequence[MergeQuestion]) -> tuple[MergeOutline, ...]:
        """Return what merging each copy would do.

        The questions should be about one release: a text that several have in common counts once.
        """
        size = sum(len(each.mine) for each in questions)
        try:
            return await self._batches.call(partial(_outlines, tuple(questions)), size=size)
        except (InvalidInput, Busy) as error:
            if len(questions) == 1:
                return (MergeOutline(reason=error.message),)
        found = [await self.outlines((each,)) for each in questions]
        return tuple(outline for (outline,) in found)


def _merge(question: MergeQuestion) -> Merge:
    return merge(question.base, question.new, question.mine)


def _same(one: str, other: str) -> bool:
    return version_difference(one, other).none


def _propose(question: MergeQuestion) -> MergeProposal:
    found = _merge(question)
    return MergeProposal(found, told_difference(question.mine, found.text))


def _outlines(questions: tuple[MergeQuestion, ...]) -> tuple[MergeOutline, ...]:
    return tuple(map(_outline, questions))


def _outline(question: MergeQuestion) -> MergeOutline:
    try:
        found = _merge(question)
    except InvalidInput as error:
        return MergeOutline(reason=error.message)
    return MergeOutline(
        len(found.replaced),
        len(found.added),
        len(found.removed),
        len(found.conflicts),
        found.changed,
    )
