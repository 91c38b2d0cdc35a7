"""The timeline of a copy: its versions, their differences, and what is put back of them.

``sessions.copy_recorder`` records the versions and ``sessions.student_copies`` replaces the copy;
this module says which version is the present text, and compares. For one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, NotFound
from mograder.notebook.parsing import decode_notebook
from mograder.notebook.saved_cells import SavedCells, WrittenCells, write_saved_cells
from mograder.notebook.version_diff import (
    CodeChange,
    PutBack,
    VersionDifference,
    lines_changed,
    put_back_cell,
    told_difference,
)
from mograder.processes.isolated_call import IsolatedCall
from mograder.sessions.copy_recorder import CopyRecorder
from mograder.sessions.session import CopyOf
from mograder.sessions.student_copies import Copies
from mograder.store.copies.workspaces import Saved
from mograder.store.versions.versions import Origin, Version, digest_of

_MOST_COUNTED = 200_000
_MOST_COUNTED_IN_ALL = 4_000_000
"""Bytes of a version, and of all pairs of a list, up to which the changed lines are counted."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A copy's versions, the newest first; ``present`` is the copy's, None without a copy.

    A state that was found again after a text was handed in later is not listed twice.
    """

    versions: tuple[Version, ...]
    present: Version | None

    def find(self, number: int) -> Version:
        """Return a version by its number. Raises: :class:`NotFound`."""
        found = next((each for each in self.versions if each.number == number), None)
        if found is None:
            raise NotFound("There is no such version.")
        return found

    def before(self, version: Version) -> Version | None:
        """Return the state that a version followed: the newest older one that the copy had."""
        older = (each for each in self.versions if each.number < version.number)
        return next((each for each in older if each.origin is not Origin.UNSAVED), None)


@dataclass(frozen=True, slots=True)
class Compared:
    """Two versions and their difference; ``later`` is what ``earlier`` became."""

    earlier: Version
    later: Version
    difference: VersionDifference


@dataclass(frozen=True, slots=True)
class KeptWork:
    """Work that could not be saved, as a version; ``lines`` is how many the copy lacks."""

    version: Version
    lines: int


class CopyTimelines:
    def __init__(self, copies: Copies, recorder: CopyRecorder, clock: Clock) -> None:
        self._copies = copies
        self._recorder = recorder
        self._clock = clock
        self._apart = IsolatedCall()

    async def of(self, copy: CopyOf) -> Timeline:
        """Return the timeline of a copy; its file is recorded first if it is not as last recorded.

        Raises: :class:`~mograder.core.errors.Busy` when the database does not answer.
        """
        return await asyncio.to_thread(self._of, copy)

    async def text(self, copy: CopyOf, version: Version) -> Saved:
        """Return a version's text, as of the time when it was saved."""
        data = await asyncio.to_thread(self._text, copy, version.number)
        return Saved(data, int(version.saved.timestamp() * 1e9))

    async def changes(
        self, copy: CopyOf, timeline: Timeline, shown: Sequence[Version]
    ) -> Mapping[int, tuple[int, int]]:
        """Return how many lines each of these versions added and removed, by number.

        It is left out for a version that followed none, and for large or many large ones.
        """
        return await asyncio.to_thread(self._changes, copy, timeline, shown)

    async def compare(self, copy: CopyOf, earlier: Version, later: Version) -> Compared:
        old, new = [(await self.text(copy, each)).data for each in (earlier, later)]
        return Compared(earlier, later, await self.difference(copy, old, new))

    async def difference(self, copy: CopyOf, earlier: bytes, later: bytes) -> VersionDifference:
        """Return the told part of a text's difference from an earlier one; both may be anything."""
        old, new = _shown(earlier), _shown(later)
        differ = partial(told_difference, old, new)
        return await self._apart.call(differ, size=len(old) + len(new), whose=copy.user)

    async def put_back_cell(
        self, copy: CopyOf, number: int, cell: int
    ) -> tuple[str | None, PutBack]:
        """Put one cell of a version into the present notebook; its session is ended first.

        Return also the name under which the replaced notebook is kept in the folder.

        Raises: :class:`NotFound` when there is no such version, cell or copy, :class:`Conflict`
        when the cell is as it was, :class:`InvalidInput` when a text is not a notebook, else as
        :meth:`Copies.upload`.
        """
        earlier = await asyncio.to_thread(self._text, copy, number)
        made: list[PutBack] = []

        async def make(present: bytes) -> bytes:
            made.append(await self._with_cell(copy, present, earlier, cell))
            return made[-1].text.encode()

        archive = await self._copies.rewrite(copy, make, Origin.RESTORE)
        return archive, made[-1]

    async def preview_cell(self, copy: CopyOf, number: int, cell: int) -> PutBack:
        """Return what :meth:`put_back_cell` would make of the present notebook; raises as it."""
        earlier = await asyncio.to_thread(self._text, copy, number)
        present = (await self._copies.export(copy)).data
        return await self._with_cell(copy, present, earlier, cell)

    async def has_cell(self, copy: CopyOf, change: CodeChange) -> bool:
        """Return whether the present notebook has the cell that an editor was to put back."""
        text = decode_notebook((await self._copies.export(copy)).data, copy.notebook)
        is_in = partial(change.is_in, text, copy.notebook)
        return await self._apart.call(is_in, size=len(text), whose=copy.user)

    async def _with_cell(self, copy: CopyOf, present: bytes, earlier: bytes, cell: int) -> PutBack:
        now, then = (decode_notebook(each, copy.notebook) for each in (present, earlier))
        put_back = partial(put_back_cell, now, then, cell, copy.notebook)
        return await self._apart.call(put_back, size=len(now) + len(then), whose=copy.user)

    async def keep_unsaved(self, copy: CopyOf, body: str) -> KeptWork | None:
        """Record work that marimo's page could not save, from the body of its request, once.

        Return None if the copy lacks nothing of it. The copy itself is not changed.

        Raises: :class:`InvalidInput` when it is no such body, :class:`NotFound` when there neither
        is nor was such a copy.
        """
        timeline = await self.of(copy)
        latest = timeline.present or next(iter(timeline.versions), None)
        if latest is None:
            raise NotFound("Notebook not found")
        present = _shown((await self.text(copy, latest)).data)
        written = await self._written(copy, SavedCells(body, present, copy.notebook))
        if not written.lines:
            return None
        text = written.text.encode()
        digest = digest_of(text)
        for version in timeline.versions:  # a page may hand it in again
            if version.origin is Origin.UNSAVED and version.digest == digest:
                return KeptWork(version, written.lines)
        record, now = self._recorder.versions.record, self._clock.now()
        kept = await asyncio.to_thread(record, copy.user, copy.item, text, Origin.UNSAVED, now)
        return KeptWork(kept, written.lines)

    async def _written(self, copy: CopyOf, saved: SavedCells) -> WrittenCells:
        write = partial(write_saved_cells, saved)
        # marimo compiles the cells that it writes.
        return await self._apart.call(write, size=saved.size, whose=copy.user, compiles=True)

    async def put_unsaved(self, copy: CopyOf, body: str) -> str | None:
        """Put work that could not be saved into the notebook; its session is ended first.

        Return the name under which the present notebook is kept.

        Raises: :class:`Conflict` if that has other cells than those which the work changed, else as
        :meth:`keep_unsaved` and :meth:`Copies.upload`.
        """

        async def make(present: bytes) -> bytes:
            now = decode_notebook(present, copy.notebook)
            written = await self._written(copy, SavedCells(body, now, copy.notebook))
            if not written.follows:
                raise Conflict(
                    "Your notebook was changed after you typed this, so nothing was replaced.",
                    hint="Look at both, and put back the cells that you want.",
                )
            return written.text.encode()

        return await self._copies.rewrite(copy, make, Origin.RESTORE)

    def _of(self, copy: CopyOf) -> Timeline:
        newest = self._recorder.found(copy.user, copy.item)
        versions = _without_repeats(self._recorder.versions.all(copy.user, copy.item))
        if newest is None:
            return Timeline(versions, None)
        present = next((each for each in versions if each.digest == newest.digest), None)
        return Timeline(versions, present)

    def _text(self, copy: CopyOf, number: int) -> bytes:
        return self._recorder.versions.text(copy.user, copy.item, number)

    def _changes(
        self, copy: CopyOf, timeline: Timeline, shown: Sequence[Version]
    ) -> dict[int, tuple[int, int]]:
        pairs, room = dict[int, int](), _MOST_COUNTED_IN_ALL
        for version in shown:
            before = timeline.before(version)
            if before is None or max(version.size, before.size) > _MOST_COUNTED:
                continue
            room -= version.size + before.size
            if room < 0:
                break
            pairs[version.number] = before.number
        read = self._recorder.versions.texts(copy.user, copy.item, {*pairs, *pairs.values()})
        texts = {number: _shown(data) for number, data in read.items()}
        return {
            number: lines_changed(texts[before], texts[number]) for number, before in pairs.items()
        }


def _without_repeats(versions: Sequence[Version]) -> tuple[Version, ...]:
    """Return versions without states that were only found again after a text was handed in.

    A text that is handed in later is a version but never the file's, so the file is found to
    differ from the newest version when it is next looked at.
    """
    again_by = (Origin.FOUND, Origin.EDITOR, Origin.RESET)
    kept: list[Version] = []
    state = ""
    for version in reversed(versions):
        again = version.origin in again_by and version.digest == state
        if not again:
            kept.append(version)
        if version.origin is not Origin.UNSAVED:
            state = version.digest
    return tuple(reversed(kept))


def _shown(data: bytes) -> str:
    """Return a text to compare or show; what is not UTF-8 is replaced."""
    return data.decode("utf-8", "replace")
