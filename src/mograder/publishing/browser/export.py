"""Making the page on which one item runs in the browser alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from marimo import __version__
from packaging.utils import parse_wheel_filename

from mograder.clients.http import Server, bounded_body, make_client
from mograder.core.errors import RemoteFailed
from mograder.core.names import ItemName
from mograder.publishing.browser.frame import (
    PACK,
    PROTOCOL,
    FrameAddresses,
    frame_page,
    marimo_pyodide_version,
    read_marimo,
)
from mograder.publishing.browser.packages import (
    Wheel,
    pack_installed,
    read_wheel,
    select_wheels,
)
from mograder.publishing.browser.pyodide import STARTED, Pyodide, download_pyodide, read_pyodide
from mograder.publishing.warm import read_notebook_script
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.store.assignment_server.browser_pages import BrowserPage, BrowserPages

_WHEEL_LIMIT = 256 * 1024 * 1024
_WHEEL_SECONDS = 600.0
_LOCK = "pyodide-lock.json"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the item's page, and the wheels that it loads."""

    page: BrowserPage
    wheels: tuple[Wheel, ...]


@dataclass(frozen=True, slots=True)
class _Packages:
    """The wheels of a page with their bytes, and the lock file's entries of them."""

    data: dict[str, bytes] = field(default_factory=dict)
    entries: dict[str, dict[str, object]] = field(default_factory=dict)


def export_page(
    root: Path, item: ItemName, notebook: Path, pyodide: Path | None, say: Say
) -> Exported:
    """Write the files with which a notebook runs in the browser, below the course's directory.

    ``pyodide`` is where Pyodide is; None downloads it from the npm registry.

    Raises: :class:`InvalidInput` for a notebook or a Pyodide that cannot be used,
    :class:`RemoteFailed` if a package cannot be downloaded.
    """
    wanted = marimo_pyodide_version()
    script = read_notebook_script(notebook)
    say(f"Pyodide {wanted}")
    python = read_pyodide(pyodide) if pyodide else download_pyodide(wanted)
    selection = select_wheels(script.dependencies, __version__, python)
    own = build_runtime_wheel(root / ".mograder" / "runtime")
    packages = _collect((*selection.wheels, _own(own)), python, say)
    pages = BrowserPages(root)
    say("writing the files")
    with pages.changing():
        addresses, first = _write(pages, python, packages)
        frame = pages.add("frame", {"index.html": frame_page(item, addresses).encode()})
        used = (f"{frame}/index.html", addresses.marimo.removeprefix("../"), *first)
        page = BrowserPage(
            protocol=PROTOCOL,
            frame=used[0],
            notebook=notebook.name,
            marimo=__version__,
            pyodide=wanted,
            missing=selection.missing,
            first=first,
            uses=tuple(sorted({path.partition("/")[0] for path in used})),
        )
        pages.save(item, page)
        if removed := pages.prune():
            say(f"removed what no page uses any more: {len(removed)} directories")
    return Exported(page, selection.wheels)


def _own(wheel: Path) -> Wheel:
    name, version, _, _ = parse_wheel_filename(wheel.name)
    return Wheel(name, str(version), wheel.name, place=wheel)


def _collect(wheels: tuple[Wheel, ...], python: Pyodide, say: Say) -> _Packages:
    """Read or download all wheels, and describe each for the lock file."""
    found = _Packages()
    present = {wheel.name for wheel in wheels}
    for wheel in wheels:
        say(wheel.filename)
        data = _bytes_of(wheel)
        facts = read_wheel(data, python.environment())
        # A "+" would have to be encoded in an address.
        served = wheel.filename.replace("+", "_")
        found.data[served] = data
        found.entries[wheel.name] = {
            "name": wheel.name,
            "version": wheel.version,
            "file_name": served,
            "install_dir": "site",
            "sha256": hashlib.sha256(data).hexdigest(),
            "package_type": "package",
            "imports": list(facts.imports),
            "depends": [name for name in facts.depends if name in present],
            "unvendored_tests": False,
        }
    return found


def _bytes_of(wheel: Wheel) -> bytes:
    if wheel.place is not None:
        return wheel.place.read_bytes()
    return _download(wheel) if wheel.url else pack_installed(wheel.name)


def _download(wheel: Wheel) -> bytes:
    with (
        make_client(wheel.url, read=60.0) as client,
        Server("The package index", wheel.url).errors(wheel.filename),
        client.stream("GET", wheel.url) as answer,
    ):
        answer.raise_for_status()
        data = bounded_body(answer, _WHEEL_LIMIT, _WHEEL_SECONDS)
    if hashlib.sha256(data).hexdigest() != wheel.sha256:
        raise RemoteFailed(f"{wheel.filename} is damaged.", hint="Try again.")
    return data


def _write(
    pages: BrowserPages, python: Pyodide, packages: _Packages
) -> tuple[FrameAddresses, tuple[str, ...]]:
    """Write marimo, Pyodide, the wheels and the lock file.

    Return their addresses, and those below ``files/`` of what each page loads at its start.
    """
    own = read_marimo()
    marimo = pages.add("marimo", own.others)
    pack = pages.add("pack", {PACK: own.pack})
    runtime = pages.add("pyodide", python.files)
    entries, first = {}, [f"{pack}/{PACK}", *(f"{runtime}/{name}" for name in STARTED)]
    for name, entry in packages.entries.items():
        served = str(entry["file_name"])
        place = pages.add("wheel", {served: packages.data[served]})
        entries[name] = {**entry, "file_name": f"../{place}/{served}"}
        first.append(f"{place}/{served}")
    lock = {"info": python.info, "packages": entries}
    text = json.dumps(lock, sort_keys=True).encode()
    listing = pages.add("lock", {_LOCK: text, **_index(entries)})
    addresses = FrameAddresses(
        marimo=f"../{marimo}/",
        pack=f"../{pack}/{PACK}",
        pyodide=f"../{runtime}/",
        lock=f"../{listing}/{_LOCK}",
        index=f"../{listing}/",
    )
    return addresses, (*first, f"{listing}/{_LOCK}")


def _index(entries: Mapping[str, Mapping[str, object]]) -> dict[str, bytes]:
    """Return a package index in the simple form, for requirements that micropip looks up."""
    found = {}
    for name, entry in entries.items():
        address = f"../../{str(entry['file_name']).removeprefix('../')}"
        filename = address.rpartition("/")[2]
        link = f'<!doctype html><a href="{address}#sha256={entry["sha256"]}">{filename}</a>\n'
        found[f"{name}/index.html"] = link.encode()
    return found
