"""What a directory on this machine would publish: which directory, which files, as what kind.

Deciding is pure; listing looks at the disk once. The command line prints the decision, then
sends it (B86-B95, compat.md 7 and 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName
from mograder.notebook.pep723 import read_kind
from mograder.store.manifest import parse_file
from mograder.store.releases import ItemKind
from mograder.transports.upload import Upload

MANIFEST = "files.json"
BY_PRODUCTS = frozenset({".html", ".zip"})
"""What `mograder generate` and exports leave beside a notebook: previews, and the bundle for
Moodle. Workspaces never receive them either (compat.md 2.8)."""
SERVED = "public"
"""The one subdirectory that marimo serves to the page, and so the one that is published."""

_MAX_NOTEBOOK = 16_000_000
_MAX_FILES = 10_000


@dataclass(frozen=True, slots=True)
class LocalRelease:
    """A release as it lies on this machine, ready to be sent.

    ``detected`` is the kind that the notebook itself states, if any; ``left_out`` names the plain
    files that stay behind.
    """

    name: ItemName
    directory: Path
    files: tuple[Upload, ...]
    left_out: tuple[str, ...]
    detected: ItemKind | None


def find_release(argument: str, release_dir: Path) -> Path:
    """Return the directory that a command line's ASSIGNMENT means (B92).

    A path with a separator is that directory. A bare name is looked up among the released items:
    the item of that name, else the only one that begins so, else a directory of that name here.

    Raises:
        NotFound: Nothing matches, or several do; the message lists them.
    """
    directory = _named(Path(argument).expanduser())
    if "/" in argument or argument in {".", ".."}:
        if not directory.is_dir():
            raise NotFound(f"{argument} is not a directory.")
        return directory
    if argument and (release_dir / argument).is_dir():
        return release_dir / argument
    released = _released(release_dir)
    candidates = matching(argument, released)
    if len(candidates) == 1:
        return release_dir / candidates[0]
    if candidates:
        raise NotFound(f"'{argument}' may mean {_listed(candidates)}.", hint="Say which one.")
    if argument and directory.is_dir():
        return directory
    raise NotFound(f"No release matches '{argument}'.", hint=_what_there_is(released, release_dir))


def _named(directory: Path) -> Path:
    """Return a path that ends in the directory's name; a link keeps the name of the link."""
    return directory if directory.name not in {"", ".."} else directory.resolve()


def matching(prefix: str, names: Sequence[str]) -> list[str]:
    """Return the names that begin with the prefix, or the one that equals it; pure."""
    return [prefix] if prefix in names else [name for name in names if name.startswith(prefix)]


def read_release(directory: Path) -> LocalRelease:
    """List what the directory would publish.

    Raises:
        InvalidInput: It holds no notebook of its own name, or a name that no hub accepts.
    """
    name = ItemName.parse(directory.name)
    notebook = directory / f"{name}.py"
    if not notebook.is_file():
        raise InvalidInput(
            f"{directory} has no notebook {name}.py.",
            hint="An item's notebook has the name of its directory.",
        )
    plain = sorted(path.name for path in directory.iterdir() if path.is_file())
    sent = [each for each in plain if is_published(each)]
    left_out = [each for each in plain if not is_published(each) and not _is_private(each)]
    public = _public_files(directory / SERVED)
    files = [*sent, *(path.relative_to(directory).as_posix() for path in public)]
    for file in files:
        _check_name(file)
    return LocalRelease(
        name=name,
        directory=directory,
        files=tuple(Upload(file, directory / file) for file in files),
        left_out=tuple(left_out),
        detected=_detected_kind(notebook),
    )


def is_published(filename: str) -> bool:
    """Tell whether a plain file beside a notebook goes to the hub; pure."""
    return not _is_private(filename) and Path(filename).suffix.lower() not in BY_PRODUCTS


def _is_private(filename: str) -> bool:
    return filename.startswith(".") or filename == MANIFEST


def _public_files(directory: Path) -> list[Path]:
    """List the files below ``public/``, without hidden ones and without following links to
    directories, which could lead anywhere or in circles."""
    if not directory.is_dir() or directory.is_symlink():
        return []
    found: list[Path] = []
    pending = [directory]
    while pending:
        entries = [path for path in pending.pop().iterdir() if not path.name.startswith(".")]
        found += [path for path in entries if path.is_file()]
        pending += [path for path in entries if path.is_dir() and not path.is_symlink()]
        if len(found) > _MAX_FILES:
            raise InvalidInput(f"{directory} holds more than {_MAX_FILES} files.")
    return sorted(found)


def _check_name(file: str) -> None:
    try:
        parse_file(file)
    except InvalidInput as error:
        raise InvalidInput(f"{file} cannot be published. {error.message}") from error


def _detected_kind(notebook: Path) -> ItemKind | None:
    if notebook.stat().st_size > _MAX_NOTEBOOK:
        raise InvalidInput(f"{notebook} is larger than {_MAX_NOTEBOOK // 1_000_000} MB.")
    kind = read_kind(notebook.read_text(encoding="utf-8", errors="replace"))
    return ItemKind(kind) if kind else None


def _released(release_dir: Path) -> list[str]:
    if not release_dir.is_dir():
        return []
    return sorted(
        path.name
        for path in release_dir.iterdir()
        if not path.name.startswith(".") and (path / f"{path.name}.py").is_file()
    )


def _what_there_is(released: Sequence[str], release_dir: Path) -> str:
    if released:
        return f"{release_dir} holds {_listed(released)}."
    return f"{release_dir} holds no item; `mograder generate` puts them there."


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:20])
    return f"{shown}, and {len(names) - 20} more" if len(names) > 20 else shown
