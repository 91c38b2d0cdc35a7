"""Previews of updates: what merging a release would do to each copy, computed in the background.

The result is in the database, so that every hub shows it and any hub can cancel the run. Copies are
merged in processes, one after the other, never on the event loop; one that cannot be read or merged
costs its own line only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.core.tasks.background_tasks import BackgroundTasks
from mograder.processes.copy_merging import MergeOutline, MergeQuestion
from mograder.sessions.student_copies import CopyOf
from mograder.sessions.updates.copy_updates import CopyUpdates, KeptText
from mograder.store.copies.copy_facts import CopyListing
from mograder.store.copies.copy_updates import PreviewLine, PreviewState

_BATCH = 20
_BATCH_BYTES = 400_000
"""Most copies, and most bytes of them, that one process merges."""

_log = get_logger(__name__)


class UpdatePreviews:
    """Computes previews; for one event loop. ``on_change`` is called with the item.

    Mutable state: ``_runs``, the tasks of this hub.
    """

    def __init__(self, updates: CopyUpdates, listing: CopyListing, clock: Clock) -> None:
        self._updates = updates
        self._rows = updates.stores.rows
        self._listing = listing
        self._clock = clock
        self._runs = BackgroundTasks()
        self.on_change: Callable[[ItemName], None] = lambda _: None

    async def begin(self, item: ItemName) -> asyncio.Task[None]:
        """Begin a preview in the background and return its task.

        Raises: :class:`NotFound` if the item is not published, :class:`Conflict` if its preview is
        being computed already.
        """
        present = await asyncio.to_thread(self._updates.stores.history.present, item)
        if present is None:
            raise NotFound("There is no such item.")
        people = await asyncio.to_thread(self._people, item)
        run = await asyncio.to_thread(
            self._rows.begin_preview, item, present.digest, len(people), self._clock.now()
        )
        task = self._runs.start(self._run(item, run, present, people))
        self.on_change(item)
        return task

    async def close(self) -> None:
        """Cancel the previews of this hub."""
        await self._runs.close()

    def _people(self, item: ItemName) -> list[tuple[Username, int]]:
        """Return the users with a copy of an item, and its size in bytes; blocks."""
        found = ((user, self._listing.facts(user, item)) for user in self._listing.people())
        return [(user, facts.size) for user, facts in found if facts is not None]

    async def _run(
        self, item: ItemName, run: str, present: KeptText, people: Sequence[tuple[Username, int]]
    ) -> None:
        state, lines = PreviewState.FAILED, list[PreviewLine]()
        try:
            if await self._compute(item, run, present, people, lines):
                state = PreviewState.DONE
        except Exception:  # noqa: BLE001 - the row must not say for ever that it runs
            _log.exception("the preview of the update of %s failed", item)
        finally:
            lines.sort(key=lambda line: line.user)
            ending = asyncio.to_thread(self._rows.end_preview, item, run, state, lines)
            try:
                await asyncio.shield(ending)
            except MograderError as error:
                _log.error("the preview of %s could not be stored: %s", item, error)
            self.on_change(item)

    async def _compute(
        self,
        item: ItemName,
        run: str,
        present: KeptText,
        people: Sequence[tuple[Username, int]],
        lines: list[PreviewLine],
    ) -> bool:
        """Add a line for each copy; return false if the run was cancelled."""
        for batch in _batches(people):
            lines.extend(await self._batch(item, present, batch))
            count = self._rows.count_preview
            going = await asyncio.to_thread(count, item, run, len(lines))
            self.on_change(item)
            if not going:
                return False
        return True

    async def _batch(
        self, item: ItemName, present: KeptText, people: Sequence[Username]
    ) -> list[PreviewLine]:
        read = await asyncio.to_thread(self._questions, item, present, people)
        questions = [each for _, each in read if isinstance(each, MergeQuestion)]
        outlines = iter(await self._updates.merger.outlines(questions) if questions else ())
        return [_line(user, each, outlines) for user, each in read]

    def _questions(
        self, item: ItemName, present: KeptText, people: Sequence[Username]
    ) -> list[tuple[Username, MergeQuestion | str]]:
        """Return the texts to merge, or why there are none; blocks."""
        found: list[tuple[Username, MergeQuestion | str]] = []
        for user in people:
            try:
                found.append((user, self._updates.question(CopyOf(user, item), present)))
            except (NotFound, InvalidInput, Conflict) as error:
                found.append((user, error.message))
        return found


def _batches(people: Iterable[tuple[Username, int]]) -> Iterator[list[Username]]:
    """Yield users whose copies are merged by one process; a large copy is alone."""
    batch, size = list[Username](), 0
    for user, more in people:
        if batch and (len(batch) == _BATCH or size + more > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(user)
        size += more
    if batch:
        yield batch


def _line(
    user: Username, read: MergeQuestion | str, outlines: Iterator[MergeOutline]
) -> PreviewLine:
    if isinstance(read, str):
        return PreviewLine(str(user), reason=read)
    outline = next(outlines)
    return PreviewLine(
        str(user),
        outline.replaced,
        outline.added,
        outline.removed,
        outline.conflicts,
        outline.reason,
        outline.changed,
    )
