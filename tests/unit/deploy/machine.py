"""A machine for the steps of an installation: a directory, and programs that only tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mograder.processes.programs import Host
from tests.support.course import REPOSITORY

_REAL = frozenset({"ln", "mv", "mkdir", "rm", "install", "chmod"})
_ANALYSIS = "systemd-analyze"
"""It looks at files of a temporary directory."""


class FakeHost(Host):
    """Keeps what is told and run; runs what changes files below its directory only.

    ``answers`` are the exit status and output of a command, by how it begins.
    """

    def __init__(
        self,
        root: Path,
        answers: Mapping[str, tuple[int, str]] | None = None,
        *,
        dry: bool = False,
        missing: tuple[str, ...] = (),
    ) -> None:
        self.told: list[str] = []
        self.ran: list[str] = []
        super().__init__(self.told.append, dry=dry, root=root)
        self._answers = {} if answers is None else answers
        self._missing = missing
        self._place = root

    @property
    def text(self) -> str:
        """All that it has told."""
        return "\n".join(self.told)

    def has(self, program: str) -> bool:
        """Every program is there but the missing ones, and paths that do not exist."""
        return Path(program).exists() if "/" in program else program not in self._missing

    def _run(
        self,
        command: tuple[str, ...],
        variables: Mapping[str, str],
        output: int | None,
        errors: int | None = None,
    ) -> subprocess.CompletedProcess[str]:
        line = " ".join(command)
        self.ran.append(line)
        for begin, (status, said) in self._answers.items():
            if line.startswith(begin):
                return subprocess.CompletedProcess(command, status, said, "")
        ours = command[0] in _REAL and str(self._place) in line and "-o" not in command
        if ours or command[0] == _ANALYSIS or Path(command[0]).name == "python":
            return super()._run(command, variables, output, errors)
        return subprocess.CompletedProcess(command, 0, "", "")


def version(place: Path, number: str, *, files: Path | None = REPOSITORY / "deploy") -> Path:
    """An environment with a mograder of that version below a root, without its program.

    ``files`` is the directory of the units that come with it, if any do.
    """
    home = place / "opt" / "mograder" / "versions" / number
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (packages,) = home.glob("lib/python3*/site-packages")
    (packages / f"mograder_hub-{number}.dist-info").mkdir()
    (packages / "mograder").mkdir()
    (packages / "mograder" / "__init__.py").write_text(f'__version__ = "{number}"\n')
    if files is not None:
        operations = packages / "mograder" / "operations"
        operations.mkdir()
        (operations / "__init__.py").write_text("")
        (operations / "deploy_files.py").write_text(
            f"def shipped_file(name):\n    return '{files}/' + name\n"
        )
    return home


def make_current(place: Path, home: Path) -> None:
    """Let that version be the one that runs."""
    (place / "opt" / "mograder" / "current").symlink_to(home)
