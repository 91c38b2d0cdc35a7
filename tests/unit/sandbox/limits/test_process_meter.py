"""Reading ``/proc``: lines as kernels write them, and processes of the test's own."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from threading import Event

import pytest

from mograder.core.files.disk import NO_RESERVE, DiskReserve
from mograder.sandbox.limits import disk_usage
from mograder.sandbox.limits.disk_usage import DiskWatch, tree_size
from mograder.sandbox.limits.procfs import (
    PAGE,
    deleted_files,
    machine_load,
    machine_memory,
    parse_meminfo,
    parse_page_tables,
    parse_rollup,
    parse_stat,
    parse_written,
)
from mograder.sandbox.limits.rules import End

LINE = (
    b"42 (evil) R 1 (2) S 7 42 9 0 -1 4194560 11 12 13 14 100 20 3 4 20 0 5 0 1 2 6 " + b"0 " * 28
)
NO_LIMIT = 1 << 40


def test_a_name_that_looks_like_fields_deceives_nobody() -> None:
    stat = parse_stat(LINE)
    assert (stat.faults, stat.ticks, stat.threads, stat.resident) == (11, 127, 5, 6 * PAGE)


@pytest.mark.parametrize("line", [b"", b"42 (sh", b"42 (sh) R 1 2"])
def test_half_a_line_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_stat(line)


def test_shares_and_totals_are_read() -> None:
    share = parse_rollup(b"a-b ---p 0 [rollup]\nRss: 9 kB\nPss:  7 kB\nPss_Shmem:   2 kB\n")
    assert (share.private, share.shared, share.total) == (5 << 10, 2 << 10, 7 << 10)
    assert parse_page_tables(b"VmLib:\t 3 kB\nVmPTE:\t     420 kB\nVmSwap:\t 0 kB\n") == 420 << 10
    assert parse_page_tables(b"Name:\tVmPTE: 9 kB\n") == 0, "a name may look like anything"
    assert parse_written(b"rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n") == 4096
    memory = parse_meminfo(b"MemTotal: 8 kB\nMemAvailable:   4 kB\nHugePages_Total: 0")
    assert (memory.total, memory.available) == (8 << 10, 4 << 10)


def test_the_machine_is_read() -> None:
    assert 0 < machine_memory().available <= machine_memory().total
    tasks, last_pid = machine_load()
    assert tasks > 1
    assert last_pid > 0


def test_open_files_without_a_name_are_found(tmp_path: Path) -> None:
    with (tmp_path / "ghost").open("wb") as ghost, (tmp_path / "named").open("wb") as named:
        ghost.write(b"x" * 100_000)
        named.write(b"x" * 100_000)
        ghost.flush()
        named.flush()
        device = tmp_path.stat().st_dev
        before = deleted_files([os.getpid()], device, 4096)
        (tmp_path / "ghost").unlink()
        after = deleted_files([os.getpid()], device, 4096)
    assert 100_000 <= after - before < 200_000


@pytest.mark.full
def test_a_deleted_file_counts_behind_thousands_of_other_descriptors(tmp_path: Path) -> None:
    with subprocess.Popen(("sleep", "600")) as child, (tmp_path / "ghost").open("wb") as ghost:
        ghost.write(b"x" * 100_000)
        ghost.flush()
        (tmp_path / "ghost").unlink()
        watch = DiskWatch(NO_RESERVE)
        watch.add("s", tmp_path, 1 << 20, lambda: [*[child.pid] * 2000, os.getpid()])
        assert watch.look(()) == []
        child.kill()
    assert watch.size("s") >= 100_000


def test_a_tree_is_measured_without_following_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/large").write_bytes(b"x" * (1 << 20))
    top = tmp_path / "top"
    (top / "deep/deeper").mkdir(parents=True)
    (top / "deep/deeper/file").write_bytes(b"x" * (200 << 10))
    (top / "deep/again").hardlink_to(top / "deep/deeper/file")
    (top / "link").symlink_to(tmp_path / "outside")
    with (top / "hole").open("wb") as hole:
        hole.truncate(1 << 30)
    os.mkfifo(top / "pipe")
    assert 200 << 10 <= tree_size(top, NO_LIMIT) < 300 << 10


def test_measuring_stops_at_enough(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / str(number)).touch()
    assert 40_000 < tree_size(tmp_path, 40_000) < 60_000
    assert tree_size(tmp_path / "nowhere", NO_LIMIT) == 0


def test_a_tree_without_end_counts_as_full(tmp_path: Path) -> None:
    here = tmp_path
    for _ in range(70):
        here = here / "d"
    here.mkdir(parents=True)
    assert tree_size(tmp_path, NO_LIMIT) == NO_LIMIT + 1


@pytest.mark.parametrize("mode", [0, 0o300, 0o600, 0o1204])
@pytest.mark.parametrize("closed", [".", "deep/closed"])
def test_a_directory_that_its_owner_closed_is_opened_again_and_counted(
    ordinary_user: Path, closed: str, mode: int
) -> None:
    """Files can still be written to one that can be searched; a mistake must not be the end."""
    directory = ordinary_user / "top" / closed
    directory.mkdir(parents=True)
    (directory / "file").write_bytes(b"x" * (200 << 10))
    directory.chmod(mode)
    assert tree_size(ordinary_user / "top", NO_LIMIT) < 100 << 10
    assert stat.S_IMODE(directory.stat().st_mode) == mode, "of others' files nothing is changed"
    watch = DiskWatch(NO_RESERVE)
    watch.add("s", ordinary_user / "top", 1 << 20, list)
    assert watch.look(()) == []
    assert 200 << 10 <= watch.size("s") < 300 << 10
    assert (directory / "file").exists()


def test_a_directory_that_may_not_be_opened_counts_as_full_in_an_own_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another tree the rest is counted. A directory that is gone counts as small."""
    opened = os.open

    def refuse(
        path: str | Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        if path == "closed":
            raise PermissionError
        if path == "gone":
            raise FileNotFoundError
        return opened(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    (tmp_path / "gone").mkdir()
    assert tree_size(tmp_path, NO_LIMIT, own=True) < 100 << 10
    (tmp_path / "closed").mkdir()
    assert tree_size(tmp_path, NO_LIMIT, own=True) == NO_LIMIT + 1
    assert tree_size(tmp_path, NO_LIMIT) < 100 << 10


@pytest.mark.parametrize("mode", [0, 0o600])
def test_a_closed_directory_that_cannot_be_opened_again_counts_as_full(
    ordinary_user: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    def refuse(path: Path, mode: int) -> None:
        raise OSError(errno.EROFS, str(path))

    (ordinary_user / "closed").mkdir()
    (ordinary_user / "closed/file").touch()
    (ordinary_user / "closed").chmod(mode)
    monkeypatch.setattr(Path, "chmod", refuse)
    assert tree_size(ordinary_user, NO_LIMIT, own=True) == NO_LIMIT + 1
    monkeypatch.undo()
    (ordinary_user / "closed").chmod(0o700)


def test_walks_stop_when_the_disk_gets_short_during_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them may take minutes, in which another session fills the rest of the disk."""
    walked: list[str] = []

    def walk(top: Path, enough: int, *, own: bool) -> int:
        walked.append(top.name)
        return 0

    def left(_: object) -> os.statvfs_result:
        names = 0 if walked else 1000
        return os.statvfs_result((4096, 4096, 100, 90, 90, 1000, names, names, 0, 255))

    monkeypatch.setattr(disk_usage, "tree_size", walk)
    monkeypatch.setattr(disk_usage, "written_by", sum)
    monkeypatch.setattr(os, "statvfs", left)
    watch = DiskWatch(DiskReserve(1))
    for name in ("first", "second", "writer"):
        (tmp_path / name).mkdir()
        watch.add(name, tmp_path / name, 0, (lambda: [9 << 20]) if name == "writer" else list)
    assert watch.look(()) == [End("writer", "disk")]
    assert walked == ["first"]


def test_a_workspace_that_does_not_move_is_measured_once(tmp_path: Path) -> None:
    watch = DiskWatch(NO_RESERVE)
    watch.add("s", tmp_path, 1 << 20, list)
    (tmp_path / "before").write_bytes(b"x" * (100 << 10))
    assert watch.look(()) == []
    assert watch.size("s") >= 100 << 10
    (tmp_path / "after").write_bytes(b"x" * (2 << 20))
    assert watch.look(()) == []
    watch.remove("s")
    assert watch.size("s") == 0


def test_a_workspace_is_measured_at_once_when_more_was_written_than_fits() -> None:
    """Not after the usual pause, in which a fast disk takes gigabytes."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:  # /tmp may be in memory
        watch = DiskWatch(NO_RESERVE)
        watch.add("one", Path(directory), 1 << 20, lambda: [os.getpid()])
        assert watch.look(["one"]) == []
        (Path(directory) / "large").write_bytes(b"x" * (4 << 20))
        pause = Event()
        ends: list[End] = []
        for _ in range(200):  # a walk costs at most a twentieth of the time, also on a slow disk
            pause.wait(0 if ends else 0.02)
            ends = ends or watch.look(["one"])
    assert ends == [End("one", "workspace")]


@pytest.mark.parametrize(("names_left", "reason"), [(49, "disk"), (50, "")])
def test_a_disk_can_also_be_short_of_names(
    monkeypatch: pytest.MonkeyPatch, names_left: int, reason: str
) -> None:
    """Empty files take none of its room, and without a name nobody can save anything."""
    left = os.statvfs_result((4096, 4096, 100, 90, 90, 1000, names_left, names_left, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: left)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:  # /tmp may be in memory
        watch = DiskWatch(DiskReserve(1))
        watch.add("one", Path(directory), 0, lambda: [os.getpid()])
        watch.look(["one"])  # counts all that this process has written so far
        (Path(directory) / "large").write_bytes(b"x" * (9 << 20))
        ends = watch.look(["one"])
    assert [end.reason for end in ends] == ([reason] if reason else [])


def test_files_that_no_write_tells_of_are_found_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XFS counts none for a new name, so that empty files would not count at all."""
    watch = DiskWatch(NO_RESERVE)
    watch.add("s", tmp_path, 1 << 20, list)
    assert watch.look(("s",)) == []
    for number in range(300):
        (tmp_path / str(number)).touch()
    assert watch.look(("s",)) == []
    later = time.monotonic() + 31
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert watch.look(()) == [], "it does nothing"
    assert watch.look(("s",)) == [End("s", "workspace")]


def test_a_workspace_that_was_full_before_may_be_tidied_and_not_filled_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its session would end within a second of each start, before anything is deleted."""
    begun, looks = time.monotonic(), itertools.count(1)

    def look_later() -> list[End]:
        now = begun + 31 * next(looks)
        monkeypatch.setattr(time, "monotonic", lambda: now)
        return watch.look(("s",))

    watch = DiskWatch(NO_RESERVE)
    (tmp_path / "before").write_bytes(b"x" * (2 << 20))
    (tmp_path / "more").write_bytes(b"x" * (900 << 10))
    watch.add("s", tmp_path, 1 << 20, list)
    assert look_later() == []
    (tmp_path / "little").write_bytes(b"x" * (100 << 10))
    assert look_later() == []
    (tmp_path / "much").write_bytes(b"x" * (100 << 10))
    assert look_later() == [End("s", "workspace")]
    (tmp_path / "before").unlink()
    (tmp_path / "much").unlink()
    assert look_later() == []
    (tmp_path / "much").write_bytes(b"x" * (100 << 10))
    assert look_later() == [End("s", "workspace")], "the limit counts again"
