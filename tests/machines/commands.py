"""Running programs for the rigs: with a limit of time, and with what they said."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class CommandFailed(AssertionError):
    """A program ended with another status than 0; carries what it said."""


def run(*command: str | Path, seconds: float = 60, given: str = "") -> str:
    """Run a program to its end and return its output.

    Raises: :class:`CommandFailed` for another status than 0.
    """
    done = attempt(*command, seconds=seconds, given=given)
    if done.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise CommandFailed(f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def attempt(
    *command: str | Path, seconds: float = 60, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its status."""
    return subprocess.run(
        [str(word) for word in command],
        input=given,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def until(holds: Callable[[], bool], seconds: float, told: Callable[[], object]) -> float:
    """Wait until a condition holds; return after how many seconds it did.

    Raises: :class:`AssertionError` with what ``told`` returns.
    """
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s: {told()}")
        time.sleep(0.2)
    return time.monotonic() - began


def lines(command: Sequence[str]) -> list[str]:
    """The lines of a program's output that are not empty."""
    return [line for line in run(*command).splitlines() if line.strip()]
