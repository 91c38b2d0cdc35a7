"""An assignment server in one process for tests: real files, a clock to move, every role."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from starlette.types import ASGIApp

from mograder.auth.credentials import Role, make_token
from mograder.core.files.disk import DISK, Disk
from mograder.core.names import INSTRUCTOR
from mograder.web.server.app import create_app
from mograder.web.server.services import ServerOptions, Services, open_services
from tests.support.clock import ManualClock

CODE = "our course phrase"


@dataclass
class Course:
    """A served directory, and requests to it as any person."""

    options: ServerOptions
    clock: ManualClock = field(default_factory=ManualClock)
    disk: Disk = DISK
    _services: Services | None = None
    _app: ASGIApp | None = None

    @property
    def root(self) -> Path:
        return self.options.root

    @property
    def services(self) -> Services:
        if self._services is None:
            self._services = open_services(self.options, clock=self.clock, disk=self.disk)
        return self._services

    def restart(self, **changes: object) -> None:
        """Begin anew on the same directory, perhaps with other options."""
        self.options = replace(self.options, **changes)  # type: ignore[arg-type]  # by name
        self._services = self._app = None

    def token(self, user: str) -> str:
        """A person's token, or the instructor's by the name ``prof``."""
        epoch = self.services.people.epoch(user)
        if user == "prof":
            return make_token(self.services.secret, INSTRUCTOR, Role.INSTRUCTOR)
        return make_token(self.services.secret, user, epoch=epoch)

    async def ask(
        self,
        method: str,
        path: str,
        user: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **more: object,
    ) -> httpx.Response:
        """Send one request as this person, or unauthenticated; ``more`` goes to httpx."""
        sent = dict(headers or {})
        if user is not None:
            sent["Authorization"] = f"Bearer {self.token(user)}"
        if self._app is None:
            self._app = create_app(self.services)
        transport = httpx.ASGITransport(app=self._app, client=("192.0.2.7", 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://course.test") as client:
            return await client.request(method, path, headers=sent, **more)  # type: ignore[arg-type]

    async def submit(
        self, user: str, data: bytes, name: str = "hw1", query: str = "", by: str | None = None
    ) -> httpx.Response:
        """Submit as 0.3.16's client does, by a multipart form."""
        path = f"/assignments/{quote(name)}/submit?user={quote(user)}{query}"
        return await self.ask("POST", path, by or user, files={"file": ("hw1.py", data)})

    def add(self, name: str, files: Mapping[str, bytes] | None = None) -> None:
        """Add an assignment with these files in ``files/``."""
        directory = self.root / name / "files"
        directory.mkdir(parents=True)
        for filename, content in (files or {"homework.py": b"x = 1\n"}).items():
            (directory / filename).write_bytes(content)

    def write_manifest(self, *entries: Mapping[str, object]) -> None:
        """Write ``assignments.json``."""
        (self.root / "assignments.json").write_text(json.dumps(entries), "utf-8")

    def place(self, name: str = "hw1") -> Path:
        """Where the submissions of an assignment lie."""
        return self.root / "submitted" / name


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """A course with one assignment, where students may register."""
    root = tmp_path / "server_root"
    root.mkdir()
    made = Course(ServerOptions(root, enrollment_code=CODE))
    made.add("hw1")
    return made
