"""Which of several hubs is at work: the lock on PostgreSQL, its end, and its epochs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from sqlalchemy import Engine, text

from mograder.core.errors import Busy, InvalidInput, MograderError
from mograder.store.database.database import open_engine, writing
from mograder.store.database.upgrades import upgrade
from mograder.store.hub import active_hub
from mograder.store.hub.active_hub import RELEASE_SECONDS, HubLock, Hubs, may_be_several
from mograder.store.hub.hub_state import HubState
from tests.support.postgres import PostgresServer


@pytest.fixture
def server_engine(postgres: PostgresServer) -> Iterator[Engine]:
    """A database on PostgreSQL, with its tables."""
    engine = open_engine(postgres.new_database())
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def locks(server_engine: Engine) -> Iterator[Callable[[], HubLock]]:
    """Makes the locks of hubs on one database, which end no process."""
    made: list[HubLock] = []

    def make() -> HubLock:
        lock = HubLock(server_engine, Lost())
        made.append(lock)
        return lock

    yield make
    for lock in made:
        lock.close()


class Lost:
    """What a hub does that has lost its lock; ``reason`` is set then."""

    def __init__(self) -> None:
        self.reason = ""
        self.told = threading.Event()

    def __call__(self, reason: str) -> None:
        self.reason = reason
        self.told.set()


def lost_by(lock: HubLock) -> Lost:
    assert isinstance(lock._on_lost, Lost)
    return lock._on_lost


def is_confirmed(lock: HubLock) -> bool:
    return lock.confirmed


def taken(lock: HubLock, seconds: float) -> bool:
    """Try for some seconds to take a lock."""
    deadline = time.monotonic() + seconds
    while not lock.take():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


# ---- epochs, on each engine ----


def test_each_epoch_is_higher_than_all_before(engine: Engine) -> None:
    now = int(time.time())
    first = Hubs(engine).begin_epoch("one")
    assert first >= now - 60
    assert Hubs(engine).begin_epoch("two") > first
    assert Hubs(engine).place() == "two"


def test_an_epoch_is_higher_also_after_an_older_backup_was_put_back(engine: Engine) -> None:
    made = Hubs(engine)
    before = made.begin_epoch("one")
    with writing(engine) as connection:
        connection.execute(text("UPDATE active_hub SET epoch = 5"))
    time.sleep(1.1)
    assert made.begin_epoch("one") > before


def test_on_a_database_without_tables_no_hub_was_at_work(url: str) -> None:
    new = open_engine(url)
    try:
        assert Hubs(new).place() == ""
    finally:
        new.dispose()


def test_only_a_server_serves_several() -> None:
    assert may_be_several("postgresql+psycopg://me@db/course")
    assert not may_be_several("sqlite:////srv/course/.mograder/hub.db")


# ---- the lock ----


@pytest.mark.full
def test_one_hub_has_the_lock_until_it_closes(locks: Callable[[], HubLock]) -> None:
    one, other = locks(), locks()
    assert one.take()
    assert is_confirmed(one)
    assert not other.take()
    assert not is_confirmed(other)
    epoch = one.begin_epoch("one")
    one.close()
    assert not is_confirmed(one)
    assert taken(other, RELEASE_SECONDS - 1)
    assert other.begin_epoch("other") > epoch
    assert not lost_by(one).told.is_set()


@pytest.mark.full
def test_a_lock_whose_connection_is_ended_is_lost_at_once(
    locks: Callable[[], HubLock], postgres: PostgresServer
) -> None:
    one, other = locks(), locks()
    assert one.take()
    postgres.disconnect_everybody()
    assert lost_by(one).told.wait(5)
    assert not is_confirmed(one)
    with pytest.raises(MograderError):
        one.begin_epoch("one")
    assert taken(other, RELEASE_SECONDS - 1)


@pytest.mark.full
def test_a_hub_of_which_nothing_is_heard_loses_the_lock_after_ten_seconds(
    locks: Callable[[], HubLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active_hub, "_CHECK_SECONDS", 3600.0)  # as if it were stopped
    monkeypatch.setattr(active_hub, "_LOOK_SECONDS", 3600.0)
    hanging = locks()
    since = time.monotonic()  # before the server counts
    assert hanging.take()
    time.sleep(0.5)
    monkeypatch.undo()
    other = locks()
    assert taken(other, RELEASE_SECONDS + 10)
    assert time.monotonic() - since >= RELEASE_SECONDS - 2
    assert not is_confirmed(hanging), "it serves nothing when it goes on"


@pytest.mark.full
def test_a_hub_that_is_not_certain_of_its_lock_commits_nothing(
    server_engine: Engine, locks: Callable[[], HubLock], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was stopped between two looks at the lock, and goes on where it was."""
    assert locks().take()
    state = HubState(server_engine)
    assert state.bump_epoch("ann") == 1
    monkeypatch.setattr(active_hub, "CONFIRM_SECONDS", 0.0)  # as if it had been stopped for long
    with pytest.raises(Busy):
        state.bump_epoch("ann")
    assert state.epoch("ann") == 1


@contextmanager
def pooler(server: str) -> Iterator[int]:
    """A program between hub and server that names another process than the server's, as poolers do.

    It replaces the number in the message BackendKeyData (``K``, length 12).
    """

    def carry(source: socket.socket, target: socket.socket, *, replace: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                place = data.find(b"K\x00\x00\x00\x0c") if replace else -1
                if place >= 0:
                    data = data[: place + 5] + b"\x00\x00\x00\x07" + data[place + 9 :]
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            backend = socket.socket(socket.AF_UNIX)
            backend.connect(server)
            opened.extend((client, backend))
            for pair, replace in (((client, backend), False), ((backend, client), True)):
                work = threading.Thread(
                    target=carry, args=pair, kwargs={"replace": replace}, daemon=True
                )
                work.start()

    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
    for each in opened:
        each.close()


@pytest.mark.full
def test_a_pooler_of_connections_is_refused(postgres: PostgresServer) -> None:
    database = postgres.new_database().partition("?")[0].rpartition("/")[2]
    with pooler(f"{postgres.sockets}/.s.PGSQL.5432") as port:
        engine = open_engine(f"postgresql://{postgres.user}@127.0.0.1:{port}/{database}")
        lock = HubLock(engine, Lost())
        with pytest.raises(InvalidInput, match="pooler"):
            lock.take()
        lock.close()
        engine.dispose()


@pytest.mark.full
def test_a_server_that_cannot_be_reached_is_no_free_lock() -> None:
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")
    lock = HubLock(engine, Lost())
    with pytest.raises(Busy):
        lock.take()
    lock.close()
    engine.dispose()
