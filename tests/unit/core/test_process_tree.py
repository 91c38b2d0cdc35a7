"""Processes that are ended with all that they have started, as each system allows it."""

from __future__ import annotations

import pytest

from tests.support.other_system import OtherSystem, System

pytestmark = pytest.mark.full

TREE = '''
import subprocess, sys, time, psutil
from mograder.core.process_tree import ProcessTree, apart

SLEEPS = "import time; time.sleep(3000)"
# The first process has a child, and that one a child, and tells when both are there.
BEGIN = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', WORDS]);"
INNER = BEGIN.replace("WORDS", repr(SLEEPS)) + "print(p.pid, flush=True); p.wait()"
OUTER = BEGIN.replace("WORDS", repr(INNER)) + "LAST"

def living(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

def left(others):
    """Return how many of some processes do not end soon; their new parent may not collect them."""
    end = time.monotonic() + 20
    while any(map(living, others)) and time.monotonic() < end:
        time.sleep(0.05)
    return sum(map(living, others))

def started(last):
    process = subprocess.Popen(
        [sys.executable, "-c", OUTER.replace("LAST", last)], stdout=subprocess.PIPE, **apart()
    )
    tree = ProcessTree(process.pid)
    process.stdout.readline()
    return process, tree, psutil.Process(process.pid).children(recursive=True)
'''
KILLED = """
process, tree, others = started("p.wait()")
bystander = subprocess.Popen([sys.executable, "-c", SLEEPS])
assert len(others) == 2, others
tree.kill()
process.wait(20)
print(left(others), bystander.poll())
tree.kill()  # again, when nothing of it is left
bystander.kill()
bystander.wait()
"""
ORPHANS = """
process, tree, others = started("sys.stdin.readline()")
process.terminate()
process.wait(20)
tree.kill()
print(left(others))
"""


@pytest.mark.parametrize("system", ["linux", "macos", "windows"])
def test_the_whole_tree_and_no_other_process_is_killed(system: System) -> None:
    assert OtherSystem(system).printed(TREE + KILLED) == ["0 None"]


@pytest.mark.parametrize("system", ["linux", "macos"])
def test_a_group_is_killed_after_its_first_process_has_ended(system: System) -> None:
    """On Windows orphans are found by the parent that they keep, which Linux takes away."""
    assert OtherSystem(system).printed(TREE + ORPHANS) == ["0"]
