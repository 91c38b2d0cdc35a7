"""A real assignment server: ``mograder serve`` in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from mograder.auth.credentials import Role, make_token
from mograder.clients.http import trusted_authorities
from mograder.core.names import INSTRUCTOR
from tests.support.hub import MOGRADER, outside
from tests.support.process import StartedServer

_URL = re.compile(r"^  URL: (https?://\S+:(\d+))$", re.MULTILINE)


class CourseServer(StartedServer):
    """A server of a directory on a port that it finds itself; use it as a context manager."""

    def __init__(
        self,
        root: Path,
        log: Path,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("mograder serve", log)
        self.root = root
        self.options = options
        self.env = dict(env or {})
        self._from = 0

    @property
    def url(self) -> str:
        """The URL that it printed."""
        found = _URL.search(self.log_text()[self._from :])
        assert found, self.tail()
        return found[1]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def start(self) -> None:
        """Start the command, also again after :meth:`kill`; wait until it prints that it serves."""
        self._from = len(self.log_text())
        command = [str(MOGRADER), "serve", str(self.root), "-p", "0", *self.options]
        env = {**outside(), "HOME": str(self.root), **self.env}
        self.launch(command, env, self.root)
        self.wait_until(lambda: "Press Ctrl+C" in self.log_text()[self._from :], 60)

    def token(self, user: str) -> str:
        """A person's token, or the instructor's by the name ``prof``."""
        secret = (self.root / ".mograder-secret").read_text().strip()
        if user == "prof":
            return make_token(secret, INSTRUCTOR, Role.INSTRUCTOR)
        return make_token(secret, user)

    def client(self, user: str) -> httpx.Client:
        """An HTTP client that is this person, without the machine's proxies."""
        return httpx.Client(
            base_url=self.url,
            headers=self.headers(user),
            timeout=60,
            trust_env=False,
            verify=trusted_authorities(),
        )

    def headers(self, user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(user)}"}


def make_served_course(root: Path) -> Path:
    """A directory with one assignment of 200 KB, to be served."""
    files = root / "hw1" / "files"
    files.mkdir(parents=True)
    (files / "homework.py").write_bytes(notebook("released"))
    return root


def notebook(mark: str, size: int = 200_000) -> bytes:
    """A notebook of this size that differs from all others."""
    line = f"# {mark}\n".encode()
    return (line * (size // len(line) + 1))[:size]
