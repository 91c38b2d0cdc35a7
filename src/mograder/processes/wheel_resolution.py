"""Resolving requirements with uv for another kind of machine than this one."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from uv import find_uv_bin

from mograder.core.errors import InvalidInput, TimedOut

_SECONDS = 300
_LONGEST = 2000


def resolve_universally(
    requirements: Iterable[str], constraints: Iterable[str], python: str
) -> str:
    """Return uv's resolution for every platform, as the text of a ``pylock.toml`` (PEP 751).

    ``python`` is the version to resolve for, such as ``3.14``; it need not be installed. Nothing is
    installed. The indexes are those that uv uses on this machine.

    Raises: :class:`InvalidInput` with uv's reason if the requirements cannot be met,
    :class:`TimedOut` after five minutes.
    """
    with tempfile.TemporaryDirectory(prefix="mograder-resolve-") as scratch:
        wanted, bounds = Path(scratch, "requirements.in"), Path(scratch, "constraints.txt")
        answer = Path(scratch, "pylock.toml")
        wanted.write_text("\n".join(requirements), "utf-8")
        bounds.write_text("\n".join(constraints), "utf-8")
        command = [
            *(find_uv_bin(), "pip", "compile", str(wanted), "--constraints", str(bounds)),
            *("--universal", "--python-version", python, "--no-python-downloads"),
            *("--format", "pylock.toml", "--output-file", str(answer), "--quiet"),
        ]
        try:
            ran = subprocess.run(
                command, cwd=scratch, capture_output=True, timeout=_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise TimedOut("The packages were not resolved within 5 minutes.") from error
        if ran.returncode != 0:
            reason = ran.stderr.decode("utf-8", "replace").strip()[:_LONGEST]
            raise InvalidInput(f"The packages cannot be resolved: {reason}")
        return answer.read_text("utf-8")
