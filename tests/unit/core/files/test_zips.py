"""Zips that are damaged in any way are told as such, whatever Python's module raises for them."""

from __future__ import annotations

import errno
import io
import random
import zipfile

import pytest

from mograder.core.errors import InvalidInput, TooLarge
from mograder.core.files.zips import opened_zip, read_entry

NAMES = ("é/notes.py", "data.bin")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def zipped(method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(NAMES[0], "print(1)\n" * 50)
        archive.writestr(NAMES[1], random.Random(1).randbytes(300))
    return buffer.getvalue()


def read(data: bytes) -> list[str]:
    with opened_zip(data, "x.zip cannot be unpacked", "Send it again.") as archive:
        for entry in archive.infolist():
            read_entry(archive, entry, 1000, "too much")
        return archive.namelist()


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_with_any_bytes_changed_is_read_or_told_as_damaged(method: int) -> None:
    whole, chance, told = zipped(method), random.Random(7), set()
    assert read(whole) == list(NAMES)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 2, 3))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            read(bytes(data))
        except (InvalidInput, TooLarge) as error:
            told.add((error.message.partition(":")[0], error.hint))
    assert told - {("too much", "")} == {("x.zip cannot be unpacked", "Send it again.")}


def test_what_the_disk_says_is_not_told_as_a_damaged_zip() -> None:
    with pytest.raises(OSError, match="No space"), opened_zip(zipped(zipfile.ZIP_STORED), "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
