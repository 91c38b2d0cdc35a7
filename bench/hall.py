"""The lecture hall: three hundred students open the same assignment within a minute, and stay.

Each is a real WebSocket client that runs every cell. All clients are in this process, whose own
processor time is reported, since it shares the machine with the hub. A long run, on request
only: ``python -m bench hall``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.crowd import Crowd, gather
from bench.figures import arrivals, percentile, slope, steps
from bench.latency_watcher import watching
from bench.options import Options
from bench.processes import MIB, below, own_cpu_seconds, pss, resident
from bench.report import Budget, Row, say
from bench.stage import Stage
from bench.tab import Tab

_GIB = 1 << 30
_SAMPLE_SECONDS = 5.0
_SETTLE_SECONDS = 10.0
_FLAT_MIB_PER_MINUTE = 1.0
_FLAT_CPU_PER_MINUTE = 1.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the hub: when, its processor seconds so far, its memory in MiB."""

    at: float
    cpu: float
    memory: float


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds so far: hub, supervisor, and the clients in this process."""

    hub: float
    supervisor: float
    clients: float


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Open the sessions over a minute, measure their memory, and watch the hub while they stay."""
    users = [stage.newcomer() for _ in range(options.students)]
    counted, spent = await stage.starts(), _spent(stage)
    say(f"  {len(users)} students come within {options.within:.0f} s")
    async with watching(stage.hub.port, "/health", stage.newcomer()) as health:
        began = time.monotonic()
        crowd = await _let_in(stage, users, options.within)
        took = time.monotonic() - began
    rows = _arrival_rows(crowd, took, options, await stage.starts() - counted)
    rows += [_health(health), _cost(spent, _spent(stage), len(users))]
    say(f"  all are there after {took:.0f} s; weighing their sessions")
    rows.append(_weight(stage, len(crowd.tabs)))
    say(f"  they stay for {options.stay:.0f} s")
    rows += await _stay(stage, crowd, options.stay)
    crowd.close()
    say("  they leave")
    await stage.stop_sessions(users)
    return rows


async def _let_in(stage: Stage, users: Sequence[str], seconds: float) -> Crowd:
    async def come(user: str, after: float) -> Tab:
        await asyncio.sleep(after)
        return await stage.open_tab(user)

    return await gather(
        [
            come(user, after)
            for user, after in zip(users, arrivals(len(users), seconds), strict=True)
        ]
    )


def _arrival_rows(crowd: Crowd, took: float, options: Options, starts: dict[str, int]) -> list[Row]:
    name = f"hall: {options.students} within {options.within:.0f} s"
    pages, outputs, cells = crowd.pages, crowd.outputs, crowd.cells
    return [
        Row(
            f"{name}: who failed",
            "students",
            (len(crowd.failures),),
            Budget(0, unit="students"),
            f"{starts.get('warm', 0)} starts warm, {starts.get('cold', 0)} cold; the last was "
            f"there after {took:.0f} s{crowd.why()}",
        ),
        Row(
            f"{name}: to the first output, p95",
            "s",
            (percentile(outputs, 95),),
            Budget(1, unit="s", goal=True),
            f"median {percentile(outputs, 50):.2f} s, slowest {max(outputs):.2f} s; to the page "
            f"p95 {percentile(pages, 95):.2f} s; to all cells p95 {percentile(cells, 95):.2f} s",
        ),
    ]


def _health(milliseconds: list[float]) -> Row:
    return Row(
        "hall: /health meanwhile, p99",
        "ms",
        (percentile(milliseconds, 99),),
        None,
        f"median {percentile(milliseconds, 50):.1f} ms, slowest {max(milliseconds):.0f} ms",
    )


def _spent(stage: Stage) -> Spent:
    return Spent(
        own_cpu_seconds(stage.hub.pid), own_cpu_seconds(stage.supervisor.pid), time.process_time()
    )


def _cost(before: Spent, after: Spent, students: int) -> Row:
    each = 1000 / students
    hub, supervisor, clients = (
        each * (after.hub - before.hub),
        each * (after.supervisor - before.supervisor),
        each * (after.clients - before.clients),
    )
    return Row(
        "hall: processor time of hub and supervisor per student",
        "ms of CPU",
        (hub + supervisor,),
        None,
        f"hub {hub:.0f}, supervisor {supervisor:.0f}",
        reference="the clients' own",
        theirs=(clients,),
    )


def _weight(stage: Stage, sessions: int) -> Row:
    total = pss(below(stage.supervisor.pid))
    return Row(
        "hall: memory of everything below the supervisor",
        "GiB",
        (total / _GIB,),
        Budget(15e9 / _GIB, unit="GiB"),
        f"PSS, {total / MIB / max(1, sessions):.1f} MiB for each of {sessions} sessions",
    )


async def _stay(stage: Stage, crowd: Crowd, seconds: float) -> list[Row]:
    """Watch the hub after the last kernels are quiet, and count the connections that are cut."""
    await asyncio.sleep(_SETTLE_SECONDS)
    readings = [_read(stage)]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        await asyncio.sleep(min(_SAMPLE_SECONDS, seconds))
        readings.append(_read(stage))
    gone = [tab.gone for tab in crowd.tabs if tab.gone]
    shares = [(at, 100 * share) for at, share in steps([(each.at, each.cpu) for each in readings])]
    memory = [(each.at, each.memory) for each in readings]
    return [
        Row(
            f"hall: cut off within {seconds:.0f} s",
            "students",
            (len(gone),),
            Budget(0, unit="students"),
            f"first: {gone[0]}" if gone else "",
        ),
        Row(
            "hall: growth of the hub's memory while they stay",
            "MiB/min",
            (60 * slope(memory),),
            Budget(_FLAT_MIB_PER_MINUTE, unit="MiB/min"),
            f"from {memory[0][1]:.0f} to {memory[-1][1]:.0f} MiB",
        ),
        Row(
            "hall: growth of the hub's load while they stay",
            "% of a core/min",
            (60 * slope(shares),),
            Budget(_FLAT_CPU_PER_MINUTE, unit="% of a core/min"),
            f"median {percentile([share for _, share in shares], 50):.1f} % of a core",
        ),
    ]


def _read(stage: Stage) -> Reading:
    pid = stage.hub.pid
    return Reading(time.monotonic(), own_cpu_seconds(pid), resident(pid) / MIB)
