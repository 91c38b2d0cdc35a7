"""Cost: the processor time of one start, to the last cell's output, by process.

Two cores give 0.4 s to each of 300 students within a minute, their clients included.
"""

from __future__ import annotations

import time

from bench.options import Options
from bench.plain_marimo import plain_marimo
from bench.processes import below, cpu_seconds, own_cpu_seconds
from bench.report import Row
from bench.stage import Stage

_STARTS = 20


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Open sessions one after another and leave them open; open plain marimos in turns."""
    plain = []
    for _ in range(options.rounds):
        async with plain_marimo(stage) as other:
            await other.tab.open()
            plain.append(1000 * cpu_seconds({other.pid, *below(other.pid)}))
            other.tab.close()
    users = [stage.newcomer() for _ in range(_STARTS)]
    before = _spent(stage)
    tabs = [await stage.open_tab(user) for user in users]
    hub, supervisor, sessions, client = (
        1000 * (now - then) / _STARTS for now, then in zip(_spent(stage), before, strict=True)
    )
    for tab in tabs:
        tab.close()
    await stage.stop_sessions(users)
    return [
        Row(
            "processor time of a start with all cells run",
            "ms of CPU",
            (hub + supervisor + sessions,),
            None,
            f"of {_STARTS}: hub {hub:.0f}, supervisor {supervisor:.0f}, sandbox, server and "
            f"kernel {sessions:.0f}; the client {client:.0f} besides",
            reference="plain marimo, cold",
            theirs=tuple(plain),
        )
    ]


def _spent(stage: Stage) -> tuple[float, float, float, float]:
    """Return seconds used so far by hub, supervisor, everything below it, and this process.

    A process's time includes its reaped children, so no process of the supervisor is missed; the
    supervisor's own time is reported separately.
    """
    supervisor = own_cpu_seconds(stage.supervisor.pid)
    everything = cpu_seconds({stage.supervisor.pid, *below(stage.supervisor.pid)})
    hub = own_cpu_seconds(stage.hub.pid)
    return hub, supervisor, everything - supervisor, time.process_time()
