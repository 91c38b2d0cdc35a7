"""Files that differ in their line ends only."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.files.windows_files import digests, digests_of_file, same_file, same_text

LINES = st.lists(st.binary(max_size=6).filter(lambda line: not {0, 10, 13} & set(line)), max_size=6)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@given(LINES)
def test_a_text_is_the_same_with_either_kind_of_line_ends(lines: list[bytes]) -> None:
    feeds, returns = b"\n".join(lines), b"\r\n".join(lines)
    assert same_text(feeds, returns)
    assert digests(feeds) == digests(returns) == {sha256(feeds), sha256(returns)}


@given(LINES, LINES)
def test_other_lines_are_another_text(one: list[bytes], other: list[bytes]) -> None:
    same = one == other or b"\n".join(one) == b"\n".join(other)
    assert same_text(b"\n".join(one), b"\r\n".join(other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"\x89PNG\r\n\0", b"\x89PNG\n\0"), (b"a\rb", b"a\nb"), (b"a\n", b"a"), (b"a\r\r\n", b"a\n")],
)
def test_images_and_other_differences_count(one: bytes, other: bytes) -> None:
    assert not same_text(one, other)
    assert not same_text(other, one)


def test_files_are_compared_as_their_contents(tmp_path: Path) -> None:
    one, other, image = (tmp_path / name for name in ("one", "other", "image"))
    one.write_bytes(b"a\nb\n")
    other.write_bytes(b"a\r\nb\r\n")
    image.write_bytes(b"\0\r\n")
    assert same_file(one, other)
    assert not same_file(one, image)
    assert sha256(b"a\nb\n") in digests_of_file(other)
    assert digests_of_file(image) == {sha256(b"\0\r\n")}


def test_large_files_are_compared_by_their_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mograder.core.files.windows_files._LARGEST_TEXT", 3)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"a\nb\n")
    other.write_bytes(b"a\r\nb\r\n")
    assert not same_file(one, other)
    assert digests_of_file(other) == {sha256(b"a\r\nb\r\n")}
