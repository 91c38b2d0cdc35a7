"""Sessions that exceed limits: only these are ended or slowed, with the right reason.

docs/explanation/limits.md. A real supervisor, real sandboxes and real bombs, small ones; on
cgroup v2 the same limits are the kernel's.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.limits.cgroup2 import SessionGroups
from mograder.sandbox.protocol import (
    Ended,
    Limits,
    Measured,
    News,
    SessionInfo,
    SessionUse,
)
from tests.support.supervisors import (
    Sessions,
    inside_of,
    make_config,
    supervised,
    told_of,
    until,
    until_gone,
)

pytestmark = pytest.mark.full

LIMITS = Limits(
    processes=60, open_files=256, file_size_mb=256, tmp_mb=200, memory_mb=256, workspace_mb=32
)

_LIMITED = """
import json, os, resource, socket, sys, time
options = json.loads(sys.argv[1])
for name, value in options["rlimits"].items():
    resource.setrlimit(getattr(resource, name), (value, value))
open("up", "w").close()
"""

# The next two keep what they have when the kernel gives them no more: on a fast machine they reach
# the rlimits before the monitor measures them.
MEMORY = """
kept = []
while True:
    try: kept.append(b'x' * (1 << 22))
    except MemoryError: time.sleep(600)"""
MEMORY_OF_MANY = """
for _ in range(9):
    if not os.fork():
        kept = b'x' * (64 << 20)
        time.sleep(600)
time.sleep(600)"""
COPIES = """
pages = bytearray(100 << 20)
for at in range(0, len(pages), 4096): pages[at] = 1
for _ in range(8):
    if not os.fork():
        for at in range(0, len(pages), 4096): pages[at] = 2
        time.sleep(600)
time.sleep(600)"""
FILES_IN_MEMORY = """
for place in ("/tmp", "/dev/shm"):
    with open(place + "/large", "wb") as file:
        for _ in range(190): file.write(b"x" * (1 << 20))
time.sleep(600)"""
HIDDEN_MEMORY = """
try: os.memfd_create("hidden")
except OSError: pass
else: sys.exit("there are files in memory that nobody counts")
import socket, tempfile
ours, theirs = socket.socketpair()
for place in ("/tmp", "/dev/shm"):
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(190): file.write(b"x" * (1 << 20))
        file.flush()
        socket.send_fds(ours, [b"x"], [file.fileno()])
time.sleep(600)"""
PAGE_TABLES = """
import mmap
pages = mmap.mmap(-1, 400 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)
for at in range(0, len(pages), 2 << 20): pages[at]
time.sleep(600)"""
FORKS = """
while True:
    try:
        if not os.fork(): {child}
    except OSError: pass"""
FORK_BOMB = FORKS.format(child="pass")
SETSID_BOMB = FORKS.format(child="os.setsid()")
BURST = """
children = []
while True:
    try: pid = os.fork()
    except OSError: break
    if not pid: time.sleep(600)
    children.append(pid)
for pid in children: os.kill(pid, 9)
for pid in children: os.waitpid(pid, 0)
open("burst", "w").close()
time.sleep(600)"""
FILLER = """
number = 0
while True:
    with open(f"file{number}", "wb") as file: file.write(b"x" * (4 << 20))
    number += 1"""
TINY_FILLER = """
number = 0
while True:
    os.mkdir(f"{number}")
    for name in range(50): open(f"{number}/{name}", "w").close()
    number += 1"""
NAMES_IN_MEMORY = """
number = 0
while True:
    open(f"/tmp/{number}", "w").close()
    number += 1"""
GHOST_FILLER = """
kept = []
while True:
    try: kept.append(open("ghost", "wb"))
    except OSError: time.sleep(600)
    os.unlink("ghost")
    kept[-1].write(b"x" * (4 << 20))"""
RESERVER = """
number = 0
while True:
    file = os.open(f"file{number}", os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(file, 0, 4 << 20)
    os.close(file)
    number += 1"""
FLOOD = """
line, count = b"x" * 65536, 0
while True:
    count += os.write(1, line)
    with open("count.new", "w") as file: file.write(str(count))
    os.rename("count.new", "count")"""
SPINNER = """
for _ in range({processes}):
    if not os.fork():
        os.setsid()
        while not os.path.exists("calm"):
            for _ in range(100000): pass
        time.sleep(600)
time.sleep(600)"""
ANSWERER = """
listener = socket.socket(fileno=options["fd"])
while True:
    visitor, _ = listener.accept()
    visitor.sendall(b"here")
    visitor.close()"""


@dataclass
class Hostiles:
    """Sessions that run lines of Python, the news of them, and what they were measured to use."""

    sessions: Sessions
    uses: dict[str, SessionUse] = field(default_factory=dict)
    overhead: int = 0

    @classmethod
    async def on(cls, client: SupervisorClient, place: Path) -> Hostiles:
        """Record a supervisor's events."""
        hostiles = cls(Sessions(client, place))
        sessions = hostiles.sessions
        client.watch(sessions._hear, sessions._news.set, hostiles._hear_news)
        await client.sessions()  # it is told all that it missed
        return hostiles

    async def start(
        self, name: str, code: str, *, limits: Limits = LIMITS, slot: int = 1
    ) -> SessionInfo:
        """Start a session; it has begun when this returns."""
        script = 'exec /usr/bin/python3 -I hostile.py "$2"'
        request = self.sessions.request(name, script, slot=slot)
        request = request.model_copy(update={"limits": limits})
        (request.directory / "hostile.py").write_text(_LIMITED + code)
        info = await self.sessions.client.start(request)
        await until((request.directory / "up").exists)
        return info

    async def outcome(self, name: str) -> Ended:
        return await self.sessions.outcome(name)

    def workspace(self, name: str) -> Path:
        return self.sessions.place / f"workspace-{name}"

    def use(self, name: str) -> SessionUse | None:
        """Return the last usage reported for a session."""
        return self.uses.get(f"session-{name}")

    def has_ended(self, name: str) -> bool:
        """Return whether the session's end was reported."""
        return f"session-{name}" in self.sessions.ended

    def members(self) -> list[psutil.Process]:
        """The processes of this supervisor's sessions that run such a script."""
        return [p for p in inside_of(self.sessions.client) if _is_hostile(p)]

    def _hear_news(self, news: News) -> None:
        if isinstance(news, Measured):
            self.uses.update({use.session_id: use for use in news.sessions})
            self.overhead = news.overhead


async def answers(info: SessionInfo) -> bool:
    """Whether a session of the ``ANSWERER`` does."""
    reader, writer = await asyncio.open_unix_connection(info.socket)
    said = await reader.read()
    writer.close()
    return said == b"here"


def _is_hostile(process: psutil.Process) -> bool:
    try:
        return "hostile.py" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


SLEEPER = "time.sleep(600)"
READ_AT_MOST = 8 << 20
"""Bytes that a supervisor reads of a flood in the first seconds: burst and a few seconds' rate."""


@pytest.fixture
async def hostiles(client: SupervisorClient, tmp_path: Path) -> Hostiles:
    return await Hostiles.on(client, tmp_path)


async def test_one_is_measured(hostiles: Hostiles) -> None:
    code = "kept = b'x' * (50 << 20)\nsum(range(10**7))\n"
    code += "open('data', 'wb').write(b'x' * (2 << 20))\nopen('done', 'w').close()\n" + SLEEPER
    await hostiles.start("even", code)
    await until((hostiles.workspace("even") / "done").exists)

    def is_told() -> bool:
        use = hostiles.use("even")
        return use is not None and use.memory > 50 << 20 and use.workspace > 2 << 20

    await until(is_told)
    use = hostiles.use("even")
    assert use is not None
    assert use.memory < 120 << 20
    assert use.processes >= 2, "the sandbox's first process, and itself"
    assert use.cpu > 0
    assert hostiles.overhead > 1 << 20


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        pytest.param(MEMORY, "memory", id="memory bomb"),
        pytest.param(MEMORY_OF_MANY, "memory", id="memory bomb of many processes"),
        pytest.param(COPIES, "memory", id="copies of what was shared"),
        pytest.param(FILES_IN_MEMORY, "memory", id="files in /tmp and /dev/shm"),
        pytest.param(NAMES_IN_MEMORY, "memory", id="empty files in /tmp"),
        pytest.param(HIDDEN_MEMORY, "memory", id="files in memory that lie in a socket"),
        pytest.param(PAGE_TABLES, "memory", id="page tables"),
        pytest.param(FORK_BOMB, "processes", id="fork bomb"),
        pytest.param(SETSID_BOMB, "processes", id="fork bomb with setsid"),
        pytest.param(FILLER, "workspace", id="disk filler"),
        pytest.param(TINY_FILLER, "workspace", id="disk filler with empty files"),
        pytest.param(GHOST_FILLER, "workspace", id="disk filler with deleted files"),
        pytest.param(RESERVER, "workspace", id="disk filler that reserves room"),
    ],
)
async def test_one_that_wants_too_much_ends_alone(
    client: SupervisorClient, hostiles: Hostiles, code: str, reason: str
) -> None:
    neighbour = await hostiles.start("neighbour", ANSWERER, slot=2)
    await hostiles.start("hostile", code)
    assert await answers(neighbour)
    assert (await hostiles.outcome("hostile")).reason == reason
    assert await answers(neighbour)
    assert [info.session_id for info in await client.sessions()] == ["session-neighbour"]
    assert await client.stop("session-neighbour")
    await until_gone(inside_of(client))
    assert (await hostiles.outcome("neighbour")).reason == ""


async def test_a_large_array_is_an_error_in_its_cell_and_no_more(hostiles: Hostiles) -> None:
    code = f"try: bytearray(2 << 30)\nexcept MemoryError: open('refused', 'w').close()\n{SLEEPER}"
    await hostiles.start("ambitious", code)
    await until((hostiles.workspace("ambitious") / "refused").exists)
    assert not hostiles.has_ended("ambitious")


async def test_one_that_was_at_its_limit_of_processes_for_a_moment_goes_on(
    client: SupervisorClient, hostiles: Hostiles
) -> None:
    await hostiles.start("brief", BURST)
    await until((hostiles.workspace("brief") / "burst").exists)
    before = len(inside_of(client))

    def is_measured() -> bool:
        use = hostiles.use("brief")
        return use is not None and 0 < use.processes <= before

    await until(is_measured)
    assert not hostiles.has_ended("brief")


async def test_one_that_floods_its_output_waits(hostiles: Hostiles) -> None:
    await hostiles.start("loud", FLOOD)
    count = hostiles.workspace("loud") / "count"
    await until(count.exists)
    first = int(count.read_text())
    # It continues slowly: it is not ended, and not all of its output is read.
    await until(lambda: int(count.read_text()) > first)
    await until(lambda: (use := hostiles.use("loud")) is not None and use.processes > 0)
    assert int(count.read_text()) < READ_AT_MOST
    assert not hostiles.has_ended("loud")


async def test_one_that_spins_is_left_alone(hostiles: Hostiles) -> None:
    neighbour = await hostiles.start("neighbour", ANSWERER, slot=2)
    await hostiles.start("spinner", SPINNER.format(processes=2 * (os.cpu_count() or 1)))
    await until(lambda: (use := hostiles.use("spinner")) is not None and use.cpu > 2)
    assert await answers(neighbour)
    assert not hostiles.has_ended("spinner")


async def test_the_kernel_would_end_a_session_before_the_supervisor(
    client: SupervisorClient, hostiles: Hostiles
) -> None:
    """When the whole machine runs out of memory before anybody looked."""
    await hostiles.start("any", SLEEPER)
    assert told_of(hostiles.members(), "oom_score_adj") == {"600"}


async def test_without_a_cgroup_a_session_is_nicer(hostiles: Hostiles) -> None:
    if not SessionGroups.refusal():
        pytest.skip("its cgroup has a weight")
    await hostiles.start("any", SLEEPER)
    assert {os.getpriority(os.PRIO_PROCESS, each.pid) >= 5 for each in hostiles.members()} == {True}


async def test_the_one_who_fills_the_disk_ends_before_it_is_full(
    runtime: Path, tmp_path: Path
) -> None:
    """A reserve larger than the disk: whoever writes much has taken of it."""
    config = make_config(runtime, tmp_path, disk_reserve_mb=1 << 40, disk_reserve_percent=100)
    async with supervised(config) as client:
        hostiles = await Hostiles.on(client, tmp_path)
        wide = LIMITS.model_copy(update={"workspace_mb": 4096, "file_size_mb": 64})
        neighbour = await hostiles.start("neighbour", ANSWERER, slot=2)
        code = "file = open('much', 'wb')\n"
        code += "while True:\n    file.write(b'x' * (1 << 20)); file.flush()\n"
        code += "    if file.tell() >= 60 << 20: file.seek(0)\n    time.sleep(0.01)"
        await hostiles.start("filler", code, limits=wide)
        assert (await hostiles.outcome("filler")).reason == "disk"
        assert await answers(neighbour)


async def test_without_limits_nothing_is_ended(hostiles: Hostiles) -> None:
    """What a hub of an older release says."""
    old = Limits(processes=60, open_files=256, file_size_mb=256, tmp_mb=64)
    code = "kept = b'x' * (300 << 20)\nopen('data', 'wb').write(b'x' * (40 << 20))\n" + SLEEPER
    await hostiles.start("free", code, limits=old)
    await until(lambda: (use := hostiles.use("free")) is not None and use.workspace > 40 << 20)
    assert not hostiles.has_ended("free")
