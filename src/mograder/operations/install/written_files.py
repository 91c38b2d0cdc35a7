"""Write a file of the system; a text that another program or a person wrote there is copied first.

The checksum of each written file is in ``/etc/mograder/written``, as ``sha256sum`` prints it.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from mograder.core.errors import MograderError
from mograder.core.files.disk import write_file
from mograder.processes.programs import Host

SETTINGS = "/etc/mograder"
_WRITTEN = f"{SETTINGS}/written"
_KEPT = f"{SETTINGS}/kept"


def put(host: Host, name: str, text: str, mode: int = 0o644) -> bool:
    """Write a file if it has another text, and return whether it had (in a dry run too).

    A file that is not as this wrote it is copied into ``/etc/mograder/kept`` before.

    Raises: :class:`MograderError` for an empty text, ``OSError``.
    """
    if not text:
        raise MograderError(f"There is nothing to write to {name}.")
    path, data = host.path(name), text.encode()
    found = path.read_bytes() if path.exists() else None
    if found == data:
        if not host.dry and not _is_ours(host, name, data):
            _note(host, name, data)
        return False
    if host.dry:
        host.say(f"would write {name}")
        return True
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if found and not _is_ours(host, name, found):
        _keep(host, name, found)
    write_file(path, data, mode)
    _note(host, name, data)
    host.say(f"wrote {name}")
    return True


def _keep(host: Host, name: str, data: bytes) -> None:
    copy = f"{_KEPT}/{Path(name).name}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    host.path(_KEPT).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(host.path(copy), data, 0o600)
    known = any(_named(line) == name for line in _lines(host))
    foreign = "was not written by this script, as far as it knows"
    reason = "was changed by somebody" if known else foreign
    host.warn(f"{name} {reason}; it is written again, and that copy is kept: {copy}")


def _is_ours(host: Host, name: str, data: bytes) -> bool:
    return _line(name, data) in _lines(host)


def _note(host: Host, name: str, data: bytes) -> None:
    lines = [line for line in _lines(host) if _named(line) != name]
    text = "".join(f"{line}\n" for line in [*lines, _line(name, data)])
    host.path(SETTINGS).mkdir(mode=0o755, parents=True, exist_ok=True)
    # Root's only: a checksum tells a weak secret that was taken over.
    write_file(host.path(_WRITTEN), text.encode(), 0o600)


def _line(name: str, data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()}  {name}"


def _named(line: str) -> str:
    return line.partition("  ")[2]


def _lines(host: Host) -> list[str]:
    return host.text_of(_WRITTEN).splitlines()
