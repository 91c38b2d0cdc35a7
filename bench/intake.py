"""Intake: a class submits over HTTP, compared with the disk alone.

The reference writes the same bytes one after the other, syncs each file and renames it. The server
receives them over HTTP from many students at once and answers with a receipt after the sync.

On ext4 a new inode is slower after inodes near it were freed in the last minutes. So nothing is
removed before the end, and each side gets its own block groups of the disk (``_spread``).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import shutil
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

from bench.options import Options
from bench.report import Budget, Row
from bench.stage import Stage
from mograder.store.assignment_server.name_registry import PEOPLE_FILE, How, NameRegistry
from tests.support.course_server import CourseServer, make_served_course, notebook

SIZE = 200_000
SUBMISSIONS = 300
STUDENTS = 32
"""Clients that send at the same time."""

_GET_FLAGS, _SET_FLAGS, _TOP_DIRECTORY = 0x80086601, 0x40086602, 0x00020000
"""``FS_IOC_GETFLAGS``, ``FS_IOC_SETFLAGS`` and ``FS_TOPDIR_FL`` of Linux."""

_HISTORY = 10_000
_FEW = 60


async def measure(stage: Stage, options: Options) -> list[Row]:
    """Submissions per second in turns with the disk's own, and again over a long history."""
    directory = stage.directory / "intake"
    directory.mkdir()
    _spread(directory)
    root = make_served_course(directory / "course")
    bodies = [_body(number) for number in range(SUBMISSIONS)]
    ours, disk, empty = [], [], []
    marks = ["first", *(f"{kind}{turn}" for kind in "tef" for turn in range(options.rounds))]
    _register(root, [f"{mark}-{number}" for mark in marks for number in range(SUBMISSIONS)])
    with CourseServer(root, directory / "serve.log") as server:
        for turn in range(options.rounds):
            await asyncio.to_thread(
                os.sync
            )  # so that one sample does not wait for the writes of the one before
            disk.append(await asyncio.to_thread(_write, directory / f"disk{turn}", bodies))
            await asyncio.to_thread(os.sync)
            ours.append(await _send(server, f"t{turn}", bodies))
            empty.append(await _send(server, f"e{turn}", bodies[:_FEW]))
    _make_history(root / "submitted" / "hw1")
    with CourseServer(root, directory / "serve.log") as server:
        await _send(server, "first", bodies[:_FEW])
        full = [await _send(server, f"f{turn}", bodies[:_FEW]) for turn in range(options.rounds)]
    shutil.rmtree(directory)
    return [
        Row(
            f"intake: {SIZE // 1000} KB notebooks over HTTP, fsynced, with receipts",
            "1/s",
            tuple(ours),
            Budget(0.5, at_most=False),
            reference="the disk's fsync and rename",
            theirs=tuple(disk),
        ),
        Row(
            f"intake: the same with {_HISTORY} submissions there already",
            "1/s",
            tuple(full),
            Budget(0.8, at_most=False),
            reference="with few",
            theirs=tuple(empty),
        ),
    ]


def _spread(directory: Path) -> None:
    """Spread a directory's subdirectories over the disk (``chattr +T``), if supported."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = bytearray(8)
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _GET_FLAGS, flags)
            (before,) = struct.unpack_from("I", flags)
            fcntl.ioctl(fd, _SET_FLAGS, struct.pack("I", before | _TOP_DIRECTORY))
    finally:
        os.close(fd)


def _write(place: Path, bodies: list[bytes]) -> float:
    place.mkdir()
    began = time.perf_counter()
    for number, body in enumerate(bodies):
        temporary = place / f".{number}.tmp"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(fd, body)
        os.fsync(fd)
        os.close(fd)
        temporary.rename(place / f"{number}.py")
    return len(bodies) / (time.perf_counter() - began)


async def _send(server: CourseServer, mark: str, bodies: list[bytes]) -> float:
    """Submissions per second, as so many students at once see it; their requests cost little."""
    waiting = list(enumerate(bodies))
    requests = {number: _request(server, f"{mark}-{number}", body) for number, body in waiting}

    async def student() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        while waiting:
            number, _ = waiting.pop()
            writer.write(requests[number])
            status = await reader.readline()
            assert b" 200 " in status, status
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            assert b'"receipt"' in await reader.readexactly(length)
        writer.close()
        await writer.wait_closed()

    began = time.perf_counter()
    await asyncio.gather(*(student() for _ in range(STUDENTS)))
    return len(bodies) / (time.perf_counter() - began)


def _request(server: CourseServer, user: str, body: bytes) -> bytes:
    """A whole submission as 0.3.16's client sends it."""
    form = (
        b'------MograderBoundary\r\nContent-Disposition: form-data; name="file"; '
        b'filename="hw1.py"\r\nContent-Type: application/octet-stream\r\n\r\n'
        + body
        + b"\r\n------MograderBoundary--\r\n"
    )
    head = (
        f"POST /assignments/hw1/submit?user={user} HTTP/1.1\r\nHost: bench\r\n"
        f"Authorization: {server.headers(user)['Authorization']}\r\n"
        "Content-Type: multipart/form-data; boundary=----MograderBoundary\r\n"
        f"Content-Length: {len(form)}\r\n\r\n"
    )
    return head.encode() + form


def _body(number: int) -> bytes:
    return notebook(f"{number}-{random.Random(number).random()}", SIZE)


def _register(root: Path, users: list[str]) -> None:
    """Give out the names beforehand, as a class has them when it hands in."""
    NameRegistry(root / PEOPLE_FILE).note(users, How.ISSUED, datetime.now(UTC))


def _make_history(place: Path) -> None:
    """Write the submissions of a large course: 500 people with twenty versions each."""
    for number in range(_HISTORY):
        user, version = number % 500, number // 500
        (place / f"old{user}_20260310T2008{version:02d}.py").write_bytes(b"x")
    for user in range(500):
        (place / f"old{user}.py").symlink_to(f"old{user}_20260310T200819.py")
