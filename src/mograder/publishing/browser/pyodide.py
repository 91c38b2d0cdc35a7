"""Pyodide's own files: Python for browsers, from its npm package or from a directory."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import NormalizedName, canonicalize_name
from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.clients.http import Server, bounded_body, make_client
from mograder.core.errors import InvalidInput, RemoteFailed

REGISTRY = "https://registry.npmjs.org"
_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
STARTED = ("pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
"""The files that marimo loads; its own script stands for ``pyodide.mjs``."""

_LOCK = "pyodide-lock.json"
_LIMIT = 128 * 1024 * 1024
_SECONDS = 600.0


class _Info(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    python: str
    abi_version: str
    arch: str


class _Package(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    version: str
    file_name: str
    sha256: str = ""


class _Lock(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    info: _Info
    packages: dict[str, _Package]


class _Dist(BaseModel):
    tarball: str
    integrity: str


class _Listing(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    dist: _Dist


@dataclass(frozen=True, slots=True)
class Pyodide:
    """One version of Pyodide: its ``files`` by name, and what its lock file tells.

    ``packages`` are those of its full distribution with their versions. ``wheels`` are those beside
    it; empty for the npm package, which has none.
    """

    files: Mapping[str, bytes]
    info: Mapping[str, object]
    python: str
    platform: str
    packages: Mapping[NormalizedName, str]
    wheels: Mapping[NormalizedName, tuple[str, Path]]

    @property
    def short_python(self) -> str:
        """The version of Python without its last part, such as ``3.14``."""
        return ".".join(self.python.split(".")[:2])

    def tags(self) -> tuple[Tag, ...]:
        """Return the tags of the wheels that it can load, the most specific first."""
        major, minor = (int(part) for part in self.short_python.split("."))
        platforms = [f"pyemscripten_{self.platform}", f"pyodide_{self.platform}"]
        exact = cpython_tags((major, minor), platforms=platforms)
        plain = compatible_tags((major, minor), f"cp{major}{minor}", platforms)
        return (*exact, *plain)

    def environment(self) -> dict[str, str]:
        """Return the values that a requirement's marker is evaluated with there."""
        return {
            "extra": "",
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": "wasm32",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Emscripten",
            "platform_version": "",
            "python_full_version": self.python,
            "python_version": self.short_python,
            "sys_platform": "emscripten",
        }


def read_pyodide(place: Path) -> Pyodide:
    """Return the Pyodide in a directory, or in an archive of the npm package (``.tgz``).

    A directory may be Pyodide's full distribution, whose packages are then used.

    Raises: :class:`InvalidInput` for a place without Pyodide's files.
    """
    try:
        if place.is_dir():
            found = {name: (place / name).read_bytes() for name in (*_FILES, _LOCK)}
            return _read(found, place)
        return _unpack(place.read_bytes())
    except (OSError, tarfile.TarError, KeyError) as error:
        raise InvalidInput(
            f"{place} is not Pyodide: {error}.",
            hint="Name its npm package (.tgz), or the directory with pyodide.mjs.",
        ) from error


def download_pyodide(version: str, registry: str = REGISTRY) -> Pyodide:
    """Return a version of Pyodide from the npm registry, checked against its digest there.

    Raises: :class:`RemoteFailed`, :class:`InvalidInput`.
    """
    with make_client(registry, read=60.0) as client:
        server = Server("The npm registry", registry)
        with server.errors(f"pyodide {version}"):
            listing = client.get(f"{registry}/pyodide/{version}").raise_for_status()
            dist = _Listing.model_validate_json(listing.content).dist
            with client.stream("GET", dist.tarball) as answer:
                answer.raise_for_status()
                data = bounded_body(answer, _LIMIT, _SECONDS)
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if f"sha512-{digest}" not in dist.integrity.split():
        raise RemoteFailed("The archive of Pyodide is damaged.", hint="Try again.")
    return _unpack(data)


def _unpack(data: bytes) -> Pyodide:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for name in (*_FILES, _LOCK):
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise KeyError(name)
            found[name] = member.read(_LIMIT)
    return _read(found, None)


def _read(found: Mapping[str, bytes], beside: Path | None) -> Pyodide:
    try:
        lock = _Lock.model_validate_json(found[_LOCK])
    except ValidationError as error:
        raise InvalidInput(
            f"{_LOCK} of Pyodide cannot be read: {error.errors()[0]['msg']}"
        ) from error
    wheels = {}
    for package in lock.packages.values() if beside else ():
        file = Path(beside or "", Path(package.file_name).name)
        there = file.suffix == ".whl" and file.is_file()
        if there and hashlib.sha256(file.read_bytes()).hexdigest() == package.sha256:
            wheels[canonicalize_name(package.name)] = (package.version, file)
    return Pyodide(
        files={name: found[name] for name in _FILES},
        info=json.loads(found[_LOCK])["info"],
        python=lock.info.python,
        platform=f"{lock.info.abi_version}_{lock.info.arch}",
        packages={
            canonicalize_name(package.name): package.version
            for package in lock.packages.values()
            if package.file_name.endswith(".whl") and not package.name.endswith("-tests")
        },
        wheels=wheels,
    )
