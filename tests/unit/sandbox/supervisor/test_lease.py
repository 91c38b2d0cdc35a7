"""The end of a lease: what is called and killed, and what may start in which term."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from mograder.core.clock import boot_time
from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.supervisor import lease as lease_module
from mograder.sandbox.supervisor.lease import Lease
from tests.support.supervisors import PATIENCE, lease_time, until

_LOG = logging.getLogger("mograder.supervisor")


async def test_without_a_lease_there_is_no_end_and_no_thread() -> None:
    before = threading.active_count()
    lease = Lease(lambda: None)
    assert lease.demand() == lease.demand(0) == 0
    assert threading.active_count() == before


async def test_at_the_end_all_is_killed_once_and_nothing_starts_until_the_next_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[None] = []
    lease = Lease(lambda: killed.append(None))
    begun = boot_time()
    lease.hold(begun + 3600)
    term = lease.demand()
    lease.hold(begun + 600)  # an older message never shortens it
    lease_time(monkeypatch, 1800)
    assert lease.demand() == term
    assert not killed
    lease_time(monkeypatch, 3600)
    await until(lambda: bool(killed))
    with pytest.raises(SandboxUnavailable, match="connection"):
        lease.demand()
    lease.hold(boot_time() - 1)  # a message that was late
    with pytest.raises(SandboxUnavailable):
        lease.demand()
    lease.hold(begun + 7200)
    assert lease.demand() == term + 1
    with pytest.raises(SandboxUnavailable):  # a start that began in the earlier term
        lease.demand(term)
    assert len(killed) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that gives the loop less time."""
    monkeypatch.setattr(lease_module, "_LOOP_SECONDS", 0.1)


async def test_a_renewal_that_comes_too_late_does_not_save_the_sessions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop was busy when the lease ended, and reads the next one first."""
    killed: list[None] = []
    lease = Lease(lambda: killed.append(None))
    lease.hold(boot_time() + 3600)
    lease_time(monkeypatch, 3600)
    lease.hold(boot_time() + 7200)
    await until(lambda: bool(killed))
    assert lease.demand() == 1
    assert len(killed) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_loop_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    gave_up = threading.Event()
    killed: list[None] = []
    monkeypatch.setattr(lease_module, "end_process", gave_up.set)
    lease = Lease(lambda: killed.append(None))
    lease.hold(boot_time() + 3600)
    lease_time(monkeypatch, 3600)
    assert gave_up.wait(PATIENCE)  # this blocks the loop
    assert killed == []
    await asyncio.sleep(0)


@pytest.mark.usefixtures("impatient")
async def test_a_log_that_hangs_delays_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop hangs while it writes a line of the log, on a disk that does not answer."""
    gave_up = threading.Event()
    monkeypatch.setattr(lease_module, "end_process", gave_up.set)
    lease = Lease(lambda: None)
    handler = logging.StreamHandler()
    assert handler.lock is not None
    _LOG.addHandler(handler)
    try:
        with handler.lock:
            lease.hold(boot_time() + 3600)
            lease_time(monkeypatch, 3600)
            assert gave_up.wait(PATIENCE)  # this blocks the loop, as its line would
    finally:
        _LOG.removeHandler(handler)
    await asyncio.sleep(0)


_STOPPED = """
import os, signal
from mograder.core.clock import boot_time
from mograder.sandbox.supervisor.lease import KillTimer
timer = KillTimer()
timer.set(boot_time() + 0.1)
timer.set(0.0)
timer.set(boot_time() + {seconds})
os.kill(os.getpid(), signal.SIGSTOP)
"""
_HANGS = """
import subprocess, sys, threading, time
from mograder.sandbox.supervisor.lease import end_process
child = subprocess.Popen(["/bin/sleep", "600"])
print(child.pid, flush=True)
threading.Timer(0.1, end_process).start()
time.sleep(600)
"""


@pytest.mark.full
def test_the_kernel_ends_a_process_that_is_stopped() -> None:
    """Not before the last time that was set, and not by one that was taken back."""
    begun = boot_time()
    process = subprocess.Popen([sys.executable, "-c", _STOPPED.format(seconds=1.0)])
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert boot_time() - begun >= 1.0


@pytest.mark.full
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
