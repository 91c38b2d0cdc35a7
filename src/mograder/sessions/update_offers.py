"""Offering an update to all copies of an item, withdrawing it, and what has become of it.

A preview says before what merging a release would do to each copy. It is computed in the
background, in processes, one copy after the other; one that cannot be read or merged costs its own
line only. The result is kept until the hub ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

from mograder.core.clock import Clock
from mograder.core.errors import Conflict, InvalidInput, MograderError, NotFound
from mograder.core.log import get_logger
from mograder.core.names import ItemName, Username
from mograder.core.tasks import BackgroundTasks, Progress
from mograder.processes.notebook_calls import MergeOutline, MergeQuestion
from mograder.sessions.copy_updates import CopyUpdates, as_it_is
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import CopyOf
from mograder.store.copies.update_rows import (
    CopyUpdateRow,
    OfferRow,
    UpdateState,
)
from mograder.store.versions.kept_releases import KeptText

_log = get_logger(__name__)


class PreviewState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PreviewLine(MergeOutline):
    user: str = ""


@dataclass(slots=True, eq=False)
class Preview:
    """What merging a release, by its digest, would do to ``total`` copies, of which some are
    ``completed``; ``lines``, by user, are empty while it runs.
    """

    release: str
    total: int
    at: datetime
    state: PreviewState = PreviewState.RUNNING
    completed: int = 0
    lines: Sequence[PreviewLine] = ()


@dataclass(frozen=True, slots=True)
class UpdateOverview:
    """An item's update: its last offer, the copies that it reached, and the last preview.

    ``present`` is the digest of the published release, "" without one, and ``offered`` is whether
    that is offered, with the data files that it has now. ``preview`` is the last one, if it is of
    that release with these data files.
    """

    present: str
    offer: OfferRow | None
    offered: bool
    copies: Sequence[CopyUpdateRow]
    preview: Preview | None


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The result of undoing an update: users whose copies have their former text, and the others.

    ``kept`` were edited since the merge, ``waiting`` are open at the moment and follow at their
    next start, ``failed`` has the reasons by user.
    """

    undone: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class UpdateOffers:
    """Offers updates and withdraws them; for one event loop."""

    def __init__(
        self, updates: CopyUpdates, previews: UpdatePreviews, pool: SessionManager, clock: Clock
    ) -> None:
        self._updates = updates
        self._previews = previews
        self._stores = updates.stores
        self._pool = pool
        self._clock = clock

    async def overview(self, item: ItemName) -> UpdateOverview:
        return await asyncio.to_thread(self._overview, item)

    async def offer(self, item: ItemName, who: str, previewed: str = "") -> OfferRow:
        """Offer the published release to all copies; ``previewed`` is the digest of the wanted one.

        Raises: :class:`NotFound` if the item is not published, :class:`Conflict` if its release is
        offered already, or is another one than ``previewed``.
        """
        return await asyncio.to_thread(self._offer, item, who, previewed)

    async def withdraw(self, item: ItemName, report: Progress) -> Withdrawal:
        """Withdraw the last offer, and give each merged copy its text from before.

        Copies that were edited since, and those that are open, are left alone. Calling it again
        goes on with what is left.

        Raises: :class:`NotFound` if nothing was ever offered.
        """
        offer = await asyncio.to_thread(self._stores.rows.withdraw, item)
        if offer is None:
            raise NotFound(f"No update of {item} was offered.")
        copies = await asyncio.to_thread(self._copies, item, offer)
        merged = [row for row in copies if row.state in (UpdateState.MERGED, UpdateState.MERGING)]
        done = Withdrawal(kept=[row.username for row in copies if row.state is UpdateState.KEPT])
        for number, row in enumerate(merged, start=1):
            report(f"Undoing the update: {number} of {len(merged)}")
            await self._undo(CopyOf(Username(row.username), item), done)
        return done

    async def _undo(self, copy: CopyOf, done: Withdrawal) -> None:
        if self._pool.is_wanted(copy.key):
            done.waiting.append(str(copy.user))
            return
        try:
            row = await self._updates.put_back(copy, edited=False)
        except MograderError as error:
            _log.warning("the update of %s of %s was not undone: %s", copy.item, copy.user, error)
            done.failed[str(copy.user)] = error.message
            return
        lists = {UpdateState.UNDONE: done.undone, UpdateState.KEPT: done.kept}
        lists[row.state].append(str(copy.user))

    def _overview(self, item: ItemName) -> UpdateOverview:
        present = self._stores.history.present(item)
        offer = self._stores.rows.offer(item)
        return UpdateOverview(
            "" if present is None else present.digest,
            offer,
            offer is not None and self._updates.is_offered(offer),
            () if offer is None else self._copies(item, offer),
            self._preview(item),
        )

    def _preview(self, item: ItemName) -> Preview | None:
        """Return the last preview, unless the release or its data files have changed since."""
        preview = self._previews.of(item)
        history = self._stores.history
        if preview is None or not history.is_as_of(item, preview.release, preview.at):
            return None
        return preview

    def _copies(self, item: ItemName, offer: OfferRow) -> Sequence[CopyUpdateRow]:
        """Return what an offer did to each copy: undone, where its student put a version back."""
        rows = self._stores.rows.copies(item, offer.number)
        came_from = self._stores.versions.releases_of(item)
        return [as_it_is(row, came_from.get(row.username)) for row in rows]

    def _offer(self, item: ItemName, who: str, previewed: str) -> OfferRow:
        present = self._stores.history.present(item)
        if present is None:
            raise NotFound(f"{item} is not published.")
        preview = self._previews.of(item)
        is_named = preview is not None and preview.release == previewed
        is_old = is_named and self._preview(item) is None  # by its data files
        if previewed and (previewed != present.digest or is_old):
            raise Conflict(
                f"{item} was published again since the preview. Nothing is offered.",
                hint="Preview the update again, then offer it.",
            )
        last = self._stores.rows.offer(item)
        again = last is not None and self._stores.history.is_as_of(
            item, last.release, last.offered_at
        )
        if last is not None and again and not last.withdrawn:
            raise Conflict(f"This release of {item} is offered already.")
        now = self._clock.now()
        return self._stores.rows.make_offer(item, present.digest, who, now, again=again)


_BATCH = 20
_BATCH_BYTES = 400_000
"""Most copies, and most bytes of them, that one process merges."""


class UpdatePreviews:
    """Computes previews; for one event loop. ``on_change`` is called with the item.

    Mutable state: ``_last``, the last preview of each item.
    """

    def __init__(self, updates: CopyUpdates, clock: Clock) -> None:
        self._updates = updates
        self._clock = clock
        self._last: dict[ItemName, Preview] = {}
        self._runs = BackgroundTasks()
        self.on_change: Callable[[ItemName], None] = lambda _: None

    def of(self, item: ItemName) -> Preview | None:
        """Return the last preview of an item; memory only."""
        return self._last.get(item)

    async def begin(self, item: ItemName) -> asyncio.Task[None]:
        """Begin a preview in the background and return its task.

        Raises: :class:`NotFound` if the item is not published, :class:`Conflict` if its preview is
        being computed already.
        """
        present = await asyncio.to_thread(self._updates.stores.history.present, item)
        if present is None:
            raise NotFound("There is no such item.")
        people = await asyncio.to_thread(self._people, item)
        last = self._last.get(item)
        if last is not None and last.state is PreviewState.RUNNING:
            raise Conflict(
                f"A preview of {item} is being computed already.", hint="Wait, or cancel it."
            )
        preview = self._last[item] = Preview(present.digest, len(people), self._clock.now())
        task = self._runs.start(self._run(item, preview, present, people))
        self.on_change(item)
        return task

    def cancel(self, item: ItemName) -> bool:
        """Have a running preview end; return false if none runs."""
        preview = self._last.get(item)
        if preview is None or preview.state is not PreviewState.RUNNING:
            return False
        preview.state = PreviewState.CANCELLED
        return True

    async def close(self) -> None:
        await self._runs.close()

    def _people(self, item: ItemName) -> list[tuple[Username, int]]:
        """Return the users with a copy of an item, and its size in bytes; blocks."""
        spaces = self._updates.stores.workspaces
        found = ((user, spaces.facts(user, item)) for user in spaces.people())
        return [(user, facts.size) for user, facts in found if facts is not None]

    async def _run(
        self,
        item: ItemName,
        preview: Preview,
        present: KeptText,
        people: Sequence[tuple[Username, int]],
    ) -> None:
        lines = list[PreviewLine]()
        try:
            for batch in _batches(people):
                lines.extend(await self._batch(item, present, batch))
                if preview.state is PreviewState.CANCELLED:
                    return
                preview.completed = len(lines)
                self.on_change(item)
            preview.lines = sorted(lines, key=lambda line: line.user)
            preview.state = PreviewState.DONE
        except Exception:  # noqa: BLE001 - else its state would stay "running"
            _log.exception("the preview of the update of %s failed", item)
            preview.state = PreviewState.FAILED
        finally:
            self.on_change(item)

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
    outline = MergeOutline(reason=read) if isinstance(read, str) else next(outlines)
    return PreviewLine(**asdict(outline), user=str(user))
