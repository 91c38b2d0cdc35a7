"""A file is parsed once for each change, and one that cannot be used is told once."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from mograder.store.filesystem.parsed_file import ParsedFile, UnreadableFileError

LIMIT = 100


class Parser:
    """Counts how often a file is parsed."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, content: bytes) -> list[int]:
        self.times += 1
        return list(json.loads(content))


@pytest.fixture
def parser() -> Parser:
    return Parser()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "numbers.json"


@pytest.fixture
def file(path: Path, parser: Parser) -> ParsedFile[list[int]]:
    return ParsedFile(path, parser, LIMIT, "no number counts")


def test_a_file_is_parsed_when_it_changed_and_when_a_change_is_made_under_a_lock(
    path: Path, parser: Parser, file: ParsedFile[list[int]]
) -> None:
    assert file.get() is None
    path.write_text("[1]")
    assert [file.get(), file.get()] == [[1], [1]]
    assert parser.times == 1
    assert file.get(now=True) == [1]
    assert parser.times == 2
    path.write_text("[1, 2]")
    assert file.get() == [1, 2]
    path.unlink()
    assert file.get() is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting property name"),
        ("[" * (LIMIT + 1), f"it is larger than {LIMIT} bytes"),
        (None, "it is not a file"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_once_and_parsed_once(
    path: Path,
    parser: Parser,
    file: ParsedFile[list[int]],
    caplog: pytest.LogCaptureFixture,
    content: str | None,
    reason: str,
) -> None:
    os.mkfifo(path) if content is None else path.write_text(content)
    with caplog.at_level(logging.ERROR, "mograder"):
        for _ in range(3):
            with pytest.raises(UnreadableFileError, match=reason):
                file.get()
    assert parser.times <= 1
    (told,) = caplog.messages
    assert told.startswith(f"numbers.json cannot be read, so no number counts: {reason}")
    path.unlink()
    path.write_text("[1]")
    assert file.get() == [1]
