"""Programs of this machine that are run to their end: systemctl, uv.

No student code is involved.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from uv import find_uv_bin

from mograder.core.errors import InvalidInput, TimedOut

_ANSWER_SECONDS = 10.0


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


_LONGEST = 2000


def resolve_universally(
    requirements: Iterable[str], preferred: Mapping[str, str], python: str, seconds: float
) -> str:
    """Return uv's resolution for every platform, as the text of a ``pylock.toml`` (PEP 751).

    ``preferred`` are versions by name that are chosen unless a requirement rules them out.
    ``python`` is the version to resolve for, such as ``3.14``; it need not be installed. Nothing is
    installed. The indexes are those that uv uses on this machine.

    Raises: :class:`InvalidInput` with uv's reason if the requirements cannot be met,
    :class:`TimedOut` after ``seconds``.
    """
    with tempfile.TemporaryDirectory(prefix="mograder-resolve-") as scratch:
        wanted, answer = Path(scratch, "requirements.in"), Path(scratch, "pylock.toml")
        wanted.write_text("\n".join(requirements), "utf-8")
        # uv keeps the versions of an earlier answer where it can.
        answer.write_text(_earlier(preferred), "utf-8")
        command = [
            *(find_uv_bin(), "pip", "compile", str(wanted)),
            *("--universal", "--python-version", python, "--no-python-downloads"),
            *("--format", "pylock.toml", "--output-file", str(answer), "--quiet"),
        ]
        try:
            ran = subprocess.run(
                command, cwd=scratch, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"The packages were not resolved within {seconds:g} s.") from error
        if ran.returncode != 0:
            reason = ran.stderr.decode("utf-8", "replace").strip()[:_LONGEST]
            raise InvalidInput(f"The packages cannot be resolved: {reason}")
        return answer.read_text("utf-8")


def _earlier(versions: Mapping[str, str]) -> str:
    listed = "".join(
        f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\n'
        for name, version in sorted(versions.items())
    )
    return f'lock-version = "1.0"\ncreated-by = "mograder"\n{listed}'
