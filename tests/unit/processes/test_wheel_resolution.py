"""How uv is asked to resolve for another kind of machine, and what its failures become."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput, TimedOut
from mograder.processes.programs import resolve_universally


class Uv:
    """Stands for uv: keeps what it is given, and answers with ``code``."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.command: list[str] = []
        self.wanted = ""
        self.earlier: dict[str, object] = {}

    def __call__(self, command: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        answer = Path(command[command.index("--output-file") + 1])
        self.command = command
        self.wanted = (answer.parent / "requirements.in").read_text()
        self.earlier = tomllib.loads(answer.read_text())
        if options["timeout"] == 1:
            raise subprocess.TimeoutExpired(command, 1)
        answer.write_text("the answer")
        return subprocess.CompletedProcess(command, self.code, b"", b"  no such package\n")


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> Uv:
    found = Uv()
    monkeypatch.setattr(subprocess, "run", found)
    return found


def test_versions_are_preferred_as_an_earlier_answer(uv: Uv) -> None:
    assert resolve_universally(["numpy", "x>=2"], {"numpy": "2.4.3"}, "3.14", 60) == "the answer"
    assert uv.wanted == "numpy\nx>=2"
    assert uv.earlier["packages"] == [{"name": "numpy", "version": "2.4.3"}]
    assert uv.command[uv.command.index("--python-version") + 1] == "3.14"
    assert "--universal" in uv.command


def test_a_refusal_has_uvs_reason(uv: Uv) -> None:
    uv.code = 1
    with pytest.raises(InvalidInput, match=r"cannot be resolved: no such package$"):
        resolve_universally(["x"], {}, "3.14", 60)


def test_it_does_not_take_longer_than_allowed(uv: Uv) -> None:
    with pytest.raises(TimedOut, match="within 1 s"):
        resolve_universally(["x"], {}, "3.14", 1)
