"""Many students at once, as `make bench` counts them."""

from __future__ import annotations

import asyncio
import math

import pytest

from bench.crowd import gather
from bench.load import Target
from bench.tab import Tab
from bench.wire import Refused

pytestmark = pytest.mark.full


async def _arrives(page: float) -> Tab:
    tab = Tab(Target(path="", port=1), 0.0)
    tab.times.page = page
    return tab


async def _fails() -> Tab:
    raise Refused("503 full")


async def test_who_failed_is_counted_and_the_others_times_are_kept() -> None:
    crowd = await gather([_arrives(2.0), _fails(), _arrives(3.0)])
    assert crowd.pages == [2.0, 3.0]
    assert crowd.last_page == 3.0
    assert crowd.failures == ("Refused: 503 full",)
    assert "503 full" in crowd.why()
    crowd.close()


async def test_when_everybody_failed_the_wait_is_infinite() -> None:
    crowd = await gather([_fails()])
    assert crowd.last_page == math.inf
    assert crowd.outputs == crowd.cells == [math.inf]


async def test_an_interruption_is_no_failure_of_a_student() -> None:
    async def interrupted() -> Tab:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await gather([interrupted(), _arrives(1.0)])
