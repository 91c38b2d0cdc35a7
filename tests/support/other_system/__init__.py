"""Runs mograder as if this machine had Windows or macOS.

A subprocess starts with `start/sitecustomize.py`, which gives *mograder's own modules* an `os`,
`sys`, `signal`, `socket`, `subprocess`, ... without what that system does not have, and makes the
calls on files that mograder makes (through pathlib, shutil and tempfile too) fail as they fail
there: `pretended_modules.py` and `pretended_files.py` list it. Other packages and the standard
library see the real system. Python processes that mograder starts pretend too, except with `-I`.

    OtherSystem("windows").ran("https", "fetch", "hw1", "-o", "work", cwd=folder)
    OtherSystem("macos").printed("import mograder.core.files.disk; print('done')")
    with OtherSystem("windows").started("student", ...) as process: ...

Paths stay those of Linux (`/`), since pathlib is real: rules for paths need `PureWindowsPath`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

System = Literal["windows", "macos", "linux"]

SYSTEM_VARIABLE = "PRETENDED_SYSTEM"
"""The environment variable that names the system to the subprocess."""

START = Path(__file__).parent / "start"
REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, slots=True)
class OtherSystem:
    """One pretended system; ``extra`` are environment variables for the process.

    ``home`` is the user's folder, with ``AppData`` in it on Windows; None keeps this process's.
    ``python_command`` is the interpreter, such as one of an environment with other packages.
    """

    name: System
    home: Path | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    python_command: str = sys.executable

    def mograder(
        self, *arguments: str, cwd: Path | None = None, stdin: str = "", seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a mograder command to its end, and return its status and output."""
        return self._run(["-m", "mograder", *arguments], cwd, stdin, seconds)

    def ran(
        self, *arguments: str, cwd: Path | None = None, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a mograder command that must end with this status."""
        done = self.mograder(*arguments, cwd=cwd)
        assert done.returncode == status, (arguments, done.stdout, done.stderr)
        return done

    def printed(self, code: str, cwd: Path | None = None) -> list[str]:
        """Run a piece of Python that must end well, and return the lines that it prints."""
        done = self.python(code, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def python(
        self, code: str, *arguments: str, cwd: Path | None = None, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a piece of Python to its end, with the name of a module of mograder."""
        return self._run(
            ["-c", f"__name__ = 'mograder.__test__'\n{code}", *arguments], cwd, "", seconds
        )

    def started(self, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start a mograder command with pipes for its output; the caller ends it."""
        return subprocess.Popen(
            [self.python_command, "-m", "mograder", *arguments],
            cwd=cwd,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding=self._encoding,
            errors="replace",
        )

    def environ(self) -> dict[str, str]:
        """Return the environment of the process: no setting of mograder but those of ``extra``."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MOGRADER_")}
        path = [str(START), str(REPOSITORY), *filter(None, [kept.get("PYTHONPATH")])]
        added = {
            SYSTEM_VARIABLE: self.name,
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONIOENCODING": self._encoding,
            "PYTHONUTF8": "0",
        }
        return kept | added | self._folders() | dict(self.extra)

    @property
    def _encoding(self) -> str:
        return "cp1252" if self.name == "windows" else "utf-8"

    def _folders(self) -> dict[str, str]:
        if self.home is None:
            return {}
        folders = {"HOME": str(self.home)}
        if self.name == "windows":
            folders["USERPROFILE"] = str(self.home)
            folders["APPDATA"] = str(self.home / "AppData" / "Roaming")
            folders["LOCALAPPDATA"] = str(self.home / "AppData" / "Local")
        return folders

    def _run(
        self, arguments: list[str], cwd: Path | None, stdin: str, seconds: float
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python_command, *arguments],
            cwd=cwd,
            env=self.environ(),
            input=stdin,
            capture_output=True,
            text=True,
            encoding=self._encoding,
            errors="replace",
            timeout=seconds,
            check=False,
        )
