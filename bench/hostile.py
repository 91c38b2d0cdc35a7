"""Hostile: five sessions that take all they can get, and a sixth student who starts and computes.

The bombs are those of the tests. They start together with the sixth student's session, or up to two
seconds earlier, in turns; anew for each sample, since ended sessions no longer attack.
There is a budget only where cgroup v2 is delegated: nothing bounds the attackers' share elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from bench.attackers import attacking
from bench.cpu_waits import Spent, spent, told, zygotes_below
from bench.figures import percentile
from bench.options import Options
from bench.progress import say
from bench.report import Budget, Row
from bench.stage import ITEM, Stage
from bench.wire import Refused
from mograder.sandbox.limits.cgroup2 import SessionGroups
from mograder.sandbox.limits.cpu import put_first
from tests.support import bombs
from tests.support.uids import owned_by, uid_of

_LEAST_ROUNDS = 12
_FIRSTS = ("forker", "leaver", "waker")
"""One of them in each round: five sessions are hostile."""

_DELAYS = (0.0, 0.5, 1.0, 2.0)
"""Seconds from the bombs to the student."""


@dataclass(frozen=True, slots=True)
class _Visit:
    """Seconds until the editor stands with all its outputs, and of one more run of a cell."""

    start: float
    run: float
    waits: Mapping[str, Spent]
    """Of the hub's and the student's own processes: in line for a processor, and on one."""


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Start a student's session without and under attack, in turns.

    The client has a higher priority, as if the browser were on another machine.
    """
    put_first()
    calm, attacked = [], []
    rounds = max(_LEAST_ROUNDS, options.rounds)
    for turn in range(rounds):
        calm.append(await _visit(stage))
        first, delay = _FIRSTS[turn % len(_FIRSTS)], _DELAYS[turn % len(_DELAYS)]
        async with _attack(stage, first):
            await asyncio.sleep(delay)
            attacked.append(await _visit(stage))
        now, then = attacked[-1], calm[-1]
        kind = f"{first}, {delay} s ago"
        say(f"  turn {turn + 1} of {rounds}: {_told(now)} under attack ({kind})")
        say(f"    and {_told(then)} in peace")
        say(f"    in line for a processor + on one: {told(now.waits)}")
        say(f"    in peace: {told(then.waits)}")
    return [
        _row("start", [each.start for each in attacked], [each.start for each in calm]),
        _row(
            "start and cell run",
            [each.start + each.run for each in attacked],
            [each.start + each.run for each in calm],
        ),
    ]


def _row(what: str, attacked: list[float], calm: list[float]) -> Row:
    refusal = SessionGroups.refusal()
    note = f"; no budget: {refusal}" if refusal else ""
    return Row(
        f"sixth student beside five hostile sessions: {what}",
        "s",
        "in peace",
        tuple(attacked),
        tuple(calm),
        None if refusal else Budget(2),
        f"slowest {max(attacked):.2f} s, in peace {max(calm):.2f} s; "
        f"p75 {percentile(attacked, 75):.2f} s{note}",
    )


def _told(visit: _Visit) -> str:
    return f"{visit.start:.2f} + {visit.run:.2f} s"


async def _visit(stage: Stage) -> _Visit:
    user = stage.newcomer()
    servers = {
        "hub": [stage.hub.pid],
        "supervisor": [stage.supervisor.pid],
        "client": [os.getpid()],
    }
    servers["zygotes"] = zygotes_below(stage.supervisor.pid)
    before = {name: spent(pids) for name, pids in servers.items()}
    tab = await stage.open_tab(user)
    asked = time.perf_counter()
    await tab.run(0, "print(6 * 7)", "42")
    ran = time.perf_counter() - asked
    waits = {name: spent(pids) - before[name] for name, pids in servers.items()}
    waits["session"] = spent(process.pid for process in owned_by(uid_of(stage.hub, user, ITEM)))
    tab.close()
    await stage.stop_session(user)
    return _Visit(tab.times.all_cells, ran, waits)


@contextlib.asynccontextmanager
async def _attack(stage: Stage, first: str) -> AsyncIterator[None]:
    kinds = [first, *(kind for kind in bombs.ALL if kind not in _FIRSTS)]
    users = {stage.newcomer(): kind for kind in kinds}
    try:
        async with attacking(stage.hub.port, users):
            yield
    finally:
        for user in users:
            await _stop(stage, user)


async def _stop(stage: Stage, user: str) -> None:
    with contextlib.suppress(Refused):  # it was ended
        await stage.stop_session(user)
