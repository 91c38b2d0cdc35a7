"""Starts the worker and the judge as plain processes over pipes, as their sandboxes will be."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mograder.sandbox.inside import serve
from tests.unit.sandbox.inside.codec import frames, value_decoder

INSIDE = Path(serve.__file__).parent
HEAD = "import marimo\n\napp = marimo.App()\n"


def notebook(*cells: str) -> str:
    """Return the text of a notebook of these cells, each with all of its names returned."""
    parts = [HEAD]
    for cell in cells:
        body = "".join(f"    {line}\n" if line else "\n" for line in cell.strip().split("\n"))
        parts.append(f"\n@app.cell\ndef _():\n{body}    return\n")
    return "\n".join(parts)


@dataclass
class Worker:
    """A worker and the judge's ends of its pipes."""

    process: subprocess.Popen[bytes]
    control: Any
    requests: Any
    answers: Any
    answers_descriptor: int
    report: Path
    number: int = field(default=0)

    def ask(self, operation: str, *arguments: object, data: bytes = b"") -> list[Any]:
        """Return the answer's head, with the value in place of its tree."""
        self.number += 1
        self.requests.write([self.number, operation, *arguments], [data], seconds=5)
        frame = self.answers.read(10)
        assert frame.head[0] in (self.number, 0)
        if frame.head[1] == "value":
            tree = frame.head[2]
            frame.head[2] = value_decoder.decode(tree, frame.buffers, lambda facts: facts)
        return list(frame.head[1:])

    def begin(self) -> None:
        """Start the process of a check."""
        self.control.write(["begin", 1], seconds=5)

    def end(self, nonce: bytes = b"n" * 16) -> None:
        """End it, and read up to the nonce."""
        self.control.write(["end"], [nonce], seconds=5)
        seen = b""
        while not seen.endswith(nonce):
            with contextlib.suppress(BlockingIOError):
                seen = (seen + os.read(self.answers_descriptor, 1 << 16))[-16:]
        self.answers = frames.FrameReader(self.answers_descriptor)

    def lines(self) -> list[dict[str, Any]]:
        """Return the report's lines, which end before the first answer."""
        return [json.loads(line) for line in self.report.read_text().splitlines()]


@contextlib.contextmanager
def worker(
    directory: Path, text: str, interface: Sequence[str], skip: Sequence[int | str] = ()
) -> Iterator[Worker]:
    """Run a notebook in a worker."""
    path = directory / "answer.py"
    path.write_text(text, encoding="utf-8")
    report = directory / "report"
    with contextlib.ExitStack() as stack:
        pipes = {name: _pipe(stack) for name in ("control", "requests", "answers")}
        ends = {
            "report": _opened(stack, report),
            "control": pipes["control"][0],
            "requests": pipes["requests"][0],
            "answers": pipes["answers"][1],
        }
        options = {"rlimits": {}, "caches": "", "interface": list(interface), "skip": list(skip)}
        process = started("answer_worker.py", options | ends, ends.values(), "--", str(path))
        stack.callback(_stop, process)
        yield Worker(
            process,
            frames.FrameWriter(pipes["control"][1]),
            frames.FrameWriter(pipes["requests"][1]),
            frames.FrameReader(pipes["answers"][0]),
            pipes["answers"][0],
            report,
        )


def started(
    program: str, options: dict[str, Any], descriptors: Any, *arguments: str
) -> subprocess.Popen[bytes]:
    """Start a program of the sandboxes with its descriptors."""
    command = [sys.executable, str(INSIDE / program), json.dumps(options), *arguments]
    return subprocess.Popen(command, pass_fds=tuple(descriptors))


def _pipe(stack: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for each in ends:
        stack.callback(_close, each)
    return ends


def _opened(stack: contextlib.ExitStack, path: Path) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    stack.callback(_close, descriptor)
    return descriptor


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
