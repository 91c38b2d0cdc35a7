"""``mograder hub warm-cache`` on this machine: prepare notebooks' environments (B100-B104)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from mograder.cli.shared.course_settings import load_course
from mograder.cli.shared.output import reporting
from mograder.cli.shared.result import Result, tell
from mograder.core.errors import InvalidInput, MograderError
from mograder.core.settings import LoadedSettings, read_environ
from mograder.notebook.pep723 import Script
from mograder.publishing.warm import local_environments, read_notebook_script
from mograder.sandbox.environments.builder import Environments

_NOTHING = "No notebooks specified. Use --all or pass notebook paths."


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The outcome for one notebook; ``dependencies`` as in its header."""

    path: str
    dependencies: tuple[str, ...] = ()
    status: str = ""
    """``ok``, ``failed``, or empty if there was nothing to do."""
    error: str = ""


def warm_here(notebooks: Sequence[Path], *, every: bool, dry_run: bool) -> Result:
    """Prepare the environments of notebooks for the hub of this course; ``every``: of all of it."""
    loaded = load_course()
    release_dir, paths = loaded.path(loaded.settings.hub.release_dir), list(notebooks)
    if every:  # except releases being staged (B101)
        found = (path for path in release_dir.glob("*/*.py") if path.is_file())
        paths += sorted(path for path in found if not path.parent.name.startswith("."))
    if not paths:
        return Result([], [f"{release_dir} holds no notebooks." if every else _NOTHING])
    outcomes = asyncio.run(_warm(loaded, paths, dry_run=dry_run))
    failed = any(each.status == "failed" for each in outcomes)
    return Result(outcomes, status=int(failed))


async def _warm(loaded: LoadedSettings, paths: Sequence[Path], *, dry_run: bool) -> list[_Outcome]:
    scripts: dict[Path, Script] = {}
    unreadable: dict[Path, _Outcome] = {}
    for path in paths:
        try:
            scripts[path] = read_notebook_script(path)
        except InvalidInput as error:
            unreadable[path] = _Outcome(str(path), status="failed", error=str(error))
    needed = any(script.dependencies for script in scripts.values())
    outcomes = []
    async with AsyncExitStack() as stack:
        environments: Environments | None = None
        if needed and not dry_run:
            opening = local_environments(loaded, read_environ())
            environments = await stack.enter_async_context(opening)
        for path in paths:
            outcome = unreadable.get(path)
            if outcome is None:
                outcome = await _prepare(path, scripts[path], environments)
            _tell(outcome)
            outcomes.append(outcome)
    return outcomes


async def _prepare(path: Path, script: Script, environments: Environments | None) -> _Outcome:
    if environments is None or not script.dependencies:
        return _Outcome(str(path), script.dependencies)
    try:
        with reporting() as report:
            await environments.prepare(script, report)
    except (MograderError, OSError) as error:
        return _Outcome(str(path), script.dependencies, "failed", str(error))
    return _Outcome(str(path), script.dependencies, "ok")


def _tell(outcome: _Outcome) -> None:
    """Print the lines of compatibility-0.3.16.md 10."""
    if outcome.dependencies:
        tell(f"  {outcome.path}: {', '.join(outcome.dependencies)}")
    elif not outcome.error:
        tell(f"  {outcome.path}: no PEP 723 deps")
    else:
        tell(f"  {outcome.path}")
    if outcome.status:
        tell(f"    {outcome.status}{f': {outcome.error}' if outcome.error else ''}")
