"""Private copies of notebooks and the files beside them, in which they run.

The student's own folder is never mounted: a session may be using it, and files that the run
writes do not belong in it. On Linux, it may be a folder of other people: its files are opened
without following links. On other systems it is the person's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from io import BufferedReader
from pathlib import Path

from mograder.core.errors import InvalidInput
from mograder.core.files import open_flags
from mograder.core.files.disk import closing_fd
from mograder.core.operating_system import SYSTEM
from mograder.core.tasks import to_its_end
from mograder.sandbox.execution.item_limits import CopyBounds, is_needed, too_large
from mograder.sandbox.execution.judging import JudgingRequest
from mograder.sandbox.execution.report import ExecutionRequest
from mograder.sandbox.tree_walk import walk

_ID_BYTES = 12
_DEEPEST = 6
_COPY_BYTES = 1 << 20
_NOTEBOOK, _HEAD_BYTES = b"marimo.App(", 1 << 16
_NO_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)


Notebook = ExecutionRequest | JudgingRequest


class PrivateCopies:
    """Copies of notebooks to run, at most ``at_once`` at the same time; further calls wait."""

    def __init__(
        self, place: Path, remove: Callable[[Path], None], *, at_once: int, bounds: CopyBounds
    ) -> None:
        """Keep them below ``place``, a directory that only this process writes to.

        ``remove`` removes a tree with untrusted contents
        (:func:`mograder.store.filesystem.files.remove_tree`).
        """
        self._place = place
        self._remove = remove
        self._bounds = bounds
        self._turn = asyncio.Semaphore(at_once)

    @contextlib.asynccontextmanager
    async def copy(
        self, notebook: Notebook, *, notebooks: bool = False
    ) -> AsyncIterator[tuple[str, Path]]:
        """Yield a new name and a directory with a notebook and its support files.

        The directory is removed afterwards. Raises: as :func:`write_copy`.
        """
        name = secrets.token_hex(_ID_BYTES)
        directory = self._place / name
        writing = partial(write_copy, directory, notebook, self._bounds, notebooks=notebooks)
        async with self._turn:
            try:
                await to_its_end(writing)
                yield name, directory
            finally:
                await asyncio.to_thread(self._remove, directory)


def write_copy(
    directory: Path, notebook: Notebook, bounds: CopyBounds, *, notebooks: bool = False
) -> None:
    """Make a directory with a notebook and a copy of its support files.

    Other notebooks beside it are left out unless ``notebooks``, or the folder is the person's own.

    Raises: :class:`TooLarge`; :class:`InvalidInput` if the name is no file name.
    """
    if Path(notebook.name).name != notebook.name or not notebook.name:
        raise InvalidInput(f"{notebook.name!r} is no file name.")
    directory.mkdir(mode=0o700, parents=True)
    if notebook.folder is not None and SYSTEM == "linux":
        copy_folder(notebook.folder, directory, bounds, notebooks=notebooks)
    elif notebook.folder is not None:
        _copy_own_folder(notebook.folder, directory, bounds)
    target = directory / notebook.name
    target.unlink(missing_ok=True)
    # Unchanged, including line ends: checks may compare its bytes.
    target.write_text(notebook.text, encoding="utf-8", newline="", errors="surrogatepass")


def needed_files(folder: Path) -> Iterator[tuple[Path, str, int]]:
    """Yield the files that a notebook in a folder may need, in a fixed order.

    They are given as the relative path of their directory, their name, and the directory's
    descriptor. They may be anything but directories; links to directories are not followed, and
    there are none in a folder that is a link. Students may change the folder meanwhile.
    """
    try:
        top = os.open(folder, open_flags.READ_DIRECTORY)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY:
            raise
        return
    with closing_fd(top):
        for each in walk(top, _DEEPEST):
            each.directories[:] = filter(is_needed, each.directories)
            for name in filter(is_needed, each.others):
                yield each.below, name, each.descriptor


def folder_digest(folder: Path) -> str:
    """Return a SHA-256 of the names and contents of the files beside a notebook that a run gets.

    Times and other notebooks do not count. A file that cannot be read counts as missing, as it is
    to a run.
    """
    found = hashlib.sha256()
    for below, name, directory in needed_files(folder):
        with _opened(directory, name) as opened:
            if opened is None or _is_notebook(name, opened):
                continue
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
            found.update(f"{below / name}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


@contextlib.contextmanager
def _opened(directory: int, name: str) -> Iterator[BufferedReader | None]:
    """Yield a regular file of a directory, None for anything else and for a removed one."""
    try:
        source = os.open(name, open_flags.READ_FILE, dir_fd=directory)
    except OSError:
        yield None
        return
    with os.fdopen(source, "rb") as opened:
        yield opened if stat.S_ISREG(os.fstat(source).st_mode) else None


def _is_notebook(name: str, opened: BufferedReader) -> bool:
    """Return whether an open file is a notebook; it is at its start again afterwards."""
    found = name.endswith(".py") and _NOTEBOOK in opened.read(_HEAD_BYTES)
    opened.seek(0)
    return found


def copy_folder(folder: Path, target: Path, bounds: CopyBounds, *, notebooks: bool) -> None:
    """Copy a folder's regular files; links are not followed, also if created meanwhile.

    Raises: :class:`TooLarge`.
    """
    files, size, most = 0, 0, bounds.mb << 20
    for below, name, descriptor in needed_files(folder):
        with _opened(descriptor, name) as opened:
            # Another notebook may be another student's submission in the same folder.
            if opened is None or (not notebooks and _is_notebook(name, opened)):
                continue
            files += 1
            if files <= bounds.files:
                size += _copy_file(opened, target / below / name, most - size)
        if files > bounds.files or size > most:
            raise too_large(bounds)


def _copy_file(source: BufferedReader, target: Path, most: int) -> int:
    """Copy a file, but no more than a byte above ``most``; return how many bytes."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    size = 0
    with target.open("wb") as copy:
        while data := source.read(min(_COPY_BYTES, most + 1 - size)):
            size += copy.write(data)
    return size


def _copy_own_folder(folder: Path, target: Path, bounds: CopyBounds) -> None:
    """Copy the needed files of a person's own folder. Raises: :class:`TooLarge`."""
    files = size = 0

    def unwanted(directory: str, names: list[str]) -> list[str]:
        return [name for name in names if _is_unwanted(Path(directory, name))]

    def copy(source: str, copied: str) -> None:
        nonlocal files, size
        files, size = files + 1, size + Path(source).stat().st_size
        if files > bounds.files or size > bounds.mb << 20:
            raise too_large(bounds)
        shutil.copy2(source, copied)
        Path(copied).chmod(Path(copied).stat().st_mode | stat.S_IWUSR)  # or Windows keeps it

    shutil.copytree(
        folder,
        target,
        ignore=unwanted,
        ignore_dangling_symlinks=True,
        copy_function=copy,
        dirs_exist_ok=True,
    )


def _is_unwanted(path: Path) -> bool:
    """Return whether to omit a path: hidden, a tool's, a virtual environment, a linked folder."""
    if not is_needed(path.name):
        return True  # without a look into it, which may be forbidden
    return path.is_dir() and (path.is_symlink() or (path / "pyvenv.cfg").exists())
