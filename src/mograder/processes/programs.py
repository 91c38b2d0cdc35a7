"""Programs of this machine that are run to their end: systemctl, uv, and those of an installation.

The last ones are run by root, each told or, in a dry run, only told. No student code is involved.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from uv import find_uv_bin

from mograder.core.errors import InvalidInput, MograderError, TimedOut
from mograder.core.files.disk import write_file

_ANSWER_SECONDS = 10.0
_LONGEST = 2000


def ask_systemd(units: Sequence[str], properties: Sequence[str]) -> str:
    """Return properties of units, a block of ``Key=value`` lines each; "" without systemd."""
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
        listed = "".join(
            f'\n[[packages]]\nname = "{name}"\nversion = "{version}"\n'
            for name, version in sorted(preferred.items())
        )
        head = 'lock-version = "1.0"\ncreated-by = "mograder"\n'
        answer.write_text(f"{head}{listed}", "utf-8")
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


class Host:
    """This machine, as an installation changes it: what it does, it tells.

    In a ``dry`` run nothing is changed: each change is told instead. ``root`` is the directory that
    stands for "/" in the paths of files. ``environment`` is added to that of each program.
    """

    def __init__(
        self, tell: Callable[[str], None], *, dry: bool = False, root: Path = Path("/")
    ) -> None:
        self.dry = dry
        self.environment: dict[str, str] = {}
        self.problems = 0
        self._tell = tell
        self._root = root

    def path(self, name: str) -> Path:
        """Return the path of a file that an absolute name stands for."""
        return self._root / name.lstrip("/")

    def text_of(self, name: str) -> str:
        """Return the text of a file, "" if it does not exist.

        Bytes that are not UTF-8, which an administrator's file may have, survive
        :meth:`replace_text`.
        """
        path = self.path(name)
        return path.read_text("utf-8", "surrogateescape") if path.exists() else ""

    def replace_text(self, name: str, text: str) -> None:
        """Write a text file atomically, with the mode that it has, or 0644 if it is new.

        A link stays one: the file that it leads to is replaced.

        Raises: ``OSError``.
        """
        path = self.path(name).resolve()
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        write_file(path, text.encode("utf-8", "surrogateescape"), mode)

    def step(self, text: str) -> None:
        self._tell(f"[deploy] == {text}")

    def say(self, text: str) -> None:
        self._tell(f"[deploy] {text}")

    def act(self, text: str) -> None:
        self.say(f"(a dry run, so not done:) {text}" if self.dry else text)

    def warn(self, text: str) -> None:
        self._tell(f"[deploy] !! {text}")

    def verified(self, good: bool, right: str, wrong: str) -> None:
        if good:
            self.say(f"ok: {right}")
        else:
            self.warn(wrong)
            self.problems += 1

    def run(self, *command: str, variables: Mapping[str, str] | None = None) -> None:
        """Run a program that changes something; its errors go to the terminal.

        Raises: :class:`MograderError` if its exit status is not 0.
        """
        if not self.attempt(*command, variables=variables):
            raise MograderError(f"{' '.join(command)} failed; its output is above.")

    def attempt(
        self, *command: str, variables: Mapping[str, str] | None = None, shown: bool = False
    ) -> bool:
        """Run a program that changes something; return whether its exit status is 0.

        ``shown``: its output goes to the terminal as well, not only its errors.
        """
        if self.dry:
            self.say(f"would run: {' '.join(command)}")
            return True
        output = None if shown else subprocess.DEVNULL
        try:
            return self._run(command, variables or {}, output).returncode == 0
        except FileNotFoundError:
            self.warn(f"{command[0]} is not installed here")
            return False

    def ask(self, *command: str) -> str:
        """Return the output of a program that changes nothing; "" if it failed or is missing."""
        if not self.has(command[0]):
            return ""
        done = self._run(command, {}, subprocess.PIPE, errors=subprocess.DEVNULL)
        return done.stdout.strip() if done.returncode == 0 else ""

    def succeeds(self, *command: str) -> bool:
        """Run a program that changes nothing; return whether its exit status is 0."""
        if not self.has(command[0]):
            return False
        quiet = subprocess.DEVNULL
        return self._run(command, {}, quiet, errors=quiet).returncode == 0

    def told_by(self, *command: str, variables: Mapping[str, str]) -> str:
        """Return what a program that changes nothing writes to stderr, whatever its status."""
        return self._run(command, variables, subprocess.DEVNULL, errors=subprocess.PIPE).stderr

    def has(self, program: str) -> bool:
        return shutil.which(program, path=self._environment({})["PATH"]) is not None

    def _environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        own = {**os.environ, **self.environment, **variables}
        own["PATH"] = f"{own.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        return own

    def _run(
        self,
        command: tuple[str, ...],
        variables: Mapping[str, str],
        output: int | None,
        errors: int | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=self._environment(variables),
            text=True,
            errors="replace",
            check=False,
        )
