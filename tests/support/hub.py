"""A real hub: the ``mograder hub`` console command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import tomlkit

from mograder.clients.http import trusted_authorities
from tests.support.identity import SECRET
from tests.support.process import StartedServer, free_port

MOGRADER = Path(sys.executable).with_name("mograder")
"""The console command of the interpreter that runs the tests."""

_PASSED_ON = ("PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSED_ON_PREFIXES = ("UV_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """The configuration of a test's hub.

    ``settings`` are dotted keys of ``mograder.toml`` (``{"hub.session_ttl": 5}``), added to
    the course's file; ``options`` go to the command line; ``env`` to its environment. An
    empty ``secret`` leaves ``MOGRADER_HUB_SECRET`` unset.
    """

    secret: str = SECRET
    dev: bool = False
    host: str = "127.0.0.1"
    settings: Mapping[str, object] = field(default_factory=dict)
    options: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 60


class HubProcess(StartedServer):
    """A hub on a free loopback port; use it as a context manager."""

    def __init__(self, course: Path, log: Path, config: HubConfig | None = None) -> None:
        super().__init__("mograder hub", log)
        self.course = course
        self.config = config or HubConfig()
        self.port = free_port()

    @property
    def url(self) -> str:
        """The hub's own address, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Write the settings, start the command, wait for its ``/health``."""
        write_settings(self.course, self._settings())
        self.launch(self.command(), self.environment(), self.course)
        self.wait_until(self.healthy, self.config.start_seconds)

    def _settings(self) -> dict[str, object]:
        given = self.config.settings
        port = str(self.port)
        return {
            key: value.replace("{port}", port) if isinstance(value, str) else value
            for key, value in given.items()
        }

    def restart(self) -> None:
        """Start again on the same port after :meth:`stop` or :meth:`kill`."""
        self.launch(self.command(), self.environment(), self.course)
        self.wait_until(self.healthy, self.config.start_seconds)

    def healthy(self) -> bool:
        """Whether the hub answers 200 on ``/health``."""
        try:
            answer = httpx.get(f"{self.url}{self._base_url()}/health", timeout=2, trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    def command(self) -> list[str]:
        """The command line as a person would type it."""
        where = ["-C", str(self.course), "--host", self.config.host, "--port", str(self.port)]
        dev = ["--dev"] if self.config.dev else []
        return [str(MOGRADER), "hub", *where, "--headless", *dev, *self.config.options]

    def environment(self) -> dict[str, str]:
        """Return a small environment: variables that builds need, the secret, the test's own."""
        secret = {"MOGRADER_HUB_SECRET": self.config.secret} if self.config.secret else {}
        home = self.course.parent / "home"
        home.mkdir(exist_ok=True)
        return {**outside(), "HOME": str(home), **secret, **self.config.env}

    def client(self, headers: Mapping[str, str] | None = None) -> httpx.Client:
        """An HTTP client of this hub, without the machine's proxies."""
        return httpx.Client(
            base_url=self.url,
            headers=dict(headers or {}),
            timeout=150,
            trust_env=False,
            verify=trusted_authorities(),
        )

    def _base_url(self) -> str:
        return str(self.config.settings.get("hub.base_url", ""))


@dataclass(frozen=True, slots=True)
class Answer:
    """Output and exit status of a command."""

    status: int
    output: str
    errors: str


def run_mograder(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    seconds: float = 300,
) -> Answer:
    """Run the console command to its end, in a small environment."""
    done = subprocess.run(
        [str(MOGRADER), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**outside(), "HOME": str(cwd or Path.cwd()), **(env or {})},
        cwd=cwd,
        timeout=seconds,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def write_settings(course: Path, settings: Mapping[str, object]) -> None:
    """Set dotted keys in the course's ``mograder.toml``, keeping the rest of the file."""
    path = course / "mograder.toml"
    document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    for dotted, value in settings.items():
        section, _, key = dotted.rpartition(".")
        if section and section not in document:
            document[section] = tomlkit.table()
        table = document[section] if section else document
        assert isinstance(table, dict)
        table[key] = value
    path.write_text(tomlkit.dumps(document), "utf-8")


def outside() -> dict[str, str]:
    """The part of the machine's environment that a hub may need: paths and network access."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.upper().startswith(_PASSED_ON_PREFIXES)
    }
