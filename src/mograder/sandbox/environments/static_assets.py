"""marimo's static files, copied from a finished environment once and shared by all sessions.

Every editor page loads hundreds of them, the same for every notebook with the same marimo. The hub
serves these copies, compressed once instead of at each request (sessions.md, "The editor's
files"). The files of a build are untrusted: only regular files with plain names and known suffixes
are copied, links are not followed, and number and sizes are limited. The name of a set contains a
digest, so an environment with other files of the same version gets another set.

Layout below the root: ``<version>-<digest>/manifest.json`` and ``files/<path>``, with
``<path>.br`` and ``<path>.gz`` beside files that compress well; renamed into place when complete.

Two packs are among them, unless marimo's files are of another form: its scripts, styles and fonts
for pages of an opaque origin, of which a browser keeps nothing. So the hub's page around such a
page loads the packs, where they are kept, and hands them in
(``web/hub/proxy/session_page/session-files.js``; decision 56). ``START`` has what a page may need
at its beginning; ``REST`` has the large scripts that few notebooks use. A pack is a length in eight
digits, an index in JSON of that length, and the files one after the other; the index has the place
of each. So a browser cuts a file out without reading the others.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from mograder.core.errors import InvalidInput, NotFound, is_disk_full
from mograder.core.files import open_flags
from mograder.core.marimo_scripts import imports_of, other_form, pack_script, pack_style
from mograder.sandbox.environments.record import ASSETS as ASSETS
from mograder.sandbox.environments.record import SET_NAME as SET_NAME
from mograder.sandbox.tree_walk import walk

START = "mograder-start.pack"
REST = "mograder-rest.pack"

_ASSETS = "assets/"
_LARGE = 600_000
_ENTRY = re.compile(r"index-[\w-]+\.js")
_RESOLVES = "import.meta.resolve"


def packs_of(found: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    """Return the packs of the set with this name, by their file names.

    Raises: :class:`InvalidInput` if marimo's files are not as expected.
    """
    files = {
        path.removeprefix(_ASSETS): content
        for path, content in found.items()
        if path.startswith(_ASSETS)
    }
    try:
        texts = {
            file: content.decode("utf-8")
            for file, content in files.items()
            if file.endswith((".js", ".css"))
        }
    except UnicodeDecodeError as error:
        raise other_form("a script is not UTF-8") from error
    scripts = {file: text for file, text in texts.items() if file.endswith(".js")}
    if not any(_RESOLVES in text for text in scripts.values()):
        # Otherwise it would load what it was handed by its address, too.
        raise other_form("scripts do not resolve what they load beforehand")
    packed = {file: pack_script(file, text, scripts).encode() for file, text in scripts.items()}
    first = _needed(scripts)
    later = {file for file in packed if len(packed[file]) > _LARGE and file not in first}
    inside = {file: files[file] for file in files if file.endswith((".woff2", ".png"))}
    directory = f"../_marimo/{name}/{_ASSETS}"  # from the <base> of a page
    styles = {
        file: pack_style(text, inside, directory).encode()
        for file, text in sorted(texts.items())
        if file.endswith(".css")
    }
    start = {
        "scripts": {file: text for file, text in packed.items() if file not in later},
        "styles": styles,
        "files": {file: files[file] for file in files if file.endswith(".wasm")},
    }
    rest = {"scripts": {file: packed[file] for file in later}}
    return {START: _pack(start, sorted(later)), REST: _pack(rest, [])}


def _needed(scripts: Mapping[str, str]) -> frozenset[str]:
    """Return the scripts without which no page starts."""
    needed: set[str] = set()
    left = [file for file in scripts if _ENTRY.fullmatch(file)]
    while left:
        file = left.pop()
        if file not in needed and file in scripts:
            needed.add(file)
            left += imports_of(scripts[file])
    return frozenset(needed)


def _pack(groups: Mapping[str, Mapping[str, bytes]], elsewhere: list[str]) -> bytes:
    index: dict[str, object] = {"elsewhere": elsewhere}
    bodies: list[bytes] = []
    end = 0
    for group, files in groups.items():
        places = index[group] = {}
        for file, content in sorted(files.items()):
            places[file] = (end, end + len(content))
            end += len(content)
            bodies.append(content)
    head = json.dumps(index, separators=(",", ":")).encode()
    if len(head) >= 10**8:
        raise InvalidInput("marimo has too many files.")
    return b"".join((b"%08d" % len(head), head, *bodies))


ASSET_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".gif": "image/gif",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".pack": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}
"""Content types by suffix; other files are not copied. HTML would be a page of the hub's origin."""

_PART = re.compile(r"[0-9A-Za-z_@~+-][0-9A-Za-z._@~+-]{0,119}")
_MANIFEST = "manifest.json"
_FILES = "files"
_MAX_FILES = 5000
_MAX_DEPTH = 8
_MAX_FILE = 32 << 20
_MAX_TOTAL = 192 << 20
_BROTLI_QUALITY = 9  # 11 takes nine times as long, and saves another 8 %
_PACK_QUALITY = 6  # 9 takes four times as long, and saves another 4 %
_WORTH = 0.95
"""Largest ratio of compressed to original size; most images and fonts exceed it."""

assert sys.platform == "linux"  # what others' builds have left is opened without following links

try:
    import brotli  # type: ignore[import-untyped]
except ImportError:  # a light install: its own editors are all that use these files
    brotli = None

_log = logging.getLogger(__name__)


class AssetFile(BaseModel):
    """One file: its size, its digest and its compressed versions' sizes (0: none), in bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    size: int
    digest: str
    br: int = 0
    gzip: int = 0


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    files: dict[str, AssetFile]


@dataclass(frozen=True, slots=True)
class AssetSet:
    directory: Path
    files: Mapping[str, AssetFile]

    def read(self, name: str, suffix: str = "") -> bytes:
        """Return a listed file's content, compressed if ``suffix`` is ``.br`` or ``.gz``."""
        assert name in self.files
        return (self.directory / _FILES / f"{name}{suffix}").read_bytes()


class _UnusableError(Exception):
    """The files cannot be shared; the message is the reason."""


def keep_assets(environment: Path, python: str, marimo: str, root: Path) -> str:
    """Copy the static files of an environment's marimo below ``root``; return the set's name.

    ``environment`` is the directory made by ``uv venv``, which no build writes to any more;
    ``python`` and ``marimo`` are versions. Return "" if the files cannot be shared: each session's
    own server then serves them, which is slower.

    Raises: :class:`OSError` if the disk is full.
    """
    minor = ".".join(python.split(".")[:2])
    place = ("lib", f"python{minor}", "site-packages", "marimo", "_static")
    try:
        with _directory_below(environment, place) as top:
            return _keep(top, marimo, root)
    except (OSError, _UnusableError) as error:
        if isinstance(error, OSError) and is_disk_full(error):
            raise
        _log.warning("the editor's files of marimo %s are not shared: %s", marimo, error)
        return ""


def read_assets(root: Path, name: str) -> AssetSet:
    """Return a complete set. Raises: :class:`NotFound`, also for one that a power cut truncated."""
    directory = root / name
    try:
        if not SET_NAME.fullmatch(name):
            raise FileNotFoundError(name)
        manifest = _Manifest.model_validate_json((directory / _MANIFEST).read_bytes())
        for path, file in manifest.files.items():
            kept = {path: file.size, f"{path}.br": file.br, f"{path}.gz": file.gzip}
            if any(n and (directory / _FILES / p).stat().st_size != n for p, n in kept.items()):
                raise FileNotFoundError(path)
    except (OSError, ValidationError) as error:
        raise NotFound(f"There are no editor files {name[:60]!r}.") from error
    return AssetSet(directory, manifest.files)


def _keep(top: int, marimo: str, root: Path) -> str:
    found = _contents(top)
    if not any(path.endswith(".js") for path in found):
        raise _UnusableError("there are none where they were expected")
    digests = {path: hashlib.sha256(found[path]).hexdigest() for path in sorted(found)}
    whole = hashlib.sha256("".join(f"{p}\0{d}\n" for p, d in digests.items()).encode())
    version = re.sub(r"[^0-9A-Za-z.+_]", "", marimo)[:40].lstrip(".+_") or "unknown"
    name = f"{version}-{whole.hexdigest()[:16]}"
    if not is_complete(root, name):
        _write_set(found, digests, root, name)
    return name


def is_complete(root: Path, name: str) -> bool:
    try:
        read_assets(root, name)
    except NotFound:
        return False
    return True


def _contents(top: int) -> dict[str, bytes]:
    """Return the files that may be served, by their paths.

    Raises: :class:`_UnusableError` when there are too many files or bytes.
    """
    found: dict[str, bytes] = {}
    total = 0
    for each in walk(top, _MAX_DEPTH):
        each.directories[:] = filter(_PART.fullmatch, each.directories)
        if each.directories and len(each.below.parts) == _MAX_DEPTH:
            raise _UnusableError("they lie too deep")
        for name in filter(_PART.fullmatch, each.others):
            if name.endswith(".pack") or PurePosixPath(name).suffix not in ASSET_TYPES:
                continue
            content = _read(name, each.descriptor)
            if content is None:
                continue
            found[str(each.below / name)] = content
            total += len(content)
            if len(found) > _MAX_FILES or total > _MAX_TOTAL:
                raise _UnusableError("there are too many, or they are too large")
    return found


def _read(name: str, directory: int) -> bytes | None:
    """Return the content of a file; None for what is no regular file, such as a link."""
    if not stat.S_ISREG(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return None
    descriptor = os.open(name, open_flags.READ_FILE, dir_fd=directory)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _UnusableError(f"{name} changes while it is read")
        content = file.read(_MAX_FILE + 1)
    if len(content) > _MAX_FILE:
        raise _UnusableError(f"{name} is too large")
    return content


@contextmanager
def _directory_below(top: Path, parts: tuple[str, ...]) -> Iterator[int]:
    """Yield a directory's descriptor, opened part by part, so that no link is followed."""
    descriptor = os.open(top, open_flags.READ_DIRECTORY)
    try:
        for part in parts:
            deeper = os.open(part, open_flags.READ_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        yield descriptor
    finally:
        os.close(descriptor)


def _write_set(
    contents: Mapping[str, bytes], digests: Mapping[str, str], root: Path, name: str
) -> None:
    staged = root / f".collecting-{secrets.token_hex(8)}"
    packs: dict[str, bytes] = {}
    try:
        packs = packs_of(contents, name)
    except InvalidInput as error:  # pages then load each file from its address
        _log.info("the editor's files in %s are not packed: %s", name, error)
    try:
        files = {
            path: _write_file(staged / _FILES / path, content, digests[path])
            for path, content in contents.items()
        }
        for path, content in packs.items():
            digest = hashlib.sha256(content).hexdigest()
            files[path] = _write_file(staged / _FILES / path, content, digest, _PACK_QUALITY)
        manifest = _Manifest(files=files)
        (staged / _MANIFEST).write_text(manifest.model_dump_json(), "utf-8")
        _name_set(staged, root, name)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _write_file(
    path: Path, content: bytes, digest: str, quality: int = _BROTLI_QUALITY
) -> AssetFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    siblings: tuple[tuple[str, bytes], ...] = (
        (".br", brotli.compress(content, quality=quality) if brotli else content),
        (".gz", gzip.compress(content, min(9, quality), mtime=0)),
    )
    sizes = []
    for suffix, squeezed in siblings:
        worth = len(squeezed) < _WORTH * len(content)
        if worth:
            path.with_name(path.name + suffix).write_bytes(squeezed)
        sizes.append(len(squeezed) if worth else 0)
    return AssetFile(size=len(content), digest=digest, br=sizes[0], gzip=sizes[1])


def _name_set(staged: Path, root: Path, name: str) -> None:
    try:
        staged.rename(root / name)
    except OSError:
        # Another build has written it meanwhile (equal names are equal sets), or it is incomplete
        # after a power cut.
        if not is_complete(root, name):
            broken = root / f".broken-{secrets.token_hex(8)}"
            (root / name).rename(broken)
            staged.rename(root / name)
            shutil.rmtree(broken, ignore_errors=True)
