"""Memory: what one more session with its kernel costs, as proportional set size (PSS).

All that is open is weighed together, before and after one more was opened: whatever it shares
with the others, or with the process that it was forked from, is not counted twice.
"""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack

from bench.options import Options
from bench.plain import plain_marimo
from bench.processes import MIB, below, pss
from bench.report import Budget, Row
from bench.stage import Stage


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Open editors one after another on both sides, each beside the ones before."""
    users = [stage.newcomer() for _ in range(options.rounds + 1)]
    ours, theirs = [_weigh_hub(stage)], [0]
    plain: set[int] = set()
    async with AsyncExitStack() as opened:
        for user in users:
            tab = await stage.open_tab(user)
            opened.callback(tab.close)
            ours.append(_weigh_hub(stage))
            other = await opened.enter_async_context(plain_marimo(stage))
            await other.tab.open()
            opened.callback(other.tab.close)
            plain |= {other.pid, *below(other.pid)}
            theirs.append(pss(plain))
    await stage.stop_sessions(users)
    return [
        Row(
            "memory of one more session with its kernel",
            "MiB",
            "plain marimo",
            _added(ours),
            _added(theirs),
            Budget(0.45),
            f"the first {ours[1] / MIB - ours[0] / MIB:.0f} and {theirs[1] / MIB:.0f} MiB; before "
            f"it the supervisor's processes had {ours[0] / MIB:.0f} MiB",
        )
    ]


def _weigh_hub(stage: Stage) -> int:
    return pss(below(stage.supervisor.pid))


def _added(weights: list[int]) -> tuple[float, ...]:
    """Each one's addition but the first's, which pays for what all share."""
    return tuple((b - a) / MIB for a, b in itertools.pairwise(weights[1:]))
