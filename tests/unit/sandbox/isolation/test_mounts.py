"""Where bubblewrap finds what it binds: a place of root's own that every uid can walk to."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.isolation.mounts import MountSpace, Sources, give_to
from tests.support.programs import printed_by
from tests.support.supervisors import short_directory
from tests.unit.sandbox import mount_probe


@pytest.fixture
def walkable() -> Iterator[Path]:
    """A directory that every uid can walk to; pytest's own are private."""
    with short_directory() as directory:
        directory.chmod(0o711)
        yield directory


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("check", [check.__name__ for check in mount_probe.CHECKS])
def test_a_mount_space(check: str, tmp_path: Path) -> None:
    course = tmp_path / "course"
    (course / "work").mkdir(parents=True)
    (course / "work" / "A1.py").write_text("A1")
    (course / "file").write_text("file")
    course.chmod(0o700)
    printed_by(sys.executable, mount_probe.__file__, check, tmp_path)
    assert course.stat().st_mode & 0o777 == 0o700, "the host's own rights stay as they are"
    assert not any(path.is_mount() for path in tmp_path.rglob("*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_without_root_it_says_what_to_do(walkable: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="service user"):
        MountSpace((walkable,), "test")


def test_a_place_that_somebody_else_prepared_is_refused(walkable: Path, tmp_path: Path) -> None:
    """Anyone may put a link into /tmp."""
    (walkable / "mograder-mounts-test").symlink_to(tmp_path)
    with pytest.raises(SandboxUnavailable, match="somebody else"):
        MountSpace((walkable,), "test")


def test_nowhere_to_walk_to_is_said(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match="runtime_dir"):
        MountSpace((tmp_path, tmp_path / "nowhere"), "test")


def test_who_shares_the_uid_uses_the_paths_as_they_are(tmp_path: Path) -> None:
    plain = Sources()
    assert plain.shared(tmp_path) == plain.own(tmp_path) == tmp_path
    plain.release(tmp_path)
    plain.close()
    assert tmp_path.exists()


# --- a workspace is handed to its student's uid, and nothing that is not in it ----------------

UID = 654_321

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/er/file").write_text("x")
    (tree / "A1.py").write_text("x")
    return tree


@as_root
def test_all_of_it_is_given(tree: Path) -> None:
    give_to(tree, UID)
    for path in (tree, *tree.rglob("*")):
        assert (path.stat().st_uid, path.stat().st_gid) == (UID, UID)


@as_root
def test_links_are_given_and_never_followed(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    for name, target in {"file": "secret", "directory": "."}.items():
        (tree / name).symlink_to(outside / target)
    (tree / "up").symlink_to("../..")
    give_to(tree, UID)
    assert (tree / "file").lstat().st_uid == UID
    assert [path.lstat().st_uid for path in (tmp_path, outside, outside / "secret")] == [0, 0, 0]


@as_root
def test_a_file_with_another_name_elsewhere_stays_its_owners(tree: Path, tmp_path: Path) -> None:
    """A hard link to somebody's file would make the file the student's."""
    (tmp_path / "elsewhere").write_text("x")
    os.link(tmp_path / "elsewhere", tree / "mine")
    give_to(tree, UID)
    assert (tmp_path / "elsewhere").stat().st_uid == 0


@as_root
def test_odd_files_are_no_obstacle(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    (tree / os.fsdecode(b"\xff\xfe")).write_text("x")
    (tree / "dangling").symlink_to("nowhere")
    (tree / "closed").mkdir(mode=0)
    give_to(tree, UID)
    assert (tree / "pipe").stat().st_uid == UID


@as_root
def test_what_was_given_is_not_walked_again(tree: Path) -> None:
    give_to(tree, UID)
    os.chown(tree / "A1.py", 0, 0)
    give_to(tree, UID)
    assert (tree / "A1.py").stat().st_uid == 0


@as_root
def test_a_walk_that_was_cut_off_is_done_again(tree: Path) -> None:
    """The root of it is given last: it is the sign that all the rest was."""
    os.chown(tree / "A1.py", UID, UID)
    give_to(tree, UID)
    assert (tree / "deep/er/file").stat().st_uid == UID


def test_a_link_in_place_of_the_tree_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    with pytest.raises(OSError, match="link"):
        give_to(tmp_path / "link", UID)


def test_one_that_has_the_owner_is_left_alone(tree: Path) -> None:
    give_to(tree, os.geteuid())
    assert tree.stat().st_uid == os.geteuid()
