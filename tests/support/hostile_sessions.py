"""Hostile sessions for tests: lines of Python under the rlimits that a real session has."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from mograder.sandbox.client.supervisor_client import SupervisorClient
from mograder.sandbox.protocol import (
    Ended,
    Limits,
    Measured,
    News,
    SessionInfo,
    SessionUse,
    Subscribe,
)
from tests.support.supervisors import Sessions, inside_of, until

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
        await (await client.open()).call(Subscribe())  # again: it is told all that it missed
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
        """Wait for its end."""
        return await self.sessions.outcome(name)

    def workspace(self, name: str) -> Path:
        """Where it works."""
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


def told_of(processes: list[psutil.Process], name: str) -> set[str]:
    """Return the content of this file of ``/proc`` for each process."""
    found = set()
    for process in processes:
        with contextlib.suppress(OSError):
            found.add(Path(f"/proc/{process.pid}/{name}").read_text().split()[-1])
    return found
