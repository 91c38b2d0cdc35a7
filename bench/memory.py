"""Memory of one more session with its kernel, as proportional set size (PSS).

All processes are measured together, before and after many more sessions were opened. Pages that a
session shares with its zygote and with other sessions are then divided among many, as in a course;
a single session would be charged with half of them.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from bench.options import Options
from bench.plain_marimo import plain_marimo
from bench.processes import MIB, below, pss
from bench.report import Budget, Row
from bench.stage import Stage

_BESIDE, _MORE = 2, 16
_PLAIN_MORE = 4
"""Plain marimos share only mapped files, from the second on, so fewer samples suffice."""


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Open editors on both sides, and measure the memory added after the first ones."""
    before = _weigh_hub(stage)
    ours, first = await _at_the_hub(stage)
    theirs = await _plain(stage)
    return [
        Row(
            f"memory of one session with its kernel, of {_MORE} more",
            "MiB",
            (ours / MIB,),
            Budget(0.45),
            f"the first {_BESIDE} {first / MIB:.0f} MiB; before them the supervisor's processes "
            f"had {before / MIB:.0f} MiB",
            reference="plain marimo",
            theirs=(theirs / MIB,),
        )
    ]


async def _at_the_hub(stage: Stage) -> tuple[float, int]:
    """Return the memory that each additional session adds, and the total of the first ones."""
    before = _weigh_hub(stage)
    users = [stage.newcomer() for _ in range(_BESIDE + _MORE)]
    async with AsyncExitStack() as opened:
        for user in users[:_BESIDE]:
            opened.callback((await stage.open_tab(user)).close)
        few = _weigh_hub(stage)
        for user in users[_BESIDE:]:
            opened.callback((await stage.open_tab(user)).close)
        many = _weigh_hub(stage)
    await stage.stop_sessions(users)
    return (many - few) / _MORE, few - before


async def _plain(stage: Stage) -> float:
    """Return the memory that each additional plain marimo adds."""
    weighed: list[int] = []
    known: set[int] = set()
    async with AsyncExitStack() as opened:
        for _ in range(_BESIDE + _PLAIN_MORE):
            other = await opened.enter_async_context(plain_marimo(stage))
            await other.tab.open()
            opened.callback(other.tab.close)
            known |= {other.pid, *below(other.pid)}
            weighed.append(pss(known))
    return (weighed[-1] - weighed[_BESIDE - 1]) / _PLAIN_MORE


def _weigh_hub(stage: Stage) -> int:
    return pss(below(stage.supervisor.pid))
