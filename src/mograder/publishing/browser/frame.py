"""The page of the frame: marimo's own page for WebAssembly and its files, with our first script.

It holds no notebook: the page around it sends the text, so the address of the frame tells nothing
of the course. marimo's scripts and styles are packed into one file, which the page around it hands
in (:mod:`mograder.core.marimo_scripts`; decision 50).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable

from marimo import __version__
from marimo._ast.app_config import _AppConfig
from marimo._config.config import DEFAULT_CONFIG, MarimoConfig
from marimo._pyodide.pyodide_constraints import PYODIDE_VERSION
from marimo._templates import wasm_notebook_template

from mograder.core.marimo_scripts import WORKER, other_form, pack_script, pack_style

PROTOCOL = 2
"""The version of the messages between a frame and the page around it."""

_MAIN = re.compile(r'<script type="module" crossorigin src="\./assets/([^"]+\.js)"></script>')
_LINKS = re.compile(r'<link rel="(?:modulepreload|preload|stylesheet|manifest)"[^>]*>\s*')
_HEAD = "<head>"

PACK = "marimo.json"
"""The name of the packed file: ``scripts`` and ``styles``, each a text by its name."""

ASSETS = "assets/"
_SKIPPED = frozenset({"CLAUDE.md"})
_STYLESHEET = re.compile(r'<link rel="stylesheet"[^>]* href="\./assets/([\w.-]+\.css)">')


@dataclass(frozen=True, slots=True)
class FrameAddresses:
    """The addresses of a frame's files, relative to the frame's own page; ``pack`` is marimo's."""

    marimo: str
    pack: str
    pyodide: str
    lock: str
    index: str


@dataclass(frozen=True, slots=True)
class MarimoFiles:
    """marimo's ``pack``, and the ``others`` that a page loads by their addresses."""

    pack: bytes
    others: Mapping[str, bytes]


def marimo_pyodide_version() -> str:
    """Return the version of Pyodide that the installed marimo is made for."""
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
    scripts = f"<script>{_shim()}</script><script{data}>{_boot()}</script>"
    base = f'<base href="{escape(addresses.marimo)}">'
    html = _LINKS.sub("", html.replace(main[0], "", 1))
    return html.replace(_HEAD, f'{_HEAD}<meta charset="utf-8">{base}{scripts}', 1)


def read_marimo() -> MarimoFiles:
    """Return the files of the installed marimo's page.

    Raises: :class:`InvalidInput` if they are not as expected.
    """
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


def _boot() -> str:
    return _source(files("mograder.publishing.browser").joinpath("frame.js").read_text("utf-8"))


def _shim() -> str:
    # The hub's stand-ins for storage, which an opaque origin lacks: written once.
    shim = files("mograder").joinpath("web", "hub", "static", "storage-shim.js")
    return _source(shim.read_text("utf-8"))


def _source(text: str) -> str:
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
            pypi_index_url=beside(addresses.index),
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
