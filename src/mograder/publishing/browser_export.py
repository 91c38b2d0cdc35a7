"""Making the page on which one item runs in the browser alone, and the frame in it.

The frame's page is marimo's own page for WebAssembly and its files, with our first script. It holds
no notebook: the page around it sends the text, so the address of the frame tells nothing of the
course. marimo's scripts and styles are packed into one file, which the page around it hands in
(:mod:`mograder.core.marimo_scripts`; decision 50).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from marimo import __version__
from marimo._ast.app_config import _AppConfig
from marimo._config.config import DEFAULT_CONFIG, MarimoConfig
from marimo._pyodide.pyodide_constraints import PYODIDE_VERSION
from marimo._templates import wasm_notebook_template
from packaging.utils import parse_wheel_filename

from mograder.clients.http import Server, bounded_body, make_client
from mograder.core.errors import RemoteFailed
from mograder.core.marimo_scripts import WORKER, other_form, pack_script, pack_style
from mograder.core.names import ItemName
from mograder.publishing.pyodide import (
    LOADER,
    STARTED,
    Pyodide,
    Wheel,
    download_pyodide,
    pack_installed,
    read_pyodide,
    read_wheel,
    select_wheels,
)
from mograder.publishing.warm import read_notebook_script
from mograder.sandbox.environments.runtime_wheel import build_runtime_wheel
from mograder.store.assignment_server.browser_pages import BrowserPage, BrowserPages

PROTOCOL = 2
"""The version of the messages between a frame and the page around it."""

_MAIN = re.compile(r'<script type="module" crossorigin src="\./assets/([^"]+\.js)"></script>')
_LINKS = re.compile(r'<link rel="(?:modulepreload|preload|stylesheet|manifest)"[^>]*>\s*')
_HEAD = "<head>"

_PACK = "marimo.json"
"""The name of the packed file: ``scripts`` and ``styles``, each a text by its name."""

ASSETS = "assets/"
_SKIPPED = frozenset({"CLAUDE.md"})
_STYLESHEET = re.compile(r'<link rel="stylesheet"[^>]* href="\./assets/([\w.-]+\.css)">')
_WHEEL_LIMIT = 256 * 1024 * 1024
_WHEEL_SECONDS = 600.0
_LOCK = "pyodide-lock.json"
Say = Callable[[str], None]
_Packages = list[tuple[dict[str, object], bytes]]
"""The wheels of a page: the lock file's entry of each, and its bytes."""


@dataclass(frozen=True, slots=True)
class Exported:
    page: BrowserPage
    wheels: tuple[Wheel, ...]


@dataclass(frozen=True, slots=True)
class FrameAddresses:
    """The addresses of a frame's files, relative to the frame's own page; ``pack`` is marimo's."""

    marimo: str
    pack: str
    pyodide: str
    lock: str


@dataclass(frozen=True, slots=True)
class MarimoFiles:
    """marimo's ``pack``, and the ``others`` that a page loads by their addresses."""

    pack: bytes
    others: Mapping[str, bytes]


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
    name, version, _, _ = parse_wheel_filename(own.name)
    runtime = Wheel(name, str(version), own.name, place=own)
    packages = _collect((*selection.wheels, runtime), python, say)
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


def marimo_pyodide_version() -> str:
    return str(PYODIDE_VERSION)


def frame_page(title: str, addresses: FrameAddresses) -> str:
    """Return the HTML of a frame.

    It loads nothing by itself: the page around it hands in marimo's scripts and styles.

    Raises: :class:`InvalidInput` if the installed marimo has another kind of page.
    """
    html = _marimo_page(title, addresses)
    main = _MAIN.search(html)
    if main is None or _HEAD not in html:
        raise other_form("no main script")
    about = {"main": main[1], "pack": addresses.pack.removeprefix("../"), "protocol": str(PROTOCOL)}
    data = "".join(f' data-{name}="{escape(value)}"' for name, value in about.items())
    boot = files("mograder.publishing").joinpath("browser-frame.js")
    # The hub's stand-ins for storage, which an opaque origin lacks: written once.
    shim = files("mograder").joinpath("web", "hub", "proxy", "session_page", "storage-shim.js")
    scripts = f"<script>{_source(shim)}</script><script{data}>{_source(boot)}</script>"
    base = f'<base href="{escape(addresses.marimo)}">'
    html = _LINKS.sub("", html.replace(main[0], "", 1))
    return html.replace(_HEAD, f'{_HEAD}<meta charset="utf-8">{base}{scripts}', 1)


def read_marimo() -> MarimoFiles:
    """Raise :class:`InvalidInput` if the installed marimo's files are not as expected."""
    found = dict(_walk(files("marimo").joinpath("_static"), ""))
    html = found.pop("index.html", b"").decode("utf-8")
    assets = {name.removeprefix(ASSETS): name for name in found if name.startswith(ASSETS)}
    texts = {
        short: found.pop(name).decode("utf-8")
        for short, name in assets.items()
        if short.endswith((".js", ".css"))
    }
    scripts = {name: text for name, text in texts.items() if name.endswith(".js")}
    if not html or not any(map(WORKER.fullmatch, scripts)):
        raise other_form("no worker")
    fonts = {
        short: found[name]
        for short, name in assets.items()
        if short.endswith(".woff2") and name in found
    }
    first = _STYLESHEET.findall(html)
    rest = sorted(name for name in texts if name.endswith(".css") and name not in first)
    pack = {
        "scripts": {name: pack_script(name, text, scripts) for name, text in scripts.items()},
        "styles": {name: pack_style(texts[name], fonts, ASSETS) for name in [*first, *rest]},
    }
    return MarimoFiles(json.dumps(pack, ensure_ascii=False).encode(), found)


def _collect(wheels: tuple[Wheel, ...], python: Pyodide, say: Say) -> _Packages:
    found = []
    present = {wheel.name for wheel in wheels} - {LOADER}
    for wheel in wheels:
        say(wheel.filename)
        if wheel.place is not None:
            data = wheel.place.read_bytes()
        else:
            data = _download(wheel) if wheel.url else pack_installed(wheel.name)
        imports, needs = read_wheel(data, python.environment())
        depends = present if wheel.name == LOADER else present.intersection(needs)
        entry: dict[str, object] = {
            "name": wheel.name,
            "version": wheel.version,
            # A "+" would have to be encoded in an address.
            "file_name": wheel.filename.replace("+", "_"),
            "install_dir": "site",
            "sha256": hashlib.sha256(data).hexdigest(),
            "package_type": "package",
            "imports": list(imports),
            "depends": sorted(depends),
            "unvendored_tests": False,
        }
        found.append((entry, data))
    return found


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
    pack = pages.add("pack", {_PACK: own.pack})
    runtime = pages.add("pyodide", python.files)
    entries, first = {}, [f"{pack}/{_PACK}", *(f"{runtime}/{name}" for name in STARTED)]
    for entry, data in packages:
        served = str(entry["file_name"])
        place = pages.add("wheel", {served: data})
        entries[str(entry["name"])] = {**entry, "file_name": f"../{place}/{served}"}
        first.append(f"{place}/{served}")
    lock = {"info": python.info, "packages": entries}
    text = json.dumps(lock, sort_keys=True).encode()
    listing = pages.add("lock", {_LOCK: text})
    addresses = FrameAddresses(
        marimo=f"../{marimo}/",
        pack=f"../{pack}/{_PACK}",
        pyodide=f"../{runtime}/",
        lock=f"../{listing}/{_LOCK}",
    )
    return addresses, (*first, f"{listing}/{_LOCK}")


def _source(script: Traversable) -> str:
    text = script.read_text("utf-8")
    if "</script" in text.lower():
        raise ValueError("a script would end its own element")
    return text


def _marimo_page(title: str, addresses: FrameAddresses) -> str:
    def beside(address: str) -> str:
        # Resolved against the <base>, which is marimo's directory.
        return f"../{address.removeprefix('../')}"

    template = files("marimo").joinpath("_static", "index.html").read_text("utf-8")
    return str(
        wasm_notebook_template(
            html=template,
            version=__version__,
            filename="notebook.py",
            user_config=_config(),
            config_overrides={},
            app_config=_AppConfig(app_title=title),
            mode="edit",
            code="",
            show_code=True,
            pyodide_index_url=beside(addresses.pyodide),
            pyodide_lockfile_url=beside(addresses.lock),
        )
    )


def _config() -> MarimoConfig:
    config = json.loads(json.dumps(DEFAULT_CONFIG))
    # What is not saved within a second is lost when the tab is closed.
    config["save"] |= {"autosave": "after_delay", "autosave_delay": 1000, "format_on_save": False}
    config["runtime"] |= {"auto_instantiate": True}
    config["display"] |= {"theme": "system"}
    config["completion"] |= {"activate_on_typing": False, "copilot": False}
    config["sharing"] = {"html": False, "wasm": False}
    found: MarimoConfig = config
    return found


def _walk(directory: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in directory.iterdir():
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            yield from _walk(entry, f"{path}/")
        elif entry.name not in _SKIPPED:
            yield path, entry.read_bytes()
