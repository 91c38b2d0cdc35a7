"""Checks of a course's own files: secrets that others could read, environments nobody needs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.settings import FILE_NAME, LoadedSettings
from mograder.notebook.pep723 import read_script
from mograder.operations.report import Line, note, ok, problem
from mograder.operations.trial import NOTEBOOK
from mograder.sandbox.environments import REQUESTS, request_name
from mograder.sandbox.interpreters import find_interpreter
from mograder.sandbox.record import read_record

SECRET_FILE = Path("/etc/mograder/hub-secret")
"""Where a deployment keeps the hub's secret (B11)."""

_ENVIRONMENT_FILE = Path("/etc/mograder/env")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_SHOWN = 3


def secret_lines(
    loaded: LoadedSettings, *, kept: tuple[Path, ...] = (SECRET_FILE, _ENVIRONMENT_FILE)
) -> Iterator[Line]:
    """Yield a line for every file with a secret that others than its owner may read."""
    private = [*kept, loaded.course_dir / ".mograder-secret", loaded.state_dir / "hub.db"]
    if _has_secret(loaded):
        private.append(loaded.course_dir / FILE_NAME)
    open_ones = [path for path in private if _is_open(path)]
    for path in open_ones:
        text = f"{path} can be read by other users of this machine"
        yield problem("secret-file", text, f"chmod 600 {path}")
    if not open_ones:
        yield ok("secret-file", "files with secrets: for their owner only")


def _has_secret(loaded: LoadedSettings) -> bool:
    password = "@" in loaded.settings.database.url
    return password or bool(loaded.settings.https.token.get_secret_value())


def _is_open(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False


async def environment_lines(loaded: LoadedSettings) -> tuple[Line, ...]:
    """Say which environments cannot run any more, and which no published item needs."""
    root = loaded.path(loaded.settings.hub.environments_dir)
    built = sorted(path for path in _directories(root) if (path / "environment.json").is_file())
    if not built:
        return (ok("environments", "environments: none yet"),)
    broken = [path for path in built if not _runs(path)]
    needed = await _needed(loaded, root)
    stale = [] if needed is None else [p for p in built if p.name not in needed | _names(broken)]
    lines = []
    if broken:
        text = f"environments: the Python of {_listed(broken)} is gone"
        lines.append(problem("environments", text, f"Remove them: {_removal(broken)}"))
    if stale:
        text = f"environments: {len(stale)} of {len(built)} belong to no published item"
        hint = f"When no session runs, remove them: {_removal(stale)}"
        lines.append(note("environments", text, hint))
    return tuple(lines) or (ok("environments", f"environments: {len(built)}, all in use"),)


def _directories(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _runs(environment: Path) -> bool:
    try:
        read_record(environment)
    except MograderError:
        return False
    return os.access(environment / "env" / "bin" / "python", os.X_OK)


async def _needed(loaded: LoadedSettings, root: Path) -> set[str] | None:
    """Return the environments of what is published now; None where that cannot be told."""
    wheels = sorted((loaded.state_dir / "wheels").glob("*.whl"), key=lambda p: p.stat().st_mtime)
    if not wheels:
        return None
    needed: set[str] = set()
    # What the trial session runs in holds nothing but marimo, and is there for the next one.
    for text in (NOTEBOOK, *_published(loaded.path(loaded.settings.hub.release_dir))):
        try:
            script = read_script(text)
            interpreter = await find_interpreter(script.requires_python)
            name = request_name(script, interpreter.version, wheels[-1].name)
            needed.add((root / REQUESTS / name).read_text())
        except (MograderError, OSError):
            continue  # not built yet, or never: the instructors' page says which
    return needed


def _published(releases: Path) -> Iterator[str]:
    for notebook in sorted(releases.glob("[!.]*/*.py")):
        if notebook.stem == notebook.parent.name:
            with suppress(OSError, UnicodeDecodeError):
                yield notebook.read_text("utf-8")


def _names(paths: list[Path]) -> set[str]:
    return {path.name for path in paths}


def _listed(paths: list[Path]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(path.name for path in paths[:_SHOWN]) + more


def _removal(paths: list[Path]) -> str:
    names = ",".join(path.name for path in paths)
    place = paths[0].parent
    return f"rm -r {place}/{names}" if len(paths) == 1 else f"rm -r {place}/{{{names}}}"
