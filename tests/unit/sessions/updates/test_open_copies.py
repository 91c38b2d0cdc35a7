"""Updates of copies that are open, or about to be: they stay as they are, and so does the line."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mograder.core.clock import SystemClock
from mograder.core.errors import Conflict
from mograder.core.files.disk import NO_RESERVE
from mograder.core.names import ItemName, Username
from mograder.sessions.copy_updates import CopyStanding, CopyUpdates, Standing
from mograder.sessions.manager import SessionManager
from mograder.sessions.session import CopyOf
from mograder.sessions.update_offers import UpdateOffers
from mograder.store.copies.update_rows import CopyUpdateRow, OfferRow, UpdateState
from tests.support.session_pools import (
    ALICE,
    BOB,
    PATIENCE,
    Rig,
    ignore_progress,
    soon,
    terms,
    waiting,
)

COPY = CopyOf(Username("alice"), ItemName("A1"))
NOW = SystemClock().now()
MERGED = CopyUpdateRow("A1", "alice", 1, "new", UpdateState.MERGED, NOW)


class Updates(CopyUpdates):
    """Updates of which one waits for alice's copy, which could not be merged before."""

    def __init__(self, pool: SessionManager) -> None:
        offer = OfferRow(COPY.item, 1, "new", NOW, "teacher")
        rows = SimpleNamespace(
            offer=lambda item: offer,
            withdraw=lambda item: replace(offer, withdrawn=True),
            copies=lambda item, offer: [MERGED],
        )
        versions = SimpleNamespace(releases_of=lambda item: {"alice": "new"})
        stores = cast(Any, SimpleNamespace(rows=rows, versions=versions))
        super().__init__(pool, stores, SystemClock(), reserve=NO_RESERVE)

    async def standing(self, copy: CopyOf) -> CopyStanding:
        return CopyStanding(Standing.REFUSED)


@pytest.mark.parametrize("line", [True, False], ids=["in line", "starting"])
async def test_a_page_that_is_loaded_again_does_not_end_the_start_of_the_first(
    rig: Rig, line: bool
) -> None:
    async with rig.pool(terms(starts=1 if line else 9)) as pool:
        first = await rig.begin(pool, BOB)
        starting = await (rig.line_up if line else rig.begin)(pool, ALICE)
        async with asyncio.timeout(PATIENCE):
            assert await Updates(pool).settle(COPY, ignore_progress, lambda: True) is None
        assert waiting(pool) == int(line)
        rig.server.up.set()
        await soon(first)
        assert await starting is pool.find(ALICE)


async def test_nothing_is_merged_of_a_release_that_is_not_shown_to_the_student(rig: Rig) -> None:
    async with rig.pool(terms()) as pool:
        assert await Updates(pool).settle(COPY, ignore_progress, lambda: False) is None


async def test_a_withdrawal_leaves_alone_who_waits_in_line(rig: Rig) -> None:
    async with rig.pool(terms(starts=1)) as pool:
        first = await rig.begin(pool, BOB)
        starting = await rig.line_up(pool, ALICE)
        updates = Updates(pool)
        offers = UpdateOffers(updates, cast(Any, None), pool, SystemClock())
        withdrawn = await offers.withdraw(COPY.item, ignore_progress)
        assert withdrawn.waiting == ["alice"]
        rig.server.up.set()
        await soon(first)
        try:
            assert await starting is pool.find(ALICE)
        except Conflict as error:
            pytest.fail(f"alice has lost her place: {error}")
