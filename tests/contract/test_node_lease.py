"""What ends the process of a node that hangs or is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

import pytest

from mograder.sandbox.supervisor.lease import boot_time
from tests.support.supervisors import PATIENCE, until

pytestmark = pytest.mark.full

_STOPPED = """
import os, signal
from mograder.sandbox.supervisor.lease import KillTimer, boot_time
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


def test_the_kernel_ends_a_process_that_is_stopped() -> None:
    """Not before the last time that was set, and not by one that was taken back."""
    begun = boot_time()
    process = subprocess.Popen([sys.executable, "-c", _STOPPED.format(seconds=1.0)])
    assert process.wait(PATIENCE) == -signal.SIGKILL
    assert boot_time() - begun >= 1.0


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
