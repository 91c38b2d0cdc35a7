"""The meter of sessions without cgroups, on processes of the test's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mograder.sandbox.limits.process_meter import MeteredSession, ProcessMeter, helpers_memory

pytestmark = pytest.mark.full
GROWS = "print(flush=True); input(); kept = b'x' * (50 << 20); print(flush=True); input()"
COPIES = """
import os
pages = bytearray(32 << 20)
for at in range(0, len(pages), 4096): pages[at] = 1
if os.fork(): os.wait(); os._exit(0)
print(flush=True); input()
for at in range(0, len(pages), 4096): pages[at] = 2
print(flush=True); input()
"""
MIB = 1 << 20


class Program:
    """A program that prints a line, works on demand, prints another and waits."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.hear()

    def hear(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "\n"

    def work(self) -> None:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        self.hear()


@contextmanager
def running(code: str) -> Iterator[Program]:
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        yield Program(process)
        process.communicate("\n")


def measured(meter: ProcessMeter, session: MeteredSession) -> tuple[int, int]:
    """Memory in bytes and tasks of a session."""
    meter.find()
    reading = session.use()
    return reading.memory, reading.tasks


def test_a_session_is_measured_as_it_grows_and_after_its_end() -> None:
    meter = ProcessMeter(confined=False)
    with running(GROWS) as program:
        one = meter.add(program.process.pid, 0)
        before, _ = measured(meter, one)
        assert MIB < before < 50 * MIB
        assert helpers_memory(()) > helpers_memory(meter.pids())
        program.work()
        assert measured(meter, one)[0] > before + 49 * MIB
        cpu = one.use().cpu
    memory, tasks = measured(meter, one)
    assert (memory, tasks) == (0, 0)
    assert one.use().cpu >= cpu, "the total never falls"
    meter.remove(one)
    assert meter.pids() == set()


def test_copies_of_what_a_fork_shared_are_measured() -> None:
    """A fork that writes to what it shares has no more resident memory than before."""
    meter = ProcessMeter(confined=False)
    with running(COPIES) as program:
        one = meter.add(program.process.pid, 0)
        before, tasks = measured(meter, one)
        assert tasks == 2
        program.work()
        assert measured(meter, one)[0] > before + 8 * MIB
