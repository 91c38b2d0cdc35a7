"""Reading a zip from elsewhere, which may be damaged, encrypted, or made to fill the memory."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mograder.core.errors import InvalidInput, TooLarge

_CHUNK = 1 << 20

# ValueError: names that are not UTF-8, offsets outside of the file. RuntimeError: an encrypted
# entry; its subclass NotImplementedError: an unknown method.
_DAMAGED: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, EOFError),
    *(ValueError, RuntimeError),
)
with suppress(ImportError):  # a Python without it reads no such entry
    from lzma import LZMAError

    _DAMAGED += (LZMAError,)


@contextmanager
def opened_zip(source: Path | bytes, told: str, hint: str = "") -> Iterator[zipfile.ZipFile]:
    """Open a zip for reading during the block; the errors of a damaged one begin with ``told``."""
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
            yield opened
    except _DAMAGED as error:
        raise InvalidInput(f"{told}: {error or 'it ends too early'}.", hint=hint) from error
    except OSError as error:
        if error.errno is not None:  # the disk's; bz2 gives none
            raise
        raise InvalidInput(f"{told}: {error}.", hint=hint) from error


def read_entry(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int, too_much: str
) -> bytes:
    """Read one file, counting the bytes that it unpacks to, since a header may be false."""
    parts: list[bytes] = []
    size = 0
    with archive.open(entry) as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise TooLarge(too_much)
            parts.append(chunk)
    return b"".join(parts)
