"""Pyodide's npm package, fetched once into ``.tools/`` for all runs of this checkout."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from mograder.core.files.disk import closing_fd
from mograder.core.files.file_lock import acquire, open_lock

_TOOLS = Path(__file__).parents[2] / ".tools"


def unpacked_pyodide(version: str) -> Path:
    """Return the directory with one version of Pyodide's own files."""
    place = _TOOLS / f"pyodide-{version}"
    with closing_fd(open_lock(place.with_name(f"{place.name}.lock"))) as lock:
        acquire(lock, seconds=None)  # of several workers one fetches it
        if not place.is_dir():
            _fetch(version, place)
    return place / "package"


def _fetch(version: str, place: Path) -> None:
    scratch = place.with_name(f"{place.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    subprocess.run(["npm", "pack", f"pyodide@{version}"], cwd=scratch, check=True)
    (archive,) = scratch.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
    scratch.rename(place)
