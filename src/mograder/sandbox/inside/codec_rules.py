"""What judge and worker must agree on: limits and exceptions of the codec, requests, and frames.

The worker runs a student's notebook; the judge runs the teacher's checks. Values travel from the
worker to the judge as frames, written by ``value_encoder.py`` and read by ``value_decoder.py``. The
encoder observes these limits so that an honest notebook is told early; the decoder enforces them,
because the worker is hostile.

The judge asks one request at a time: a frame ``[id, operation, shares, …]``, with pickled arguments
in its buffer (``shared_objects.py``); ``shares`` says whether they and the answer tell what has
changed of the objects that both ends have (``shared_objects.py``). The answer is a frame with the
same id:

- ``[id, "value", tree, printed]``: a value in the codec's grammar;
- ``[id, "error", [names of the exception's classes], text, printed]``;
- ``[id, "stop", printed]``: an iterator is at its end;
- ``[id, "unsupported", printed]``: a special method returned ``NotImplemented``;
- ``[id, "missing", text]``: the notebook has no such name;
- ``[id, "refused", sentence]``: the request cannot be answered, or its value cannot be carried;
- ``[0, "gone", text]``: the process that served this check has ended.

Before the first request the worker writes ``[0, "serving"]`` once it has run the notebook.

A frame has a head of JSON and raw buffers, and is sent over a pipe, in either direction. It is
three unsigned 32-bit numbers (bytes that follow them, bytes of the head, number of buffers), the
buffers' lengths, the head, the buffers; all little-endian. The head is a JSON array of arrays,
text, integers and constants, never objects or decimal fractions. Lengths are checked before memory
is allocated for what they announce. Any fault of the other end gives a ``FrameError``, after which
the reader or writer cannot be used again, since the next frame's beginning is unknown.

Runs inside both sandboxes; imports only the standard library.
"""

from __future__ import annotations

import json
import keyword
import math
import os
import select
import struct
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

FRAME_BYTES = 64 << 20
SUBMISSION_BYTES = 256 << 20
HEAD_BYTES = 16 << 20
HEAD_ITEMS = 2_000_000
"""Items of a head, counted as ``[`` and ``,``, also inside text; at most 150 bytes each parsed."""
BUFFERS = 65_536

DEPTH = 60
NODES = 200_000
INT_BITS = 20_000
TEXT_BYTES = 16 << 20
INLINE = 200
"""Characters of text, or bytes, that stand in the head; longer ones get a buffer."""
PACKED_TEXTS = 2_000_000
"""Texts in columns of strings, which are no nodes, in one frame."""
DECIMAL_DIGITS = 5000
DECIMAL_EXPONENT = 6144
"""The largest power of ten of a Decimal: ``int(Decimal("1e999999999"))`` would fill the memory."""
EQUAL_HASHES = 16
"""Keys of one hash in a dictionary or set; more would make it quadratic."""
DIMENSIONS = 32
NAME = 200
"""Characters of the name of a class, function, field or time zone."""
NAMES = 64

KINDS = frozenset(("function", "class", "instance", "iterator", "opaque"))

NUMBERED = frozenset(
    (*"ldSBqCOD", *("np.a", "np.O", "np.T", "np.m", "pd.s", "pd.d", "pl.s", "pl.d"))
)
"""Tags of the values that can change, which have a number, unless they are part of a frame."""

TRAITS = {
    "gaps": "has masked or missing elements",
    "half": "has numbers of half precision (float16), which hold three digits",
    "narrow": "has integers of fewer than 64 bits",
    "order": "has categories with an order of their own",
    "unitless": "has times without a unit",
    "unsigned": "has unsigned integers",
}
"""Traits by which a value is equal to much that it is not, or in order; with their sentences.

Libraries skip missing elements; numpy casts the number that it compares with to half precision, and
a time to any unit. Differences of unsigned integers are never negative, and those of narrow ones
wrap around: both are made signed ones of 64 bits, and only unsigned ones beyond that are refused.
"""

SERVING = "serving"
PRINTED = 10_000
"""Characters of printed text that come with an answer."""
TEXT = 2000
"""Characters of an exception's text, or of a sentence."""
CLASSES = 30
"""Names of an exception's classes."""
PARAMETERS = 64
CALLS = 1_000_000
"""Requests of one submission."""
NONCE = 16
"""Bytes of random data after which the judge reads on, once a check's process has been killed."""

SPECIAL_METHODS = frozenset(
    f"__{name}__"
    for name in (
        *("len", "getitem", "setitem", "delitem", "contains", "iter", "next", "call", "reversed"),
        *("add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "matmul"),
        *("truediv", "rtruediv", "itruediv", "floordiv", "rfloordiv", "mod", "rmod", "pow", "rpow"),
        *("and", "rand", "or", "ror", "xor", "rxor", "neg", "pos", "abs", "invert", "round"),
        *("eq", "ne", "lt", "le", "gt", "ge", "hash", "bool", "str", "repr", "float", "int"),
        *("complex", "enter", "exit", "format"),
    )
)
"""Those that a class of an answer may have in the judge; never ``__array__``."""

_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
_ALIKE: tuple[tuple[str, ...], ...] = (
    *(("str", "repr", "format"), ("lt", "gt"), ("le", "ge"), ("eq", "ne")),
    *((name, f"r{name}", f"i{name}") for name in _OPERATORS),
)
_COLLECTION = (("bool", "len"), ("iter", "getitem", "contains", "len", "reversed"))


def _grouped(groups: tuple[tuple[str, ...], ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for group in groups:
        for name in group:
            found.setdefault(f"__{name}__", []).extend(f"__{each}__" for each in group)
    return found


SAME_RESULT = _grouped(_ALIKE)
"""By special method, those that give the same result where Python takes one for another: an
operator's reflected and in-place form, ``__repr__`` for ``__str__``."""
FALL_BACKS = _grouped(_ALIKE + _COLLECTION)
"""As ``SAME_RESULT``, also those of other results: ``__len__`` for ``__bool__``."""


class Unencodable(Exception):
    """A value that exceeds a limit or refers to itself; the message says which, for the student."""


class NotData(Exception):
    """A value of a library that is not data for the codec; it becomes a handle."""


class Undecodable(Exception):
    """A tree or a buffer that the encoder would not have written."""


class Refused(Exception):
    """A value with a trait that is not allowed; the message says which."""


@dataclass(frozen=True, slots=True)
class HandleFacts:
    """What the worker claims of an object that stays there.

    ``number`` names the object in requests. ``class_name`` is at most ``NAME`` characters of the
    worker's choice: to be shown, never resolved.
    """

    number: int
    kind: str
    class_name: str


def is_name(text: str) -> bool:
    """Whether a text may name a namedtuple or a field of one."""
    return (
        len(text) <= NAME
        and text.isidentifier()
        and not keyword.iskeyword(text)
        and unicodedata.normalize("NFKC", text) == text
    )


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
    if rest > FRAME_BYTES:
        raise FrameError(f"a frame of {rest} bytes, more than {FRAME_BYTES}")
    if head > HEAD_BYTES or count > BUFFERS or head + 4 * count > rest:
        raise FrameError(f"a head of {head} bytes and {count} buffers, more than a frame may have")


def _check_items(text: bytes) -> None:
    if text.count(b"[") + text.count(b",") > HEAD_ITEMS:
        raise FrameError(f"a head of more than {HEAD_ITEMS} items")


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

    def _move(
        self, view: memoryview, end: float, move: Callable[[memoryview], int], what: str
    ) -> None:
        """Read or write a view, part by part; ``move`` returns how many bytes it has moved."""
        while view:
            try:
                moved = move(view)
            except BlockingIOError:
                self._wait(end)
                continue
            except OSError as error:
                self._fail(f"the pipe cannot be {what}: {error}")
            if not moved:
                self._fail("the pipe was closed")
            view = view[moved:]
            if view and time.monotonic() > end:
                self._fail("it took too long")


class FrameReader(_End):
    """Reads frames from a descriptor, at most ``total_bytes`` in its life."""

    def __init__(self, descriptor: int, *, total_bytes: int = SUBMISSION_BYTES) -> None:
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
        self._move(view, end, lambda rest: os.readv(self._descriptor, [rest]), "read")
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
        data = memoryview(pack(head, buffers))
        self._move(data, end, lambda view: os.write(self._descriptor, view), "written")
