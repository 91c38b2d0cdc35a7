"""The run of one notebook on the supervisor's side: start it, read its report, end it in time.

The report is untrusted: student code may write it. At most :data:`REPORT_BYTES` are read and
returned to the caller, which validates them (:mod:`mograder.sandbox.execution.report`).
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from mograder.sandbox.protocol import Ended, Execute, Executed
from mograder.sandbox.supervisor.sessions import SessionTable

REPORT_BYTES = 4 << 20
OUTPUT_BYTES = 9 << 20
"""Bytes of the cells' outputs, where a run reports them."""
LINE_BYTES = 128 << 10
_READ_BYTES = 65_536


class Report:
    """Reads lines from a pipe as they are written, up to a maximum size."""

    def __init__(self, descriptor: int, *, outputs: bool = False) -> None:
        """``descriptor`` is the pipe's reading end; :meth:`close` closes it."""
        self.overflow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the report or one of its lines was too long; the lines are then discarded."""
        self._descriptor = descriptor
        self._rest = bytearray()
        self._lines: list[str] = []
        self._left = REPORT_BYTES + (OUTPUT_BYTES if outputs else 0)
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def take(self) -> list[str]:
        """Return the complete lines that were read since the last call."""
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        """Read the data left in the pipe, then close it; later writes are ignored."""
        while self._descriptor >= 0 and self._read():
            pass
        self._stop()

    def _read(self) -> bool:
        """Read once; return whether there may be more."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        self._left -= len(data)
        *lines, rest = (bytes(self._rest) + data).split(b"\n")
        self._rest[:] = rest
        self._lines += [line.decode("utf-8", "replace") for line in lines]
        longest = max(map(len, (*lines, rest)))
        if self._left < 0 or longest > LINE_BYTES:
            self._lines.clear()
            self.overflow.set_result(None)
        if not data or self.overflow.done():
            self._stop()
            return False
        return True

    def _stop(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


async def execute(session_table: SessionTable, request: Execute) -> tuple[Executed, list[str]]:
    """Run a notebook until it ends or its time is over; all its processes have ended afterwards.

    Return how it ended, and the lines of its report.

    Raises: as :meth:`~mograder.sandbox.supervisor.sessions.SessionTable.start`.
    """
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    report = Report(read_end, outputs=request.outputs)
    ended: asyncio.Future[Ended] = loop.create_future()
    try:
        await session_table.execute(request, write_end, ended.set_result)
        await session_table.arrived(request.session_id)
        started = loop.time()
        either: set[asyncio.Future[Any]] = {ended, report.overflow}
        done, _ = await asyncio.wait(
            either, timeout=request.seconds, return_when=asyncio.FIRST_COMPLETED
        )
        seconds = loop.time() - started
        await session_table.end(request.session_id)
        end = await ended
    finally:
        await session_table.end(request.session_id)
        report.close()
    executed = Executed(
        status=end.status,
        log_tail=end.log_tail,
        seconds=seconds,
        reason=end.reason,
        timed_out=not done,
        overflow=report.overflow.done(),
    )
    return executed, report.take()
