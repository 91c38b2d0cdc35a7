"""The machine's capacity for sessions, read from files as the kernel writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mograder.core.sections.settings_model import LimitsSettings
from mograder.sandbox.limits.procfs import usable_memory
from mograder.sessions.capacity import MEGABYTE, capacity_limits


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 1000 KiB of memory."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  1000 kB\nMemFree:  10 kB\n")
    return tmp_path / "proc"


@pytest.fixture
def cgroups(tmp_path: Path, proc: Path) -> Path:
    """The hub is in /system.slice/hub.service."""
    (proc / "self" / "cgroup").write_text("4:memory:/elsewhere\n0::/system.slice/hub.service\n")
    (tmp_path / "cg" / "system.slice" / "hub.service").mkdir(parents=True)
    return tmp_path / "cg"


def test_what_is_set_counts_and_the_rest_is_as_the_machine_has_it() -> None:
    terms = capacity_limits(
        60.0, LimitsSettings(total_memory_mb=500, starts_at_once=3, line_length=7)
    )
    assert (terms.memory, terms.starts, terms.line) == (500 * MEGABYTE, 3, 7)
    assert (terms.ttl, terms.start_timeout) == (60.0, 120)
    found = capacity_limits(60.0, LimitsSettings())
    assert found.starts == 2 * len(os.sched_getaffinity(0))
    assert found.memory == usable_memory()


def test_all_memory_but_a_tenth_is_usable(proc: Path, tmp_path: Path) -> None:
    assert usable_memory(proc, tmp_path / "no-cgroups") == 1000 * 1024 * 9 // 10


@pytest.mark.parametrize("where", ["", "system.slice", "system.slice/hub.service"])
def test_a_smaller_bound_on_the_hubs_cgroup_or_above_counts(
    proc: Path, cgroups: Path, where: str
) -> None:
    (cgroups / "system.slice" / "memory.max").write_text("max\n")
    (cgroups / where / "memory.max").write_text("512000\n")
    assert usable_memory(proc, cgroups) == 512000 * 9 // 10


def test_a_larger_bound_and_none_at_all_count_for_nothing(proc: Path, cgroups: Path) -> None:
    (cgroups / "memory.max").write_text("max\n")
    (cgroups / "system.slice" / "memory.max").write_text("999999999999\n")
    assert usable_memory(proc, cgroups) == 1000 * 1024 * 9 // 10
