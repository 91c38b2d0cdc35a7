"""Starts the worker and the judge as plain processes over pipes, as their sandboxes will be."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mograder.notebook.grading_plan import render_plan
from mograder.notebook.grading_split import plan_source
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
    ends: dict[str, int]
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
                seen = (seen + os.read(self.ends["answers"], 1 << 16))[-16:]
        self.answers = frames.FrameReader(self.ends["answers"])

    def lines(self) -> list[dict[str, Any]]:
        """Return the report's lines, which end before the first answer."""
        return [json.loads(line) for line in self.report.read_text().splitlines()]


@contextlib.contextmanager
def worker(
    directory: Path,
    text: str,
    interface: Sequence[str],
    skip: Sequence[int | str] = (),
    *,
    own: bool = True,
) -> Iterator[Worker]:
    """Run a notebook in a worker; unless the test asks it itself, its ends are for a judge."""
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
        process = started(
            directory, "answer_worker.py", options | ends, ends.values(), "--", str(path)
        )
        stack.callback(_stop, process)
        others = {"control": 1, "requests": 1, "answers": 0}
        judges = {name: pipes[name][end] for name, end in others.items()}
        yield Worker(
            process,
            own and frames.FrameWriter(judges["control"]),
            own and frames.FrameWriter(judges["requests"]),
            own and frames.FrameReader(judges["answers"]),
            judges,
            report,
        )


@dataclass(frozen=True)
class Judged:
    """The report of a judge, and the ids of both processes."""

    lines: list[dict[str, Any]]
    judge: int
    worker: int
    seconds: float

    @property
    def ended(self) -> bool:
        """Whether the judge came to its end."""
        return bool(self.lines) and self.lines[-1] == {"kind": "end"}

    @property
    def contract(self) -> dict[str, Any]:
        """The contract that was recorded."""
        found = next(dict(each) for each in self.lines if each["kind"] == "contract")
        del found["kind"]
        return found

    @property
    def checks(self) -> list[dict[str, Any]]:
        """The lines of the checks, in order."""
        return [each for each in self.lines if each["kind"] == "judged"]

    @property
    def passed(self) -> dict[str, list[bool]]:
        """Whether the conditions of each label hold."""
        return {
            label["label"]: [each["passed"] for each in label["conditions"]]
            for check in self.checks
            for label in check["labels"]
        }

    @property
    def text(self) -> str:
        """The whole report, for a look at its sentences."""
        return "\n".join(json.dumps(each, ensure_ascii=False) for each in self.lines)


QUICK = {"call": 10.0, "check": 30.0, "submission": 100.0}


def judged(
    directory: Path,
    source: str,
    submission: str,
    *,
    contract: dict[str, Any] | None = None,
    seconds: dict[str, float] | None = None,
    program: str = "answer_judge.py",
) -> Judged:
    """Judge a submission by a source; without a contract, one is recorded."""
    plan = plan_source(source, "source.py").plan
    checks = [hashlib.sha256(part.code.strip().encode()).hexdigest() for part in plan.checks]
    interface = [each.name for each in plan.answers]
    path = directory / "judged"
    started_at = time.monotonic()
    with contextlib.ExitStack() as stack:
        worker_ = stack.enter_context(worker(directory, submission, interface, checks, own=False))
        options = {
            "report": _opened(stack, path),
            "control": worker_.ends["control"],
            "requests": worker_.ends["requests"],
            "answers": worker_.ends["answers"],
        }
        more = {"rlimits": {}, "contract": contract, "seed": "seed", "seconds": seconds or QUICK}
        everything = {**options, **more, "plan": json.loads(render_plan(plan))}
        process = started(directory, program, everything, options.values())
        stack.callback(_stop, process)
        process.wait(120)
        elapsed = time.monotonic() - started_at
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return Judged(lines, process.pid, worker_.process.pid, elapsed)


def started(
    directory: Path, program: str, options: dict[str, Any], descriptors: Any, *arguments: str
) -> subprocess.Popen[bytes]:
    """Start a program of the sandboxes with its descriptors, in a directory of its own."""
    command = [sys.executable, str(INSIDE / program), json.dumps(options), *arguments]
    own = directory / program.removesuffix(".py")
    own.mkdir(exist_ok=True)
    return subprocess.Popen(command, pass_fds=tuple(descriptors), cwd=own)


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
