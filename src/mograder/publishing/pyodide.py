"""Pyodide, which is Python for browsers: its own files, and the packages of a page that run in it.

Its files are those of its npm package or of a directory. uv resolves a notebook's requirements; of
each package that the browser needs, the wheel with the best tag for Pyodide is taken. A package
without such a wheel is missing: a browser cannot build it. Authors are told of it before a page is
made, by a table of Pyodide's own packages.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote, urlsplit

from marimo import __version__
from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import (
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    parse_wheel_filename,
)
from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.clients.http import Server, bounded_body, make_client
from mograder.core.errors import InvalidInput, RemoteFailed, TimedOut
from mograder.core.files.zips import opened_zip
from mograder.core.wheel import OURS
from mograder.notebook.findings import Finding
from mograder.notebook.pep723 import read_script
from mograder.processes.programs import resolve_universally

_REGISTRY = "https://registry.npmjs.org"
_FILES = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")

STARTED = ("pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
"""The files that marimo loads; its own script stands for ``pyodide.mjs``."""

_LOCK = "pyodide-lock.json"
_LIMIT = 128 * 1024 * 1024
_SECONDS = 600.0

RUNTIME = (
    *("micropip", "msgspec", "markdown", "pymdown-extensions", "narwhals", "packaging"),
    *("docutils", "pygments", "jedi", "pyodide-http"),
)
"""The packages that marimo's page loads before any notebook, beside ``marimo-base``."""

LOADER = "pyodide-http"
"""The one of these that marimo loads for each notebook, and not in the Python that saves its text.

It brings all other packages of the page with it. By itself marimo loads those that the notebook
imports, so extras would be missing.
"""

_PURE = frozenset({"pyyaml"})
"""Compiled packages that also work without their compiled part, and have no wheel of that kind.

marimo needs this one, so it is installed here: its Python files are packed again.
"""

_MARIMO = frozenset({"marimo", "marimo-base"})
_LEFT_OUT = frozenset({"marimo", "sqlglotc"})
"""``marimo-base`` has all that a browser needs of the first; the other makes sqlglot faster."""

_WHEEL = b"Wheel-Version: 1.0\nGenerator: mograder\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_METADATA_LIMIT = 4 * 1024 * 1024
TABLE = "pyodide_packages.json"
_ADVICE_SECONDS = 20.0
_HINT = "Students need a hub or an editor of their own for this notebook."


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


class Distribution(BaseModel):
    """Pyodide's full distribution, of the ``version`` that marimo uses.

    ``python`` is its version of Python, ``platform`` that of its wheels; ``packages`` are the
    versions by the normalised names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    python: str
    platform: str
    packages: dict[str, str]


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel to serve.

    ``place`` is its file here; without one it is downloaded from ``url``, where it has ``sha256``;
    without either it is packed of the package that is installed here (:func:`pack_installed`).
    """

    name: NormalizedName
    version: str
    filename: str
    sha256: str = ""
    url: str = ""
    place: Path | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The wheels of a page, and the requirements of the notebook that no wheel meets there."""

    wheels: tuple[Wheel, ...]
    missing: tuple[str, ...]


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


def download_pyodide(version: str) -> Pyodide:
    """Return a version of Pyodide from the npm registry, checked against its digest there.

    Raises: :class:`RemoteFailed`, :class:`InvalidInput`.
    """
    with make_client(_REGISTRY, read=60.0) as client:
        server = Server("The npm registry", _REGISTRY)
        with server.errors(f"pyodide {version}"):
            listing = client.get(f"{_REGISTRY}/pyodide/{version}").raise_for_status()
            dist = _Listing.model_validate_json(listing.content).dist
            with client.stream("GET", dist.tarball) as answer:
                answer.raise_for_status()
                data = bounded_body(answer, _LIMIT, _SECONDS)
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if f"sha512-{digest}" not in dist.integrity.split():
        raise RemoteFailed("The archive of Pyodide is damaged.", hint="Try again.")
    return _unpack(data)


@cache
def distribution() -> Distribution:
    """Return Pyodide's distribution as the table that comes with mograder lists it."""
    table = files("mograder.publishing").joinpath(TABLE)
    return Distribution.model_validate_json(table.read_bytes())


def select_wheels(
    dependencies: Iterable[str], marimo: str, pyodide: Pyodide, *, seconds: float = 300.0
) -> Selection:
    """Return the wheels for a notebook's dependencies and for marimo of this version.

    ``seconds`` are those that the resolution may take.

    Raises: as :func:`resolve_universally`.
    """
    environment = pyodide.environment()
    wanted = wanted_there(dependencies, environment)
    preferred = {name: metadata.version(name) for name in _PURE}
    preferred |= {name: version for name, (version, _) in pyodide.wheels.items()}
    lock = resolve_universally(
        [f"marimo-base=={marimo}", *RUNTIME, *wanted], preferred, pyodide.short_python, seconds
    )
    return choose(lock, pyodide)


def choose(pylock: str, pyodide: Pyodide) -> Selection:
    """Return the best wheel of each package that a resolution needs in the browser.

    Raises: :class:`InvalidInput` for a text that is no resolution.
    """
    environment, tags = pyodide.environment(), pyodide.tags()
    try:
        packages = tomllib.loads(pylock).get("packages", [])
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"The resolution cannot be read: {error}") from error
    wheels, missing = [], []
    for package in packages:
        marker = package.get("marker")
        if marker and not Marker(marker).evaluate(environment):
            continue
        name, version = canonicalize_name(package["name"]), str(package.get("version", ""))
        if name in _LEFT_OUT:
            continue
        known = pyodide.wheels.get(name)
        if known is not None and known[0] == version:
            found: Wheel | None = Wheel(name, version, known[1].name, place=known[1])
        else:
            found = _listed(name, version, package, tags)
        if found is None and name in _PURE:
            found = Wheel(name, version, f"{name}-{version}-py3-none-any.whl")
        if found is None:
            missing.append(f"{name} {version}".strip())
        else:
            wheels.append(found)
    return Selection(tuple(wheels), tuple(missing))


def wanted_there(dependencies: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Return the requirements of a notebook to be met there beside marimo and mograder.

    Raises: :class:`InvalidInput` for a text that is no requirement.
    """
    found = []
    for text in dependencies:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise InvalidInput(f"{text!r} is not a requirement.") from error
        name, marker = canonicalize_name(requirement.name), requirement.marker
        if name in OURS or (marker and not marker.evaluate(dict(environment))):
            continue
        if name not in _MARIMO:
            found.append(text)
        elif requirement.extras:
            found.append(f"marimo-base[{','.join(sorted(requirement.extras))}]")
    return found


def read_wheel(
    data: bytes, environment: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[NormalizedName, ...]]:
    """Return the modules of a wheel, and the packages that it needs, for Pyodide's lock file.

    Raises: :class:`InvalidInput` for bytes that are no wheel.
    """
    with opened_zip(data, "A package's wheel cannot be read") as archive:
        names = archive.namelist()
        about = [name for name in names if name.endswith(".dist-info/METADATA")]
        if not about:
            raise InvalidInput("A package's wheel cannot be read: it has no METADATA.")
        with archive.open(about[0]) as file:
            headers = HeaderParser().parsestr(file.read(_METADATA_LIMIT).decode("utf-8"))
    needs = (Requirement(text) for text in headers.get_all("Requires-Dist", []))
    depends = [
        canonicalize_name(each.name)
        for each in needs
        if each.marker is None or each.marker.evaluate(dict(environment))
    ]
    return _imports(names), tuple(dict.fromkeys(depends))


def pack_installed(name: str) -> bytes:
    """Return a wheel of an installed package's Python files, without its compiled ones.

    Equal files give equal bytes.
    """
    found = metadata.distribution(name)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in sorted(found.files or (), key=str):
            text = entry.suffix == ".py" or entry.name in {"METADATA", "LICENSE"}
            if text and ".." not in entry.parts:
                data = Path(str(entry.locate())).read_bytes()
                archive.writestr(zipfile.ZipInfo(str(entry), _EPOCH), data)
        info = f"{name}-{found.version}.dist-info/WHEEL"
        archive.writestr(zipfile.ZipInfo(info, _EPOCH), _WHEEL)
    return buffer.getvalue()


def advise_browser(text: str, filename: str) -> tuple[Finding, ...]:
    """Return what the author should know of a notebook's packages if it is to run in the browser.

    Packages that Pyodide does not have are resolved with uv, which asks the index; if that fails
    or takes too long, nothing is said of them. An unreadable header has other findings.
    """
    try:
        dependencies = read_script(text).dependencies
    except InvalidInput:
        return ()
    version, python, told = distribution().version, _pyodide(), []
    for wanted in wanted_there(dependencies, python.environment()):
        requirement = Requirement(wanted)
        has = python.packages.get(canonicalize_name(requirement.name))
        if has is not None and not requirement.specifier.contains(has, prereleases=True):
            message = f"{wanted}, but Pyodide {version} has {has}."
            told.append(Finding(filename, _line_of(text, requirement.name), message, _HINT))
    if not told and (missing := _missing(dependencies)):
        names = ", ".join(missing)
        message = f"neither Pyodide {version} nor the index has for the browser: {names}."
        told.append(Finding(filename, _line_of(text, ""), message, _HINT))
    return tuple(sorted(told))


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
        info=lock.info.model_dump(),
        python=lock.info.python,
        platform=f"{lock.info.abi_version}_{lock.info.arch}",
        packages={
            canonicalize_name(package.name): package.version
            for package in lock.packages.values()
            if package.file_name.endswith(".whl") and not package.name.endswith("-tests")
        },
        wheels=wheels,
    )


def _imports(names: Sequence[str]) -> tuple[str, ...]:
    found = set()
    for name in names:
        first, slash, _ = name.partition("/")
        if slash and first.isidentifier():
            found.add(first)
        elif not slash and (first.endswith((".py", ".so"))):
            found.add(first.partition(".")[0])
    return tuple(sorted(found))


def _listed(
    name: NormalizedName, version: str, package: Mapping[str, object], tags: Sequence[Tag]
) -> Wheel | None:
    """Return the wheel of an index with the best tag, None without one that Pyodide loads."""
    best: tuple[int, Wheel] | None = None
    listed = package.get("wheels")
    for each in listed if isinstance(listed, list) else ():
        url, digest = str(each.get("url", "")), str(each.get("hashes", {}).get("sha256", ""))
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        rank = _rank(filename, tags)
        if rank is not None and digest and (best is None or rank < best[0]):
            best = rank, Wheel(name, version, filename, digest, url=url)
    return best[1] if best else None


def _rank(filename: str, tags: Sequence[Tag]) -> int | None:
    try:
        own = parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return None
    return next((rank for rank, tag in enumerate(tags) if tag in own), None)


def _missing(dependencies: tuple[str, ...]) -> tuple[str, ...]:
    python = _pyodide()
    wanted = wanted_there(dependencies, python.environment())
    if all(canonicalize_name(Requirement(text).name) in python.packages for text in wanted):
        return ()
    try:
        return select_wheels(wanted, __version__, python, seconds=_ADVICE_SECONDS).missing
    except (InvalidInput, TimedOut):
        return ()


def _pyodide() -> Pyodide:
    """Return the full distribution, whose wheels are not here."""
    known = distribution()
    packages = {canonicalize_name(name): version for name, version in known.packages.items()}
    wheels = {name: (version, Path(name)) for name, version in packages.items()}
    return Pyodide({}, {}, known.python, known.platform, packages, wheels)


def _line_of(text: str, name: str) -> int:
    """Return the first line, from 1, of the header that has a name, or that lists the packages."""
    header = text.partition("\nimport ")[0].splitlines()
    for wanted in (name, "dependencies"):
        for number, line in enumerate(header, start=1):
            if wanted and wanted in line:
                return number
    return 1
