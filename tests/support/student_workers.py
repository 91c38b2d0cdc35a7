"""Students who keep working while faults are injected, and the errors that they saw."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
import websockets

from tests.support.hub import HubProcess
from tests.support.identity import student
from tests.support.marimo import Address, EditorFailed, MarimoClient, open_editor
from tests.support.shared_hub import TINY, editor, workspace

CUT = (EditorFailed, httpx.TransportError, websockets.WebSocketException, OSError)
"""The exceptions that a client gets when its hub or session is gone."""

_BREATH_SECONDS = 0.05
_PATIENCE_SECONDS = 60.0
_PAGE_SECONDS = 30.0
_SAID = re.compile(r"STEP (\d+) OF (\w+)")
_STEP = """\
saved = {number}
import builtins, os
builtins.born = getattr(builtins, "born", "") or os.urandom(6).hex()
print("STEP", {number}, "OF", builtins.born)"""


@dataclass
class Worker:
    """A student with one tab that runs a cell and saves the notebook repeatedly.

    ``steps`` counts the kernel's answers, ``acknowledged`` is the last version that the server
    confirmed, ``kernels`` are the names of the kernels that answered.
    """

    hub: HubProcess
    name: str
    item: str = TINY
    steps: int = 0
    sent: int = 0
    acknowledged: int = 0
    cuts: int = 0
    kernels: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    breath: float = _BREATH_SECONDS

    async def start(self) -> httpx.Response:
        """Ask for the session, as a click on the link does."""
        async with httpx.AsyncClient(
            base_url=self.hub.url, headers=student(self.name), timeout=150, trust_env=False
        ) as client:
            return await client.post(f"/start-edit-deep/{self.item}")

    async def begin(self) -> None:
        """Start the session, which must work. Raises: :class:`AssertionError`."""
        answer = await self.start()
        assert answer.status_code == httpx.codes.OK, (self.name, answer.text)

    async def stop(self) -> None:
        """Stop the session, if it still runs."""
        async with httpx.AsyncClient(
            base_url=self.hub.url, headers=student(self.name), timeout=60, trust_env=False
        ) as client:
            await client.post(f"/stop-edit/{self.name}/{self.item}")

    async def work(self) -> None:
        """Compute and save until cancelled; reconnect after a broken connection, as a page does."""
        while True:
            try:
                await self.use()
            except CUT as cut:
                self.cuts += 1
                self.failures.append(f"{type(cut).__name__}: {cut}"[:300])
                await asyncio.sleep(self.breath)

    async def use(self) -> None:
        """Open one tab and work in it until the line breaks. Raises: one of :data:`CUT`."""
        async with open_editor(self._address(), run=False) as tab:
            while True:
                await self.step(tab)
                await asyncio.sleep(self.breath)

    async def step(self, tab: MarimoClient) -> None:
        """Run one cell, check that its own kernel answered, and save."""
        self.sent += 1
        number = self.sent
        cell = tab.cells.ids[0]
        tab.progress.console.pop(cell, None)
        await tab.edit(0, _STEP.format(number=number))
        said = _SAID.findall(tab.progress.console.get(cell, ""))
        if not said or int(said[-1][0]) != number:
            raise EditorFailed(f"step {number} was not answered: {tab.progress.console}")
        kernel = said[-1][1]
        if kernel not in self.kernels:
            self.kernels.append(kernel)
        self.steps += 1
        await tab.save()
        self.acknowledged = number

    async def computes(self) -> None:
        """Run one cell in a fresh tab: that is what "it works" means."""
        async with open_editor(self._address(), run=False) as tab:
            await self.step(tab)

    async def goes_on(self) -> None:
        """Wait until it computed once more. Raises: :class:`AssertionError` with what it saw."""
        before = self.steps
        await soon(lambda: self.steps > before, lambda: f"{self.name} stands still: {self.told()}")

    def told(self) -> str:
        """Return the worker's history, for a failure's message."""
        return f"{self.steps} steps, {self.cuts} cuts, kernels {self.kernels}: {self.failures[-3:]}"

    def saved(self) -> int:
        """The version on disk."""
        text = (workspace(self.hub, self.name, self.item) / f"{self.item}.py").read_text("utf-8")
        found = re.search(r"saved = (\d+)", text)
        return int(found[1]) if found else 0

    def _address(self) -> Address:
        address = editor(self.hub, self.name, self.item)
        return Address(base_url=address.base_url, headers=address.headers, timeout=_PAGE_SECONDS)


@contextlib.asynccontextmanager
async def at_work(*workers: Worker) -> AsyncIterator[None]:
    """Have them work in the background, and stop when this is left."""
    tasks = [asyncio.create_task(worker.work()) for worker in workers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def soon(holds: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait for what sets no event of this process's. Raises: :class:`AssertionError`."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        await asyncio.sleep(0.02)
