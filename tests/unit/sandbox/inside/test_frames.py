"""Frames over pipes: whole or an error, within a deadline and the budgets, in both directions."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.unit.sandbox.inside.codec import FrameError, read_frame, rules

_TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(codec="utf-8"))),
    lambda inner: st.lists(inner, max_size=5),
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends; a test may close either."""
    ends = os.pipe()
    yield ends
    for each in ends:
        with contextlib.suppress(OSError):
            os.close(each)


@given(st.lists(_TREES), st.lists(st.binary()))
def test_a_frame_is_read_as_it_was_written(head: list[Any], buffers: list[bytes]) -> None:
    frame = read_frame(rules.pack(head, buffers))
    assert frame.head == head
    assert frame.buffers == buffers


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_give_our_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        read_frame(data)


def test_frames_go_through_a_pipe_in_both_directions(pipe: tuple[int, int]) -> None:
    back = os.pipe()
    asking, answering = rules.FrameWriter(pipe[1]), rules.FrameReader(pipe[0])
    replying, hearing = rules.FrameWriter(back[1]), rules.FrameReader(back[0])
    for number in range(3):
        asking.write(["call", number], [b"pickled"], seconds=5)
        assert answering.read(5) == rules.Frame(["call", number], [bytearray(b"pickled")])
        hearing.expect_silence()
        replying.write(["value", number], seconds=5)
        assert hearing.read(5).head == ["value", number]
    for each in back:
        os.close(each)


def test_a_frame_larger_than_the_pipe_arrives_in_pieces(pipe: tuple[int, int]) -> None:
    large = os.urandom(3 << 20)
    writer = rules.FrameWriter(pipe[1])
    thread = threading.Thread(target=lambda: writer.write(["x"], [large, b""], seconds=20))
    thread.start()
    assert rules.FrameReader(pipe[0]).read(20).buffers == [large, b""]
    thread.join()


def test_a_frame_that_comes_byte_by_byte_is_read(pipe: tuple[int, int]) -> None:
    def trickle() -> None:
        for each in rules.pack(["x"], [b"y"]):
            os.write(pipe[1], bytes([each]))
            time.sleep(0.001)

    thread = threading.Thread(target=trickle)
    thread.start()
    assert rules.FrameReader(pipe[0]).read(20).head == ["x"]
    thread.join()


def test_nothing_in_time_ends_at_the_deadline(pipe: tuple[int, int]) -> None:
    reader = rules.FrameReader(pipe[0])
    begun = time.monotonic()
    with pytest.raises(FrameError, match="too long"):
        reader.read(0.05)
    assert 0.05 <= time.monotonic() - begun < 5


def test_half_a_frame_ends_at_the_deadline_and_the_reader_with_it(pipe: tuple[int, int]) -> None:
    reader = rules.FrameReader(pipe[0])
    whole = rules.pack(["x"], [b"y" * 100])
    os.write(pipe[1], whole[:-1])
    with pytest.raises(FrameError, match="too long"):
        reader.read(0.05)
    os.write(pipe[1], whole[-1:] + whole)
    with pytest.raises(FrameError, match="failed before"):
        reader.read(5)


def test_bytes_that_keep_coming_end_at_the_deadline(pipe: tuple[int, int]) -> None:
    """Each of them comes sooner than the deadline."""
    stop = threading.Event()

    def trickle() -> None:
        os.write(pipe[1], struct.pack("<III", 1 << 20, 1, 0))
        while not stop.wait(0.001):
            os.write(pipe[1], b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    begun = time.monotonic()
    with pytest.raises(FrameError, match="too long"):
        rules.FrameReader(pipe[0]).read(0.2)
    assert time.monotonic() - begun < 5
    stop.set()
    thread.join()


def test_bytes_that_are_always_there_end_at_the_deadline_too(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either direction: one byte is moved every 2 ms, and never none."""
    data = rules.pack(["x"], [bytes(5000)])
    read, write = os.readv, os.write

    def slow_read(end: int, to: list[memoryview]) -> int:
        time.sleep(0.002)
        return read(end, [to[0][:1]])

    def slow_write(end: int, some: memoryview) -> int:
        time.sleep(0.002)
        return write(end, some[:1])

    write(pipe[1], data)
    monkeypatch.setattr(os, "readv", slow_read)
    monkeypatch.setattr(os, "write", slow_write)
    with pytest.raises(FrameError, match="too long"):
        rules.FrameReader(pipe[0]).read(0.1)
    with pytest.raises(FrameError, match="too long"):
        rules.FrameWriter(pipe[1]).write(["x"], [bytes(5000)], seconds=0.1)


@pytest.mark.parametrize("sent", [b"", b"\x05", rules.pack(["x"])[:-1]])
def test_an_end_that_is_closed_early_gives_our_error(pipe: tuple[int, int], sent: bytes) -> None:
    os.write(pipe[1], sent)
    os.close(pipe[1])
    with pytest.raises(FrameError, match="closed"):
        rules.FrameReader(pipe[0]).read(5)


def test_bytes_before_the_question_are_found_and_nothing_more_is_read(
    pipe: tuple[int, int],
) -> None:
    reader = rules.FrameReader(pipe[0])
    os.write(pipe[1], rules.pack(["x"]) + rules.pack(["early"]))
    assert reader.read(5).head == ["x"]
    with pytest.raises(FrameError, match="not asked for"):
        reader.expect_silence()
    with pytest.raises(FrameError, match="failed before"):
        reader.read(5)


def test_a_closed_end_is_no_silence(pipe: tuple[int, int]) -> None:
    reader = rules.FrameReader(pipe[0])
    reader.expect_silence()
    os.close(pipe[1])
    with pytest.raises(FrameError):
        reader.expect_silence()


def test_writing_to_an_end_that_is_not_read_ends_at_the_deadline(pipe: tuple[int, int]) -> None:
    writer = rules.FrameWriter(pipe[1])
    begun = time.monotonic()
    with pytest.raises(FrameError, match="too long"):
        writer.write(["x"], [bytes(1 << 20)], seconds=0.05)
    assert time.monotonic() - begun < 5
    with pytest.raises(FrameError, match="failed before"):
        writer.write(["x"], seconds=5)


def test_writing_to_a_closed_end_gives_our_error(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(FrameError, match="cannot be written"):
        rules.FrameWriter(pipe[1]).write(["x"], seconds=5)


def test_a_frame_too_large_is_not_begun_and_the_writer_goes_on(pipe: tuple[int, int]) -> None:
    writer = rules.FrameWriter(pipe[1])
    with pytest.raises(FrameError, match="more than"):
        writer.write(["x"], [bytes(rules.FRAME_BYTES)], seconds=5)
    writer.write(["y"], seconds=5)
    assert rules.FrameReader(pipe[0]).read(5).head == ["y"]


def test_the_budget_of_a_submission_can_be_reached_and_not_exceeded(
    pipe: tuple[int, int],
) -> None:
    data = rules.pack(["x"])
    reader = rules.FrameReader(pipe[0], total_bytes=3 * len(data) + 12)
    os.write(pipe[1], data * 4)
    for _ in range(3):
        reader.read(5)
    with pytest.raises(FrameError, match="submission"):
        reader.read(5)


def test_a_frame_of_exactly_the_largest_size_is_packed_and_unpacked() -> None:
    most = rules.FRAME_BYTES - 4 - len(b'["x"]')
    assert len(read_frame(rules.pack(["x"], [bytes(most)])).buffers[0]) == most
    with pytest.raises(FrameError):
        rules.pack(["x"], [bytes(most + 1)])


def test_the_number_of_buffers_can_be_reached_and_not_exceeded() -> None:
    assert len(read_frame(rules.pack([], [b""] * rules.BUFFERS)).buffers) == rules.BUFFERS
    with pytest.raises(FrameError):
        rules.pack([], [b""] * (rules.BUFFERS + 1))


def test_the_items_of_a_head_can_be_reached_and_not_exceeded() -> None:
    head = [0] * rules.HEAD_ITEMS
    assert len(read_frame(rules.pack(head)).head) == rules.HEAD_ITEMS
    with pytest.raises(FrameError, match="items"):
        rules.pack([*head, 0])


def _frame(text: bytes, *, rest: int | None = None, count: int = 0, tail: bytes = b"") -> bytes:
    fixed = struct.pack("<III", len(text) + len(tail) if rest is None else rest, len(text), count)
    return fixed + text + tail


_MOST = 2**32 - 1
_HOSTILE: dict[str, bytes | Callable[[], bytes]] = {
    "nothing": b"",
    "half the lengths": b"\x00" * 11,
    "an empty head": _frame(b""),
    "no array": _frame(b'"x"'),
    "an object": _frame(b'[{"a":1}]'),
    "an empty object": _frame(b"[{}]"),
    "an object with two equal keys": _frame(b'[{"a":1,"a":2}]'),
    "a fraction": _frame(b"[1.5]"),
    "an exponent": _frame(b"[1e999]"),
    "not a number": _frame(b"[NaN]"),
    "infinity": _frame(b"[-Infinity]"),
    "text after the head": _frame(b"[] []"),
    "a control character": _frame(b'["\n"]'),
    "half an array": _frame(b"[1,"),
    "not utf-8": _frame(b'["\xff"]'),
    "utf-16": _frame('["x"]'.encode("utf-16")),
    "a byte order mark": _frame(b"\xef\xbb\xbf[]"),
    "depth 100,000": _frame(b"[" * 100_000 + b"]" * 100_000),
    "an integer of a million digits": _frame(b"[" + b"9" * 1_000_000 + b"]"),
    "a million items": lambda: _frame(b"[" + b"[]," * 1_000_001 + b"[]]"),
    "a head beyond its limit": lambda: _frame(b'["' + b"x" * (rules.HEAD_BYTES - 3) + b'"]'),
    "more announced than sent": _frame(b"[]", rest=100),
    "less announced than sent": _frame(b"[]", tail=b"x"),
    "4 GiB announced": struct.pack("<III", _MOST, 2, 0) + b"[]",
    "a head of 4 GiB": struct.pack("<III", 2, _MOST, 0) + b"[]",
    "4 billion buffers": struct.pack("<III", 2, 2, _MOST) + b"[]",
    "a head larger than the frame": struct.pack("<III", 2, 3, 0) + b"[]",
    "a buffer of 4 GiB": struct.pack("<IIII", 6, 2, 1, _MOST) + b"[]",
    "buffers that do not add up": struct.pack("<IIII", 7, 2, 1, 2) + b"[]x",
    "a table that is too short": struct.pack("<III", 2, 0, 1) + b"[]",
}


@pytest.mark.parametrize("name", list(_HOSTILE))
def test_a_hostile_frame_gives_our_error(pipe: tuple[int, int], name: str) -> None:
    found = _HOSTILE[name]
    data = found() if callable(found) else found
    thread = threading.Thread(target=_send, args=(pipe[1], data))
    thread.start()
    with pytest.raises(FrameError):
        rules.FrameReader(pipe[0]).read(20)
    os.close(pipe[0])
    thread.join()


def _send(end: int, data: bytes) -> None:
    view = memoryview(data)
    with contextlib.suppress(BrokenPipeError):
        while view:
            view = view[os.write(end, view) :]
    os.close(end)
