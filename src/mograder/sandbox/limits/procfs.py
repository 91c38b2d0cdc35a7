"""Readers for ``/proc``: a process's use and deleted open files, the machine's memory and tasks.

The parsers are pure functions, so that they can be tested. ``usable_memory`` and ``usable_starts``
say what a machine, or the container that this process is in, has for sessions by default.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")

_STAT_BYTES, _ROLLUP_BYTES, _IO_BYTES, _STATUS_BYTES = 1024, 4096, 1024, 4096
_MEMINFO_BYTES, _LOAD_BYTES = 4096, 512
_BLOCK = 512
"""Unit of ``st_blocks`` in bytes, whatever the file system's block size."""

_PAGE_TABLES = re.compile(rb"^VmPTE:\s*(\d+) kB", re.MULTILINE)
"""Found in 6 µs; all lines of that file take 50 µs, for each process."""
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Stat:
    """The used fields of ``/proc/PID/stat``; ``resident`` is in bytes.

    ``ticks`` (CPU time) and page ``faults`` are totals; ticks include those of children that
    were waited for.
    """

    faults: int
    ticks: int
    threads: int
    resident: int


@dataclass(frozen=True, slots=True)
class Share:
    """A process's proportional share of memory (PSS) in bytes, private and shared."""

    private: int
    shared: int

    @property
    def total(self) -> int:
        return self.private + self.shared


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the machine that are available without swapping, and in total."""

    available: int
    total: int


def parse_stat(data: bytes) -> Stat:
    """Parse ``/proc/PID/stat``; the name in it may hold any bytes. Raises: ValueError."""
    fields = data[data.rindex(b")") + 2 :].split()
    try:
        return Stat(
            faults=int(fields[7]),
            ticks=sum(map(int, fields[11:15])),
            threads=max(1, int(fields[17])),
            resident=max(0, int(fields[21])) * PAGE,
        )
    except IndexError as error:
        raise ValueError("a line of stat is too short") from error


def parse_rollup(data: bytes) -> Share:
    """Parse ``smaps_rollup``; an older kernel has no field for shared memory (then 0)."""
    found = _sizes(data)
    whole, shared = found.get(b"Pss:", 0), found.get(b"Pss_Shmem:", 0)
    return Share(private=max(0, whole - shared), shared=shared)


def parse_page_tables(data: bytes) -> int:
    """Return the bytes of page tables in ``/proc/PID/status``; 0 if the field is missing.

    Page tables belong to one process, even if the pages are shared.
    """
    found = _PAGE_TABLES.search(data)
    return int(found[1]) << 10 if found else 0


def parse_written(data: bytes) -> int:
    """Return the field ``write_bytes`` of ``/proc/PID/io``: bytes written to disks."""
    for line in data.splitlines():
        name, _, value = line.partition(b":")
        if name == b"write_bytes":
            return int(value)
    return 0


def parse_meminfo(data: bytes) -> Memory:
    found = _sizes(data)
    return Memory(found.get(b"MemAvailable:", 0), found.get(b"MemTotal:", 0))


def _sizes(data: bytes) -> dict[bytes, int]:
    """Return the bytes in lines such as ``MemTotal: 8 kB``, by their first words."""
    lines = (line.split() for line in data.splitlines())
    return {w[0]: int(w[1]) << 10 for w in lines if len(w) >= 2 and w[1].isdigit()}


def machine_memory() -> Memory:
    return parse_meminfo(_read("/proc/meminfo", _MEMINFO_BYTES))


def machine_load() -> tuple[int, int]:
    """Return the number of processes and threads, and the last pid that the kernel has given.

    While that is the same, no process has started.
    """
    *_, tasks, last_pid = _read("/proc/loadavg", _LOAD_BYTES).split()
    return int(tasks.partition(b"/")[2]), int(last_pid)


def stat_of(pid: int) -> Stat | None:
    """Return a process's resource use; None if it has ended."""
    try:
        return parse_stat(_read(f"/proc/{pid}/stat", _STAT_BYTES))
    except (OSError, ValueError):
        return None


def share_of(pid: int) -> Share:
    """Return a process's share of memory, including its page tables. Raises: OSError."""
    share = parse_rollup(_read(f"/proc/{pid}/smaps_rollup", _ROLLUP_BYTES))
    tables = parse_page_tables(_read(f"/proc/{pid}/status", _STATUS_BYTES))
    return Share(share.private + tables, share.shared)


def deleted_files(pids: Iterable[int], device: int, most: int) -> int:
    """Return the bytes of deleted files on ``device`` (``st_dev``) that these processes hold open.

    Inspects at most ``most`` descriptors, and opens no file.
    """
    sizes: dict[int, int] = {}
    paths = (f"/proc/{pid}/fd/{name}" for pid in pids for name in _descriptors(pid))
    for path in itertools.islice(paths, most):
        with contextlib.suppress(OSError):
            found = os.stat(path)  # noqa: PTH116 - a Path costs more than the call
            if stat.S_ISREG(found.st_mode) and not found.st_nlink and found.st_dev == device:
                sizes[found.st_ino] = found.st_blocks * _BLOCK
    return sum(sizes.values())


def written_by(pids: Iterable[int]) -> int:
    """Return how many bytes these processes have written to disks; unreadable ones count 0."""
    total = 0
    for pid in pids:
        try:
            total += parse_written(_read(f"/proc/{pid}/io", _IO_BYTES))
        except (OSError, ValueError):
            continue
    return total


def sockets_of(pid: int) -> dict[int, str]:
    """Return the inode of each socket that a process has open, by descriptor. Raises: OSError."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - as above
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if socket := _SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{name}")):  # noqa: PTH115
                found[int(name)] = socket[1]
    return found


def namespace_of(pid: int) -> str:
    """Return the name of a process's pid namespace, "" if it is not readable or it has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")  # noqa: PTH115 - a Path costs more
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


_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_STARTS_PER_PROCESSOR = 2


def usable_starts() -> int:
    return _STARTS_PER_PROCESSOR * len(os.sched_getaffinity(0))


def usable_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Return the default memory for all sessions, in bytes: nine tenths of the machine's.

    A smaller limit of the hub's own cgroup takes precedence: the hub is then in a container, and
    its sessions are in the same one.
    """
    bounds = [parse_meminfo((proc / "meminfo").read_bytes()).total]
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    place = PurePosixPath(own.lstrip("/"))
    for each in (place, *place.parents):
        with contextlib.suppress(OSError, ValueError):  # "max", or the file is not there
            bounds.append(int((cgroups / each / "memory.max").read_text()))
    return min(filter(None, bounds), default=0) * 9 // 10
