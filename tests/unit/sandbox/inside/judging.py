"""Starts the worker and the judge as plain processes over pipes, as their sandboxes will be."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mograder.notebook.grading.grading_plan import render_plan, texts_of
from mograder.notebook.grading.grading_split import plan_source
from mograder.sandbox.inside import serve
from tests.support.judging_rig import notebook
from tests.unit.sandbox.inside.codec import rules, value_decoder
from tests.unit.sandbox.inside.warm_programs import ENDS

__all__ = ["notebook"]

PROGRAMS = ("answer_judge.py", "answer_worker.py")
INSIDE = Path(serve.__file__).parent


class Programs:
    """Starts the programs of the sandboxes."""

    def start(
        self, directory: Path, program: str, options: dict[str, Any], *arguments: str
    ) -> subprocess.Popen[bytes] | Forked:
        """Start a program with its descriptors, in a directory of its own."""
        own = directory / Path(program).stem
        own.mkdir(exist_ok=True)
        programs = [program] if program in PROGRAMS else [program, PROGRAMS[0]]  # a wrapper
        paths = [str(INSIDE / each) for each in programs]
        return self._started(paths, options, arguments, own)

    def _started(
        self, paths: list[str], options: dict[str, Any], arguments: Sequence[str], own: Path
    ) -> subprocess.Popen[bytes] | Forked:
        command = [sys.executable, *paths, json.dumps(options), *arguments]
        variables = {**os.environ, "TMPDIR": str(own)}
        descriptors = [options[end] for end in ENDS]
        return subprocess.Popen(command, pass_fds=descriptors, cwd=own, env=variables)


@dataclass(frozen=True)
class Forked:
    """A process of ``WarmPrograms``."""

    pid: int
    descriptor: int

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)

    def wait(self, timeout: float = 10.0) -> None:
        ready, _, _ = select.select([self.descriptor], [], [], timeout)
        assert ready, "the process does not end"


class WarmPrograms(Programs):
    """Forks the programs from a process that has imported what they need."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, str(Path(__file__).parent / "warm_programs.py")]
        with other:
            fileno = other.fileno()
            self._process = subprocess.Popen([*command, str(fileno)], pass_fds=[fileno])

    def stop(self) -> None:
        """End the process; its children have ended before."""
        self._socket.close()
        self._process.wait(10)

    def _started(
        self, paths: list[str], options: dict[str, Any], arguments: Sequence[str], own: Path
    ) -> subprocess.Popen[bytes] | Forked:
        asked = {"program": paths, "options": options, "arguments": arguments, "cwd": str(own)}
        data = json.dumps(asked).encode()
        socket.send_fds(self._socket, [data], [options[end] for end in ENDS])
        pid = int(self._socket.recv(20))
        return Forked(pid, os.pidfd_open(pid))


COLD = Programs()


@dataclass
class Worker:
    """A worker and the judge's ends of its pipes."""

    process: subprocess.Popen[bytes] | Forked
    control: Any
    requests: Any
    answers: Any
    ends: dict[str, int]
    report: Path
    number: int = field(default=0)
    serves: bool = False

    def ask(self, operation: str, *arguments: object, data: bytes = b"") -> list[Any]:
        """Return the answer's head, with the value in place of its tree."""
        self.number += 1
        self.requests.write([self.number, operation, 0, *arguments], [data], seconds=5)
        frame = self.answers.read(10)
        assert frame.head[0] in (self.number, 0)
        if frame.head[1] == "value":
            tree = frame.head[2]
            frame.head[2] = value_decoder.decode(tree, frame.buffers, lambda facts: facts)
        return list(frame.head[1:])

    def begin(self) -> None:
        """Start the process of a check, the first one once the notebook has run."""
        if not self.serves:
            assert self.answers.read(60).head == [0, "serving"]
            self.serves = True
        self.control.write(["begin", 1], seconds=5)

    def end(self, nonce: bytes = b"n" * 16) -> None:
        """End it, and read up to the nonce."""
        self.control.write(["end"], [nonce], seconds=5)
        seen = b""
        while not seen.endswith(nonce):
            with contextlib.suppress(BlockingIOError):
                seen = (seen + os.read(self.ends["answers"], 1 << 16))[-16:]
        self.answers = rules.FrameReader(self.ends["answers"])

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
    programs: Programs = COLD,
) -> Iterator[Worker]:
    """Run a notebook in a worker; unless the test asks it itself, its ends are for a judge."""
    path = directory / "answer.py"
    path.write_text(text, encoding="utf-8")
    report = directory / "report"
    with contextlib.ExitStack() as stack:
        pipes = {name: _pipe(stack) for name in ("control", "requests", "answers")}
        ends = {
            "report": _kept(stack, io.FileIO(report, "w")),
            "control": pipes["control"][0],
            "requests": pipes["requests"][0],
            "answers": pipes["answers"][1],
        }
        numbers = {name: each.fileno() for name, each in ends.items()}
        options = {"rlimits": {}, "caches": "", "interface": list(interface), "skip": list(skip)}
        more = {"outputs": False, **numbers}
        process = programs.start(directory, "answer_worker.py", options | more, "--", str(path))
        stack.callback(_stop, process)
        for each in ends.values():
            each.close()
        others = {"control": 1, "requests": 1, "answers": 0}
        judges = {name: pipes[name][end].fileno() for name, end in others.items()}
        yield Worker(
            process,
            own and rules.FrameWriter(judges["control"]),
            own and rules.FrameWriter(judges["requests"]),
            own and rules.FrameReader(judges["answers"]),
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
    directory: Path

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


Judge = Callable[..., Judged]
"""Judges a submission by a source (``conftest.py``)."""
QUICK = {"notebook": 60.0, "call": 10.0, "check": 30.0, "submission": 100.0}


def judged(
    directory: Path,
    source: str,
    submission: str,
    *,
    contract: dict[str, Any] | None = None,
    seconds: dict[str, float] | None = None,
    program: str = "answer_judge.py",
    programs: Programs = COLD,
    refused: bool = False,
    **options_of_judge: object,
) -> Judged:
    """Judge a submission by a source; without a contract, one is recorded.

    The judge has to come to its end, unless it is to have ``refused`` what it was given.
    """
    plan = plan_source(source, "source.py").plan
    checks = [hashlib.sha256(part.code.strip().encode()).hexdigest() for part in plan.checks]
    interface = [each.name for each in plan.answers]
    path = directory / "judged"
    started_at = time.monotonic()
    with contextlib.ExitStack() as stack:
        worker_ = stack.enter_context(
            worker(directory, submission, interface, checks, own=False, programs=programs)
        )
        options = {
            "report": _kept(stack, io.FileIO(path, "w")).fileno(),
            "control": worker_.ends["control"],
            "requests": worker_.ends["requests"],
            "answers": worker_.ends["answers"],
        }
        more: dict[str, object] = {
            "rlimits": {},
            "caches": "",
            "contract": contract,
            "private": {"seed": "seed", "texts": texts_of(submission, "answer.py", plan)},
            "seconds": seconds or QUICK,
        }
        more |= options_of_judge
        everything = {**options, **more, "plan": json.loads(render_plan(plan))}
        process = programs.start(directory, program, everything)
        stack.callback(_stop, process)
        process.wait(120)
        elapsed = time.monotonic() - started_at
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        run = Judged(lines, process.pid, worker_.process.pid, elapsed, directory)
        assert refused or lines[-1:] == [{"kind": "end"}], run.text
        return run


def _pipe(stack: contextlib.ExitStack) -> tuple[io.FileIO, io.FileIO]:
    reader, writer = os.pipe()
    return _kept(stack, io.FileIO(reader)), _kept(stack, io.FileIO(writer, "w"))


def _kept(stack: contextlib.ExitStack, file: io.FileIO) -> io.FileIO:
    """Close a file in the end; to close it before does no harm."""
    stack.callback(_close, file)
    return file


def _close(file: io.FileIO) -> None:
    with contextlib.suppress(OSError):  # a test may have closed its descriptor
        file.close()


def _stop(process: subprocess.Popen[bytes] | Forked) -> None:
    process.kill()
    process.wait(10)
