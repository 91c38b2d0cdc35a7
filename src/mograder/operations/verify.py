"""``mograder hub backup --verify``: reads a backup without restoring it.

Every member is unpacked and compared with the backup's own list of checksums, and every database
is checked for damage.
"""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mograder.core.disk import explained_when_full
from mograder.core.single_flight import Progress
from mograder.operations.archive import (
    HEADER,
    MANIFEST,
    Header,
    Manifest,
    compared,
    damaged,
    explained,
    member_parts,
    opened,
    read_first,
    read_manifest,
    unpack,
    written,
)
from mograder.store.database.database import check_sqlite


@dataclass(frozen=True, slots=True)
class Verified:
    """The contents of a verified backup. ``left_out`` has messages about omitted files."""

    files: int
    databases: int
    size: int
    """Bytes of all files, unpacked."""
    made: datetime
    version: str
    left_out: tuple[str, ...]
    external_database: bool


def verify(archive: Path, report: Progress) -> Verified:
    """Read and verify a whole backup.

    Raises: :class:`~mograder.core.errors.InvalidInput` if the file is not a backup or is damaged;
    the message names the first member that differs.
    """
    with opened(archive, whole=True) as tar, explained_when_full(), explained():
        header = read_first(tar)
        report(f"Reading back the backup of {header.made:%Y-%m-%d %H:%M} UTC")
        manifest = _read_back(tar, header)
    return Verified(
        files=len(manifest.files),
        databases=len(header.databases),
        size=sum(held.size for held in manifest.files),
        made=header.made,
        version=header.version,
        left_out=manifest.left_out + manifest.unsettled,
        external_database=header.external_database,
    )


def _read_back(tar: tarfile.TarFile, header: Header) -> Manifest:
    sums: dict[str, tuple[str, int]] = {}
    manifest: Manifest | None = None
    missing = set(header.databases)
    for member in tar:
        if member.name == MANIFEST:
            manifest = read_manifest(tar, member)
        elif member.name != HEADER:
            member_parts(member.name)
            if member.isreg():
                missing.discard(member.name)
                found = _read_file(tar, member, database=member.name in header.databases)
                sums[written(member.name)] = found
    if missing:
        raise damaged(f"{min(missing)} is missing")
    return compared(manifest, sums)


def _read_file(tar: tarfile.TarFile, member: tarfile.TarInfo, *, database: bool) -> tuple[str, int]:
    if not database:
        return unpack(tar, member)
    with tempfile.NamedTemporaryFile(prefix="mograder-verify-") as file:
        found = unpack(tar, member, file)
        file.flush()
        check_sqlite(Path(file.name))
    return found
