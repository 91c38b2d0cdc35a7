"""Running an administrator's script on the terminal, and querying systemd.

No student code is involved.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mograder.core.errors import NotFound

_INTERRUPTED = 130
_ANSWER_SECONDS = 10.0


def run_script(script: Path, arguments: Sequence[str]) -> int:
    """Run a bash script on this process's terminal, and return its exit status.

    Raises: :class:`NotFound` if bash is not installed.
    """
    bash = shutil.which("bash")
    if bash is None:
        raise NotFound("There is no bash on this machine.")
    with subprocess.Popen([bash, str(script), *arguments]) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has sent SIGINT to the script as well: let it finish its clean-up.
            process.wait()
            return _INTERRUPTED


def ask_systemd(units: Sequence[str], properties: Sequence[str]) -> str:
    """Return properties of systemd units, a block of ``Key=value`` lines each; "" without systemd.

    It works for any user and changes nothing.
    """
    systemctl = shutil.which("systemctl")
    if systemctl is None or not Path("/run/systemd/system").is_dir():
        return ""
    try:
        done = subprocess.run(
            [systemctl, "show", "--no-pager", f"--property={','.join(properties)}", "--", *units],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")
