"""Changes the hub's database again and again in a child whose disk ends at a certain byte.

Run as ``python -m tests.unit.store.sql_points PLACE``; prints what was found as JSON. SQLite writes
from C, where no file layer of ours is; but a limit on the size of files makes the kernel kill the
child at the very write that crosses it, or refuse that write, as its signal is set.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mograder.core.errors import Busy
from mograder.store.database.database import open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.hub.hub_state import HubState

_REFUSED, _BROKEN = 3, 4
_STEP = 2048
"""Half a page: the log grows by a page and a few bytes at each write."""

_STEPS = 16


def main(place: Path) -> None:
    """Try each size of the disk, once for each way in which the error is reported."""
    base = place / "base"
    base.mkdir(parents=True)
    _in_child(partial(_begin, base))
    size = (base / "hub.db-wal").stat().st_size
    found = {}
    for fault, told_by in (("killed", signal.SIG_DFL), ("full", signal.SIG_IGN)):
        seen: Counter[str] = Counter()
        for step in range(-1, _STEPS):
            home = place / f"{fault}{step}"
            shutil.copytree(base, home)
            ended = _in_child(partial(_revoke, home, size + step * _STEP, told_by))
            seen[f"{ended}: {_epoch(home)}"] += 1
            shutil.rmtree(home)
        found[fault] = dict(seen)
    print(json.dumps(found))


def _in_child(do: Callable[[], None]) -> int:
    """Do something in a child; its status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            do()
        except BaseException:  # noqa: BLE001 - a forked child goes nowhere else
            traceback.print_exc()
            os._exit(_BROKEN)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _begin(home: Path) -> None:
    """Leave a database as a killed hub does, with its log beside it: alice was revoked once."""
    engine = open_engine(_url(home))
    upgrade(engine)
    HubState(engine).bump_epoch("alice")
    os.kill(os.getpid(), signal.SIGKILL)


def _revoke(home: Path, limit: int, told_by: signal.Handlers) -> None:
    # As in a hub, which is never without one: the log stays, and grows at its end.
    other = sqlite3.connect(home / "hub.db")
    other.execute("SELECT 1 FROM users").fetchall()
    state = HubState(open_engine(_url(home)))
    assert state.epoch("alice") == 1
    signal.signal(signal.SIGXFSZ, told_by)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        state.bump_epoch("alice")
    except Busy:
        os._exit(_REFUSED)


def _epoch(home: Path) -> int:
    """Return the state that the next hub finds."""
    engine = open_engine(_url(home))
    upgrade(engine)
    found = HubState(engine).epoch("alice")
    engine.dispose()
    return found


def _url(home: Path) -> str:
    return f"sqlite:///{home / 'hub.db'}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
