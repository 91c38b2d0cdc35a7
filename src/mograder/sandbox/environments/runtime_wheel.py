"""The small wheel that installs *our* ``mograder.runtime`` in notebooks' environments.

On PyPI the name ``mograder`` belongs to another project, so environments never install it from an
index: they get this wheel by its exact path, regardless of the version that a notebook requires
(decision 5; B96). For ``sandbox.environments``, and for the commands that run a notebook.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path

from packaging.version import Version

from mograder import __version__
from mograder.core.errors import SandboxUnavailable
from mograder.core.files.disk import write_file
from mograder.core.wheel import RUNTIME, WHEEL, pack_wheel

_MODULES = ("runtime.py", "judging.py", "marks.py", "remote.py")
_INIT = b'"""mograder, as far as a notebook needs it: see mograder.runtime."""\n'


def build_runtime_wheel(directory: Path) -> Path:
    """Write the wheel to the directory, unless it exists already, and return its path.

    Equal content has equal bytes and the same name; a changed runtime changes the name, so
    that an environment with an older one is not taken to be up to date.

    Raises:
        SandboxUnavailable: The wheel cannot be written there.
    """
    package = resources.files("mograder")  # a checkout, or an installed wheel
    present = [name for name in _MODULES if package.joinpath(name).is_file()]
    own = {f"mograder/{name}": package.joinpath(name).read_bytes() for name in present}
    modules = {"mograder/__init__.py": _INIT, **own}
    version = _version(modules)
    metadata = (
        f"Metadata-Version: 2.1\nName: {RUNTIME}\nVersion: {version}\n"
        "Summary: What a mograder notebook imports.\nLicense: MIT\nRequires-Python: >=3.11\n"
    )
    info = f"{RUNTIME}-{version}.dist-info"
    files = {**modules, f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": WHEEL}
    # Stored, not deflated: the bytes do not depend on the machine's zlib.
    content = pack_wheel(files, info)
    wheel = directory / f"{RUNTIME}-{version}-py3-none-any.whl"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if wheel.is_file() and wheel.read_bytes() == content:
            os.utime(wheel)  # the newest of several wheels is the one in use, also after a rollback
        else:
            write_file(wheel, content)  # readable for all: sandboxes of another uid install it
    except OSError as error:
        raise SandboxUnavailable(
            f"The notebooks' runtime cannot be written to {directory}: {error.strerror}.",
            hint="Check that the directory is writable and that the disk is not full.",
        ) from error
    return wheel


def offer_runtime(directory: Path) -> Path:
    """Write the wheel, remove those of other versions (uv would take the highest), return its path.

    For the directory that a course's notebooks name in their headers. The hub has another
    directory, in which older wheels are kept for a hub that still runs.

    Raises: as :func:`build_runtime_wheel`.
    """
    wheel = build_runtime_wheel(directory)
    for other in directory.glob(f"{RUNTIME}-*.whl"):
        if other != wheel:
            with suppress(OSError):  # another process has removed it
                other.unlink()
    return wheel


def _version(modules: Mapping[str, bytes]) -> str:
    """Return our version with a local label that is a digest of the modules."""
    ours = Version(__version__)
    parts = (part for name, data in modules.items() for part in (name.encode(), data))
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    windows = (digest[start : start + 8] for start in range(len(digest) - 7))
    # PEP 440 reads a label of digits only as a number, and drops its leading zeros.
    label = next(window for window in windows if not window.isdecimal())
    local = f"{ours.local}." if ours.local else ""
    return f"{ours.public}+{local}runtime.{label}"
