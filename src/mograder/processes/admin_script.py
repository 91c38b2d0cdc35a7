"""Running an administrator's script, which shows what it does and asks nothing of us.

Here, since this is the room where processes start; no student code is near.
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
    """Run a bash script with our terminal as its own, and return its exit status.

    Raises: :class:`NotFound` where there is no bash.
    """
    bash = shutil.which("bash")
    if bash is None:
        raise NotFound("There is no bash on this machine.")
    with subprocess.Popen([bash, str(script), *arguments]) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # The terminal has told it too; it ends what it was at.
            process.wait()
            return _INTERRUPTED


def ask_systemd(units: Sequence[str], properties: Sequence[str]) -> str:
    """Return what systemd says of units, a block of ``Key=value`` lines each; "" where it is not.

    Any user may ask; nothing is changed.
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
