"""A real PostgreSQL server for tests: temporary, on a Unix socket, removed after the test run.

PostgreSQL refuses to run as root, so root's tests run it as the account of the Debian package,
or as nobody. The server is killed when the process that started it ends.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

PASSWORD = "a password of the tests"
_SETTINGS = ("listen_addresses=", "fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server; ask it for databases."""

    sockets: Path
    user: str
    address: str = ""
    """Where it also listens, such as ``192.0.2.1:5432``; the password there is :data:`PASSWORD`."""
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{next(self._numbers)}"
        with self._connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        port = f"&port={self.address.rpartition(':')[2]}" if self.address else ""
        return f"postgresql://{self.user}@/{name}?host={self.sockets}{port}"

    def over_tcp(self, database: str) -> str:
        """Return the URL without a password of a database, over its address."""
        return f"postgresql://{self.user}@{self.address}/{_name_of(database)}"

    def disconnect_everybody(self) -> None:
        """End all connections, as a restart of the server does."""
        with self._connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )

    def backends(self, database: str) -> list[psutil.Process]:
        """The server's processes for the connections to a database, given by its URL.

        Those of another server may have a database of the same name.
        """
        with self._connect() as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s", [_name_of(database)]
            )
            return [psutil.Process(pid) for (pid,) in found if isinstance(pid, int)]

    def set_password(self) -> None:
        """Give the server's user :data:`PASSWORD`."""
        change = sql.SQL("ALTER ROLE {} PASSWORD {}")
        with self._connect() as connection:
            connection.execute(change.format(sql.Identifier(self.user), sql.Literal(PASSWORD)))

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.sockets),
            port=self.address.rpartition(":")[2] or None,
            user=self.user,
            dbname="postgres",
            autocommit=True,
        )


def _name_of(database: str) -> str:
    return database.partition("?")[0].rpartition("/")[2]


def find_binaries() -> Path | None:
    """Where PostgreSQL's programs are: the newest Debian package, else the PATH."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name)
    )
    for directory in reversed(installed):
        if (directory / "initdb").exists() and (directory / "postgres").exists():
            return directory
    found = shutil.which("initdb")
    return Path(found).parent if found else None


@contextlib.contextmanager
def run_postgres(binaries: Path, address: str = "") -> Iterator[PostgresServer]:
    """Start a server in a directory of its own; it is stopped and removed at the end.

    With an address such as ``192.0.2.1:5432`` it is reached there by password, too.
    """
    # Short, since a Unix socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="mograder-pg-", dir="/tmp"))
    account = _account()
    os.chown(home, account.pw_uid, account.pw_gid)
    data = home / "data"
    try:
        made = _start(
            [
                str(binaries / "initdb"),
                f"--pgdata={data}",
                f"--username={account.pw_name}",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ],
            account,
            home,
        )
        output, _ = made.communicate(timeout=60)
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{output}")
        chosen = list(_SETTINGS)
        if address:
            host, _, port = address.rpartition(":")
            chosen += [f"listen_addresses={host}", f"port={port}"]
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet scram-sha-256\n")
        settings = [argument for setting in chosen for argument in ("-c", setting)]
        command = [str(binaries / "postgres"), "-D", str(data), "-k", str(home), *settings]
        with _serving(_start(command, account, home)):
            server = PostgresServer(home, account.pw_name, address)
            if address:
                server.set_password()
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _serving(server: subprocess.Popen[str]) -> Iterator[None]:
    """Wait until the server reports that it is ready; stop it at the end."""
    log: collections.deque[str] = collections.deque(maxlen=200)
    ready = threading.Event()

    def read() -> None:
        for line in server.stdout or ():
            log.append(line)
            if "ready to accept connections" in line:
                ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not ready.wait(timeout=30):
            raise RuntimeError("PostgreSQL did not start:\n" + "".join(log))
        yield
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        reader.join(timeout=10)
        if server.stdout is not None:
            server.stdout.close()


def _start(command: list[str], account: pwd.struct_passwd, home: Path) -> subprocess.Popen[str]:
    become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return subprocess.Popen(
        # A test run that is killed takes its server along.
        ["setpriv", "--pdeathsig=INT", *(become if os.geteuid() == 0 else []), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=home,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "Europe/London"},
    )


def _account() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("no unprivileged account to run PostgreSQL as")
