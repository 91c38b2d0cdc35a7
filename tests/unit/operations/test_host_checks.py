"""Findings about clock, memory, inodes and namespaces; each with its remedy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.settings import load_settings
from mograder.operations.host_checks import (
    clock_line,
    inode_line,
    memory_line,
    namespace_lines,
    version_line,
)
from mograder.operations.report import Level

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def meminfo(tmp_path: Path, free: int, total: int) -> Path:
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal: {total << 10} kB\nMemAvailable: {free << 10} kB\n")
    return file


def test_a_clock_that_nobody_sets_is_worth_a_warning_and_a_wrong_one_a_problem() -> None:
    assert clock_line(now=NOW, state=0).level is Level.OK
    adrift = clock_line(now=NOW, state=5)
    assert (adrift.level, adrift.hint[:11]) == (Level.NOTE, "timedatectl")
    wrong = clock_line(now=datetime(1970, 1, 1, tzinfo=UTC))
    assert (wrong.level, wrong.hint[:11]) == (Level.PROBLEM, "timedatectl")


def test_the_kernel_is_asked_about_the_clock() -> None:
    assert clock_line().level in (Level.OK, Level.NOTE)


@pytest.mark.parametrize(
    ("free", "total", "level"),
    [(8000, 16000, Level.OK), (1000, 2048, Level.NOTE), (100, 16000, Level.PROBLEM)],
)
def test_memory_is_compared_with_what_a_session_may_take(
    tmp_path: Path, free: int, total: int, level: Level
) -> None:
    settings = load_settings(tmp_path, environ={})
    line = memory_line(settings, meminfo=meminfo(tmp_path, free, total))
    assert line.level is level
    assert f"{free} of {total} MB free" in line.text
    assert bool(line.hint) == (level is not Level.OK)


def test_inodes_are_counted_where_the_work_goes(tmp_path: Path) -> None:
    line = inode_line(tmp_path / "hub-notebooks")
    assert line.check == "inodes"
    assert "free for hub-notebooks" in line.text or line.text == "inodes: no limit"


def kernel(tmp_path: Path, **values: int) -> Path:
    for name, value in values.items():
        path = tmp_path / "sys" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    return tmp_path / "sys"


@pytest.mark.parametrize(
    ("name", "value", "level", "remedy"),
    [
        ("user__max_user_namespaces", 0, Level.PROBLEM, "sysctl -w user.max_user_namespaces="),
        ("kernel__unprivileged_userns_clone", 0, Level.PROBLEM, "sysctl -w kernel.unpriv"),
        ("kernel__unprivileged_userns_clone", 1, Level.OK, ""),
        ("kernel__apparmor_restrict_unprivileged_userns", 1, Level.NOTE, "mograder hub install"),
        ("kernel__apparmor_restrict_unprivileged_userns", 0, Level.OK, ""),
    ],
)
def test_what_keeps_sandboxes_from_being_made_is_told_with_its_remedy(
    tmp_path: Path, name: str, value: int, level: Level, remedy: str
) -> None:
    (line,) = namespace_lines(sys=kernel(tmp_path, **{name: value}), trial=lambda: "")
    assert line.level is level
    assert line.hint.startswith(remedy)


def test_namespaces_that_a_container_refuses_are_a_problem(tmp_path: Path) -> None:
    """The kernel's settings allow them; the engine's seccomp profile or a covered /proc do not."""
    reason = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"
    (line,) = namespace_lines(sys=tmp_path, trial=lambda: reason)
    assert line.level is Level.PROBLEM
    assert reason in line.text
    assert "systempaths=unconfined" in line.hint


def test_the_versions_are_told() -> None:
    text = version_line().text
    for name in ("mograder", "marimo", "uv", "Python", "Linux"):
        assert f"{name} " in text
