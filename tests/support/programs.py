"""Programs that tests run to their end."""

from __future__ import annotations

import subprocess
from typing import Any


def printed_by(*command: object, seconds: float = 100.0, **options: Any) -> str:
    """Run a program that has to end well, and return what it prints.

    ``options`` are those of :func:`subprocess.run`.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=seconds, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    printed: str = done.stdout
    return printed
