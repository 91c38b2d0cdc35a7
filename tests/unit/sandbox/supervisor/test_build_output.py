"""A build's output as lines, bounded whatever it prints."""

from __future__ import annotations

from mograder.sandbox.supervisor.server import Lines


def test_lines_are_told_when_they_are_whole() -> None:
    lines = Lines()
    lines.feed(b"one\ntw")
    assert lines.take() == ["one"]
    assert lines.take() == []
    lines.feed(b"o\r\n\nthree")
    assert lines.take() == ["two", ""]
    assert lines.take(last=True) == ["three"]
    assert lines.take(last=True) == []


def test_a_character_may_come_in_two_pieces() -> None:
    lines = Lines()
    lines.feed("é".encode()[:1])
    assert lines.take() == []
    lines.feed("é".encode()[1:] + b"\n")
    assert lines.take() == ["é"]


def test_what_is_no_text_is_told_as_well_as_can_be() -> None:
    lines = Lines()
    lines.feed(b"\xff\0\n")
    assert lines.take() == ["\ufffd\0"]


def test_a_line_without_end_costs_no_memory_without_end() -> None:
    lines = Lines()
    for _ in range(100):
        lines.feed(b"x" * 65_536)
    assert lines.take() == []
    lines.feed(b"\nend\n")
    first, last = lines.take()
    assert len(first) == 4000
    assert last == "end"


def test_of_too_many_lines_the_last_are_told() -> None:
    lines = Lines()
    lines.feed(b"\n" * 200_000 + b"end\n")
    told = lines.take()
    assert len(told) <= 5000
    assert told[-1] == "end"
