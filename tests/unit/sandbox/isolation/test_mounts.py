"""Where bubblewrap finds what it binds: a place of root's own that every uid can walk to."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mograder.core.errors import SandboxUnavailable
from mograder.sandbox.isolation.mounts import MountSpace, Sources
from tests.unit.sandbox import mount_probe


@pytest.fixture
def walkable() -> Iterator[Path]:
    """A directory that every uid can walk to; pytest's own are private."""
    with tempfile.TemporaryDirectory(prefix="mg-", dir="/tmp") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.mark.full
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("check", [check.__name__ for check in mount_probe.CHECKS])
def test_a_mount_space(check: str, tmp_path: Path) -> None:
    course = tmp_path / "course"
    (course / "work").mkdir(parents=True)
    (course / "work" / "A1.py").write_text("A1")
    (course / "file").write_text("file")
    course.chmod(0o700)
    done = subprocess.run(
        [sys.executable, str(mount_probe.__file__), check, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
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
