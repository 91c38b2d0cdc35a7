"""Soak: forty students act at random for half an hour, and everything is checked.

They edit, save, validate, reset, stop, disconnect and reconnect at random; a seed repeats each
student's choices. At the end no acknowledged save may be missing, no student's text may have been
shown to another, no process or socket may be left, and hub and supervisor may use no more memory
than in the middle. Not part of ``make bench``: ``python -m bench soak --seed 7``.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import psutil

from bench.options import Options
from bench.processes import MIB, below, resident
from bench.report import Budget, Row, say
from bench.soak_student import Findings, Soaker
from bench.stage import Stage

_SAMPLE_SECONDS = 5.0
_TOLD_SECONDS = 60.0
_GONE_SECONDS = 60.0
_DESCRIPTORS = 10
"""More than before that a hub may hold afterwards: pooled connections to the database."""

_FLAT = 1.05


@dataclass(frozen=True, slots=True)
class Held:
    """The resources that a hub and its supervisor use at one moment."""

    processes: int
    sockets: int
    descriptors: int


@dataclass
class Memory:
    """MiB of hub and supervisor, by the sample."""

    hub: list[float] = field(default_factory=list)
    supervisor: list[float] = field(default_factory=list)


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Start all students, sample resources, and count the processes and files left."""
    say(f"  seed {options.seed}: {options.soakers} students for {options.minutes:g} minutes")
    before, findings, memory = _held(stage), Findings(), Memory()
    began = time.monotonic()
    until = began + options.minutes * 60
    students = [
        Soaker(stage.hub.url, stage.hub.course, number, Random(f"{options.seed}-{number}"))
        for number in range(options.soakers)
    ]
    watching = asyncio.create_task(_watch(stage, memory, findings, began))
    await asyncio.gather(*(each.live(until, options.soakers, findings) for each in students))
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    say("  everybody leaves")
    await asyncio.gather(*(each.end(findings) for each in students))
    for each in filter(None, [*findings.missing, *findings.foreign, *findings.failed]):
        say(f"  {each}")
    after = await _settled(stage, before)
    return [*_kept(findings), *_left(before, after), *_memory(memory)]


async def _watch(stage: Stage, memory: Memory, findings: Findings, began: float) -> None:
    told = began
    while True:
        memory.hub.append(resident(stage.hub.pid) / MIB)
        memory.supervisor.append(resident(stage.supervisor.pid) / MIB)
        if time.monotonic() - told > _TOLD_SECONDS:
            told = time.monotonic()
            say(
                f"  {(told - began) / 60:.0f} min: {findings.acts.total()} acts, {findings.saves} "
                f"saves, {len(stage.known_sockets())} sessions, hub {memory.hub[-1]:.0f} MiB, "
                f"{len(findings.failed)} failed"
            )
        await asyncio.sleep(_SAMPLE_SECONDS)


def _held(stage: Stage) -> Held:
    return Held(
        processes=len(below(stage.supervisor.pid)),
        sockets=len(stage.known_sockets()),
        descriptors=int(psutil.Process(stage.hub.pid).num_fds()),
    )


async def _settled(stage: Stage, before: Held) -> Held:
    """Return the resources in use after sessions have had time to end."""
    deadline = time.monotonic() + _GONE_SECONDS
    held = _held(stage)
    while held.processes > before.processes or held.sockets > before.sockets:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(1)
        held = _held(stage)
    return held


def _kept(findings: Findings) -> list[Row]:
    acts = ", ".join(f"{count} × {name}" for name, count in findings.acts.most_common())
    return [
        _none("acknowledged saves missing", findings.missing, f"of {findings.saves} saves"),
        _none("content of somebody else's", findings.foreign, ""),
        _none("acts that failed", findings.failed, f"of {findings.acts.total()}: {acts}"),
    ]


def _none(what: str, found: list[str], note: str) -> Row:
    first = f"first: {found[0]}" if found else ""
    return Row(
        f"soak: {what}",
        "",
        (len(found),),
        Budget(0, unit="of them"),
        "; ".join(filter(None, (note, first))),
    )


def _left(before: Held, after: Held) -> list[Row]:
    more = after.descriptors - before.descriptors
    return [
        _count("processes left", after.processes - before.processes, 0),
        _count("session sockets left", after.sockets - before.sockets, 0),
        _count("open files of the hub more than before", more, _DESCRIPTORS),
    ]


def _count(what: str, count: int, most: int) -> Row:
    return Row(f"soak: {what}", "", (max(0, count),), Budget(most, unit="of them"))


def _memory(memory: Memory) -> list[Row]:
    return [_flat("hub", memory.hub), _flat("supervisor", memory.supervisor)]


def _flat(who: str, samples: list[float]) -> Row:
    third = max(1, len(samples) // 3)
    middle, last = samples[third : 2 * third] or samples, samples[2 * third :]
    growth = statistics.median(last) - statistics.median(middle)
    return Row(
        f"soak: memory of the {who}, last third",
        "MiB",
        tuple(last),
        Budget(_FLAT),
        f"{growth:+.1f} MiB from one to the other, {samples[0]:.0f} MiB at first",
        reference="the middle third",
        theirs=tuple(middle),
    )
