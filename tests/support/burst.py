"""Many students who start at once, and a hub that must answer other requests meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx

from tests.support.hub import HubProcess
from tests.support.identity import student
from tests.support.shared_hub import TINY

_PAUSE_SECONDS = 0.02


@dataclass
class Burst:
    """The result of many starts at once: students by order of request and of service."""

    asked: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)


@dataclass
class Others:
    """How long other requests took meanwhile, in seconds, and which were not answered."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def told(self) -> str:
        """The distribution in words."""
        if not self.seconds:
            return "nothing was asked"
        ordered = sorted(self.seconds)
        middle, high = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
        return (
            f"{len(ordered)} requests: p50 {middle * 1000:.0f} ms, p99 {high * 1000:.0f} ms, "
            f"max {ordered[-1] * 1000:.0f} ms, failed {len(self.failed)}"
        )


async def come(hub: HubProcess, users: list[str], item: str = TINY) -> Burst:
    """Start all sessions, each as soon as the hub has received the one before.

    Returns when the last has the editor. Truly simultaneous requests would have no known order.
    """
    burst = Burst()
    async with contextlib.AsyncExitStack() as stack:
        clients = {}
        for user in users:  # connected already, or their requests would overtake each other
            client = httpx.AsyncClient(
                base_url=hub.url, headers=student(user), timeout=900, trust_env=False
            )
            clients[user] = await stack.enter_async_context(client)
            await clients[user].get("/health")

        heard = {user: asyncio.Event() for user in users}

        async def click(user: str) -> None:
            burst.asked.append(user)
            begun = time.monotonic()
            lines = []
            headers = {"Accept": "application/x-ndjson"}
            path = f"/start-edit-deep/{item}"
            async with clients[user].stream("POST", path, headers=headers) as answer:
                async for line in answer.aiter_lines():
                    heard[user].set()
                    lines.append(line)
            heard[user].set()
            burst.waits[user] = time.monotonic() - begun
            if answer.status_code == httpx.codes.OK and f"edit/user/{user}/" in lines[-1]:
                burst.served.append(user)
            else:
                burst.refused[user] = f"{answer.status_code} {lines[-1:]}"

        async with asyncio.TaskGroup() as clicks:
            for user in users:
                clicks.create_task(click(user))
                await heard[user].wait()  # the hub knows of this one before the next one asks
    return burst


@contextlib.asynccontextmanager
async def asked_meanwhile(
    hub: HubProcess, user: str, path: str = "/assignments"
) -> AsyncIterator[Others]:
    """Ask for a page of the hub's again and again, on a connection of one's own."""
    others = Others()
    asking = asyncio.create_task(_ask(hub, user, path, others))
    try:
        yield others
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _ask(hub: HubProcess, user: str, path: str, others: Others) -> None:
    async with httpx.AsyncClient(
        base_url=hub.url, headers=student(user), timeout=30, trust_env=False
    ) as client:
        while True:
            begun = time.perf_counter()
            try:
                answer = await client.get(path)
            except httpx.TransportError as error:
                others.failed.append(repr(error))
                continue
            others.seconds.append(time.perf_counter() - begun)
            if answer.status_code != httpx.codes.OK:
                others.failed.append(f"{answer.status_code} {answer.text[:200]}")
            await asyncio.sleep(_PAUSE_SECONDS)


def displacement(asked: list[str], served: list[str]) -> int:
    """Return the largest difference between the order of requests and of service."""
    place = {user: number for number, user in enumerate(asked)}
    return max(abs(place[user] - number) for number, user in enumerate(served))
