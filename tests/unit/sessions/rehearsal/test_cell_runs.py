"""A page without a browser: what it does, and what it does not believe."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mograder.core.errors import RemoteFailed
from mograder.sandbox.protocol import Endpoint
from mograder.sessions import rehearsal
from mograder.sessions.rehearsal import CellRun
from tests.support.fake_marimo import FakeMarimo, fake_marimo
from tests.support.session_pools import PATIENCE

BASE = "/edit/user/__rehearsal-1/A1"


def ticks() -> Callable[[], float]:
    """A clock that goes on by one second at each look."""
    numbers = itertools.count()
    return lambda: float(next(numbers))


@asynccontextmanager
async def page_of(fake: FakeMarimo) -> AsyncIterator[CellRun]:
    async with (
        asyncio.timeout(PATIENCE),
        rehearsal.opened(fake, Endpoint(fake.socket), BASE, ticks()) as page,
    ):
        yield page


@pytest.mark.parametrize("by_itself", [False, True])
async def test_all_cells_run_and_the_page_stays_open(tmp_path: Path, by_itself: bool) -> None:
    async with fake_marimo(tmp_path) as fake:
        fake.by_itself = by_itself
        async with page_of(fake) as page:
            await page.run_all()
            assert (page.first_output, page.all_cells, page.errors) == (0.0, 1.0, 0)
            assert fake.open == {f"{BASE}/ws"}
        assert fake.pages == [f"{BASE}/"]


async def test_cells_with_an_error_are_counted(tmp_path: Path) -> None:
    output = {"mimetype": "application/vnd.marimo+error", "data": []}
    error: dict[str, object] = {"op": "cell-op", "data": {"cell_id": "b", "output": output}}
    async with fake_marimo(tmp_path) as fake:
        fake.extra = (error, {"op": "nonsense"}, error)
        async with page_of(fake) as page:
            await page.run_all()
            assert page.errors == 2


async def test_a_server_that_refuses_or_leaves_is_a_failure(tmp_path: Path) -> None:
    async with fake_marimo(tmp_path) as fake:
        fake.broken = True
        async with page_of(fake) as page:
            with pytest.raises(RemoteFailed, match="closed the connection"):
                await page.run_all()
        fake.status = 500
        async with page_of(fake) as page:
            with pytest.raises(RemoteFailed, match="its page with 500"):
                await page.run_all()
        fake.status, fake.page = 200, "no token"
        async with page_of(fake) as page:
            fake.broken = False
            with pytest.raises(RemoteFailed, match="run all cells with 401"):
                await page.run_all()


async def test_messages_without_end_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "_MOST_MESSAGE", 1000)
    async with fake_marimo(tmp_path) as fake:
        fake.extra = ({"op": "cell-op", "data": "x" * 2000},)
        async with page_of(fake) as page:
            with pytest.raises(RemoteFailed, match="closed the connection"):
                await page.run_all()
