"""Real nginx and Caddy on loopback, with the shipped configurations and the guide's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mograder.core.web_origin import SessionUrl
from mograder.operations.front import Front, caddy_config, nginx_config
from tests.support.hub import outside
from tests.support.process import ServerProcess, accepts, free_port

_NGINX = """\
{user}
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
{site}
}}
"""
"""An nginx that keeps to a directory of its own; ``site`` stands in its ``http`` block."""

_CADDY = """\
{{
	admin off
	auto_https off
	default_bind 127.0.0.1
	storage file_system {directory}
}}
import {directory}/site.conf
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A front's own port, the hub's port, and the settings of its configuration.

    ``hubs`` are the addresses of several hubs, in place of ``hub_port``.
    """

    port: int
    hub_port: int = 0
    hubs: tuple[str, ...] = ()
    prefix: str = ""
    user: str = ""
    sessions: SessionUrl | None = None
    request_mb: int = 3

    @property
    def url(self) -> str:
        """The address that browsers use."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def front(self) -> Front:
        """The same in the words of ``mograder hub proxy-config``."""
        return Front(
            scheme="http",
            host="127.0.0.1",
            port=self.port,
            prefix=self.prefix,
            upstreams=self.hubs or (f"127.0.0.1:{self.hub_port}",),
            header="X-Remote-User",
            user=self.user,
            request_mb=self.request_mb,
            sessions=self.sessions,
        )


def nginx_frame(directory: Path, site: str) -> str:
    """The main configuration; as root the worker stays root, to enter private directories."""
    user = "user root;" if os.geteuid() == 0 else ""
    return _NGINX.format(directory=directory, user=user, site=site)


@contextmanager
def shipped(program: str, place: Place, directory: Path) -> Iterator[ServerProcess]:
    """Run a program with the configuration that the command writes."""
    write = nginx_config if program == "nginx" else caddy_config
    with running(program, write(place.front()), place.port, directory) as server:
        yield server


@contextmanager
def running(program: str, site: str, port: int, directory: Path) -> Iterator[ServerProcess]:
    """Run nginx or Caddy with one site's file, on loopback only."""
    directory.mkdir(parents=True, exist_ok=True)
    site = site.replace(f"listen {port};", f"listen 127.0.0.1:{port};")
    (directory / "site.conf").write_text(site)
    included = f"  include {directory}/site.conf;"
    main = directory / "main.conf"
    main.write_text(
        nginx_frame(directory, included)
        if program == "nginx"
        else _CADDY.format(directory=directory)
    )
    server = ServerProcess(program, directory / f"{program}.log")
    try:
        server.launch(_command(program, directory, main), _environment(directory), directory)
        server.wait_until(lambda: accepts(port), 60)
        yield server
    finally:
        server.stop()


def _command(program: str, directory: Path, main: Path) -> list[str]:
    path = shutil.which(program) or f"/usr/sbin/{program}"
    if program == "nginx":
        return [path, "-e", "stderr", "-p", str(directory), "-c", str(main)]
    return [path, "run", "--config", str(main), "--adapter", "caddyfile"]


def _environment(directory: Path) -> dict[str, str]:
    home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory)}
    return {**outside(), **home, "XDG_CONFIG_HOME": str(directory)}


def two_ports() -> tuple[int, int]:
    """A port for a front and one for the hub behind it."""
    first = free_port()
    while (second := free_port()) == first:
        pass
    return first, second
