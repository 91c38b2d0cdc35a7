"""A course on a real assignment server, in a thread of this process."""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import uvicorn
from starlette.types import ASGIApp

from mograder.core.clock import Clock
from mograder.web.server.app import create_app
from mograder.web.server.services import ServerOptions, open_services

SECRET = "0123456789abcdef" * 4
CODE = "our-course-phrase"
HOMEWORK, DATA = b"import marimo\n\napp = marimo.App()\n", b"x,y\n1,2\n"


@dataclass(frozen=True, slots=True)
class Course:
    """Where it is served, and the directory behind it."""

    url: str
    root: Path

    def token(self, user: str = "alice") -> str:
        """The token of a student, or of ``__instructor__``."""
        return token_of(user)


def token_of(user: str) -> str:
    """Return a person's token (compatibility-0.3.16.md 1)."""
    return f"{user}:{hmac.digest(SECRET.encode(), user.encode(), 'sha256').hex()}"


def make_course(root: Path) -> Path:
    """Write a course of one assignment."""
    files = root / "hw1" / "files"
    files.mkdir(parents=True)
    (files / "homework.py").write_bytes(HOMEWORK)
    (files / "data.csv").write_bytes(DATA)
    secret = root / ".mograder-secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    return root


@contextmanager
def serving_course(
    root: Path, *, clock: Clock | None = None, web: bool = False
) -> Iterator[Course]:
    """Serve a course's directory while the context lasts."""
    services = open_services(ServerOptions(root, enrollment_code=CODE, web=web), clock=clock)
    with serving_app(create_app(services)) as url:
        yield Course(url, root)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """One course for the module; every test is other people."""
    with serving_course(make_course(tmp_path_factory.mktemp("course") / "course")) as course:
        yield course


@contextmanager
def serving_app(app: ASGIApp, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """Serve an application on a free port of this machine, and yield its address."""
    config = uvicorn.Config(app, lifespan=lifespan, log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
