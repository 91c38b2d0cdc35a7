"""The pipes of check reports: bounded, one-way, and a flood is its own student's loss."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from mograder.sandbox.protocol import LINE_LIMIT, LONGEST_REPORT, MOST_REPORTS, Checked, encode
from mograder.sandbox.supervisor.check_pipes import CheckPipes
from tests.support.supervisors import until

LINE = b'{"label": "Q1", "status": "success", "earned": 1.0, "total": 1.0}\n'


def descriptors() -> int:
    """The number of descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Rig:
    """Pipes, and what they told."""

    def __init__(self) -> None:
        self.told: list[Checked] = []
        self.pipes = CheckPipes(self.told.append)
        self.ends: list[int] = []
        self.names: list[str] = []

    def open(self, session_id: str = "session-a") -> int:
        """Make a session's pipe; return its write end, which the rig closes."""
        (end,) = self.pipes.open(session_id)
        self.ends.append(end)
        self.names.append(session_id)
        return end

    def lines(self, session_id: str = "session-a") -> list[str]:
        """All lines that were told of a session, in order."""
        found = [each for news in self.told for each in news.sessions]
        return [line for each in found if each.session_id == session_id for line in each.reports]

    async def hear(self, count: int, session_id: str = "session-a") -> list[str]:
        """Wait until a number of lines was told; return all of them."""
        await until(lambda: len(self.lines(session_id)) >= count)
        return self.lines(session_id)

    async def more(self) -> None:
        """Wait until something else was told."""
        before = len(self.told)
        await until(lambda: len(self.told) > before)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    for session_id in rig.names:
        rig.pipes.close(session_id)
    for end in rig.ends:
        with suppress(OSError):  # the test has closed it
            os.close(end)


def flood(end: int, data: bytes = LINE) -> int:
    """Write until the pipe is full; return the number of writes that fitted."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            os.write(end, data)
            count += 1
    return count


async def test_reports_of_some_sessions_come_in_one_message(rig: Rig) -> None:
    one, other = rig.open(), rig.open("session-b")
    os.write(one, LINE)
    os.write(other, LINE * 2)
    assert await rig.hear(2, "session-b") == [LINE.decode().strip()] * 2
    assert len(rig.told) == 1
    assert rig.lines() == [LINE.decode().strip()]


async def test_a_line_may_come_in_pieces(rig: Rig) -> None:
    end = rig.open()
    os.write(end, LINE[:10])
    await asyncio.sleep(0)
    os.write(end, LINE[10:] + b"rest")
    assert await rig.hear(1) == [LINE.decode().strip()]


@pytest.mark.parametrize(
    "junk",
    [
        b"\n",
        b"x" * (LONGEST_REPORT + 1) + b"\n",
        b"x" * 3 * LONGEST_REPORT + b"\n",
        b"\xff\xfe\n",
        b"\x00\x01\x02\n",
        b"a\x1b[2Jb\n",
        b"\r\n",
    ],
    ids=["empty", "long", "longer", "no text", "zeros", "escape", "return"],
)
async def test_junk_is_dropped_and_what_follows_is_heard(rig: Rig, junk: bytes) -> None:
    end = rig.open()
    os.write(end, junk + LINE)
    assert await rig.hear(1) == [LINE.decode().strip()]


async def test_a_text_without_end_is_not_kept(rig: Rig) -> None:
    end = rig.open()
    for _ in range(20):
        await until(lambda: _writes(end, b"x" * 4096))
    await until(lambda: _writes(end, b"\n" + LINE))
    assert await rig.hear(1) == [LINE.decode().strip()]


def _writes(end: int, data: bytes) -> bool:
    with suppress(BlockingIOError):
        return os.write(end, data) == len(data)
    return False


async def test_a_flood_is_read_more_slowly_and_only_its_own_student_loses(rig: Rig) -> None:
    loud, quiet = rig.open("session-loud"), rig.open()
    started = asyncio.get_running_loop().time()
    for _ in range(8):
        flood(loud)
        os.write(quiet, LINE)
        await rig.more()
    seconds = asyncio.get_running_loop().time() - started
    assert len(await rig.hear(8)) == 8
    # A hundred at once, then five a second; the last read goes beyond it by its size.
    assert len(rig.lines("session-loud")) <= 100 + 5 * seconds + 25
    assert flood(loud) == 0, "it is full, and nobody reads it for now"


async def test_a_pipe_that_its_session_has_enlarged_is_read_no_faster(rig: Rig) -> None:
    end = rig.open()
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 1 << 20)
    assert flood(end) * len(LINE) > 1 << 19
    await rig.hear(100)
    assert len(rig.lines()) <= 125
    assert all(sum(len(each.reports) for each in news.sessions) <= 200 for news in rig.told)


async def test_many_sessions_fill_no_message_beyond_its_bound(rig: Rig) -> None:
    ends = {f"session-{n}": rig.open(f"session-{n}") for n in range(30)}
    for end in ends.values():
        os.write(end, LINE * 20)
    for session_id in ends:
        await rig.hear(20, session_id)
    sizes = [sum(len(each.reports) for each in news.sessions) for news in rig.told]
    assert sum(sizes) == 600, "nothing is lost"
    assert max(sizes) <= MOST_REPORTS


async def test_the_worst_text_fits_into_the_line_of_a_message(rig: Rig) -> None:
    ends = [rig.open(f"session-{n}") for n in range(90)]
    for end in ends:
        flood(end, b'"' * LONGEST_REPORT + b"\n")
    await until(lambda: len(rig.told) >= 2)
    assert max(len(encode(news)) for news in rig.told) < LINE_LIMIT


async def test_the_pipe_ends_with_the_last_that_has_it(rig: Rig) -> None:
    end = rig.open()
    before = descriptors()
    again = os.dup(end)
    os.write(end, LINE)
    os.close(end)
    os.write(again, LINE)
    assert len(await rig.hear(2)) == 2
    os.close(again)
    await until(lambda: descriptors() == before - 2)


async def test_the_pipe_of_a_session_that_has_ended_is_closed_also_while_it_is_not_read(
    rig: Rig,
) -> None:
    before = descriptors()
    end = rig.open()
    for _ in range(5):
        flood(end)
        await rig.more()
    rig.pipes.close("session-a")
    rig.pipes.close("session-a")
    with pytest.raises(BrokenPipeError):
        os.write(end, LINE)
    assert descriptors() == before + 1


async def test_it_is_opened_for_writing_only_and_carries_no_descriptors(rig: Rig) -> None:
    end = rig.open()
    path = Path(f"/proc/self/fd/{end}")
    assert os.fstat(end).st_mode & 0o777 == 0o222
    assert fcntl.fcntl(end, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.read(end, 1)
    with pytest.raises(OSError, match=os.strerror(errno.ENOTSOCK)):
        socket.socket(fileno=end)
    opened = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(opened, LINE)
    os.close(opened)
    assert len(await rig.hear(1)) == 1


async def test_a_read_that_fails_ends_this_pipe_only(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """splice() puts pages of a file into a pipe; some kernels cannot read those that have gone."""
    end = rig.open()
    inode, read = os.fstat(end).st_ino, os.read

    def fail(descriptor: int, size: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", fail)
    quiet = rig.open("session-quiet")
    os.write(end, LINE)
    os.write(quiet, LINE)
    assert len(await rig.hear(1, "session-quiet")) == 1
    with pytest.raises(BrokenPipeError):
        os.write(end, LINE)


async def test_without_descriptors_a_session_starts_without_reports(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig.open()

    def refuse(_: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe2", refuse)
    assert rig.pipes.open("session-b") == ()
    assert "session-b cannot report its checks" in caplog.text
