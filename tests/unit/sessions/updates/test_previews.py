"""Previews of updates: one at a time for an item, and a cancelled one stays cancelled."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict, NotFound
from mograder.core.names import ItemName
from mograder.processes.notebook_calls import MergeOutline, MergeQuestion
from mograder.sessions.update_offers import PreviewState, UpdatePreviews
from mograder.store.versions.kept_releases import KeptText

A1, GONE = ItemName("A1"), ItemName("A2")
COPIES = {f"u{number:02}": SimpleNamespace(size=1) for number in range(30)}
BATCH = 20


class Updates:
    """Copies that merge cleanly, once ``may`` is set."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.asked = 0
        self.broken = False
        self.stores = SimpleNamespace(
            history=SimpleNamespace(
                present=lambda item: KeptText("new", "text") if item == A1 else None
            ),
            workspaces=SimpleNamespace(
                people=lambda: reversed(COPIES), facts=lambda user, _: COPIES[user]
            ),
        )
        self.merger = self

    def question(self, _copy: object, _present: object) -> MergeQuestion:
        return MergeQuestion(None, "text", "mine")

    async def outlines(self, questions: list[MergeQuestion]) -> list[MergeOutline]:
        self.asked += len(questions)
        await self.may.wait()
        if self.broken:
            raise OSError("no process")
        return [MergeOutline(replaced=1, changed=True) for _ in questions]


@pytest.fixture
async def updates() -> Updates:
    return Updates()


@pytest.fixture
async def previews(updates: Updates) -> UpdatePreviews:
    return UpdatePreviews(cast(Any, updates), SystemClock())


async def test_one_is_computed_at_a_time_and_then_again(
    updates: Updates, previews: UpdatePreviews
) -> None:
    task = await previews.begin(A1)
    with pytest.raises(Conflict, match="computed already"):
        await previews.begin(A1)
    updates.may.set()
    await task
    found = previews.of(A1)
    assert found is not None
    assert (found.state, found.release) == (PreviewState.DONE, "new")
    assert (found.completed, found.total) == (len(COPIES), len(COPIES))
    assert [line.user for line in found.lines] == sorted(COPIES)
    await (await previews.begin(A1))
    assert previews.of(A1) is not found
    with pytest.raises(NotFound):
        await previews.begin(GONE)


async def test_a_cancelled_one_ends_with_its_batch_and_says_nothing(
    updates: Updates, previews: UpdatePreviews
) -> None:
    assert not previews.cancel(A1)
    task = await previews.begin(A1)
    assert previews.cancel(A1)
    assert not previews.cancel(A1)
    updates.may.set()
    await task
    found = previews.of(A1)
    assert found is not None
    assert (found.state, found.lines) == (PreviewState.CANCELLED, ())
    assert updates.asked <= BATCH


async def test_one_that_breaks_has_failed(updates: Updates, previews: UpdatePreviews) -> None:
    updates.broken = True
    updates.may.set()
    await (await previews.begin(A1))
    found = previews.of(A1)
    assert found is not None
    assert found.state is PreviewState.FAILED
