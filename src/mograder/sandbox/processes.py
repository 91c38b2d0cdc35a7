"""Reading one process from ``/proc``: what it uses, and which descriptors hide what it holds.

A descriptor of ``/proc/PID/stat`` belongs to the process and not to its number: once that has
ended, reading fails, whoever has the number then. Pure parsers first, so that they can be tested.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")

_STAT_BYTES, _ROLLUP_BYTES, _IO_BYTES, _STATUS_BYTES = 1024, 4096, 1024, 4096
_BLOCK = 512
"""What ``st_blocks`` counts, whatever the file system's own blocks are."""

_FEW_SOCKETS = 64
_SOCKET_BYTES = 416 << 10
"""A full buffer of one end, as large as a process may make it (``wmem_max``, doubled)."""

_QUEUES_BYTES = 1 << 20
_PAGE_TABLES = re.compile(rb"^VmPTE:\s*(\d+) kB", re.MULTILINE)
_OOM_SCORE = b"600"
_MEMORY_FILE = "/memfd:"


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of ``/proc/PID/stat`` that we need; ticks include children that were waited for.

    ``session`` is the number of the last ``setsid`` above it, and so of its autogroup.
    """

    parent: int
    session: int
    faults: int
    ticks: int
    threads: int
    resident: int


@dataclass(frozen=True, slots=True)
class Share:
    """A process's proportional share of memory in bytes, shared memory told apart."""

    private: int
    shared: int


def parse_stat(data: bytes) -> Stat:
    """Read one line of ``stat``; the name in it may hold anything. Raises: ValueError."""
    fields = data[data.rindex(b")") + 2 :].split()
    try:
        return Stat(
            parent=int(fields[1]),
            session=int(fields[3]),
            faults=int(fields[7]),
            ticks=sum(map(int, fields[11:15])),
            threads=max(1, int(fields[17])),
            resident=max(0, int(fields[21])) * PAGE,
        )
    except IndexError as error:
        raise ValueError("a line of stat is too short") from error


def parse_rollup(data: bytes) -> Share:
    """Read ``smaps_rollup``; an older kernel does not tell shared memory apart."""
    found = {b"Pss:": 0, b"Pss_Shmem:": 0}
    for line in data.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] in found:
            found[words[0]] = int(words[1]) << 10
    whole, shared = found[b"Pss:"], found[b"Pss_Shmem:"]
    return Share(private=max(0, whole - shared), shared=shared)


def parse_page_tables(data: bytes) -> int:
    """Read from ``/proc/PID/status`` how many bytes the page tables take; 0 if it is not told.

    They belong to one process alone, whoever shares the pages themselves.
    """
    found = _PAGE_TABLES.search(data)
    return int(found[1]) << 10 if found else 0


def parse_sockets(data: bytes) -> int:
    """Read from ``net/sockstat`` how many sockets a network namespace has, of every family."""
    words = data.split(maxsplit=3)
    return int(words[2]) if len(words) > 2 and words[2].isdigit() else 0


def parse_queues(data: bytes) -> int:
    """Read from ``net/tcp`` or ``net/tcp6`` how many bytes wait in the sockets' queues."""
    total = 0
    for line in data.splitlines()[1:]:
        sending, _, received = line.split()[4].partition(b":")
        total += int(sending, 16) + int(received, 16)
    return total


def parse_written(data: bytes) -> int:
    """Read from ``/proc/PID/io`` how many bytes were sent on their way to a disk."""
    for line in data.splitlines():
        name, _, value = line.partition(b":")
        if name == b"write_bytes":
            return int(value)
    return 0


class Process:
    """One process of a session, followed from when it is first seen until it is gone."""

    __slots__ = ("_at_share", "_descriptor", "_share", "pid", "stat")

    def __init__(self, pid: int) -> None:
        """Raises: :class:`OSError` when it has ended, :class:`ValueError` for nonsense."""
        self.pid = pid
        self._share: Share | None = None
        self._at_share: Stat | None = None
        self._descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.stat = parse_stat(os.pread(self._descriptor, _STAT_BYTES, 0))
        except BaseException:
            os.close(self._descriptor)
            raise

    def read(self) -> bool:
        """Look again; false once it has ended."""
        try:
            self.stat = parse_stat(os.pread(self._descriptor, _STAT_BYTES, 0))
        except (OSError, ValueError):
            return False
        return True

    def close(self) -> None:
        """Follow it no more; another thread that still measures it finds it gone."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    @property
    def private(self) -> int:
        """Its memory without shared memory: measured, and what has come since; 0 if unknown."""
        if self._share is None or self._at_share is None:
            return 0
        return max(0, self._share.private + self.stat.resident - self._at_share.resident)

    @property
    def shared(self) -> int:
        """Its share of shared memory, as measured last."""
        return 0 if self._share is None else self._share.shared

    @property
    def doubt(self) -> int:
        """Bytes by which its memory may differ from what was measured.

        One that writes to pages that it shares with its parent gets copies of its own, and does
        not grow by that: its page faults tell.
        """
        if self._at_share is None:
            return self.stat.resident
        come = abs(self.stat.resident - self._at_share.resident)
        copied = (self.stat.faults - self._at_share.faults) * PAGE
        return max(come, min(copied, self.stat.resident))

    def measure(self) -> None:
        """Take its proportional share, which takes the kernel a while."""
        try:
            share = share_of(self.pid)
        except (OSError, ValueError):
            return
        # It may have ended and its number be another's by now: only its own descriptor knows.
        if self.read():
            self._share, self._at_share = share, self.stat


def share_of(pid: int) -> Share:
    """Return a process's share of memory, its page tables among it. Raises: OSError."""
    share = parse_rollup(_read(f"/proc/{pid}/smaps_rollup", _ROLLUP_BYTES))
    tables = parse_page_tables(_read(f"/proc/{pid}/status", _STATUS_BYTES))
    return Share(share.private + tables, share.shared)


def socket_buffers(pid: int) -> int:
    """Return what the sockets of a process's network namespace may hold, at most.

    The kernel tells nobody what Unix sockets hold, also those that are on their way through one
    another: beyond the few that every program has, each counts as full. Raises: OSError.
    """
    many = parse_sockets(_read(f"/proc/{pid}/net/sockstat", _STAT_BYTES)) - _FEW_SOCKETS
    if many <= 0:
        return 0
    queues = sum(_queues(f"/proc/{pid}/net/{name}") for name in ("tcp", "tcp6"))
    return many * _SOCKET_BYTES + queues


def _queues(path: str) -> int:
    with open(path, "rb") as file:  # noqa: PTH123 - as above
        return parse_queues(file.read(_QUEUES_BYTES))


@dataclass(frozen=True, slots=True)
class Nameless:
    """Bytes of open files that no directory shows: deleted ones on a disk, and in memory."""

    disk: int
    memory: int


def nameless_files(pids: Iterable[int], device: int, most: int) -> Nameless:
    """Add up what these processes hold open without a name, on ``device`` and in memory.

    Looks at no more than ``most`` descriptors. Only looks: nothing is opened.
    """
    sizes: dict[tuple[int, int], tuple[bool, int]] = {}
    left = most
    for pid in pids:
        names = _descriptors(pid)[: max(0, left)]
        left -= len(names)
        for name in names:
            with contextlib.suppress(OSError):
                _add_nameless(f"/proc/{pid}/fd/{name}", device, sizes)
    return Nameless(
        disk=sum(size for in_memory, size in sizes.values() if not in_memory),
        memory=sum(size for in_memory, size in sizes.values() if in_memory),
    )


def _add_nameless(path: str, device: int, sizes: dict[tuple[int, int], tuple[bool, int]]) -> None:
    found = os.stat(path)  # noqa: PTH116 - a Path costs more than the call
    if not stat.S_ISREG(found.st_mode) or found.st_nlink:
        return
    in_memory = os.readlink(path).startswith(_MEMORY_FILE)  # noqa: PTH115
    if in_memory or found.st_dev == device:
        sizes[found.st_dev, found.st_ino] = (in_memory, found.st_blocks * _BLOCK)


def written_by(pids: Iterable[int]) -> int:
    """Return how many bytes these processes have written to disks; what is unreadable is 0."""
    total = 0
    for pid in pids:
        try:
            total += parse_written(_read(f"/proc/{pid}/io", _IO_BYTES))
        except (OSError, ValueError):
            continue
    return total


def prefer_to_end(pid: int) -> None:
    """Let the kernel, when it runs out of memory, choose this process and what it forks first.

    Never the hub or the supervisor. Set by root it cannot be taken back by a session.
    """
    with contextlib.suppress(OSError):  # gone; or not allowed, and then no worse than before
        descriptor = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, _OOM_SCORE)
        finally:
            os.close(descriptor)


def namespace_of(pid: int) -> str:
    """Return what names a process's pid namespace, "" if it is none of ours or gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 - as above
    except OSError:
        return ""


def _descriptors(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - as above
    except OSError:
        return []


def _read(path: str, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, size)
    finally:
        os.close(descriptor)
