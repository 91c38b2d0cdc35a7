"""Which tests may start processes, and that none outlives its test.

A test without the marker ``full`` or ``long`` starts no process: it fails if it does. What a test
with one of them starts has to end with it, orphans included; only a fixture of a wider scope may
keep a process for several tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

_STARTS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system"})
"""The interpreter's audit events for a new process."""

_GRACE_SECONDS = 30.0
_PR_SET_CHILD_SUBREAPER = 36
_started: list[str] = []
"""Processes started by the running test and by the fixtures that it was the first to use."""

_kept: set[int] = set()
"""The children that fixtures of a wider scope than a test have started."""


def processes_now(*attributes: str) -> Iterator[psutil.Process]:
    """Return an iterator over this machine's processes, with these attributes in their ``info``.

    psutil alone leaves out a process whose id it has seen at another one before.
    """
    psutil.process_iter.cache_clear()
    return psutil.process_iter(list(attributes))


def _note_start(event: str, arguments: tuple[object, ...]) -> None:
    if event in _STARTS:
        _started.append(f"{event} {arguments[:2]}"[:300])


sys.addaudithook(_note_start)


def may_start_processes(item: pytest.Item) -> bool:
    """Return whether the test's markers allow it to start processes."""
    return any(item.get_closest_marker(name) for name in ("full", "long"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Forget what earlier tests have started."""
    _started.clear()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object],
) -> Iterator[None]:
    """Know the processes of fixtures that several tests share."""
    if fixturedef.scope == "function":
        return (yield)
    before, starts = _children(), len(_started)
    try:
        return (yield)
    finally:
        if len(_started) > starts:
            _kept.update(_children() - before)


@pytest.fixture(autouse=True)
def no_process_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts a process without permission, or whose processes outlive it."""
    if not may_start_processes(request.node):
        yield
        if _started:
            pytest.fail("a test that is not marked `full` started a process: " + _started[0])
        return
    before = _children()
    yield
    deadline = time.monotonic() + _GRACE_SECONDS
    left = _children() - before - _kept
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = _children() - before - _kept
    if left:
        described = [f"{pid}: {_command(pid)}" for pid in sorted(left)]
        for pid in left:
            _end(pid)
        pytest.fail("this test left processes behind:\n" + "\n".join(described))


@pytest.fixture(scope="session", autouse=True)
def _adopt_orphans() -> None:
    """Make orphans of the tests children of this process, so that the guard sees them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end(pid: int) -> None:
    """Kill a process and collect its status, so that nothing of it stays in the table."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _children() -> set[int]:
    """The living children of this process, of all its threads."""
    pids: set[int] = set()
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids.update(map(int, task.read_text().split()))
        except OSError:
            continue  # the thread ended in between
    return {pid for pid in pids if _is_running(pid) and not _is_pythons_own(pid)}


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _is_pythons_own(pid: int) -> bool:
    """multiprocessing keeps one helper per interpreter, which ends with it."""
    return "multiprocessing.resource_tracker" in _command(pid)


def _command(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "(gone)"
    return raw.replace(b"\0", b" ").decode("utf-8", "replace").strip()[:300]
