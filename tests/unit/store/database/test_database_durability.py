"""Writes that wait for the disk, and writes that do not (SQLite)."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from sqlalchemy import Engine

from mograder.store.database.database import writing
from mograder.store.hub.hub_state import HubState
from tests.support.course import REPOSITORY

_FULL, _NORMAL = 2, 1  # as SQLite numbers them
_WRITER = """
import os, signal, sys
from datetime import UTC, datetime
from mograder.store.database.database import open_engine
from mograder.store.hub.hub_state import HubState, SessionRow, SessionState
state = HubState(open_engine(sys.argv[1]))
now = datetime.now(UTC)
starting = SessionState.STARTING
row = SessionRow("one", "alice", "A1", "edit", starting, "", "v1", "env", now)
state.add_session(row)
state.session_runs("one", "s")
os.kill(os.getpid(), signal.SIGKILL)
"""


def _mode(engine: Engine, *, fleeting: bool) -> int:
    with writing(engine, fleeting=fleeting) as connection:
        mode: int = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
        return mode


@pytest.mark.usefixtures("real_fsync")
def test_the_disk_is_waited_for_unless_it_is_said_that_it_need_not_be(engine: Engine) -> None:
    """Also where one connection does both, one after the other."""
    said = [_mode(engine, fleeting=fleeting) for fleeting in (False, True, True, False, True)]
    assert said == [_FULL, _NORMAL, _NORMAL, _FULL, _NORMAL]


@pytest.mark.full
def test_a_killed_hub_loses_nothing_that_is_fleeting(engine: Engine) -> None:
    command = [sys.executable, "-c", _WRITER, str(engine.url)]
    done = subprocess.run(command, cwd=REPOSITORY / "src", check=False)
    assert done.returncode == -signal.SIGKILL
    (row,) = HubState(engine).sessions()
    assert (row.session_id, row.state, row.socket) == ("one", "running", "s")


def test_writers_take_turns(engine: Engine) -> None:
    """Within one program, where SQLite's own way would be to look again and again."""
    wrote: list[str] = []
    begun = threading.Event()

    def other() -> None:
        begun.set()
        with writing(engine, fleeting=True):
            wrote.append("second")

    thread = threading.Thread(target=other)
    with writing(engine):
        thread.start()
        assert begun.wait(10)
        wrote.append("first")
    thread.join(10)
    assert wrote == ["first", "second"]
