"""Servers that tests start as processes of their own and end by their pid."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

_LINK = re.compile(r"http://127\.0\.0\.1:\d+/open\?code=[\w-]+")


@contextlib.contextmanager
def hang_up(how: signal.Handlers) -> Iterator[None]:
    """Have SIGHUP as a terminal (SIG_DFL) or nohup (SIG_IGN) gives it, and give it to children."""
    before = signal.signal(signal.SIGHUP, how)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


class ServerFailed(AssertionError):
    """A server that a test needs ended or never answered; carries the end of its log."""


class ServerProcess:
    """One server in a process group of its own, its output in a file."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._bereaved: list[psutil.Process] = []
        self._is_over = False

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or none while it runs."""
        return self._process.poll() if self._process else None

    def launch(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start the command; its output is appended to the log."""
        self._is_over = False
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Return once ``ready()`` holds; raise with the log when it cannot any more."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.returncode is not None:
                raise ServerFailed(f"{self.name} exited with {self.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} not ready after {seconds} s:\n{self.tail()}")
            time.sleep(0.03)

    def wait(self, seconds: float = 30) -> int:
        """Wait for the server to end by itself and return its exit status."""
        assert self._process is not None
        return self._process.wait(timeout=seconds)

    def stop(self, seconds: float = 45) -> int:
        """Send SIGTERM, after a while SIGKILL; return the exit status."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._end_bereaved()
        if not self._is_over:  # else another process may have its number by now
            self._end_group(process.pid)
        self._is_over = True
        return process.returncode

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL); its children live on until :meth:`stop`."""
        if self._process is not None and self._process.poll() is None:
            self._bereaved += psutil.Process(self._process.pid).children(recursive=True)
            self._process.kill()
            self._process.wait(timeout=10)

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])

    def log_text(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def _end_bereaved(self) -> None:
        """End processes that a killed server left, unless the next one did."""
        for process in self._bereaved:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, stubborn = psutil.wait_procs(self._bereaved, timeout=10)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._bereaved.clear()

    @staticmethod
    def _end_group(leader: int) -> None:
        """End the rest of the server's process group."""
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


class StartedServer(ServerProcess, ABC):
    """A server process with its command; it runs as long as its context."""

    @abstractmethod
    def start(self) -> None:
        """Start it, also again, and wait until it answers."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


class OpenedByLink(StartedServer):
    """A server for one person, who opens it by the one-time link that it prints."""

    def __init__(self, name: str, log: Path) -> None:
        super().__init__(name, log)
        self.port = free_port()

    @property
    def url(self) -> str:
        """Where it answers, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        """Return the newest one-time link printed on the terminal, once there is one."""
        self.wait_until(lambda: bool(_LINK.findall(self.log_text())), 60)
        return str(_LINK.findall(self.log_text())[-1])

    def healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False


def free_port() -> int:
    """Return a loopback port that is free, and that nobody else is given before it is used.

    The kernel chooses higher ones for connections and for servers that leave it the choice, and
    each worker of the tests has a range of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for number in itertools.islice(_numbers, _PORTS):
        port = 12_000 + _PORTS * (worker % 8) + number % _PORTS
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port of this worker's is free")


_PORTS = 2_500
_numbers = itertools.count(secrets.randbelow(_PORTS))
"""Of ports, from one by chance, since another run of the tests may be under way."""


def accepts(port: int) -> bool:
    """Return whether a loopback port accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
