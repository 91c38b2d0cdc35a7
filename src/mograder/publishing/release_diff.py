"""The differences between a local release and what a hub holds, or what Moodle hands out.

Publishing tells which files of the hub it would change (B99). Students read the assignment on
Moodle, so both must agree (B86 to B89; compatibility-0.3.16.md 10): all files are compared except
previews (.html), and a zip on Moodle counts as the files in it.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mograder.clients.course_server import RemoteFile
from mograder.clients.file_upload import Upload
from mograder.clients.hub import Held
from mograder.core.errors import InvalidInput, TooLarge
from mograder.core.files.zips import opened_zip, read_entry
from mograder.core.name_lookup import nfc
from mograder.store.releases.published_release import is_by_product

Read = Callable[[RemoteFile, int], bytes]
"""A function that returns the verified bytes of a file on Moodle, so many at most."""

MOST_BYTES = 200_000_000
"""Largest size of one file on Moodle in bytes, packed or unpacked."""

_MOST_ENTRIES = 10_000


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
        """Whether the hub is known to hold exactly this already."""
        return self.exact and not (self.new or self.changed or self.removed or self.kind_before)


@dataclass(frozen=True, slots=True)
class Differences:
    """The names of files that differ between Moodle and a local release."""

    missing: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def none(self) -> bool:
        """Whether Moodle hands out exactly these files."""
        return not (self.missing or self.differing or self.extra)

    def lines(self) -> list[str]:
        """Return one line for each file, worded as in compatibility-0.3.16.md 10."""
        told = (
            ("missing on Moodle", self.missing),
            ("content differs", self.differing),
            ("extra on Moodle (not local)", self.extra),
        )
        return [f"  {words}: {name}" for words, names in told for name in names]


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


def digests(files: Sequence[Upload]) -> dict[str, str]:
    """Return the hexadecimal SHA-256 of each file by its name on the hub.

    Raises:
        InvalidInput: A file cannot be read.
    """
    found = {}
    for each in files:
        try:
            with each.path.open("rb") as file:
                found[each.name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InvalidInput(f"{each.path} cannot be read: {error.strerror}.") from error
    return found


def compare(local: Mapping[str, str], remote: Mapping[str, frozenset[str]]) -> Differences:
    """Compare SHA-256 by name; if Moodle has a name twice (loose and zipped), both must agree."""
    common = local.keys() & remote.keys()
    return Differences(
        missing=tuple(sorted(local.keys() - remote.keys())),
        differing=tuple(sorted(name for name in common if remote[name] != {local[name]})),
        extra=tuple(sorted(remote.keys() - local.keys())),
    )


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


def local_digests(files: Sequence[Upload], item: str) -> Mapping[str, str]:
    """Return the SHA-256 of these files as students get them: a zip counts by its content.

    Raises: :class:`~mograder.core.errors.MograderError` when a file cannot be read or opened.
    """
    here = [RemoteFile(file.name, str(file.path), file.path.stat().st_size) for file in files]
    found = remote_digests(here, lambda file, _: Path(file.address).read_bytes(), item)
    return {name: min(digests) for name, digests in found.items()}


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
