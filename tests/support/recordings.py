"""Conversations with mograder 0.3.16, which were recorded once, replayed."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.support.http_server import Quiet, answering

DATA = Path(__file__).parents[1] / "data" / "https"
_SECRET = "0123456789abcdef" * 4
"""Of the recorded course, so that the recorded tokens are good wherever they are replayed."""

_ZIPPED = (2025, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Spoken:
    """One request and its answer, as they were recorded."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    answer_headers: Mapping[str, str]
    answer: bytes

    @property
    def media_type(self) -> str:
        return self.answer_headers.get("content-type", "").partition(";")[0]


@dataclass(frozen=True, slots=True)
class Command:
    """One command of 0.3.16: its words after ``https``, what it printed, what it said."""

    words: tuple[str, ...]
    status: int
    out: str
    err: str
    new_files: tuple[str, ...]
    conversation: tuple[Spoken, ...]

    @property
    def name(self) -> str:
        return self.words[0]


@cache
def commands() -> tuple[Command, ...]:
    """The commands in the order in which they were run."""
    return tuple(
        Command(
            tuple(each["command"]),
            each["exit"],
            each["stdout"],
            each["stderr"],
            tuple(each["new_files"]),
            tuple(map(_spoken, each["conversation"])),
        )
        for each in _read("commands.json")["commands"]
    )


@cache
def answers() -> tuple[Spoken, ...]:
    """Requests that were sent to its server directly."""
    return tuple(map(_spoken, _read("answers.json")["answers"]))


@dataclass
class Replay:
    """A server that answers recorded requests, and keeps a list of unknown ones."""

    url: str = ""
    known: dict[tuple[str, str], Spoken] = field(default_factory=dict)
    ignore_progress: list[str] = field(default_factory=list)

    def learn(self, spoken: Sequence[Spoken]) -> None:
        """Answer so from now on."""
        for each in spoken:
            self.known[each.method, without_detail(each.path)] = each

    def answer(self, method: str, path: str) -> Spoken | None:
        found = self.known.get((method, without_detail(path)))
        if found is None:
            self.ignore_progress.append(f"{method} {path}")
        return found


def without_detail(path: str) -> str:
    """Return a path as 0.3.16 reads it: it takes no notice of what our client asks for beside."""
    parts = urlsplit(path)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "detail"]
    return parts._replace(query=urlencode(query)).geturl()


@contextmanager
def replaying() -> Iterator[Replay]:
    """Serve recordings on a free port while the context lasts."""
    replay = Replay()
    with answering(_Handler, replay=replay) as replay.url:
        yield replay


class _Handler(Quiet):
    replay: Replay

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self._answer()

    def _answer(self) -> None:
        found = self.replay.answer(self.command, self.path)
        self.send_response(found.status if found else 599)
        for name, value in (found.answer_headers if found else {}).items():
            self.send_header(name, value)
        body = found.answer if found else b""
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _spoken(each: Mapping[str, Any]) -> Spoken:
    asked, answered = each["request"], each["answer"]
    return Spoken(
        asked["method"],
        asked["path"],
        asked["headers"],
        _bytes(asked),
        answered["status"],
        answered["headers"],
        _bytes(answered),
    )


def _bytes(part: Mapping[str, str]) -> bytes:
    return base64.b64decode(part["base64"]) if "base64" in part else part["text"].encode()


def _read(name: str) -> Any:
    return json.loads((DATA / name).read_text("utf-8"))


def make_course(root: Path) -> Path:
    """Write a course of two assignments: one of plain files, one of a zip."""
    first, second = root / "hw1" / "files", root / "hw2" / "files"
    for directory in (first, second):
        directory.mkdir(parents=True)
    (first / "homework.py").write_text("import marimo\n\napp = marimo.App()\n")
    (first / "data.csv").write_text("x,y\n1,2\n")
    (second / "hw2.zip").write_bytes(_course_zip())
    secret = root / ".mograder-secret"
    secret.write_text(f"{_SECRET}\n")
    secret.chmod(0o600)
    return root


def _course_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (("hw2.py", "import marimo\n"), ("notes/readme.txt", "Read me.\n")):
            archive.writestr(zipfile.ZipInfo(name, _ZIPPED), text)
    return buffer.getvalue()
