"""Write ``deploy/nginx.conf`` and ``deploy/Caddyfile``, the command's output for an example.

``--check`` only compares.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mograder.core.settings import load_settings
from mograder.operations.front import FrontOptions, caddy_config, front_of, nginx_config
from scripts.generated import write_or_check

DEPLOY = Path(__file__).parent.parent / "deploy"
SETTINGS = {
    "hub.public_url": "https://hub.example.org",
    "hub.host": "127.0.0.1",
    "hub.port": 8080,
}


def files() -> dict[Path, str]:
    with tempfile.TemporaryDirectory() as course:
        loaded = load_settings(Path(course), overrides=SETTINGS, environ={})
        front = front_of(loaded, FrontOptions())
    return {DEPLOY / "nginx.conf": nginx_config(front), DEPLOY / "Caddyfile": caddy_config(front)}


if __name__ == "__main__":
    sys.exit(write_or_check(files()))
