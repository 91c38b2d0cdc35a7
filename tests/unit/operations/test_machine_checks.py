"""Findings of `mograder hub check` about a machine (B84, B85, security.md)."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mograder.core.settings import LoadedSettings, load_settings
from mograder.operations.machine_checks import (
    directory_lines,
    disk_line,
    kernel_lines,
    port_line,
)
from mograder.operations.report import Level


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSettings:
    return load_settings(tmp_path, environ={})


def test_a_directory_that_is_there_or_can_be_made_is_no_news(tmp_path: Path) -> None:
    assert list(directory_lines("notebooks_dir", tmp_path)) == []
    assert list(directory_lines("notebooks_dir", tmp_path / "not" / "yet")) == []


def test_a_file_in_the_place_of_a_directory_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "hub-notebooks").write_text("")
    (line,) = directory_lines("notebooks_dir", tmp_path / "hub-notebooks")
    assert line.level is Level.PROBLEM
    assert line.text == f"{tmp_path / 'hub-notebooks'} is not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_somebody_elses_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o500)
    (line,) = directory_lines("release_dir", tmp_path / "theirs" / "hub-release")
    assert "cannot be written by this user" in line.text


def test_a_full_disk_is_a_problem(tmp_path: Path) -> None:
    rich = load_settings(
        tmp_path,
        environ={},
        overrides={"limits.disk_reserve_mb": 1 << 40, "limits.disk_reserve_percent": 100},
    )
    assert disk_line(rich, tmp_path / "hub-notebooks").level is Level.PROBLEM
    poor = load_settings(tmp_path, environ={}, overrides={"limits.disk_reserve_mb": 0})
    assert disk_line(poor, tmp_path / "hub-notebooks").level is Level.OK


def test_b84_a_port_is_free_or_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port_line("127.0.0.1", port)) == f"  [!!] port {port} is in use"
    assert str(port_line("127.0.0.1", port)) == f"  [ok] port {port} is free"


def test_an_address_of_another_machine_is_a_problem() -> None:
    assert port_line("no host at all", 8080).level is Level.PROBLEM


def test_small_kernel_limits_are_noted_with_the_remedy(
    loaded: LoadedSettings, tmp_path: Path
) -> None:
    for name, value in (("inotify/max_user_instances", "128"), ("pipe-user-pages-soft", "0")):
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    inotify, pipes, _ = kernel_lines(loaded, sys=tmp_path)
    assert inotify.level is Level.NOTE
    assert inotify.hint == "sysctl -w fs.inotify.max_user_instances=8192"
    assert str(pipes) == "  [ok] pipe pages per user: no limit"


def test_a_kernel_that_does_not_tell_is_no_problem(loaded: LoadedSettings, tmp_path: Path) -> None:
    inotify, pipes, _ = kernel_lines(loaded, sys=tmp_path)
    assert (inotify.level, pipes.level) == (Level.NOTE, Level.NOTE)


def test_too_few_descriptors_for_one_session_are_a_problem(tmp_path: Path) -> None:
    greedy = {"limits.open_files": 1_048_576 * 64}
    loaded = load_settings(tmp_path, environ={}, overrides=greedy)
    *_, descriptors = kernel_lines(loaded, sys=tmp_path)
    assert descriptors.level is Level.PROBLEM
    assert "LimitNOFILE=" in descriptors.hint
