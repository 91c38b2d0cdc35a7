"""Findings of `mograder hub check` about a machine, with remedies (B84, B85, security.md)."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mograder.core.settings import LoadedSettings, load_settings
from mograder.operations.machine_checks import (
    clock_line,
    directory_lines,
    disk_lines,
    kernel_lines,
    kernel_version_lines,
    memory_line,
    namespace_lines,
    port_line,
    version_line,
)
from mograder.operations.report import Level

NOW = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSettings:
    return load_settings(tmp_path, environ={})


def test_a_directory_that_is_there_or_can_be_made_is_no_news(tmp_path: Path) -> None:
    assert list(directory_lines("notebooks_dir", tmp_path)) == []
    assert list(directory_lines("notebooks_dir", tmp_path / "not" / "yet")) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_somebody_elses_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    (line,) = directory_lines("release_dir", tmp_path / "theirs" / "hub-release")
    assert "cannot be written by this user" in line.text


def test_a_full_disk_is_a_problem(tmp_path: Path) -> None:
    rich = load_settings(
        tmp_path,
        environ={},
        overrides={"limits.disk_reserve_mb": 1 << 29, "limits.disk_reserve_percent": 100},
    )
    (full,) = disk_lines(rich, [tmp_path / "hub-notebooks", tmp_path / ".mograder"])
    assert full.level is Level.PROBLEM
    assert "free for hub-notebooks, .mograder: sessions leave" in full.text
    poor = load_settings(tmp_path, environ={}, overrides={"limits.disk_reserve_mb": 0})
    lines = list(disk_lines(poor, [tmp_path / "hub-notebooks", Path("/proc")]))
    assert [each.level for each in lines[:1]] == [Level.OK]
    assert len(lines) == 2, "another file system has a line of its own"


@pytest.mark.parametrize(("files", "level"), [(50_000, Level.PROBLEM), (0, Level.OK)])
def test_a_disk_on_which_no_more_files_can_be_made_is_a_problem(
    loaded: LoadedSettings, monkeypatch: pytest.MonkeyPatch, files: int, level: Level
) -> None:
    """A file system that bounds no number of files tells 0 of both."""
    found = list(os.statvfs(loaded.course_dir))
    found[5:8] = [files, 0, 0]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*found, 0)))
    (line,) = disk_lines(loaded, [loaded.course_dir])
    assert line.level is level
    assert line.text.startswith("0 files can be made") == (level is Level.PROBLEM)


def test_b84_a_port_is_free_or_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port_line("127.0.0.1", port)) == f"  [!!] port {port} is in use"
    assert str(port_line("127.0.0.1", port)) == f"  [ok] port {port} is free"


@pytest.mark.parametrize("host", ["no host at all", "192.0.2.1"])
def test_an_address_of_another_machine_is_a_problem(host: str) -> None:
    line = port_line(host, 8080)
    assert str(line) == f"  [!!] {host} is not an address of this machine"


def test_small_kernel_limits_are_noted_with_the_remedy(
    loaded: LoadedSettings, tmp_path: Path
) -> None:
    for name, value in (
        ("inotify/max_user_instances", "128"),
        ("pipe-user-pages-soft", "0"),
        ("epoll/max_user_watches", "5491489"),
    ):
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    inotify, pipes, epoll, _ = kernel_lines(loaded, sys=tmp_path)
    assert inotify.level is Level.NOTE
    assert inotify.hint == "sysctl -w fs.inotify.max_user_instances=8192"
    assert str(pipes) == "  [ok] pipe pages per user: no limit"
    assert epoll.level is Level.NOTE
    assert epoll.hint == "sysctl -w fs.epoll.max_user_watches=2147483647"


def test_a_kernel_that_does_not_tell_is_no_problem(loaded: LoadedSettings, tmp_path: Path) -> None:
    *limits, _ = kernel_lines(loaded, sys=tmp_path)
    assert [each.level for each in limits] == [Level.NOTE] * 3


def test_too_few_descriptors_for_one_session_are_a_problem(tmp_path: Path) -> None:
    greedy = {"limits.open_files": 1_048_576 * 64}
    loaded = load_settings(tmp_path, environ={}, overrides=greedy)
    *_, descriptors = kernel_lines(loaded, sys=tmp_path)
    assert descriptors.level is Level.PROBLEM
    assert "LimitNOFILE=" in descriptors.hint


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
    assert clock_line().level in (Level.OK, Level.NOTE), "the kernel is asked"


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


@pytest.mark.parametrize(
    ("release", "old"),
    [
        *(("5.14.0-427.el9.x86_64", False), ("6.1.0-18-amd64", False), ("unknown", False)),
        *(("5.10.0-28-amd64", True), ("4.18.0", True), ("5.9", True)),
    ],
)
def test_a_kernel_that_counts_the_processes_of_all_sandboxes_together_is_a_problem(
    release: str, old: bool
) -> None:
    lines = list(kernel_version_lines(release))
    assert [line.level for line in lines] == [Level.PROBLEM] * old
    assert all(f"Linux {release}" in line.text and "5.14" in line.hint for line in lines)


def test_the_versions_are_told() -> None:
    text = version_line().text
    for name in ("mograder", "marimo", "uv", "Python", "Linux"):
        assert f"{name} " in text
