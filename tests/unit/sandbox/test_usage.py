"""Reading ``/proc``: lines as kernels write them, and processes of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mograder.core.reserve import NO_RESERVE
from mograder.sandbox.machine import Machine, parse_meminfo, parse_tasks
from mograder.sandbox.processes import (
    PAGE,
    Process,
    nameless_files,
    parse_page_tables,
    parse_queues,
    parse_rollup,
    parse_sockets,
    parse_stat,
    parse_written,
)
from mograder.sandbox.quota import DiskWatch, tree_size

LINE = (
    b"42 (evil) R 1 (2) S 7 42 9 0 -1 4194560 11 12 13 14 100 20 3 4 20 0 5 0 1 2 6 " + b"0 " * 28
)
NO_LIMIT = 1 << 40


def test_a_name_that_looks_like_fields_deceives_nobody() -> None:
    stat = parse_stat(LINE)
    assert (stat.parent, stat.session, stat.faults) == (7, 9, 11)
    assert (stat.ticks, stat.threads, stat.resident) == (127, 5, 6 * PAGE)


@pytest.mark.parametrize("line", [b"", b"42 (sh", b"42 (sh) R 1 2"])
def test_half_a_line_is_an_error(line: bytes) -> None:
    with pytest.raises(ValueError):
        parse_stat(line)


def test_shares_and_totals_are_read() -> None:
    share = parse_rollup(b"a-b ---p 0 [rollup]\nRss: 9 kB\nPss:  7 kB\nPss_Shmem:   2 kB\n")
    assert (share.private, share.shared) == (5 << 10, 2 << 10)
    assert parse_page_tables(b"VmLib:\t 3 kB\nVmPTE:\t     420 kB\nVmSwap:\t 0 kB\n") == 420 << 10
    assert parse_page_tables(b"Name:\tVmPTE: 9 kB\n") == 0, "a name may look like anything"
    assert parse_sockets(b"sockets: used 128\nTCP: inuse 5 orphan 0\n") == 128
    assert parse_sockets(b"") == 0
    row = b"  0: 0100007F:1F90 0100007F:0050 01 00000010:00000100 00:00000000 0 1000 0 1\n"
    assert parse_queues(b"  sl  local_address rem_address\n" + 2 * row) == 2 * 0x110
    assert parse_written(b"rchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n") == 4096
    memory = parse_meminfo(b"MemTotal: 8 kB\nMemAvailable:   4 kB\nShmem: 1 kB\nHugePages_Total: 0")
    assert (memory.total, memory.available, memory.shared) == (8 << 10, 4 << 10, 1 << 10)
    assert parse_tasks(b"0.1 0.2 0.3 2/451 977\n") == 451


def test_the_machine_is_read() -> None:
    with Machine() as machine:
        assert 0 < machine.memory().available <= machine.memory().total
        assert 0 <= machine.busy() <= 1
        assert machine.tasks() > 1


@pytest.mark.full
def test_a_process_is_followed_to_its_end() -> None:
    code = "print('up', flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        process = Process(child.pid)
        assert process.doubt == process.stat.resident
        process.measure()
        assert process.doubt < process.stat.resident
        assert 0 < process.private <= process.stat.resident
        child.kill()
        child.wait()
        assert not process.read()
        process.close()


@pytest.mark.full
def test_pages_that_were_copied_are_in_doubt() -> None:
    """A fork that writes to what it shares does not grow, and takes memory all the same."""
    code = (
        "import os\npages = bytearray(32 << 20)\n"
        "for at in range(0, len(pages), 4096): pages[at] = 1\n"
        "if os.fork(): os.wait(); os._exit(0)\n"
        "print(os.getpid(), flush=True); input()\n"
        "for at in range(0, len(pages), 4096): pages[at] = 2\n"
        "print('copied', flush=True); input()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        process = Process(int(run.stdout.readline()))
        process.measure()
        before = process.private
        print(file=run.stdin, flush=True)
        assert run.stdout.readline() == "copied\n"
        assert process.read()
        assert process.doubt > 8 << 20
        process.measure()
        assert process.private - before > 8 << 20
        process.close()
        print(file=run.stdin, flush=True)


def test_open_files_without_a_name_are_found(tmp_path: Path) -> None:
    with (tmp_path / "ghost").open("wb") as ghost, (tmp_path / "named").open("wb") as named:
        ghost.write(b"x" * 100_000)
        named.write(b"x" * 100_000)
        ghost.flush()
        named.flush()
        device = tmp_path.stat().st_dev
        before = nameless_files([os.getpid()], device, 4096)
        (tmp_path / "ghost").unlink()
        memory = os.memfd_create("hidden")
        os.write(memory, b"x" * 50_000)
        after = nameless_files([os.getpid()], device, 4096)
        os.close(memory)
    assert after.disk - before.disk >= 100_000
    assert after.memory - before.memory >= 50_000


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


def test_a_workspace_that_does_not_move_is_measured_once(tmp_path: Path) -> None:
    watch = DiskWatch(NO_RESERVE, lambda _: [])
    watch.add("s", tmp_path, 1 << 20)
    (tmp_path / "before").write_bytes(b"x" * (100 << 10))
    assert watch.look(()) == []
    assert watch.size("s") >= 100 << 10
    (tmp_path / "after").write_bytes(b"x" * (2 << 20))
    assert watch.look(()) == []
    watch.remove("s")
    assert watch.size("s") == 0
