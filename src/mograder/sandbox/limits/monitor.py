"""The resource monitor: measures live sessions, reports their use, and ends those over a limit.

It measures in a thread, so that the supervisor's loop is not blocked, once a second, and ten times
a second while a session grows. Between two passes it reads the machine's free memory and task
count, which costs microseconds, to notice growth early. Without sessions it sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from mograder.core.files.disk import DiskReserve
from mograder.sandbox.limits.cgroup2 import Reading, SessionGroup
from mograder.sandbox.limits.cpu import Processors, put_first
from mograder.sandbox.limits.disk_usage import DiskWatch
from mograder.sandbox.limits.process_meter import MeteredSession, ProcessMeter
from mograder.sandbox.limits.procfs import Memory, machine_load, machine_memory
from mograder.sandbox.limits.rules import End, View, decide, is_full, is_short
from mograder.sandbox.protocol import LimitReason, Limits, Measured, SessionUse

_log = logging.getLogger("mograder.supervisor")

_PASS_SECONDS = 1.0
"""The time between two regular passes, after each of which changes are told."""
_GLANCE_SECONDS, _GROWING_SECONDS = 0.25, 0.1
_IDLE_PASSES = 4
"""An idle session is measured in every so many passes."""

_MOVING_SECONDS = 3.0
"""Seconds after its last activity in which a session may have written files not yet measured."""

_DROP = 48 << 20
"""Bytes of available memory lost since the last pass that start a pass early."""

_BORN = 48
"""Additional tasks on the host since the last pass that start a pass early."""

_GROWS = 24 << 20
"""Bytes by which a session grows from one pass to the next that start the next pass early."""

_OVERHEAD_SECONDS = 10.0
_MEMORY_STEP, _CPU_STEP = 1 << 20, 0.05
"""Smallest changes that are reported: bytes, CPU seconds."""


@dataclass(slots=True)
class _Watch:
    limits: Limits
    source: SessionGroup | MeteredSession
    is_run: bool
    reading: Reading = field(default=Reading(0, 0.0, 0))
    read: bool = False
    counted: float = 0.0
    """CPU seconds when it was last found active, so that slow use adds up to activity."""
    told: SessionUse | None = None
    grown: int = 0
    refused: int = 0
    full_since: float = math.inf
    still: int = 0
    """Passes without activity."""
    moved_at: float = field(default_factory=time.monotonic)


class Monitor:
    """All monitored sessions of a supervisor, and the tasks that measure them."""

    def __init__(
        self,
        meter: ProcessMeter,
        processors: Processors,
        *,
        disk_reserve: DiskReserve,
        end: Callable[[str, LimitReason], None],
        tell: Callable[[Measured], None],
        overhead: Callable[[], int],
    ) -> None:
        """``end`` ends a session, ``tell`` reports use, ``overhead`` measures all other bytes.

        ``meter`` is for the sessions that have no cgroup.
        """
        self._meter, self._processors = meter, processors
        self._disk = DiskWatch(disk_reserve)
        self._end, self._tell, self._overhead = end, tell, overhead
        self._threads = ThreadPoolExecutor(2, "guard", put_first)
        self._watches: dict[str, _Watch] = {}
        self._some, self._closed = asyncio.Event(), threading.Event()
        self._memory, self._task_count = machine_memory(), machine_load()[0]
        self._next_pass = 0.0
        self._growing = False
        self._told_overhead = 0
        self._next_overhead = 0.0
        keepers = (self._keep_use(), self._keep_disk())
        self._tasks = [asyncio.create_task(keeper) for keeper in keepers]

    def add(
        self,
        session_id: str,
        first_pid: int,
        limits: Limits,
        workspace: Path | None,
        group: SessionGroup | None,
        *,
        is_run: bool = False,
    ) -> None:
        """Monitor a session from now on; ``first_pid`` is its only process so far.

        ``workspace`` is None if it has no write access to one. ``is_run`` is whether it is a run of
        a notebook, which ends by itself.
        """
        source = group or self._meter.add(first_pid, limits.tmp_mb << 20)
        self._watches[session_id] = _Watch(limits, source, is_run)
        if workspace is not None:
            self._disk.add(session_id, workspace, limits.workspace_mb << 20, source.pids)
        self._some.set()

    def forget(self, session_id: str) -> None:
        self._processors.forget(session_id)
        watch = self._watches.pop(session_id, None)
        if watch is None:
            return
        if isinstance(watch.source, MeteredSession):
            self._meter.remove(watch.source)
        self._disk.remove(session_id)
        if watch.is_run:
            self._tell(self._measured(()))

    @property
    def used(self) -> int:
        """The memory in bytes of all sessions, runs and the rest, as last measured."""
        return sum(each.reading.memory for each in self._watches.values()) + self._told_overhead

    async def close(self) -> None:
        self._closed.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._threads.shutdown()

    async def _keep_use(self) -> None:
        while True:
            if not self._watches:
                self._some.clear()
                await self._some.wait()
            await asyncio.sleep(_GROWING_SECONDS if self._growing else _GLANCE_SECONDS)
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - the loop must survive any content of /proc
                _log.exception("the sessions could not be measured")

    async def _look(self) -> None:
        """Read the machine's load, and run a pass if one is due or a threshold is exceeded."""
        memory, tasks = machine_memory(), machine_load()[0]
        alarmed = (
            self._memory.available - memory.available > _DROP
            or is_short(memory)
            or tasks - self._task_count > _BORN
        )
        regular = time.monotonic() >= self._next_pass
        if not (alarmed or regular or self._growing):
            return
        self._memory, self._task_count = memory, tasks
        due = self._due(everybody=alarmed, regular=regular)
        await asyncio.get_running_loop().run_in_executor(self._threads, self._measure, due)
        self._act(memory, time.monotonic())
        if regular:
            self._tell_changes()
            self._next_pass = time.monotonic() + _PASS_SECONDS - _GLANCE_SECONDS / 2

    async def _keep_disk(self) -> None:
        watch, loop = self._disk.watch, asyncio.get_running_loop()
        while True:
            await self._some.wait()
            try:
                ends = await loop.run_in_executor(self._threads, watch, self._closed, self._moving)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("the workspaces could not be measured")
            else:
                self._carry_out(ends)

    def _moving(self) -> set[str]:
        """Return the sessions that may have written files not yet measured. Runs in a thread."""
        since = time.monotonic() - _MOVING_SECONDS
        return {name for name, watch in tuple(self._watches.items()) if watch.moved_at > since}

    def _due(self, *, everybody: bool, regular: bool) -> Collection[str]:
        """Return the sessions to measure: active ones in every pass, idle ones in some."""
        if everybody:
            return tuple(self._watches)
        return [
            name
            for name, watch in self._watches.items()
            if watch.grown > _GROWS
            or watch.full_since < math.inf
            or (regular and watch.still % _IDLE_PASSES == 0)
        ]

    def _measure(self, due: Collection[str]) -> None:
        """Run one pass. Runs in a thread."""
        now = time.monotonic()
        self._meter.find()
        for name, watch in tuple(self._watches.items()):
            if name in due:
                self._read(name, watch, now)
            else:
                watch.still += 1
        if now >= self._next_overhead:
            self._next_overhead = now + _OVERHEAD_SECONDS
            self._told_overhead = self._overhead()

    def _read(self, name: str, watch: _Watch, now: float) -> None:
        before = reading = watch.reading
        with contextlib.suppress(OSError, ValueError):  # it has ended
            reading = watch.source.use()
        self._processors.note(name, reading.cpu)
        worked = reading.cpu - watch.counted >= _CPU_STEP
        if worked:
            watch.counted = reading.cpu
        moved = worked or abs(reading.memory - before.memory) > _MEMORY_STEP
        if moved or reading.tasks != before.tasks:
            watch.still, watch.moved_at = 0, now
        else:
            watch.still += 1
        watch.grown = reading.memory - before.memory if watch.read else 0
        watch.reading, watch.read = reading, True
        full, refused = is_full(reading.tasks, watch.limits.processes), watch.refused
        if not isinstance(watch.source, MeteredSession) and not full:
            watch.refused = watch.source.events().refused  # processes, by the kernel
        full = full or watch.refused > refused
        watch.full_since = min(watch.full_since, now) if full else math.inf

    def _act(self, memory: Memory, now: float) -> None:
        views = [
            View(name, w.reading.memory, w.limits.memory_mb << 20, w.grown, w.full_since)
            for name, w in self._watches.items()
        ]
        self._growing = any(
            watch.grown > _GROWS or watch.full_since < math.inf for watch in self._watches.values()
        )
        self._carry_out(decide(views, memory, now))

    def _carry_out(self, ends: Collection[End]) -> None:
        for end in ends:
            if end.session_id in self._watches:
                self.forget(end.session_id)
                self._end(end.session_id, end.reason)

    def tell_all(self) -> None:
        """Report the use of every session in the next message, for a new subscriber."""
        for watch in self._watches.values():
            watch.told = None

    def _tell_changes(self) -> None:
        changed: list[SessionUse] = []
        for name, watch in self._watches.items():
            use = SessionUse(
                session_id=name,
                memory=watch.reading.memory,
                cpu=round(watch.reading.cpu, 2),
                processes=watch.reading.tasks,
                workspace=self._disk.size(name),
            )
            if watch.read and _differs(watch.told, use):
                watch.told = use
                changed.append(use)
        if changed:
            self._tell(self._measured(tuple(changed)))

    def _measured(self, changed: tuple[SessionUse, ...]) -> Measured:
        runs = sum(watch.reading.memory for watch in self._watches.values() if watch.is_run)
        return Measured(sessions=changed, overhead=self._told_overhead, runs=runs)


def _differs(before: SessionUse | None, now: SessionUse) -> bool:
    if before is None:
        return True
    return (
        abs(now.memory - before.memory) >= _MEMORY_STEP
        or now.cpu - before.cpu >= _CPU_STEP
        or (now.processes, now.workspace) != (before.processes, before.workspace)
    )
