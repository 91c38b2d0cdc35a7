"""A hub under a service manager: its socket, its credential, its watchdog (B12-B18).

The tests play systemd with its real interfaces; systemd itself does in ``make test-deploy``.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.support.hub import MOGRADER, outside, run_mograder, write_settings
from tests.support.identity import SECRET
from tests.support.shared_hub import SharedCaches

pytestmark = pytest.mark.full

_BORN = """
import os, sys
given = int(sys.argv[1])
os.dup2(given, 3)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""How systemd starts a program: its socket is descriptor 3, its pid in the environment."""


class Manager:
    """Plays systemd for one hub."""

    def __init__(self, place: Path, settings: Mapping[str, object]) -> None:
        self.place = place
        self.course = place / "c"
        self.course.mkdir()
        write_settings(self.course, settings)
        credentials = place / "credentials"
        credentials.mkdir()
        (credentials / "hub-secret").write_text(f"{SECRET}\n")
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(place / "notify"))
        self.said: queue.Queue[str] = queue.Queue()
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()
        self.journal = place / "journal"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: tuple[str, ...] = ("hub", "--headless")) -> None:
        """Start the unit, and wait until it reports that it is ready."""
        with self.journal.open("ab") as journal:
            status = os.fstat(journal.fileno())
            variables = {
                **outside(),
                "HOME": str(self.place),
                "MOGRADER_COURSE_DIR": str(self.course),
                "CREDENTIALS_DIRECTORY": str(self.place / "credentials"),
                "NOTIFY_SOCKET": str(self.place / "notify"),
                "WATCHDOG_USEC": "300000",
                "LISTEN_FDS": "1",
                "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
            }
            given = self.listener.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BORN, str(given), str(MOGRADER), *command],
                stdin=subprocess.DEVNULL,
                stdout=journal,
                stderr=journal,
                env=variables,
                cwd=self.course,
                pass_fds=(given,),
                start_new_session=True,
            )
        self.hear("READY=1")

    def hear(self, wanted: str) -> None:
        """Return once the service has said this."""
        while wanted not in self.said.get(timeout=60).split("\n"):
            pass

    def _listen(self) -> None:
        """Read the services' notifications, as systemd does."""
        while said := self.notified.recv(4096):
            self.said.put(said.decode())

    def stop(self) -> None:
        """End the unit as `systemctl stop` does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            assert self._process.wait(30) == 0, self.journal.read_text()
            self._process = None

    def close(self) -> None:
        """End everything."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self.listener.close()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.place / "notify"))
        self._listening.join()
        self.notified.close()


@pytest.fixture
def manager(work_directory: Path, caches: SharedCaches) -> Iterator[Manager]:
    manager = Manager(work_directory, caches.settings())
    yield manager
    manager.close()


def test_b17_no_connection_is_refused_while_the_service_restarts(manager: Manager) -> None:
    """B15 by a credential, B17; the connection that comes in between waits, and is answered."""
    manager.start()
    url = f"http://127.0.0.1:{manager.port}"
    assert httpx.get(f"{url}/health", trust_env=False).status_code == 200
    manager.hear("WATCHDOG=1")
    manager.stop()
    manager.hear("STOPPING=1")
    with socket.create_connection(("127.0.0.1", manager.port), timeout=60) as waiting:
        waiting.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        manager.start()
        assert waiting.recv(100).startswith(b"HTTP/1.1 200")
    manager.stop()
    assert "<4>" not in manager.journal.read_text().partition("Hub for")[0]


def test_b46_a_session_is_opened_through_a_running_service_and_leaves_nothing(
    manager: Manager,
) -> None:
    """B46: the deployment's last step, `hub check --session --url`."""
    write_settings(manager.course, {"hub.port": manager.port, "hub.host": "127.0.0.1"})
    manager.start()
    url = f"http://127.0.0.1:{manager.port}"
    done = run_mograder(
        *("hub", "check", "--session", "--url", url, "--json"),
        env={"MOGRADER_HUB_SECRET": SECRET, "MOGRADER_COURSE_DIR": str(manager.course)},
        cwd=manager.place,
    )
    found = {line["check"]: line for line in json.loads(done.output)["checks"]}
    for name in ("session", "front-headers", "front-sessions", "front-websocket", "sandbox"):
        assert found[name]["level"] == "ok", found[name]
    assert found["port"]["text"] == f"port {manager.port}: this course's hub answers there"
    # From loopback, which is trusted, the header rightly counts.
    assert found["front"]["level"] == "problem"
    assert not (manager.course / "hub-release" / "mograder-check").exists()
    headers = {"Authorization": "Bearer x", "X-Remote-User": "alice"}
    listed = httpx.get(f"{url}/assignments", headers=headers, trust_env=False).text
    assert "mograder-check" not in listed
    manager.stop()
