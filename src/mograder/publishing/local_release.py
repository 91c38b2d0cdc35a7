"""The release that a local directory would publish: its files, its kind, and what it would change.

The command line prints it before the upload (B86-B95, compatibility-0.3.16.md 7 and 10), with the
files of the hub that it would change (B99). Students read the assignment on Moodle, so that must
agree with it, too (B86 to B89): all files are compared except previews (.html), and a zip on Moodle
counts as the files in it.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shlex import quote

from mograder.clients.course_server import RemoteFile
from mograder.clients.file_upload import Upload
from mograder.clients.hub import Held
from mograder.core.errors import InvalidInput, NotFound, TooLarge
from mograder.core.files.zips import opened_zip, read_entry
from mograder.core.name_lookup import Words, find_name
from mograder.core.names import ItemName, nfc
from mograder.notebook import MAX_NOTEBOOK
from mograder.notebook.findings import Finding, refuse
from mograder.notebook.pep723 import read_kind, read_script
from mograder.notebook.references import undeclared
from mograder.store.course.course import argument_path, named_directory
from mograder.store.course.support_files import (
    Belongings,
    LeftBehind,
    belongings,
    modules_beside,
    solutions_in,
)
from mograder.store.filesystem.files import entry_named
from mograder.store.releases.published_release import is_by_product, parse_file
from mograder.store.releases.releases import ItemKind

Read = Callable[[RemoteFile, int], bytes]
"""A function that returns the verified bytes of a file on Moodle, so many at most."""

MOST_BYTES = 200_000_000
"""Largest size of one file on Moodle in bytes, packed or unpacked."""

_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True)
class LocalRelease:
    """A release in a local directory, ready to upload.

    ``detected`` is the kind that the notebook states, if any; ``left_out`` holds the files and
    folders that are not uploaded, with the reasons. ``python`` is the notebook's
    ``requires-python``, and ``advice`` lists possible mistakes in it.
    """

    name: ItemName
    directory: Path
    files: tuple[Upload, ...]
    left_out: tuple[LeftBehind, ...]
    detected: ItemKind | None
    python: str = ""
    advice: tuple[Finding, ...] = ()

    @property
    def size(self) -> int:
        """The size of all files in bytes. Raises: InvalidInput when one cannot be read."""
        try:
            return sum(each.path.stat().st_size for each in self.files)
        except OSError as error:
            raise InvalidInput(f"{error.filename} cannot be read: {error.strerror}.") from error


@dataclass(frozen=True, slots=True)
class Changes:
    """Sorted file names; ``kind_before`` is the item's kind on the hub if publishing changes it.

    ``exact``: the hub listed all its files, so that nothing else would change.
    """

    new: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...]
    kind_before: str
    exact: bool

    @property
    def none(self) -> bool:
        return self.exact and not (self.new or self.changed or self.removed or self.kind_before)


@dataclass(frozen=True, slots=True)
class Differences:
    """The names of files that differ between Moodle and a local release."""

    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def none(self) -> bool:
        return not (self.missing or self.differing or self.extra)

    def lines(self) -> list[str]:
        """Return one line for each file, worded as in compatibility-0.3.16.md 10."""
        told = (
            ("missing on Moodle", self.missing),
            ("content differs", self.differing),
            ("extra on Moodle (not local)", self.extra),
        )
        return [f"  {words}: {name}" for words, names in told for name in names]


def find_release(argument: str, release_dir: Path, source_dir: Path | None = None) -> Path:
    """Return the directory that a command line's ASSIGNMENT means (B92).

    A path with a separator is that directory. A bare name is looked up among the released items
    (:mod:`mograder.core.name_lookup`); if none matches, it is a directory of that name here.

    Raises:
        NotFound: Nothing matches; the message lists the released items, and tells how to release
            one that is in ``source_dir`` only.
        InvalidInput: Several match; the message lists them.
    """
    directory = named_directory(argument_path(argument))
    if "/" in argument or argument in {".", ".."}:
        if not directory.is_dir():
            raise NotFound(f"{argument} is not a directory.")
        return directory
    words = Words(
        kind="release",
        where=f"in {release_dir}",
        empty=f"{release_dir} holds no item; `mograder generate` puts them there.",
    )
    try:
        return release_dir / find_name(argument, _released(release_dir, argument), words)
    except NotFound as error:
        if argument and directory.is_dir():
            return directory
        hint = error.hint
        with suppress(NotFound, InvalidInput):
            if source_dir is not None:
                name = find_name(argument, _released(source_dir, argument))
                hint = f"Run `mograder generate {quote(name)}` first."
        raise NotFound(error.message, hint=hint) from None


def read_release(directory: Path) -> LocalRelease:
    """Return the release in a directory.

    Raises:
        InvalidInput: The directory has no notebook of its own name, a name is not valid on a hub,
            or a file marks a solution.
    """
    release = _read(directory, belongings(directory))
    for file in release.files:
        if reason := _why_refused(file.name):
            raise InvalidInput(f"{file.name} cannot be published. {reason}")
    refuse(solutions_in({f"{directory}/{each.name}": each.path for each in release.files}))
    return release


def read_source(directory: Path) -> LocalRelease:
    """Return the files of an item's source, which only graders get, as those of a release.

    Files that a hub would refuse, such as an editor's backup ``A1.py~``, are left out.

    Raises: InvalidInput if the directory has no notebook of its own name.
    """
    found = belongings(directory)
    refused = {file: "a hub would refuse its name" for file in found.files if _why_refused(file)}
    return _read(directory, found.without(refused))


def _read(directory: Path, found: Belongings) -> LocalRelease:
    name = ItemName.parse(directory.name)
    notebook = entry_named(directory, f"{name}.py")
    if not notebook.is_file():
        hint = "An item's notebook has the name of its directory."
        for markdown in sorted(directory.glob("*.md"))[:1]:
            hint = (
                f"Markdown notebooks such as {markdown.name} are not taken: `marimo convert "
                f"{markdown.name} -o {directory.name}.py` makes a Python one."
            )
        raise InvalidInput(f"{directory} has no notebook {name}.py.", hint=hint)
    if notebook.stat().st_size > MAX_NOTEBOOK:
        raise InvalidInput(f"{notebook} is larger than {MAX_NOTEBOOK // 1_000_000} MB.")
    text = notebook.read_text(encoding="utf-8", errors="replace")
    kind, python = read_kind(text), ""
    with suppress(InvalidInput):  # a header with a mistake, which the hub reports
        python = read_script(text).requires_python
    return LocalRelease(
        name=name,
        directory=directory,
        files=tuple(Upload(nfc(file), directory / file) for file in found.files),
        left_out=found.left,
        detected=ItemKind(kind) if kind else None,
        python=python,
        advice=undeclared(text, notebook.name, modules_beside(directory)),
    )


def changes(local: Mapping[str, str], kind: str, held: Held) -> Changes:
    """Compare local files, SHA-256 by name, with the files on the hub; pure."""
    common = local.keys() & held.files.keys()
    same = {name for name in common if local[name] == held.files[name]}
    return Changes(
        new=tuple(sorted(local.keys() - held.files.keys())),
        changed=tuple(sorted(common - same)),
        unchanged=tuple(sorted(same)),
        removed=tuple(sorted(held.files.keys() - local.keys())),
        kind_before=held.kind if held.kind != kind else "",
        exact=held.complete,
    )


def compare(local: Mapping[str, str], remote: Mapping[str, frozenset[str]]) -> Differences:
    """Compare SHA-256 by name; if Moodle has a name twice (loose and zipped), both must agree."""
    common = local.keys() & remote.keys()
    return Differences(
        missing=tuple(sorted(local.keys() - remote.keys())),
        differing=tuple(sorted(name for name in common if remote[name] != {local[name]})),
        extra=tuple(sorted(remote.keys() - local.keys())),
    )


def digests(files: Sequence[Upload]) -> dict[str, str]:
    """Return the hex SHA-256 by name on the hub; raises InvalidInput for an unreadable file."""
    found = {}
    for each in files:
        try:
            with each.path.open("rb") as file:
                found[each.name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InvalidInput(f"{each.path} cannot be read: {error.strerror}.") from error
    return found


def local_digests(files: Sequence[Upload], item: str) -> Mapping[str, str]:
    """Return the SHA-256 of these files as students get them: a zip counts by its content.

    Raises: :class:`~mograder.core.errors.MograderError` when a file cannot be read or opened.
    """
    here = [RemoteFile(file.name, str(file.path), file.path.stat().st_size) for file in files]
    found = remote_digests(here, lambda file, _: Path(file.address).read_bytes(), item)
    return {name: min(digests) for name, digests in found.items()}


def remote_digests(
    files: Iterable[RemoteFile], read: Read, item: str
) -> Mapping[str, frozenset[str]]:
    """Return the SHA-256 of all files on Moodle by name, with zips unpacked.

    ``item`` is the name of the folder that a zip may wrap its files in.

    Raises: :class:`~mograder.core.errors.MograderError` when a file cannot be downloaded or
    unpacked.
    """
    found: dict[str, set[str]] = {}
    for file in files:
        suffix = "" if "/" in file.name else PurePosixPath(file.name).suffix.lower()
        if suffix == ".html":
            continue
        if file.size is not None and file.size > MOST_BYTES:
            raise TooLarge(f"{file.name} on Moodle is larger than {MOST_BYTES // 1_000_000} MB.")
        data = read(file, MOST_BYTES)
        inner = _unzipped(data, file.name, item) if suffix == ".zip" else {file.name: data}
        for name, content in inner.items():
            found.setdefault(nfc(name), set()).add(hashlib.sha256(content).hexdigest())
    return {name: frozenset(digests) for name, digests in found.items()}


def _why_refused(file: str) -> str:
    """Return why a hub would refuse a file's name; "" for a valid one."""
    try:
        parse_file(file)
    except InvalidInput as error:
        return error.message
    return ""


def _released(release_dir: Path, asked: str) -> list[str]:
    """Return the names of the released items, and ``asked`` if a directory has that name.

    A directory that is named in full matches even without a notebook, which the command then
    reports.
    """
    if not release_dir.is_dir():
        return []
    return sorted(
        path.name
        for path in release_dir.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and (nfc(path.name) == nfc(asked) or entry_named(path, f"{path.name}.py").is_file())
    )


def _unzipped(data: bytes, name: str, item: str) -> Mapping[str, bytes]:
    told = f"{name} on Moodle cannot be unpacked"
    with opened_zip(data, told, hint="Upload it to Moodle again.") as archive:
        entries = [each for each in archive.infolist() if _counts(each)]
        if len(entries) > _MOST_ENTRIES:
            raise TooLarge(f"{name} on Moodle holds more than {_MOST_ENTRIES} files.")
        contents: dict[str, bytes] = {}
        left = MOST_BYTES
        too_much = f"{name} on Moodle unpacks to too much."
        for entry in entries:
            contents[entry.filename] = read_entry(archive, entry, left, too_much)
            left -= len(contents[entry.filename])
    folder = f"{item}/"
    if all(nfc(each).startswith(folder) for each in contents):
        contents = {nfc(each).removeprefix(folder): data for each, data in contents.items()}
    return {each: data for each, data in contents.items() if not _is_preview(each)}


def _counts(entry: zipfile.ZipInfo) -> bool:
    steps = PurePosixPath(entry.filename).parts
    hidden = any(step.startswith(".") or step == "__MACOSX" for step in steps)
    return not (entry.is_dir() or hidden or _is_preview(entry.filename))


def _is_preview(name: str) -> bool:
    return "/" not in name and is_by_product(name)
