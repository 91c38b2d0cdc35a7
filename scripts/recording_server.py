"""The small course that recordings are made of, and a server of it."""

from __future__ import annotations

import hmac
import http.client
import io
import os
import socket
import subprocess
import time
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Self

SECRET = "0123456789abcdef" * 4
"""Fixed, so that the tokens in the recordings are good wherever they are replayed."""

ENROLLMENT_CODE = "our-course-phrase"
_ZIPPED = (2025, 1, 1, 0, 0, 0)
_SECONDS = 60.0


def token_of(user: str) -> str:
    """Return a person's token (compatibility-0.3.16.md 1)."""
    return f"{user}:{hmac.digest(SECRET.encode(), user.encode(), 'sha256').hex()}"


def make_course(root: Path) -> Path:
    """Write a course of two assignments: one of plain files, one of a zip."""
    first, second = root / "hw1" / "files", root / "hw2" / "files"
    for directory in (first, second):
        directory.mkdir(parents=True)
    (first / "homework.py").write_text("import marimo\n\napp = marimo.App()\n")
    (first / "data.csv").write_text("x,y\n1,2\n")
    (second / "hw2.zip").write_bytes(_zip())
    secret = root / ".mograder-secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    return root


class Serving:
    """`mograder serve` of a course as a context; ``program`` is its command line."""

    def __init__(self, program: Path, course: Path, home: Path) -> None:
        self.port = _free_port()
        home.mkdir(exist_ok=True)
        environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "MOGRADER_SKIP_UPDATE_CHECK": "1",
        }
        command = [str(program), "serve", str(course), "-p", str(self.port)]
        command += ["--host", "127.0.0.1", "--enrollment-code", ENROLLMENT_CODE]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)

    def __enter__(self) -> Self:
        end = time.monotonic() + _SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self._stop()
                raise SystemExit("the server does not start")
            time.sleep(0.1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (("hw2.py", "import marimo\n"), ("notes/readme.txt", "Read me.\n")):
            archive.writestr(zipfile.ZipInfo(name, _ZIPPED), text)
    return buffer.getvalue()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
