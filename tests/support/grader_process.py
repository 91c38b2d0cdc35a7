"""``mograder grader`` and ``mograder grader-asgi`` as processes of their own."""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from tests.support.hub import MOGRADER, outside
from tests.support.process import StartedServer, free_port

_LINK = re.compile(r"http://127\.0\.0\.1:\d+/open\?code=[\w-]+")


class GraderProcess(StartedServer):
    """A grader of a course; use it as a context manager."""

    def __init__(self, course: Path, log: Path, command: str = "grader", *options: str) -> None:
        super().__init__(f"mograder {command}", log)
        self.course = course
        self.port = free_port()
        self._command = [str(MOGRADER), command, str(course), "-p", str(self.port), *options]

    @property
    def url(self) -> str:
        """Where it answers, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        """Return the newest one-time link printed on the terminal."""
        return str(_LINK.findall(self.log_text())[-1])

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch(self._command, outside(), self.course)
        self.wait_until(self._healthy, 60)

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False
