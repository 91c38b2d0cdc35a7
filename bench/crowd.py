"""Many students at once: the times of each, and the reasons of failures."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass

from bench.tab import Tab


@dataclass(frozen=True, slots=True)
class Crowd:
    """The tabs of the students who got a page, and the reasons of the others' failures."""

    tabs: tuple[Tab, ...]
    failures: tuple[str, ...]

    @property
    def pages(self) -> list[float]:
        """Seconds to the page, per successful tab; infinite if there is none."""
        return [tab.times.page for tab in self.tabs] or [math.inf]

    @property
    def outputs(self) -> list[float]:
        """Seconds to the first output, per successful tab; infinite if there is none."""
        return [tab.times.first_output for tab in self.tabs] or [math.inf]

    @property
    def cells(self) -> list[float]:
        """Seconds until all cells had run, per successful tab; infinite if there is none."""
        return [tab.times.all_cells for tab in self.tabs] or [math.inf]

    @property
    def last_page(self) -> float:
        """Seconds until the last has the page."""
        return max(self.pages)

    def close(self) -> None:
        for tab in self.tabs:
            tab.close()

    def why(self) -> str:
        """The first reason of a failure, if any, for a row's note."""
        return f"; first failure: {self.failures[0]}" if self.failures else ""


async def gather(openings: Sequence[Awaitable[Tab]]) -> Crowd:
    """Wait until all have opened their tabs or failed."""
    results = await asyncio.gather(*openings, return_exceptions=True)
    failed = [each for each in results if isinstance(each, BaseException)]
    for each in failed:
        if not isinstance(each, Exception):
            raise each
    tabs = [each for each in results if isinstance(each, Tab)]
    return Crowd(tuple(tabs), tuple(f"{type(each).__name__}: {each}" for each in failed))
