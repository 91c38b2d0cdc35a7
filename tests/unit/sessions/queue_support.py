"""A start queue for tests, and the starts that entered it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from mograder.sandbox.protocol import Mode
from mograder.sessions.capacity import MEGABYTE, CapacityLimits
from mograder.sessions.counters import Counters
from mograder.sessions.memory_estimate import MemoryLedger
from mograder.sessions.session import SessionKey, Usage
from mograder.sessions.start_queue import StartQueue
from mograder.sessions.start_ticket import Ticket
from tests.support.clock import ManualClock

FEW_STEPS = 8
"""Turns of the event loop that any news takes to arrive here."""


@dataclass
class Queue:
    """A start queue, and the starts that entered it, by number."""

    on: CapacityLimits
    seconds: float = 60.0
    clock: ManualClock = field(default_factory=ManualClock)
    tally: Counters = field(default_factory=Counters)
    tickets: dict[int, Ticket] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[Usage]] = field(default_factory=dict)
    told: dict[int, list[str]] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = MemoryLedger(self.clock)
        self.line = StartQueue(
            self.on, self.ledger, self.tally, self.clock, place_seconds=self.seconds
        )

    async def come(self, number: int, expected: int = 100) -> None:
        """Request a start that needs this number of megabytes."""
        key = SessionKey(f"user-{number}", "A1", Mode.EDIT)
        self.told[number] = []
        ticket = Ticket(number, key, f"s{number}", expected * MEGABYTE, self.told[number].append)
        self.tickets[number] = ticket
        ticket.admitted.add_done_callback(lambda done: self._note(number, done))
        self.tasks[number] = asyncio.create_task(self.line.enter(ticket))
        await settle()

    def _note(self, number: int, admitted: asyncio.Future[Usage]) -> None:
        if not admitted.cancelled() and admitted.exception() is None:
            self.order.append(number)

    async def answer(self, number: int) -> None:
        """Let the server of an admitted start answer."""
        await self.tasks[number]
        self.line.leave(self.tickets[number])
        await settle()

    async def end(self, number: int) -> None:
        """End the session of an admitted start."""
        await self.answer(number)
        self.ledger.close(f"s{number}")
        self.line.pump()
        await settle()

    async def leave(self, number: int) -> None:
        """Cancel a waiting start."""
        self.tasks[number].cancel()
        await settle()

    @property
    def inside(self) -> list[int]:
        """Return the admitted starts, in order of admission."""
        return self.order

    async def close(self) -> None:
        """Leave no task and no timer behind."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        for ticket in self.tickets.values():
            self.line.leave(ticket)
        self.line.close()


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(FEW_STEPS):
        await asyncio.sleep(0)
