"""The assignments of an assignment server, found in its directory or listed in its manifest.

Every directory with ``files/`` is an assignment (B136), unless ``assignments.json`` lists them
(B137). Those in ``[dirs] release`` have their files flat, in ``release/<assignment>/``; where an
option names a release directory, there are no others (B138). The manifest may also hold due dates,
cut-offs and extensions (docs/reference/https-api.md).
"""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
)

from mograder.core.clock import FIRST, LAST, from_unix, within_reach
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.log import get_logger
from mograder.core.names import FileName, ItemName
from mograder.store.filesystem.parsed_file import ParsedFile, UnreadableFileError
from mograder.store.submissions.submitted_files import reads_as_a_submission

MANIFEST_FILE = "assignments.json"
_LIMIT = 16 * 1024 * 1024
_NEVER_SERVED = frozenset({"grades.json", "files.json", "keys.json", "keys_all.json"})
_ADDRESS = re.compile(r"/assignments/([^/]+)/files/([^/]+)")
_log = get_logger(__name__)


def _within_reach(at: datetime) -> datetime:
    """Return a time, or the nearest that is within reach for one such as "never", 9999-12-31."""
    return at if within_reach(at) else min(max(at, FIRST), LAST)


_Time = Annotated[AwareDatetime, AfterValidator(_within_reach)]


@dataclass(frozen=True, slots=True)
class Deadline:
    """The due date and the time after which work is refused; None means no such time."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    due: _Time | None = None
    cutoff: _Time | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """One assignment; ``entry`` is its unchanged entry in the manifest, empty without one.

    ``files`` are the names of the files in ``directory`` for students; only :meth:`Catalogue.all`
    fills them in. ``addresses`` are those of the entry's ``files``, decoded. ``extensions`` maps
    usernames to their deadlines.
    """

    name: ItemName
    directory: Path
    files: tuple[FileName, ...] = ()
    entry: Mapping[str, JsonValue] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    deadline: Deadline = Deadline()
    extensions: Mapping[str, Deadline] = field(default_factory=dict)


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")

    filename: str
    url: str | None = None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    files: list[_File] = Field(default_factory=list)
    duedate: Annotated[int, Field(ge=0, le=10**11)] | None = None
    due: _Time | None = None
    cutoff: _Time | None = None
    extensions: dict[str, _Time | Deadline] = Field(default_factory=dict)

    def deadline(self) -> Deadline:
        by_number = _within_reach(from_unix(self.duedate)) if self.duedate else None
        return Deadline(self.due or by_number, self.cutoff)

    def addresses(self) -> tuple[str, ...]:
        usual = f"/assignments/{self.name}/files/"
        return tuple(unquote(each.url or f"{usual}{each.filename}") for each in self.files)

    def place(self) -> ItemName | None:
        """Return the directory that all addresses of the files name; None if there is not one."""
        found = {match and match[1] for match in map(_ADDRESS.fullmatch, self.addresses())}
        return ItemName.valid(found.pop() or "") if len(found) == 1 else None

    def extended(self) -> dict[str, Deadline]:
        return {
            user: each if isinstance(each, Deadline) else Deadline(each)
            for user, each in self.extensions.items()
        }


_ENTRIES = TypeAdapter(list[_Entry])
_RAW = TypeAdapter(list[dict[str, JsonValue]])


class Catalogue:
    """The assignments of one server; thread-safe.

    ``release`` is the directory that an option named for releases, with the files of each
    assignment, flat. Without it, an assignment's files are in its ``files/``, else, flat, in
    ``beside``, the course's ``[dirs] release``, if that is there. ``hidden`` are directories that
    are never assignments, such as that of the submissions. Mutable state: ``_last``, the last valid
    manifest, replaced as a whole.

    Raises: :class:`InvalidInput` if the directory that was named does not exist.
    """

    def __init__(
        self, root: Path, release: Path | None, beside: Path, hidden: tuple[Path, ...] = ()
    ) -> None:
        if release is not None and not release.is_dir():
            raise InvalidInput(f"There is no directory {release}.")
        self.root = root
        # With files/ in it, it is an assignment of this name.
        found = beside if beside.is_dir() and not (beside / "files").is_dir() else None
        self._flat = release or found
        self._flat_only = release is not None
        # The directories in which assignments are looked for, and what links to them lead to.
        bases = [release] if release else [root, *([found] if found else [])]
        self._bases = {base: base.resolve() for base in bases}
        self._hidden = frozenset(path.resolve() for path in hidden)
        otherwise = "its last valid version counts, if there was one"
        self._file = ParsedFile(root / MANIFEST_FILE, self._parse, _LIMIT, otherwise)
        self._last: Mapping[str, Assignment] | None = None

    def all(self, *, log: bool = True) -> tuple[Assignment, ...]:
        """Return every assignment, in the manifest's order, else by name.

        Raises: :class:`InvalidInput` if the manifest is invalid and was never valid before;
        with ``log`` the log has it, too.
        """
        listed = self._manifest(log=log)
        if listed is not None:
            return tuple(self._with_files(each) for each in listed.values())
        try:
            # Names only, which costs no Path each.
            names = sorted(set(chain.from_iterable(map(os.listdir, self._bases))))
        except OSError as error:
            _log.error("the assignments cannot be listed: %s", error)
            return ()
        found = ((name, self._one(name)) for name in names)
        return tuple(self._with_files(each) for name, each in found if each and each.name == name)

    def find(self, name: str) -> Assignment:
        """Return an assignment without its list of files. Raises: NotFound, and as :meth:`all`."""
        listed = self._manifest()
        parsed = ItemName.valid(name)
        found = self._one(name) if listed is None else listed.get(parsed or "")
        if found is None:
            raise NotFound(f"There is no assignment {name[:100]}.")
        return found

    def holding(self, name: str) -> tuple[Assignment, ...]:
        """Return the assignments with files at the addresses that have this name.

        It is an assignment's own, else that of the directory of some that the manifest lists.

        Raises: as :meth:`find`.
        """
        listed, parsed = self._manifest() or {}, ItemName.valid(name)
        if parsed is None or parsed in listed:
            return (self.find(name),)
        directory = self._files_of(parsed)
        there = tuple(each for each in listed.values() if each.directory == directory)
        return there or (self.find(name),)

    def unserved(self) -> Iterator[str]:
        """Yield what is wrong with each address in the manifest at which there is no file."""
        for each in self.all(log=False):
            if each.entry and "files" not in each.entry and not each.directory.is_dir():
                missing = f"there is no directory {each.directory}"
                yield f"{each.name}: {missing}. Make it, or list `files`."
            for address in each.addresses:
                if not self._is_served(address):
                    yield f"{each.name}: no file is handed out at {address}. Correct the `url`."

    def unnamable(self) -> Iterator[str]:
        """Yield what is wrong with each name here for which something is not handed out."""
        for place in (each for base in self._bases for each in sorted(base.iterdir())):
            files = place if self._is_flat(place) else place / "files"
            if not place.name.startswith(".") and files.is_dir():
                names = sorted(each.name for each in files.iterdir() if each.is_file())
                shown = (each for each in names if not each.startswith("."))
                told = (ItemName.complaint(place.name), *map(FileName.complaint, shown))
                yield from filter(None, told)

    def _manifest(self, *, log: bool = True) -> Mapping[str, Assignment] | None:
        """Return the manifest's assignments by name; None without a manifest.

        If an edit makes it invalid while the server runs, the last valid version stays in use, so
        that students do not miss a deadline because of the error.
        """
        try:
            listed = self._file.get(log=log)
        except UnreadableFileError as error:
            if self._last is None:
                raise InvalidInput(f"{MANIFEST_FILE} cannot be used: {error}") from error
            return self._last
        if listed is not None:
            self._last = listed
        return listed

    def _parse(self, content: bytes) -> Mapping[str, Assignment]:
        text = content.removeprefix(BOM_UTF8)
        try:
            raw, entries = _RAW.validate_json(text), _ENTRIES.validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            number, *keys = first["loc"] or (None,)
            first_part = f"entry {number + 1}" if isinstance(number, int) else "its content"
            place = ".".join(map(str, (first_part, *keys)))
            raise InvalidInput(f"{place}: {first['msg']}") from error
        listed: dict[str, Assignment] = {}
        for entry, values in zip(entries, raw, strict=True):
            name = ItemName.valid(entry.name)
            if name is None:
                why = ItemName.complaint(entry.name)
                _log.warning("%s: %s Rename it: it is not handed out.", MANIFEST_FILE, why)
                continue
            if name in listed:
                raise InvalidInput(f"{name} is listed twice")
            listed[name] = Assignment(
                name=name,
                directory=self._files_of(entry.place() or name),
                entry=values,
                addresses=entry.addresses(),
                deadline=entry.deadline(),
                extensions=entry.extended(),
            )
        return listed

    def _one(self, name: str) -> Assignment | None:
        parsed = ItemName.valid(name)
        if parsed is None:
            return None
        directory = self._files_of(parsed)
        if not directory.is_dir() or self._is_hidden(directory):
            return None
        if self._is_flat(directory) and not _served(directory):
            return None
        return Assignment(name=parsed, directory=directory)

    def _is_served(self, address: str) -> bool:
        match = _ADDRESS.fullmatch(address)
        try:
            return match is not None and match[2] in _served(self.holding(match[1])[0].directory)
        except NotFound:
            return False

    def _is_hidden(self, directory: Path) -> bool:
        place = directory if self._is_flat(directory) else directory.parent
        # Called for every submission: resolve the path only if it is a symbolic link itself.
        place = place.resolve() if place.is_symlink() else self._bases[place.parent] / place.name
        return place in self._hidden

    def _files_of(self, name: ItemName) -> Path:
        nested = self.root / name / "files"
        if self._flat is None or (not self._flat_only and nested.is_dir()):
            return nested
        return self._flat / name

    def _is_flat(self, directory: Path) -> bool:
        return directory.parent == self._flat

    def _with_files(self, found: Assignment) -> Assignment:
        files = _served(found.directory)
        zips = tuple(each for each in files if each.lower().endswith(".zip"))
        flat = self._is_flat(found.directory) and zips
        return replace(found, files=zips if flat else files)


def may_be_served(name: str) -> bool:
    return name not in _NEVER_SERVED and not reads_as_a_submission(name.removesuffix(".py"))


def _served(directory: Path) -> tuple[FileName, ...]:
    """Return the names of the regular files in a directory for students, sorted."""
    try:
        with os.scandir(directory) as entries:
            names = [each.name for each in entries if each.is_file(follow_symlinks=False)]
    except OSError:
        return ()
    parsed = ((name, FileName.valid(name)) for name in names if may_be_served(name))
    return tuple(sorted(valid for name, valid in parsed if valid and valid == name))
