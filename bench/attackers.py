"""Hostile students' browsers, in a process of their own.

Receiving a flood must not slow down the client that measures. Run as
``python -m bench.attackers PORT USER=KIND...``; it opens a session for each, prints ``ready``, and
runs their code when it reads the first line. It ends when its standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

from bench.stage import arrive
from bench.tab import Tab
from bench.wire import Refused
from tests.support import bombs

_BROKEN = (Refused, OSError, EOFError, TimeoutError)
"""The exceptions that a tab gets when its session is ended."""

_GO = b"go\n"


@asynccontextmanager
async def attacking(port: int, kinds: Mapping[str, str]) -> AsyncIterator[None]:
    """Open a session for each of these users and run the user's kind of bomb in it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.attackers",
        str(port),
        *(f"{user}={kind}" for user, kind in kinds.items()),
        stdin=PIPE,
        stdout=PIPE,
        start_new_session=True,
        cwd=Path(__file__).parent.parent,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not await process.stdout.readline():
            raise Refused("the hostile students could not come")
        process.stdin.write(_GO)
        await process.stdout.readline()  # all bombs are on their way to their kernels
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def attack(port: int, kinds: Mapping[str, str]) -> None:
    """Run the attack, and read its messages until standard input ends."""
    tabs = await asyncio.gather(*(_open(port, user) for user in kinds))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    blasts = [
        asyncio.create_task(_blow(tab, bombs.ALL_KINDS[kind]))
        for tab, kind in zip(tabs, kinds.values(), strict=True)
    ]
    print("gone off", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for blast in blasts:
        blast.cancel()
    await asyncio.gather(*blasts, return_exceptions=True)
    for tab in tabs:
        tab.close()


async def _open(port: int, user: str) -> Tab:
    tab = await arrive(port, user)
    return await tab.open()


async def _blow(tab: Tab, code: str) -> None:
    with contextlib.suppress(*_BROKEN):
        await tab.run(0, code, "")


if __name__ == "__main__":
    told = dict(argument.split("=") for argument in sys.argv[2:])
    asyncio.run(attack(int(sys.argv[1]), told))
