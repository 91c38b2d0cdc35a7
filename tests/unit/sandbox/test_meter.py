"""The meter of sessions without cgroups, on a process of the test's own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from mograder.sandbox import processes
from mograder.sandbox.usage import ProcessMeter

pytestmark = pytest.mark.full

NO_LIMIT = 1 << 40
GROWS = "print(flush=True); input(); kept = b'x' * (50 << 20); print(flush=True); input()"


def test_one_that_works_between_two_ticks_is_measured_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kernel that counts time by its clock's ticks charges a short piece of work nothing."""
    honest = processes.parse_stat
    monkeypatch.setattr(processes, "parse_stat", lambda data: replace(honest(data), ticks=0))
    meter = ProcessMeter(confined=False)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", GROWS], stdin=pipe, stdout=pipe) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        meter.add("quick", child.pid, 0)
        meter.discover()
        meter.begin_pass(0)
        before = meter.read("quick", NO_LIMIT)
        assert before.memory > 1 << 20, "one that is new is measured at once"
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        meter.discover()
        meter.begin_pass(0)
        after = meter.read("quick", NO_LIMIT)
        assert (before.cpu, after.cpu) == (0.0, 0.0)
        assert after.memory > 50 << 20
        child.communicate(b"\n")
    meter.remove("quick")
