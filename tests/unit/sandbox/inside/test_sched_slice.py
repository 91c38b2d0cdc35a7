"""Short slices: said by one process, inherited by what it forks, kept apart from niceness."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.sandbox.inside import sched_slice

_HEEDED = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2]) >= (6, 12)
_SCRIPT = """
import os, sys
sys.path.insert(0, sys.argv[1])
import sched_slice
os.setpriority(os.PRIO_PROCESS, 0, 3)
assert sched_slice.shorten()
if os.fork() == 0:
    print(sched_slice.slice_of(0), os.getpriority(os.PRIO_PROCESS, 0), flush=True)
    os._exit(0)
os.wait()
print(sched_slice.slice_of(0), flush=True)
"""


@pytest.mark.full
def test_what_is_forked_inherits_a_short_slice_and_keeps_its_niceness() -> None:
    """The file stands alone, as it does beside the zygote."""
    place = str(Path(sched_slice.__file__).parent)
    told = subprocess.run(
        [sys.executable, "-c", _SCRIPT, place], check=True, capture_output=True, text=True
    ).stdout.split()
    if _HEEDED:
        assert told == [str(sched_slice.SLICE), "3", str(sched_slice.SLICE)]
    else:
        assert told[1] == "3"


def test_a_machine_of_another_kind_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "m68k")
    before = os.sched_getscheduler(0)
    assert not sched_slice.shorten()
    assert sched_slice.slice_of(os.getpid()) == 0
    assert os.sched_getscheduler(0) == before
