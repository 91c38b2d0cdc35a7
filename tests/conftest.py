"""Fixtures that every suite may use: courses, names, artefacts, and the guard on processes."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import logging
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from bench.support.course import REPOSITORY, copy_example_course

FAILED = pytest.StashKey[bool]()
"""Set on a test's node once one of its phases has failed."""

_ELSEWHERE = {"vm": "MOGRADER_TEST_VM", "deploy": "MOGRADER_TEST_DEPLOY"}
collect_ignore = [place for place, asked in _ELSEWHERE.items() if asked not in os.environ]
"""``make test-vm`` runs those in a virtual machine, where there is cgroup v2; ``make test-deploy``
deploys to a fresh system in a container."""

_GRACE_SECONDS = 5.0
_PR_SET_CHILD_SUBREAPER = 36

# A shared machine stalls now and then; a slow example is no wrong example.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.register_profile("long", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember that a test failed, so that fixtures can leave evidence when they end."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.failed:
        item.stash[FAILED] = True
    return report  # type: ignore[return-value]


@pytest.fixture(scope="session")
def uv_cache() -> Path:
    """A cache of uv's that all tests, workers and runs share: the index is asked once."""
    return _tools_directory() / "test-uv-cache"


@pytest.fixture(scope="session")
def authors_uv_cache() -> Path:
    """The same for those who run uv themselves: what they write, no sandbox could change."""
    return _tools_directory() / "test-uv-cache-of-authors"


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this run that all of its workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture
def make_course(tmp_path: Path) -> Callable[[str], Path]:
    """Copy the example course into a directory of this test: ``make_course("spring")``."""

    def make(name: str) -> Path:
        return copy_example_course(tmp_path / name)

    return make


@pytest.fixture
def course(make_course: Callable[[str], Path]) -> Path:
    """A private copy of the example course."""
    return make_course("course")


@pytest.fixture
def fresh_name() -> Callable[[str], str]:
    """Names nobody else in this run uses: ``fresh_name("alice")`` → ``alice-gw0-3``."""
    return lambda stem: f"{stem}-{_WORKER}-{next(_NUMBERS)}"


@pytest.fixture
def artifacts(request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where this test leaves screenshots and logs for people; emptied before each run of it."""
    name = re.sub(r"[^\w.-]+", "-", request.node.nodeid.removeprefix("tests/")).strip("-")
    directory = REPOSITORY / "artifacts" / name[:150]
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    yield directory
    if not any(directory.iterdir()):
        directory.rmdir()


@pytest.fixture(autouse=True)
def no_log_is_left_open() -> Iterator[None]:
    """Logging is the process's: a command run here sends it where this test's words go."""
    root, ours = logging.getLogger(), logging.getLogger("mograder")
    before, levels = list(root.handlers), (root.level, ours.level)
    yield
    for handler in [each for each in root.handlers if each not in before]:
        if type(handler).__module__.startswith("mograder."):
            root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture(autouse=True)
def no_process_is_left_behind() -> Iterator[None]:
    """Fail a test whose processes outlive it, orphans included, and end them."""
    before = _children()
    yield
    deadline = time.monotonic() + _GRACE_SECONDS
    left = _children() - before
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = _children() - before
    if left:
        described = [f"{pid}: {_command(pid)}" for pid in sorted(left)]
        for pid in left:
            _end(pid)
        pytest.fail("this test left processes behind:\n" + "\n".join(described))


@pytest.fixture(scope="session", autouse=True)
def _adopt_orphans() -> None:
    """Make orphans of the tests children of this process, so that the guard sees them."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "w")
_NUMBERS = itertools.count(1)


def _tools_directory() -> Path:
    directory = REPOSITORY / ".tools"
    directory.mkdir(exist_ok=True)
    (directory / ".gitignore").write_text("*\n")
    return directory


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
