"""Start a hub on a copy of the example course, publish the course to it, open it.

``scripts/demo`` (or ``make demo``) installs the requirements and then runs this. The copy is in
``.demo/`` and stays there between runs, with all changes; ``--fresh`` makes a new one.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
MOGRADER = Path(sys.executable).with_name("mograder")
EXAMPLE = REPOSITORY / "examples" / "course"
COURSE = REPOSITORY / ".demo" / "course"
LOG = COURSE.parent / "hub.log"
_START_SECONDS = 60
_LEAVINGS = shutil.ignore_patterns(".mograder", "hub-notebooks", "hub-release", "__pycache__")


def main() -> int:
    """Run the demo until Ctrl+C."""
    options = _parse_options()
    _prepare_course(fresh=options.fresh)
    url = f"http://127.0.0.1:{_free_port(options.port)}"
    environment = {**os.environ, "MOGRADER_HUB_SECRET": secrets.token_hex(32)}
    with LOG.open("wb") as log:
        hub = subprocess.Popen(_hub_command(url), env=environment, cwd=COURSE, stderr=log)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _wait_until_healthy(url, hub)
        _publish_everything(url, environment)
        _invite(url, environment, open_browser=not options.headless)
        return hub.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(hub)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=8080, help="first port to try (8080)")
    parser.add_argument("--headless", action="store_true", help="do not open a browser")
    parser.add_argument("--fresh", action="store_true", help="throw away an earlier demo's work")
    return parser.parse_args()


def _prepare_course(*, fresh: bool) -> None:
    if fresh:
        shutil.rmtree(COURSE, ignore_errors=True)
    if COURSE.exists():
        _say(f"using the demo course of last time: {COURSE} (--fresh begins anew)")
        return
    _say(f"copying the example course to {COURSE}")
    shutil.copytree(EXAMPLE, COURSE, ignore=_LEAVINGS)


def _free_port(first: int) -> int:
    for port in range(first, first + 50):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    sys.exit(f"[demo] no free port from {first} to {first + 49}; choose another with --port")


def _hub_command(url: str) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
    return [str(MOGRADER), "hub", "-C", str(COURSE), *where, "--dev", "--headless"]


def _wait_until_healthy(url: str, hub: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if hub.poll() is not None:
            sys.exit(f"[demo] the hub ended with status {hub.returncode}; {LOG} says why")
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
            continue
        return
    sys.exit(f"[demo] the hub did not answer within {_START_SECONDS} s")


def _publish_everything(url: str, environment: dict[str, str]) -> None:
    """Publish each release as an instructor would, from the command line."""
    token = _mograder("hub", "generate-token", "--role", "instructor", "teacher", env=environment)
    with_token = {
        **environment,
        "MOGRADER_HUB_URL": url,
        "MOGRADER_HUB_INSTRUCTOR_TOKEN": token,
    }
    for release in sorted(path for path in (COURSE / "release").iterdir() if path.is_dir()):
        _say(f"publishing {release.name}; the first time its packages are installed")
        command = [str(MOGRADER), "hub", "publish", release.name]
        subprocess.run(command, env=with_token, cwd=COURSE, check=True, stdout=subprocess.DEVNULL)


def _invite(url: str, environment: dict[str, str], *, open_browser: bool) -> None:
    link = _mograder(
        "hub", "login-link", "--role", "instructor", "teacher", "--url", url, env=environment
    )
    _say(f"the hub is at {url} and takes you for a guest student")
    _say(f"in another browser you are the instructor by this link, once: {link}")
    _say(f"its log is {LOG}; Ctrl+C ends it")
    if open_browser and not webbrowser.open(url):
        _say("no browser could be opened here: open the address yourself")


def _mograder(*arguments: str, env: dict[str, str]) -> str:
    command = [str(MOGRADER), *arguments]
    done = subprocess.run(
        command, env=env, cwd=COURSE, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


def _stop(hub: subprocess.Popen[bytes]) -> None:
    if hub.poll() is not None:
        return
    hub.send_signal(signal.SIGTERM)
    try:
        hub.wait(timeout=15)
    except subprocess.TimeoutExpired:
        hub.kill()


def _say(text: str) -> None:
    print(f"[demo] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
