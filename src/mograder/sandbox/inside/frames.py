"""Length-prefixed frames over a pipe: a head of JSON and raw buffers, in either direction.

A frame is three unsigned 32-bit numbers (bytes that follow them, bytes of the head, number of
buffers), the buffers' lengths, the head, the buffers; all little-endian. The head is a JSON array
of arrays, text, integers and constants, never objects or decimal fractions. Lengths are checked
before memory is allocated for what they announce.

The other end is hostile. Any fault of it gives a ``FrameError``, after which the
reader or writer cannot be used again, since the next frame's beginning is unknown.
"""

from __future__ import annotations

import json
import math
import os
import select
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import codec_rules as rules  # type: ignore[import-not-found]  # in this file's directory

_FIXED = struct.Struct("<III")


class FrameError(Exception):
    """Half a frame, one over a limit or not asked for, a closed pipe, or nothing in time."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; each buffer is its own memory, so that arrays can be built on it."""

    head: list[Any]
    buffers: list[bytearray]


def _refuse(text: object) -> NoReturn:
    raise ValueError("objects, fractions and special numbers are not part of a head")


_WRITER = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)
_PARSER = json.JSONDecoder(
    object_pairs_hook=_refuse, parse_float=_refuse, parse_constant=_refuse, strict=True
)


def pack(head: list[Any], buffers: Sequence[bytes | bytearray] = ()) -> bytes:
    """Return a frame's bytes; ``FrameError`` if it exceeds a limit or is not JSON."""
    try:
        text = _WRITER.encode(head).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise FrameError(f"the head cannot be written: {error}") from None
    lengths = [len(each) for each in buffers]
    rest = 4 * len(lengths) + len(text) + sum(lengths)
    _check_lengths(rest, len(text), len(lengths))
    _check_items(text)
    table = struct.pack(f"<{len(lengths)}I", *lengths)
    return b"".join((_FIXED.pack(rest, len(text), len(lengths)), table, text, *buffers))


def _check_lengths(rest: int, head: int, count: int) -> None:
    if rest > rules.FRAME_BYTES:
        raise FrameError(f"a frame of {rest} bytes, more than {rules.FRAME_BYTES}")
    if head > rules.HEAD_BYTES or count > rules.BUFFERS or head + 4 * count > rest:
        raise FrameError(f"a head of {head} bytes and {count} buffers, more than a frame may have")


def _check_items(text: bytes) -> None:
    if text.count(b"[") + text.count(b",") > rules.HEAD_ITEMS:
        raise FrameError(f"a head of more than {rules.HEAD_ITEMS} items")


def _split(rest: memoryview, head: int, count: int) -> Frame:
    start = 4 * count
    lengths = struct.unpack_from(f"<{count}I", rest)
    if start + head + sum(lengths) != len(rest):
        raise FrameError("the lengths of the buffers do not add up")
    parsed = _parse(bytes(rest[start : start + head]))
    buffers, start = [], start + head
    for length in lengths:
        buffers.append(bytearray(rest[start : start + length]))
        start += length
    return Frame(parsed, buffers)


def _parse(text: bytes) -> list[Any]:
    _check_items(text)
    try:
        head = _PARSER.decode(text.decode())
    except (ValueError, RecursionError):
        raise FrameError("the head is not the JSON of a frame") from None
    if type(head) is not list:
        raise FrameError("the head is not an array")
    return head


class _End:
    """One end of a pipe, made non-blocking, with waits that end at a deadline."""

    def __init__(self, descriptor: int, event: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, event)
        self._failed = False
        os.set_blocking(descriptor, False)

    def _fail(self, reason: str) -> NoReturn:
        self._failed = True
        raise FrameError(reason)

    def _begin(self, seconds: float) -> float:
        if self._failed:
            raise FrameError("the pipe failed before")
        return time.monotonic() + seconds

    def _wait(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0 or not self._poll.poll(math.ceil(left * 1000)):
            self._fail("it took too long")


class FrameReader(_End):
    """Reads frames from a descriptor, at most ``total_bytes`` in its life."""

    def __init__(self, descriptor: int, *, total_bytes: int = rules.SUBMISSION_BYTES) -> None:
        super().__init__(descriptor, select.POLLIN)
        self._left = total_bytes

    def read(self, seconds: float) -> Frame:
        """Return the next frame, whole, within ``seconds``; otherwise raise ``FrameError``."""
        end = self._begin(seconds)
        rest, head, count = _FIXED.unpack(self._fill(_FIXED.size, end))
        try:
            _check_lengths(rest, head, count)
            return _split(memoryview(self._fill(rest, end)), head, count)
        except (FrameError, MemoryError) as error:
            self._fail(str(error) or "no memory for a frame")

    def expect_silence(self) -> None:
        """Raise ``FrameError`` if anything was sent since the last frame, or the pipe is closed.

        Called before a request, so that no answer can have been written before its question.
        """
        self._begin(0)
        if self._poll.poll(0):
            self._fail("bytes that were not asked for, or a closed pipe")

    def discard_until(self, mark: bytes, seconds: float) -> None:
        """Discard all bytes up to a mark, after which the pipe can be read again.

        ``FrameError`` if the mark does not come within ``seconds``, or bytes come after it.
        """
        self._failed = False
        end = self._begin(seconds)
        seen = b""
        while not seen.endswith(mark):
            if mark in seen:
                self._fail("bytes that were not asked for")
            self._wait(end)
            try:
                got = os.read(self._descriptor, 1 << 16)
            except OSError as error:
                self._fail(f"the pipe cannot be read: {error}")
            self._left -= len(got)
            if not got or self._left < 0:
                self._fail("the pipe was closed, or more bytes than a submission may send")
            seen = seen[1 - len(mark) :] + got

    def _fill(self, size: int, end: float) -> bytearray:
        self._left -= size
        if self._left < 0:
            self._fail("more bytes than a submission may send")
        data = bytearray(size)
        view = memoryview(data)
        while view:
            try:
                got = os.readv(self._descriptor, [view])
            except BlockingIOError:
                self._wait(end)
                continue
            except OSError as error:
                self._fail(f"the pipe cannot be read: {error}")
            if not got:
                self._fail("the pipe was closed")
            view = view[got:]
            if view and time.monotonic() > end:
                self._fail("it took too long")
        return data


class FrameWriter(_End):
    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, select.POLLOUT)

    def write(
        self, head: list[Any], buffers: Sequence[bytes | bytearray] = (), *, seconds: float
    ) -> None:
        """Write one frame within ``seconds``; ``FrameError`` if it does not fit or is not read.

        A frame over a limit is refused before anything is written, and the writer stays usable.
        """
        end = self._begin(seconds)
        view = memoryview(pack(head, buffers))
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                self._wait(end)
            except OSError as error:
                self._fail(f"the pipe cannot be written: {error}")
            if view and time.monotonic() > end:
                self._fail("it took too long")
