"""Findings about a directory that hub and nodes share."""

from __future__ import annotations

import errno
import platform
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.files import file_lock
from mograder.core.files.disk import Mount
from mograder.core.settings import load_settings
from mograder.operations import share_checks
from mograder.operations.report import Level, Line
from mograder.operations.share_checks import refuse_squashed_root, share_findings, share_lines

GOOD = "rw,hard,vers=4.2,lookupcache=pos,local_lock=none,acregmax=60"


def mounted(options: str, kind: str = "nfs4") -> Mount:
    return Mount(Path("/"), kind, "files:/course", frozenset(options.split(",")))


def levels(lines: tuple[Line, ...]) -> dict[str, Level]:
    return {line.check: line.level for line in lines if line.level is not Level.OK}


@pytest.fixture(autouse=True)
def _name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "node1")


def test_a_good_share_has_no_findings_and_nothing_is_left_on_it(tmp_path: Path) -> None:
    lines = share_findings(tmp_path, mount=mounted(GOOD))
    assert levels(lines) == {}
    assert [line.check for line in lines] == [
        "share",
        "share-names",
        "share-write",
        "share-flock",
        "share-space",
    ]
    assert "nfs4 4.2 from files:/course" in lines[0].text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "check", "level"),
    [
        ("soft,vers=4.2,lookupcache=pos", "share-soft", Level.PROBLEM),
        ("softerr,vers=4.2,lookupcache=pos", "share-soft", Level.PROBLEM),
        ("vers=4.2,lookupcache=pos,nolock", "share-locks", Level.PROBLEM),
        ("vers=4.2,lookupcache=pos,local_lock=all", "share-locks", Level.PROBLEM),
        ("vers=4.2,lookupcache=pos,nocto", "share-names", Level.PROBLEM),
        ("vers=4.2", "share-names", Level.NOTE),
        ("vers=4.2,lookupcache=pos,acregmax=600", "share-times", Level.NOTE),
        ("vers=3,lookupcache=pos", "share", Level.PROBLEM),
    ],
)
def test_an_option_that_harms_is_told_with_its_remedy(
    tmp_path: Path, options: str, check: str, level: Level
) -> None:
    lines = share_findings(tmp_path, mount=mounted(options))
    assert levels(lines) == {check: level}
    assert all(line.hint for line in lines if line.level is not Level.OK)


@pytest.mark.parametrize("name", ["localhost", ""])
def test_machines_without_names_of_their_own_share_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(platform, "node", lambda: name)
    assert levels(share_findings(tmp_path, mount=mounted(GOOD))) == {
        "share-hostname": Level.PROBLEM
    }


def test_a_local_disk_is_told_and_its_options_do_not_matter(tmp_path: Path) -> None:
    assert levels(share_findings(tmp_path, mount=mounted("soft", "ext4"))) == {"share": Level.NOTE}
    assert levels(share_findings(tmp_path, mount=mounted("soft", "ceph"))) == {}


def test_a_missing_directory_is_a_problem(tmp_path: Path) -> None:
    (line,) = share_findings(tmp_path / "none")
    assert line.level is Level.PROBLEM
    assert "at the same path" in line.hint


def test_a_share_without_locks_and_a_full_one_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lock, "acquire", lambda fd: True)
    monkeypatch.setattr(share_checks, "_LEAST_MB", 1 << 60)
    assert levels(share_findings(tmp_path, mount=mounted(GOOD))) == {
        "share-flock": Level.PROBLEM,
        "share-space": Level.PROBLEM,
    }


def test_a_share_that_cannot_be_written_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(share_checks, "write_file", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)  # the kernel refuses this first
    lines = share_findings(tmp_path, mount=mounted(GOOD))
    assert levels(lines) == {"share-write": Level.PROBLEM}
    assert any("Read-only file system" in line.text for line in lines)


def test_a_squashed_root_is_told_and_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_checks, "refuses_root", lambda path: path == tmp_path)
    assert levels(share_findings(tmp_path, mount=mounted(GOOD))) == {"share-root": Level.PROBLEM}
    refuse_squashed_root(tmp_path / "other")
    with pytest.raises(InvalidInput, match="root_squash") as refused:
        refuse_squashed_root(tmp_path / "other", tmp_path)
    assert "uid 1000" in refused.value.hint


def test_a_hub_on_local_disks_is_told_nothing_and_one_with_nodes_each_directory(
    tmp_path: Path,
) -> None:
    for name in ("hub-notebooks", "hub-release", "hub-runs"):
        (tmp_path / name).mkdir()
    assert list(share_lines(load_settings(tmp_path, environ={}))) == []
    (tmp_path / "mograder.toml").write_text("[nodes]\nenabled = true\n")
    lines = list(share_lines(load_settings(tmp_path, environ={})))
    written = [line for line in lines if line.check == "share-write"]
    assert [line.level for line in written] == [Level.OK] * 3
    assert [line.check for line in lines].count("share-space") == 1, "they are on one disk"
