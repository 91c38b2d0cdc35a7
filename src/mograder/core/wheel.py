"""Wheels of our own, packed so that equal files give equal bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping

WHEEL = b"Wheel-Version: 1.0\nGenerator: mograder\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
"""The content of the file ``WHEEL`` of a wheel for every Python and every system."""

PROGRAM = "mograder-hub"
"""The name of the distribution that has this program (decision 5)."""

RUNTIME = "mograder"
"""The name that notebooks require, and that of the small wheel which they get."""

OURS = frozenset({PROGRAM, RUNTIME})
"""The requirements of a notebook that :data:`RUNTIME`'s wheel meets, and no index of packages."""

# The earliest date of the zip format; a fixed date makes equal content equal bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def record_of(files: Mapping[str, bytes], record: str) -> bytes:
    """Return the content of a wheel's ``RECORD``, whose path ``record`` has no digest."""
    lines = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
        lines.append(f"{name},sha256={digest.decode()},{len(data)}\n")
    return "".join([*lines, f"{record},,\n"]).encode()


def pack_wheel(files: Mapping[str, bytes], info: str, *, deflate: bool = False) -> bytes:
    """Return a wheel with these files by path, and its ``RECORD`` in the directory ``info``.

    ``deflate`` makes it smaller; its bytes then also depend on the machine's zlib.
    """
    record = f"{info}/RECORD"
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in {**files, record: record_of(files, record)}.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            entry.compress_type = method
            archive.writestr(entry, data)
    return buffer.getvalue()
