"""The pages that run a notebook in the browser alone, as files below a course's directory.

``.mograder/web/files/<name>-<digest>/…`` holds what browsers load. A directory's name has a digest
of its content, so a file never changes under its address and may be cached for ever.
``.mograder/web/items/<item>.json`` tells which frame an item uses (docs/reference/files.md). What
no item uses any more is removed by the next export.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import brotli  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.errors import InvalidInput, NotFound
from mograder.core.files.disk import write_file
from mograder.core.files.file_lock import acquire, open_lock
from mograder.core.names import FileName, ItemName
from mograder.store.filesystem.files import atomic_write, remove_tree
from mograder.store.filesystem.records import make_directories

PLACE = Path(".mograder") / "web"
PACKED = ".br"
"""The suffix of a file's compressed copy beside it."""

_PACKS = frozenset({".js", ".mjs", ".css", ".html", ".json", ".svg", ".wasm", ".ttf"})
_QUALITY = 9
_MIN_BYTES = 1024
_DIRECTORY = re.compile(r"[a-z]+-[0-9a-f]{32}")
_PIECE = re.compile(r"[A-Za-z0-9_@~+-][A-Za-z0-9_@~+.!-]{0,254}")
_DEEPEST = 8
_LOCK = ".lock"
_OLD = ".old-"


class BrowserPage(BaseModel):
    """An item's page: ``frame`` is its address below ``files/``, ``notebook`` the item's file.

    ``protocol`` is the version of the messages between the frame and the page around it;
    ``missing`` names the packages that do not run in a browser; ``first`` are the addresses below
    ``files/`` of what the frame loads at its start, ``uses`` the directories there that it needs.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    protocol: int
    frame: str
    notebook: str
    marimo: str
    pyodide: str
    missing: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


class BrowserPages:
    def __init__(self, root: Path) -> None:
        self._place = root / PLACE

    def find(self, item: ItemName) -> BrowserPage | None:
        """Return an item's page, None if it has none or one that cannot be read."""
        try:
            return BrowserPage.model_validate_json(self._item(item).read_bytes())
        except (OSError, ValidationError):
            return None

    def items(self) -> tuple[ItemName, ...]:
        names = (ItemName.valid(path.stem) for path in (self._place / "items").glob("*.json"))
        return tuple(sorted(name for name in names if name is not None))

    def save(self, item: ItemName, page: BrowserPage) -> None:
        make_directories(self._item(item).parent)
        atomic_write(self._item(item), page.model_dump_json(indent=2).encode() + b"\n")

    def add(self, name: str, content: Mapping[str, bytes]) -> str:
        """Write a directory of files, unless it is there, and return its name.

        ``name`` is a word of lower-case letters; the digest of the content is appended. A directory
        counts as written when its last file, the marker of its completeness, is there.

        Raises: :class:`InvalidInput` for the name of a file that has no address.
        """
        digest = hashlib.sha256()
        for path, data in sorted(content.items()):
            _check(path)
            digest.update(path.encode() + b"\0" + hashlib.sha256(data).digest())
        directory = f"{name}-{digest.hexdigest()[:32]}"
        place = self._place / "files" / directory
        done = place / ".complete"
        if done.is_file():
            return directory
        for path, data in content.items():
            target = place / path
            target.parent.mkdir(parents=True, exist_ok=True)
            write_file(target, data)
            if len(data) >= _MIN_BYTES and target.suffix in _PACKS:
                packed = brotli.compress(data, quality=_QUALITY)
                write_file(target.with_name(target.name + PACKED), packed)
        write_file(done, b"")
        return directory

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other exports out while files are written and an item's page is saved."""
        make_directories(self._place)
        lock = open_lock(self._place / _LOCK)
        try:
            acquire(lock, seconds=None)
            yield
        finally:
            os.close(lock)

    def prune(self) -> tuple[str, ...]:
        """Remove the directories of files that no item's page uses, and return their names.

        Nothing is removed while an item has a page that does not tell what it uses. A browser that
        shows a removed page has its files already. Call it inside :meth:`changing`.
        """
        pages = [self.find(item) for item in self.items()]
        if not all(page is not None and page.uses for page in pages):
            return ()
        used = {name for page in pages if page is not None for name in page.uses}
        removed = []
        for place in sorted((self._place / "files").iterdir()):
            if place.name.startswith(_OLD):
                remove_tree(place)  # an earlier removal was interrupted
            elif _DIRECTORY.fullmatch(place.name) and place.name not in used:
                # Not under its name: a part of it is no complete directory.
                old = place.with_name(_OLD + place.name)
                place.rename(old)
                remove_tree(old)
                removed.append(place.name)
        return tuple(removed)

    def directory_of(self, pieces: tuple[str, ...]) -> tuple[Path, FileName]:
        """Return directory and name of a served file by its decoded steps. Raises: NotFound."""
        name = FileName.valid(pieces[-1]) if pieces else None
        known = len(pieces) in range(2, _DEEPEST) and _DIRECTORY.fullmatch(pieces[0]) is not None
        if not known or name is None or not all(_PIECE.fullmatch(each) for each in pieces[1:]):
            raise NotFound("Not found")
        return self._place.joinpath("files", *pieces[:-1]), name

    def _item(self, item: ItemName) -> Path:
        return self._place / "items" / f"{item}.json"


def _check(path: str) -> None:
    parts = PurePosixPath(path).parts
    if len(parts) >= _DEEPEST or not all(_PIECE.fullmatch(each) for each in parts):
        raise InvalidInput(f"{path!r} cannot be served under its name.")
