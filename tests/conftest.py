"""Fixtures that every suite may use: courses, names, artefacts; shards of a run."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import random
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import hypothesis
import pytest

from tests.support.course import REPOSITORY, copy_example_course

pytest_plugins = [
    "tests.support.processes",
    "tests.support.timings",
    "tests.support.flushing",
    "tests.support.new_tables",
    "tests.support.compiled_statements",
    "tests.support.short_ticks",
    "tests.support.command_line",
]
FAILED = pytest.StashKey[bool]()
"""Set on a test's node once one of its phases has failed."""

_ELSEWHERE = {
    "vm": "MOGRADER_TEST_VM",
    "deploy": "MOGRADER_TEST_DEPLOY",
    "machines": "MOGRADER_TEST_MACHINES",
}
collect_ignore = [place for place, asked in _ELSEWHERE.items() if asked not in os.environ]
"""``make test-vm`` runs those in a virtual machine, where there is cgroup v2; ``make test-deploy``
deploys to a fresh system in a container; ``make test-machines`` runs Docker Swarm and Slurm."""

# A shared machine stalls now and then: an example that takes long is not a failure.
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.register_profile("random", deadline=None, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, print_blob=True, max_examples=10_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_configure() -> None:
    """Let Ctrl+C end the run, and programs under test, also when a script runs the tests.

    A shell without job control starts background commands with SIGINT ignored (POSIX.1-2017, XCU
    2.11), and the programs that they start inherit that. With Python's own handler each run of an
    event loop would set one that names its task, and ``signal`` then writes that task down, with
    all that a fixture returned: 6 % of the processor time of tests with a hub.
    """
    gc.disable()  # until all tests are collected: what they make until then stays
    signal.signal(signal.SIGINT, _interrupt)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--shard 2/3`` runs the tests of every third file, beginning with the second."""
    parser.addoption("--shard", default="1/1", metavar="I/N", help="run one of N parts")


@pytest.hookimpl(tryfirst=True)  # before marks select
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the files of other shards; tests that share a browser share its event loop.

    Properties, which are tried on a hundred examples, are ``full`` tests.
    """
    number, count = map(int, config.getoption("--shard").split("/"))
    mine = set(sorted({item.path for item in items})[number - 1 :: count])
    config.hook.pytest_deselected(items=[item for item in items if item.path not in mine])
    items[:] = [item for item in items if item.path in mine]
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        if hypothesis.is_hypothesis_test(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.full)


def pytest_collection_finish() -> None:
    """Exclude the modules and the collected tests from garbage collections.

    They are most of a worker's objects: a collection of the oldest generation took 0.25 s with
    them, and collections 14 % of the processor time.
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
    gc.enable()


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
    """A cache for tests that run uv without a sandbox; sandboxes could not change its files."""
    return _tools_directory() / "test-uv-cache-of-authors"


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this run that all of its workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture
def chance() -> random.Random:
    """Random choices, the same in each run; ``make test-long`` chooses a seed and prints it."""
    return random.Random(int(os.environ.get("MOGRADER_TEST_SEED", "1")))


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
def ordinary_user() -> Iterator[Path]:
    """A directory of an ordinary user's, who this process is meanwhile: root may read all."""
    with tempfile.TemporaryDirectory() as place:
        if os.geteuid() != 0:
            yield Path(place)
            return
        os.chown(place, 65534, 65534)
        os.seteuid(65534)
        try:
            yield Path(place)
        finally:
            os.seteuid(0)


@pytest.fixture
def fresh_name() -> Callable[[str], str]:
    """Names that are unique in this run: ``fresh_name("alice")`` → ``alice-gw0-3``."""
    return lambda stem: f"{stem}-{_WORKER}-{next(_NUMBERS)}"


@pytest.fixture
def unsaved_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process for unsaved work, as on other systems; e2e/test_unsaved_work.py does."""
    monkeypatch.setattr("mograder.processes.isolated_call.SYSTEM", "darwin")


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
    if (root.level, ours.level) != levels:  # setting one empties the caches of all loggers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])


_ALLOCATIONS = 5000
"""A collection of the youngest generation comes after so many new objects; Python's are 700."""

_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "w")
_NUMBERS = itertools.count(1)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    signal.default_int_handler(number, frame)


def _tools_directory() -> Path:
    directory = REPOSITORY / ".tools"
    directory.mkdir(exist_ok=True)
    (directory / ".gitignore").write_text("*\n")
    return directory
