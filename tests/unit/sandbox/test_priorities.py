"""Standing back and coming forward again, with real processes and what cgroups this machine has."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.sandbox import bandwidth
from mograder.sandbox.priorities import ProcessPriorities, put_forward
from mograder.sandbox.shares import CpuShares
from mograder.sandbox.usage import Member

pytestmark = pytest.mark.full

IS_ROOT = os.geteuid() == 0
HAS_AUTOGROUPS = Path("/proc/self/autogroup").exists()


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """One with a thread, in a session of its own."""
    code = "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True)"
    code += ".start(); print('up', flush=True); time.sleep(600)"
    started = subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    with started.stdout as words:
        assert words.readline() == "up\n"
        yield started
    started.kill()
    started.wait()


@pytest.mark.skipif(not IS_ROOT, reason="a service user cannot take niceness back")
def test_a_process_stands_back_with_all_its_threads_and_comes_forward(
    process: subprocess.Popen[str],
) -> None:
    priorities = ProcessPriorities()
    member = Member(process.pid, process.pid)
    priorities.demote("s", [member])
    assert _niceness(process.pid) == [10, 10]
    assert _autogroup(process.pid) in ("10", "")
    priorities.restore("s", [member])
    assert _niceness(process.pid) == [0, 0]
    assert _autogroup(process.pid) in ("0", "")


@pytest.mark.skipif(not IS_ROOT, reason="only root lets anybody go first")
def test_what_many_wait_for_goes_first_and_what_it_forks_does_not(
    process: subprocess.Popen[str],
) -> None:
    put_forward(process.pid)
    assert _autogroup(process.pid) in ("-5", "")
    assert _niceness(process.pid) == [0, 0], "this would be inherited"


def test_a_process_that_has_gone_is_no_error() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    priorities = ProcessPriorities()
    priorities.demote("s", [Member(process.pid, process.pid)])
    priorities.restore("s", [Member(process.pid, process.pid)])
    priorities.forget("s")


def test_a_session_has_one_share_whatever_it_forks() -> None:
    shares = CpuShares.find(f"test-{os.getpid()}")
    if shares is None:
        pytest.skip("no cgroup v1 with processors, or not root")
    entry = shares.make("session-1", 250)
    try:
        with subprocess.Popen(
            ["sh", "-c", "setsid sleep 600 & echo up; wait"],
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.write(entry, b"0"),  # noqa: PLW1509 - as the supervisor does
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            leaf = next(_leaves(process.pid))
            pids = (leaf / "cgroup.procs").read_text().split()
            assert str(process.pid) in pids
            assert len(pids) == 2
            assert _shares(leaf) == 81_920, "it starts"
            shares.favour("session-1", 4)
            assert _shares(leaf) == 10_240
            shares.demote("session-1", [])
            assert _shares(leaf) == 256
            shares.restore("session-1", [])
            assert _shares(leaf) == 2560
            half = bandwidth.quota(0.5)
            shares.hold("session-1", half)
            assert (_quota(leaf), _period(leaf)) == (half, bandwidth.PERIOD)
            assert _quota(leaf.parent) == bandwidth.quota(bandwidth.FOR_SESSIONS)
            shares.hold("session-1", bandwidth.NO_QUOTA)
            assert _quota(leaf) == bandwidth.NO_QUOTA
            for pid in pids:
                os.kill(int(pid), 9)
    finally:
        os.close(entry)
        deadline = time.monotonic() + 10
        while not shares.close() and time.monotonic() < deadline:
            time.sleep(0.01)  # the orphan is init's to collect
    assert not leaf.parent.exists()


def _niceness(pid: int) -> list[int]:
    threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    return [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads]


def _autogroup(pid: int) -> str:
    if not HAS_AUTOGROUPS:
        return ""
    return Path(f"/proc/{pid}/autogroup").read_text().split()[-1]


def _leaves(pid: int) -> Iterator[Path]:
    """Where the process is, as found from the mounts."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if "cpu" in names.split(","):
            yield from Path("/sys/fs/cgroup").glob(f"cpu*{path}")


def _shares(leaf: Path) -> int:
    return int((leaf / "cpu.shares").read_text())


def _quota(leaf: Path) -> int:
    return int((leaf / "cpu.cfs_quota_us").read_text())


def _period(leaf: Path) -> int:
    return int((leaf / "cpu.cfs_period_us").read_text())
