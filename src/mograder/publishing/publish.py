"""Publishing on the hub: check an upload, prepare its environment, then replace the release.

In this order, so that a notebook that does not parse, or a requirement that cannot be installed,
leaves the old release unchanged, and the author gets the reason (B96).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mograder.core.errors import InvalidInput, MograderError, TooLarge
from mograder.core.log import get_logger
from mograder.core.names import ItemName
from mograder.core.portable_names import refuse_new_problems
from mograder.core.tasks import Progress, to_its_end
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.cells import parse_cells
from mograder.notebook.findings import refuse
from mograder.notebook.parsing import NotPython, check_notebook
from mograder.notebook.pep723 import Script, read_script
from mograder.notebook.source.release import without_mark
from mograder.sandbox.environments.builder import Environments
from mograder.store.course.support_files import solutions_in
from mograder.store.releases.releases import ItemKind, Release, Releases, ReleaseUpload

_log = get_logger(__name__)


async def publish_release(
    *,
    releases: Releases,
    environments: Environments,
    name: ItemName,
    kind: ItemKind | None,
    staged: ReleaseUpload,
    progress: Progress,
    keep: Callable[[Release], object] = lambda _: None,
) -> Release:
    """Replace an item's release by a staged upload, if it is valid and its environment builds.

    ``kind`` is the kind that the publisher requested; None means the notebook's ``mograder-type``,
    else an assignment (B90, B91). ``keep`` gets the release before and the new one, to keep them
    for merges into copies; a failure of it is logged.

    Raises:
        InvalidInput: The notebook is missing, does not parse, or its header is malformed; grading
            could not read the cells of an assignment; not every student's computer can store a
            name that is new; or a file marks a solution.
        Conflict: An upload that began later was published meanwhile.
        MograderError: The environment cannot be built; the message is the installer's.
    """
    await asyncio.to_thread(_check_names, releases, name, staged.files, progress)
    text, script = await asyncio.to_thread(check_upload, name, staged.path)
    marked = {file: staged.path / file for file in staged.files}
    # The files are read as `refuse` asks for them, so it is in the thread, too.
    await asyncio.to_thread(refuse, solutions_in(marked))
    kind = kind or (ItemKind(script.kind) if script.kind else ItemKind.ASSIGNMENT)
    if kind is ItemKind.ASSIGNMENT:
        # Validation and grading must be able to read each cell; marimo ignores more faults.
        with suppress(NotPython):  # written for another Python, else it had been refused
            await asyncio.to_thread(parse_cells, text, f"{name}.py")
    current = await asyncio.to_thread(releases.get, name)
    if current is not None and current.kind != kind:
        progress(f"{name} was published as {current.kind.value} and becomes {kind.value}.")
    progress("Preparing the environment…")
    await environments.prepare(script, progress)
    if current is not None:
        await asyncio.to_thread(_keep, keep, current)
    published = await to_its_end(staged.commit, kind)
    await asyncio.to_thread(_keep, keep, published)
    return published


def _keep(keep: Callable[[Release], object], release: Release) -> None:
    try:
        keep(release)
    except MograderError as error:
        _log.warning("the release of %s was not kept: %s", release.name, error)


def check_upload(name: ItemName, directory: Path, *, is_source: bool = False) -> tuple[str, Script]:
    """Return the text of an uploaded item's notebook, and its header.

    A source may begin with a byte order mark, since marimo never opens it as it is.

    Raises:
        InvalidInput: The notebook is missing, does not parse, or its header is malformed.
        TooLarge: It is larger than a notebook may be.
    """
    filename = f"{name}.py"
    text = _read_notebook(directory / filename)
    check_notebook(without_mark(text) if is_source else text, filename)
    try:
        return text, read_script(text)
    except InvalidInput as error:
        raise InvalidInput(f"{filename}, {error.message}", hint=error.hint) from error


def _check_names(
    releases: Releases, name: ItemName, files: Sequence[str], progress: Progress
) -> None:
    """Refuse a new name that not every system can store; report those that are published."""
    current = releases.get(name)
    if current is None:
        ItemName.parse_new(name, [each.name for each in releases.all()])
    for each in refuse_new_problems(files, current.files if current else ()):
        progress(f"Warning: {each}")


def _read_notebook(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_NOTEBOOK + 1)
    except FileNotFoundError as error:
        raise InvalidInput(
            f"The upload holds no {path.name}.",
            hint="An item's notebook has the item's name; publish the whole directory.",
        ) from error
    if len(content) > MAX_NOTEBOOK:
        raise TooLarge(f"{path.name} is larger than {MAX_NOTEBOOK // 1_000_000} MB.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{path.name}:{line}: the file is not UTF-8 text.", hint="Save it as UTF-8."
        ) from error
