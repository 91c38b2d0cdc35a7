"""A real nginx in front of the hub, as a university runs one: a prefix, a signed-in name."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.fronts import nginx_frame
from tests.support.hub import outside
from tests.support.process import StartedServer, accepts, free_port

_SITE = """\
  client_max_body_size 0;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen 127.0.0.1:{port};
    location {location} {{
      proxy_pass {upstream};
      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 3600s;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Remote-User "{remote_user}";
      {prefix_header}
    }}
  }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontConfig:
    """The front's configuration.

    ``strips``: the prefix is removed and sent in ``X-Forwarded-Prefix``; otherwise the hub gets the
    full path and takes the prefix from its own ``base_url``. ``remote_user`` is the name that the
    front sends; empty deletes the header of the client.
    """

    hub_port: int
    prefix: str = "/live/hub"
    strips: bool = True
    remote_user: str = ""


class PrefixProxy(StartedServer):
    """nginx on a free loopback port, mounting the hub below a prefix; a context manager."""

    def __init__(self, directory: Path, config: FrontConfig) -> None:
        self.port = free_port()
        self.directory = directory / f"front-{self.port}"
        self.directory.mkdir(parents=True)
        super().__init__("nginx", self.directory / "nginx.log")
        self.config = config

    @property
    def url(self) -> str:
        """The address at which people find the hub, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}{self.config.prefix}"

    def start(self) -> None:
        """Write the configuration and start nginx."""
        file = self.directory / "nginx.conf"
        file.write_text(self.configuration())
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        command = [nginx, "-e", "stderr", "-p", str(self.directory), "-c", str(file)]
        self.launch(command, outside(), self.directory)
        self.wait_until(lambda: accepts(self.port), 60)

    def configuration(self) -> str:
        config = self.config
        upstream = f"http://127.0.0.1:{config.hub_port}"
        told = f"proxy_set_header X-Forwarded-Prefix {config.prefix};"
        stripping = config.strips and bool(config.prefix)
        site = _SITE.format(
            port=self.port,
            location=f"{config.prefix}/",
            upstream=f"{upstream}/" if stripping else upstream,
            prefix_header=told if stripping else "proxy_set_header X-Forwarded-Prefix '';",
            remote_user=config.remote_user,
        )
        return nginx_frame(self.directory, site)
