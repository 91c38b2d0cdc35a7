"""Typical work of scientific libraries and students' programs, run inside a real session.

Imports nothing else of the tests: it is copied into the workspace, and pools import it again.
``run(group)`` returns the tracebacks of what failed, by check.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import mmap
import multiprocessing
import os
import queue
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing import shared_memory
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

PATIENCE = 60


def run(group: str) -> dict[str, str]:
    """Do every check of a group; an empty answer is a good one."""
    failures = {}
    for check in GROUPS[group]:
        try:
            check()
        except Exception:  # noqa: BLE001 - a loop: each failure is told
            failures[check.__name__] = traceback.format_exc()[-1500:]
    return failures


# --- numbers ---------------------------------------------------------------------------------


def linear_algebra_in_many_threads() -> None:
    import numpy as np

    def solve(seed: int) -> float:
        generator = np.random.default_rng(seed)
        matrix = generator.normal(size=(200, 200)) + 200 * np.eye(200)
        return float(np.abs(matrix @ np.linalg.inv(matrix) - np.eye(200)).max())

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert max(pool.map(solve, range(32))) < 1e-9


def a_frame_through_csv_and_sqlite() -> None:
    import pandas as pd  # type: ignore[import-untyped]  # the session's, not ours

    frame = pd.DataFrame({"group": list("aabbc") * 100, "value": range(500)})
    with tempfile.TemporaryDirectory() as place:
        frame.to_csv(f"{place}/frame.csv", index=False)
        read = pd.read_csv(f"{place}/frame.csv")
        with contextlib.closing(sqlite3.connect(f"{place}/frame.db")) as database:
            read.to_sql("frame", database, index=False)
            query = "SELECT * FROM frame WHERE value < 250"
            kept = pd.read_sql(query, database)
    sums = kept.groupby("group")["value"].sum()
    expected = frame[frame.value < 250].groupby("group")["value"].sum()
    assert sums.to_dict() == expected.to_dict()


def a_plot_in_each_format() -> None:
    import matplotlib.pyplot as plt  # type: ignore[import-not-found]  # the session's

    figure, axes = plt.subplots()
    axes.plot([1, 4, 9], label=r"$x^2 + \alpha$")
    axes.set_title("Grüße ∑")
    axes.legend()
    for name, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        figure.savefig(f"plot.{name}")
        assert Path(f"plot.{name}").read_bytes().startswith(magic)
    plt.close(figure)


def a_large_array_that_is_hardly_touched() -> None:
    import numpy as np

    array = np.zeros(1 << 27)  # a gigabyte: a process may have as much data as a session memory
    array[:: 1 << 22] = 1
    assert array[:: 1 << 22].sum() == 32
    with mmap.mmap(-1, 4 << 30) as memory:
        memory[3 << 30] = 7
        assert memory[3 << 30] == 7


def an_array_in_a_file() -> None:
    import numpy as np

    shape = (1 << 20,)
    written = np.memmap("array.bin", dtype="f8", mode="w+", shape=shape)
    written[-1] = 3.5
    written.flush()
    assert np.memmap("array.bin", dtype="f8", mode="r", shape=shape)[-1] == 3.5
    Path("array.bin").unlink()


# --- libraries that bring threads, allocators and files of their own -----------------------------


def marimo_knows_its_version() -> None:
    import marimo

    assert marimo.__version__


def polars_groups_a_frame_that_it_read() -> None:
    import polars as pl

    frame = pl.DataFrame({"group": list("aabbc") * 1000, "value": range(5000)})
    frame.write_parquet("frame.parquet")
    lazy = pl.scan_parquet("frame.parquet").filter(pl.col("value") < 2500)
    sums = lazy.group_by("group").agg(pl.col("value").sum()).sort("group").collect()
    assert sums["value"].sum() == sum(range(2500))


def scikit_learn_fits_in_several_processes() -> None:
    from sklearn.datasets import make_classification  # type: ignore[import-not-found]
    from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-not-found]
    from sklearn.model_selection import cross_val_score  # type: ignore[import-not-found]

    features, labels = make_classification(400, random_state=0)
    model = RandomForestClassifier(20, random_state=0, n_jobs=2)
    assert cross_val_score(model, features, labels, cv=3, n_jobs=2).mean() > 0.7


def duckdb_queries_a_file() -> None:
    import duckdb  # type: ignore[import-not-found]  # the session's

    with duckdb.connect("work.duckdb") as database:
        database.execute("CREATE OR REPLACE TABLE t AS SELECT range AS n FROM range(100000)")
        assert database.execute("SELECT sum(n) FROM t").fetchone() == (4999950000,)


def pyarrow_maps_a_file() -> None:
    import pyarrow as pa  # type: ignore[import-not-found]  # the session's
    import pyarrow.compute as pc  # type: ignore[import-not-found]
    import pyarrow.parquet as pq  # type: ignore[import-not-found]

    table = pa.table({"n": list(range(1000))})
    pq.write_table(table, "table.parquet")
    read = pq.read_table("table.parquet", memory_map=True)
    assert pc.sum(read["n"]).as_py() == 499500


def torch_learns_a_line() -> None:
    import torch  # type: ignore[import-not-found]  # the session's

    torch.manual_seed(0)
    torch.set_num_threads(2)
    xs = torch.linspace(-1, 1, 256).unsqueeze(1)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        loss = ((model(xs) - (3 * xs + 1)) ** 2).mean()
        loss.backward()
        optimizer.step()
    assert abs(model.weight.item() - 3) < 0.01
    torch.save(model.state_dict(), "model.pt")
    assert torch.load("model.pt")["bias"].item() == model.bias.item()
    tensors = torch.utils.data.TensorDataset(xs)
    batches = torch.utils.data.DataLoader(tensors, batch_size=64, num_workers=2)
    assert sum(len(batch[0]) for batch in batches) == 256


# --- threads ---------------------------------------------------------------------------------


def a_pool_of_native_threads_as_jax_has_one() -> None:
    """Large stacks, names, an affinity each, work outside the interpreter's lock."""
    import numpy as np

    libc = ctypes.CDLL(None, use_errno=True)
    processors = sorted(os.sched_getaffinity(0))
    done: queue.Queue[float] = queue.Queue()

    def work(number: int) -> None:
        libc.prctl(15, f"tf_XLAEigen/{number}".encode(), 0, 0, 0)  # PR_SET_NAME
        os.sched_setaffinity(0, {processors[number % len(processors)]})
        block = np.full((300, 300), 1.0 / 300)
        done.put(float((block @ block).sum()))

    before = threading.stack_size(16 << 20)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    finally:
        threading.stack_size(before)
    assert done.qsize() == 32
    assert all(abs(done.get() - 300) < 1e-6 for _ in range(32))


def huge_pages_may_be_asked_for() -> None:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    with mmap.mmap(-1, 64 << 20, flags=private) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        memory[0] = 1
        memory.madvise(mmap.MADV_DONTNEED)
        assert memory[0] == 0


def a_pool_of_threads() -> None:
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        barrier = threading.Barrier(32)
        assert sorted(pool.map(lambda n: (barrier.wait(PATIENCE), n)[1], range(32))) == [*range(32)]


def a_timer_thread() -> None:
    rung = threading.Event()
    threading.Timer(0.01, rung.set).start()
    assert rung.wait(PATIENCE)


# --- processes -------------------------------------------------------------------------------


def square(number: int) -> int:
    """For workers, which import it by name."""
    return number * number


def add_to_shared(name: str, position: int) -> None:
    """Write one byte of a shared block."""
    block = shared_memory.SharedMemory(name)
    assert block.buf is not None
    block.buf[position] = position
    block.close()


def count_up(counter: Any, lock: Any, times: int) -> None:
    """Count under a lock that processes share."""
    for _ in range(times):
        with lock:
            counter.value += 1


def _pools(method: str) -> None:
    context: BaseContext = multiprocessing.get_context(method)
    with context.Pool(3) as pool:
        assert pool.map(square, range(20)) == [n * n for n in range(20)]
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        assert list(executor.map(square, range(5))) == [0, 1, 4, 9, 16]


def a_pool_of_spawned_processes() -> None:
    _pools("spawn")


def a_pool_of_forked_processes() -> None:
    _pools("fork")


def a_pool_of_a_fork_server() -> None:
    _pools("forkserver")


def shared_memory_between_processes() -> None:
    context = multiprocessing.get_context("spawn")
    block = shared_memory.SharedMemory(create=True, size=1 << 20)
    try:
        workers = [context.Process(target=add_to_shared, args=(block.name, n)) for n in (1, 2)]
        _finish(workers)
        assert block.buf is not None
        assert bytes(block.buf[:3]) == b"\0\1\2"
    finally:
        block.close()
        block.unlink()


def semaphores_between_processes() -> None:
    context = multiprocessing.get_context("fork")
    counter, lock = context.Value("i", 0, lock=False), context.Lock()
    _finish([context.Process(target=count_up, args=(counter, lock, 200)) for _ in range(3)])
    assert counter.value == 600


def a_manager_of_shared_objects() -> None:
    with multiprocessing.get_context("spawn").Manager() as manager:
        shared = manager.dict()
        shared["answer"] = 42
        assert dict(shared) == {"answer": 42}


def _finish(workers: list[Any]) -> None:
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


def forked_processes_end_by_a_signal() -> None:
    """A Python handler would miss a signal that arrives just before a wait."""
    assert _in_a_fork(_handler_is_the_usual) == 0
    mine = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert _in_a_fork(_handler_is_the_usual) == 1, "a student's own handler is inherited"
    finally:
        signal.signal(signal.SIGTERM, mine)
    assert callable(signal.getsignal(signal.SIGTERM)), "the kernel keeps marimo's"


def _handler_is_the_usual() -> bool:
    return signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def _in_a_fork(question: Callable[[], bool]) -> int:
    """Return 0 where the answer is yes in a process that was forked."""
    pid = os.fork()
    if not pid:
        os._exit(0 if question() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def a_program_with_pipes() -> None:
    script = "import sys; print(sys.stdin.read().upper(), end='')"
    done = subprocess.run(
        [sys.executable, "-c", script], input="hello", capture_output=True, text=True, check=True
    )
    assert done.stdout == "HELLO"


def programs_of_an_event_loop() -> None:
    async def both() -> tuple[bytes, bytes]:
        first, second = await asyncio.gather(one("a"), one("b"))
        return first, second

    async def one(word: str) -> bytes:
        child = await asyncio.create_subprocess_exec("echo", word, stdout=subprocess.PIPE)
        return (await child.communicate())[0]

    # The kernel's own loop runs in this thread.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, both()).result(PATIENCE) == (b"a\n", b"b\n")


# --- the rest --------------------------------------------------------------------------------


def a_database_with_a_write_ahead_log() -> None:
    with contextlib.closing(sqlite3.connect("work.db")) as database:
        assert database.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        database.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(100)])
        database.commit()
        with contextlib.closing(sqlite3.connect("work.db")) as reader:
            assert reader.execute("SELECT sum(n) FROM t").fetchone()[0] >= 4950


def temporary_files_of_all_kinds() -> None:
    with tempfile.NamedTemporaryFile() as named, tempfile.TemporaryFile() as unnamed:
        named.write(b"x" * 100_000)
        unnamed.write(b"y")
        assert Path(named.name).exists()
    with tempfile.TemporaryDirectory() as place:
        os.mkfifo(f"{place}/pipe")
        Path(f"{place}/link").symlink_to("pipe")
        os.link(__file__, "probe-link.py")
        Path("probe-link.py").unlink()


def alarms_and_handlers() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        deadline = time.monotonic() + PATIENCE
        while not rung and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert rung == [signal.SIGALRM]


def a_child_is_watched_and_ended() -> None:
    child = subprocess.Popen(["sleep", "600"])
    watched = os.pidfd_open(child.pid)
    signal.pidfd_send_signal(watched, signal.SIGTERM)
    assert child.wait(PATIENCE) == -signal.SIGTERM
    os.close(watched)


def the_loopback_serves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        other, _ = server.accept()
        with client, other:
            client.sendall(b"hello")
            assert other.recv(10) == b"hello"
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"


def resources_are_told_and_lowered() -> None:
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0
    limit = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (32, 32)); open('/dev/null')"
    subprocess.run([sys.executable, "-c", limit], check=True)
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


LIBRARIES = (
    marimo_knows_its_version,
    polars_groups_a_frame_that_it_read,
    scikit_learn_fits_in_several_processes,
    duckdb_queries_a_file,
    pyarrow_maps_a_file,
    torch_learns_a_line,
)

GROUPS: dict[str, tuple[Callable[[], None], ...]] = {
    "libraries": LIBRARIES,
    "numbers": (
        linear_algebra_in_many_threads,
        a_frame_through_csv_and_sqlite,
        a_plot_in_each_format,
        a_large_array_that_is_hardly_touched,
        an_array_in_a_file,
    ),
    "threads": (
        a_pool_of_native_threads_as_jax_has_one,
        huge_pages_may_be_asked_for,
        a_pool_of_threads,
        a_timer_thread,
    ),
    "processes": (
        a_pool_of_spawned_processes,
        a_pool_of_forked_processes,
        forked_processes_end_by_a_signal,
        forked_processes_end_by_a_signal,
        a_pool_of_a_fork_server,
        shared_memory_between_processes,
        semaphores_between_processes,
        a_manager_of_shared_objects,
        a_program_with_pipes,
        programs_of_an_event_loop,
    ),
    "system": (
        a_database_with_a_write_ahead_log,
        temporary_files_of_all_kinds,
        alarms_and_handlers,
        a_child_is_watched_and_ended,
        the_loopback_serves,
        resources_are_told_and_lowered,
    ),
}
