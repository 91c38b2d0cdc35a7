"""Reading one process from ``/proc``: what it uses, and deleted files that it holds open.

Pure parsers first, so that they can be tested.
"""

from __future__ import annotations

import contextlib
import itertools
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

_PAGE_TABLES = re.compile(rb"^VmPTE:\s*(\d+) kB", re.MULTILINE)
_OOM_SCORE = b"600"


@dataclass(frozen=True, slots=True)
class Stat:
    """The fields of ``/proc/PID/stat`` that we need; ``resident`` is in bytes.

    ``ticks`` of processor time and page ``faults`` so far; ticks include those of children that
    were waited for.
    """

    faults: int
    ticks: int
    threads: int
    resident: int


@dataclass(frozen=True, slots=True)
class Share:
    """A process's proportional share of memory in bytes, shared memory told apart."""

    private: int
    shared: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.private + self.shared


def parse_stat(data: bytes) -> Stat:
    """Read one line of ``stat``; the name in it may hold anything. Raises: ValueError."""
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


def parse_written(data: bytes) -> int:
    """Read from ``/proc/PID/io`` how many bytes were sent on their way to a disk."""
    for line in data.splitlines():
        name, _, value = line.partition(b":")
        if name == b"write_bytes":
            return int(value)
    return 0


def stat_of(pid: int) -> Stat | None:
    """Return what a process uses; None if it has ended."""
    try:
        return parse_stat(_read(f"/proc/{pid}/stat", _STAT_BYTES))
    except (OSError, ValueError):
        return None


def share_of(pid: int) -> Share:
    """Return a process's share of memory, its page tables among it. Raises: OSError."""
    share = parse_rollup(_read(f"/proc/{pid}/smaps_rollup", _ROLLUP_BYTES))
    tables = parse_page_tables(_read(f"/proc/{pid}/status", _STATUS_BYTES))
    return Share(share.private + tables, share.shared)


def deleted_files(pids: Iterable[int], device: int, most: int) -> int:
    """Return the bytes of deleted files on a device that these processes hold open.

    Looks at no more than ``most`` descriptors, and opens none.
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
