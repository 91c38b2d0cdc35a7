"""A marimo without a sandbox, as a session starts it: on a Unix socket, by ``serve.py``."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mograder.sandbox.inside
from mograder.sandbox.protocol import Mode

_CONFIG = "[runtime]\nauto_instantiate = true\n"


@contextmanager
def marimo_on(
    directory: Path, base_url: str, mode: Mode = Mode.EDIT, *, settings: Path | None = None
) -> Iterator[Path]:
    """Serve ``A1.py`` of a directory by an unconfined marimo on a Unix socket.

    With ``settings``, marimo's settings are kept in that folder from one session to the next.
    """
    with tempfile.TemporaryDirectory(prefix="nb-") as home, socket.socket(socket.AF_UNIX) as listen:
        path = Path(home) / "s.sock"
        listen.bind(str(path))
        listen.listen(64)
        options = {
            "fd": listen.fileno(),
            "rlimits": {},
            "config": _CONFIG,
            "caches": f"{home}/none",
        }
        serve = Path(mograder.sandbox.inside.__file__).with_name("serve.py")
        flags = ["--headless", "--no-token", "-p", "1", "--host", "127.0.0.1"]
        where = ["--base-url", base_url, "A1.py"]
        with (directory / "marimo.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, str(serve), json.dumps(options), "--", "-q", mode, *flags, *where],
                cwd=directory,
                env=_environment(home, settings or Path(home, ".config")),
                pass_fds=(listen.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield path
        finally:
            process.terminate()
            process.wait(60)


def _environment(home: str, settings: Path) -> dict[str, str]:
    places = {"XDG_CONFIG_HOME": str(settings), "XDG_CACHE_HOME": f"{home}/.cache"}
    return {"HOME": home, "PATH": "/usr/bin", **places}
