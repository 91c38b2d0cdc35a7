"""Which hub of a course is at work: the lock, its epoch and its place.

On PostgreSQL several hubs may run, and the one that holds an advisory lock works; the others wait.
The lock belongs to one connection. PostgreSQL frees it when that connection ends, or when nothing
came over it for ten seconds; the hub that holds it ends after five seconds without an answer. So
no two hubs ever work at the same time. With SQLite there is one hub, by a lock on a file.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import BigInteger, Column, Connection, Engine, Integer, String, Table, inspect
from sqlalchemy import select as select_from
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mograder.core.clock import boot_time
from mograder.core.errors import Conflict, InvalidInput
from mograder.core.files import file_lock
from mograder.core.log import get_logger, log_before_exit
from mograder.store.database.database import (
    Tables,
    database_now,
    fence,
    lone_connection,
    reading,
    upsert,
    writing,
)
from mograder.store.database.database_errors import in_words
from mograder.store.hub.hub_tables import metadata

RELEASE_SECONDS = 10
"""After so many seconds of silence PostgreSQL ends the lock's connection."""
CONFIRM_SECONDS = 5.0
"""After so many seconds without an answer the hub that holds the lock ends."""
LOST_STATUS = 75
"""The exit status of a hub that lost the lock: it is to be started again, as a standby."""

_CHECK_SECONDS = 1.0
_LOOK_SECONDS = 0.2
_LOCK = 0x6D6F_6772_6875
"""The key of the advisory lock; :mod:`~mograder.store.database.upgrades` has another one."""
_NUMBER = 1
"""The number of the only row in ``active_hub``."""
_SETTINGS = (
    f"SET idle_session_timeout = '{RELEASE_SECONDS}s'",
    "SET tcp_keepalives_idle = 4",
    "SET tcp_keepalives_interval = 2",
    "SET tcp_keepalives_count = 3",
    f"SET tcp_user_timeout = '{RELEASE_SECONDS}s'",
)
_log = get_logger(__name__)

active_hub = Table(
    "active_hub",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
    Column("place", String(500), nullable=False),
)


def may_be_several(url: str) -> bool:
    """Return whether several hubs may run on this database: not on an SQLite file."""
    return not url.startswith("sqlite")


def lock_course(state_dir: Path) -> int:
    """Lock the course until the process ends; return the descriptor. Raises: Conflict."""
    descriptor = file_lock.open_lock(state_dir / "hub.lock")
    if not file_lock.acquire(descriptor):
        os.close(descriptor)
        raise Conflict(
            "Another hub is running on this course.",
            hint="Stop it first, or serve another course directory with -C.",
        )
    return descriptor


def demand_moved(engine: Engine, own: Path) -> None:
    """See that a hub does not begin on a new database beside the file that it had until now.

    ``own`` is the SQLite file of a course without ``[database] url``. Raises: :class:`Conflict`.
    """
    if own.exists() and engine.url.database != str(own) and not Hubs(engine).place():
        raise left_behind(own, engine.url.render_as_string())


def left_behind(own: Path, url: str) -> Conflict:
    """Return the refusal of a new database, given by its URL without a password."""
    if may_be_several(url):
        remedy = "Bring it over: stop the hub, then mograder hub move-database."
    else:
        remedy = f"Stop the hub, and move the file to where {url} is."
    return Conflict(
        f"The database of [database] url is new, and {own} holds what this hub has kept until "
        "now: without it, revoked tokens would count again, and all versions would be missing.",
        hint=f"{remedy} To begin anew, move {own.name} aside.",
    )


class HubLock:
    """The lock on PostgreSQL. Call :meth:`take` until it returns true, and :meth:`close` last.

    From then on two threads watch it: one asks the server each second, the other one ends this
    process at once if there is no answer for five seconds, even while the first one waits.
    Mutable state: the connection, and when the last question was sent that was answered.
    """

    def __init__(self, engine: Engine, on_lost: Callable[[str], None] | None = None) -> None:
        """``on_lost`` is called in a thread with the reason, by default :func:`end_process`."""
        self._engine = engine
        self._on_lost = on_lost or end_process
        self._connection: Connection | None = None
        self._pid = 0
        self._asked = 0.0
        self._held = False
        self._ends = threading.Event()
        self._turn = threading.Lock()  # of the connection
        self._waker, self._woken = socket.socketpair()
        self._threads: list[threading.Thread] = []

    @property
    def confirmed(self) -> bool:
        """Whether the lock is held, as of the last five seconds; no I/O."""
        return self._held and boot_time() - self._asked < CONFIRM_SECONDS

    def take(self) -> bool:
        """Try to take the lock; blocks. Return false while another hub has it.

        Raises: :class:`Busy` when the server does not answer, :class:`InvalidInput` when it cannot
        keep such a lock.
        """
        try:
            connection = self._connection or self._open()
            asked = boot_time()
            wanted = f"SELECT pg_try_advisory_lock({_LOCK})"
            self._held = bool(connection.exec_driver_sql(wanted).scalar_one())
        except DBAPIError as error:
            self._drop()
            raise in_words(error, None) from error
        if not self._held:
            return False
        self._asked = asked
        # A process that was stopped goes on in the midst of a write, before it looks at the lock.
        fence(self._engine, lambda: self.confirmed)
        for work in (self._watch, self._guard):
            thread = threading.Thread(target=work, name="hub lock", daemon=True)
            self._threads.append(thread)
            thread.start()
        return True

    def begin_epoch(self, place: str) -> int:
        """Begin an epoch on the lock's connection; blocks. Raises: Conflict if the lock is lost."""
        connection = self._connection
        try:
            if connection is not None:
                with self._turn:
                    return _begin_epoch(connection, place)
        except SQLAlchemyError as error:
            _log.warning("the epoch of this hub could not be begun: %s", error)
        raise Conflict("The lock of the hub at work is lost.", hint="Start the hub again.")

    def close(self) -> None:
        """Free the lock; blocks."""
        if self._ends.is_set():
            return
        self._ends.set()
        self._waker.send(b"x")
        for thread in self._threads:
            thread.join()
        self._drop()
        self._waker.close()
        self._woken.close()

    def _open(self) -> Connection:
        connection = lone_connection(self._engine)
        try:
            self._pid = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            driver = connection.connection.driver_connection
            if driver is None or driver.info.backend_pid != self._pid:
                raise InvalidInput(
                    "[database] url leads to a pooler of connections, such as PgBouncer, which "
                    "cannot keep the lock that lets only one hub work.",
                    hint="Give the address of PostgreSQL itself.",
                )
            try:
                for each in _SETTINGS:
                    connection.exec_driver_sql(each)
            except DBAPIError as error:
                raise InvalidInput(
                    f"PostgreSQL does not accept a setting of the hub's lock: {error.orig}.",
                    hint="Use PostgreSQL 14 or later.",
                ) from error
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _drop(self) -> None:
        connection, self._connection, self._held = self._connection, None, False
        if connection is not None:
            try:
                connection.close()
            except DBAPIError as error:
                _log.debug("closing the lock's connection failed: %s", error)

    def _watch(self) -> None:
        """Ask the server each second, and at once when the connection's end arrives."""
        connection = self._connection
        if connection is None:  # for the type checker
            raise AssertionError
        driver = connection.connection.driver_connection
        poll = select.poll()
        for each in (driver, self._woken):
            if each is not None:
                poll.register(each.fileno(), select.POLLIN)
        while not self._ends.is_set():
            asked = boot_time()
            try:
                with self._turn:
                    pid = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            except Exception as error:  # noqa: BLE001 - whatever it is, the lock is not certain
                self._lose(f"the connection that holds it broke: {error}")
                return
            if pid != self._pid:
                self._lose("another server answers on its connection")
                return
            self._asked = asked
            poll.poll(_CHECK_SECONDS * 1000)

    def _guard(self) -> None:
        while not self._ends.wait(_LOOK_SECONDS):
            silent = boot_time() - self._asked
            if silent >= CONFIRM_SECONDS:
                self._lose(f"the database has not answered for {silent:.1f} s")
                return

    def _lose(self, reason: str) -> None:
        self._held = False
        if not self._ends.is_set():
            self._on_lost(reason)


def end_process(reason: str) -> None:
    """End this process at once: another hub may work now."""
    log_before_exit(_log, "the lock of the hub at work is lost: %s. This process ends", reason)
    os._exit(LOST_STATUS)


def _begin_epoch(connection: Connection, place: str) -> int:
    wanted = select_from(active_hub.c.epoch).where(active_hub.c.number == _NUMBER)
    before = connection.execute(wanted).scalar_one_or_none() or 0
    epoch = max(before + 1, int(database_now(connection).timestamp()))
    row = {"number": _NUMBER, "epoch": epoch, "place": place}
    connection.execute(upsert(connection, active_hub, row), row)
    return epoch


class Hubs(Tables):
    def begin_epoch(self, place: str) -> int:
        """Note that a hub begins to work at ``place``; return its epoch, higher than all before.

        Supervisors refuse hubs with a lower epoch than they have seen. It is at least the present
        time in seconds, so that it is higher also after an older backup was put back. For the only
        hub on an SQLite file; elsewhere :class:`HubLock` does it.
        """
        with writing(self._engine) as connection:
            return _begin_epoch(connection, place)

    def place(self) -> str:
        """Return the place of the hub that began to work last, "" if there was none."""
        with reading(self._engine) as connection:
            if not inspect(connection).has_table(active_hub.name):
                return ""  # the first hub has the lock, and is about to make the tables
            return connection.execute(select_from(active_hub.c.place)).scalar_one_or_none() or ""
