"""A node's supervisor ends its sessions with its lease, whatever its other processes do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.node_messages import HoldLease
from mograder.sandbox.protocol import Execute
from mograder.sandbox.supervisor.lease import boot_time
from tests.support.supervisors import (
    LIMITS,
    PATIENCE,
    Sessions,
    inside_of,
    names_inside,
    until,
    until_gone,
)

pytestmark = pytest.mark.full

_DEAF = "trap '' TERM HUP INT; sleep 601 & wait; sleep 602"
_TREE = f"""trap '' TERM HUP INT
    (setsid sh -c "{_DEAF}" &) ; (setsid setsid sh -c "{_DEAF}" &)
    touch up; while :; do sleep 603; done"""
"""It leaves its process group, ignores signals, and holds its output open."""

_HOLDER = """
import asyncio, sys
from pathlib import Path
from mograder.sandbox.client.connection import connect
from mograder.sandbox.node_messages import HoldLease
from mograder.sandbox.supervisor.lease import boot_time

async def main():
    connection = await connect(Path(sys.argv[1]))
    while True:
        await connection.call(HoldLease(until=boot_time() + 1.5))
        print("held", flush=True)
        await asyncio.sleep(0.2)

asyncio.run(main())
"""
_HANGS = """
import subprocess, sys, threading, time
from mograder.sandbox.supervisor.lease import end_process
child = subprocess.Popen(["/bin/sleep", "600"])
print(child.pid, flush=True)
threading.Timer(0.1, end_process).start()
time.sleep(600)
"""


@contextlib.contextmanager
def holder(socket: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds leases of 1.5 s; running and holding one when this yields."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(socket)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def hold(client: SupervisorClient, seconds: float) -> None:
    connection = await client.open()
    await connection.call(HoldLease(until=boot_time() + seconds))


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_sessions_end_when_the_agent_is_killed_or_stopped(
    client: SupervisorClient, sessions: Sessions, runtime: Path, end: signal.Signals
) -> None:
    with holder(runtime / "supervisor.sock") as agent:
        await sessions.start("deaf", _TREE)
        await until(lambda: names_inside(client).count("sleep") == 3)
        await asyncio.sleep(2)  # longer than one lease: it is renewed
        inside = inside_of(client)
        assert names_inside(client).count("sleep") == 3
        agent.send_signal(end)
        stopped_at = boot_time()
        await until_gone(inside)
        assert boot_time() - stopped_at < 4
        ended = await sessions.outcome("deaf")
        assert not ended.asked
        assert await client.sessions() == ()
        with pytest.raises(SandboxUnavailable, match="lost its connection"):
            await client.start(sessions.request("later", "touch up; sleep 600"))
    await hold(client, 60)
    await sessions.start("again", "touch up; exec sleep 600")


async def test_runs_end_with_the_lease(
    client: SupervisorClient, sessions: Sessions, tmp_path: Path
) -> None:
    await hold(client, 1.5)
    session = sessions.request("run", "touch up; exec sleep 600")
    fields = session.model_dump(include={"session_id", "directory", "notebook", "environment"})
    run = Execute(**fields, uid_slot=7, limits=LIMITS, seconds=60)
    executed = await client.execute(run, lambda _: None)
    assert (tmp_path / "workspace-run" / "up").exists()
    assert not executed.timed_out
    assert executed.status != 0
    with pytest.raises(SandboxUnavailable, match="lost its connection"):
        await client.execute(run, lambda _: None)


async def test_an_end_says_whether_a_hub_asked_for_it(sessions: Sessions) -> None:
    await sessions.start("asked", "touch up; exec sleep 600")
    await sessions.client.stop("session-asked")
    assert (await sessions.outcome("asked")).asked
    await sessions.client.start(sessions.request("crashed", "exit 3"))
    assert not (await sessions.outcome("crashed")).asked


def test_a_supervisor_that_hangs_ends_with_its_children() -> None:
    """Its main thread may wait for a share whose server is gone."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HANGS], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    with process.stdout as words:
        child = int(words.readline())
    assert process.wait(PATIENCE) == -signal.SIGKILL
    asyncio.run(until(lambda: _has_ended(child)))


def _has_ended(pid: int) -> bool:
    """Collect the status of an orphan, which the test process has adopted."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True
