"""Request one page of a hub again and again, and record the time of each answer.

A separate process, because the event loop of the clients that keep the hub busy would add its
delays to the measurement. Run as ``python -m bench.latency_watcher PORT PATH USER``; it sends
requests until its standard input ends, then prints the milliseconds as JSON. A failed request
counts as infinity.
"""

from __future__ import annotations

import asyncio
import json
import select
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.support.identity import from_proxy

_PAUSE_SECONDS = 0.05
_PATIENCE_SECONDS = 30


@asynccontextmanager
async def watching(port: int, path: str, user: str) -> AsyncIterator[list[float]]:
    """Watch one page for as long as the context lasts; the list is filled at its end."""
    answers: list[float] = []
    watcher = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.latency_watcher",
        str(port),
        path,
        user,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    assert watcher.stdin is not None
    assert watcher.stdout is not None
    await watcher.stdout.readline()  # it has had its first answer
    try:
        yield answers
    finally:
        watcher.stdin.close()
        said, _ = await watcher.communicate()
        answers += [float(each) for each in json.loads(said)]


def main(port: str, path: str, user: str) -> None:
    """Send requests until standard input ends."""
    connection = HTTPConnection("127.0.0.1", int(port), timeout=_PATIENCE_SECONDS)
    headers = from_proxy(user)
    _ask(connection, path, headers)
    print("watching", flush=True)
    answers = []
    while not select.select([sys.stdin], [], [], _PAUSE_SECONDS)[0]:
        answers.append(_ask(connection, path, headers))
    print(json.dumps(answers))


def _ask(connection: HTTPConnection, path: str, headers: dict[str, str]) -> float:
    started = time.perf_counter()
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, HTTPException):
        connection.close()
        return float("inf")
    if answer.status != 200:
        return float("inf")
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main(*sys.argv[1:])
