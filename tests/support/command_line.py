"""Commands run in the tests' own process: their words, exit status and output."""

from __future__ import annotations

import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mograder.cli.main import run


class Printed(NamedTuple):
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def cli(words: str, *more: str, status: int = 0) -> Printed:
    """Run a command, which must end with ``status``; spaces separate the first of its words."""
    out, err = _stream(), _stream()
    with redirect_stdout(out), redirect_stderr(err):
        ended = run([*words.split(), *more])
    printed = Printed(_text(out), _text(err))
    assert ended == status, printed.out + printed.err
    return printed


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The commands' working directory: an empty course, without settings from the environment."""
    for name in os.environ:
        if name.startswith("MOGRADER_") and not name.startswith("MOGRADER_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BytesIO(),
        encoding="utf-8",
        errors="backslashreplace",  # as of `prepare_output`
        newline="",
        write_through=True,
    )


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
