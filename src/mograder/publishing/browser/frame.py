"""The page of the frame: marimo's own page for WebAssembly, with our script before it.

It holds no notebook: the page around it sends the text, so the address of the frame tells nothing
of the course.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from marimo import __version__
from marimo._ast.app_config import _AppConfig
from marimo._config.config import DEFAULT_CONFIG, MarimoConfig
from marimo._pyodide.pyodide_constraints import PYODIDE_VERSION
from marimo._templates import wasm_notebook_template

from mograder.core.marimo_scripts import other_form

PROTOCOL = 2
"""The version of the messages between a frame and the page around it."""

_MAIN = re.compile(r'<script type="module" crossorigin src="\./assets/([^"]+\.js)"></script>')
_LINKS = re.compile(r'<link rel="(?:modulepreload|preload|stylesheet|manifest)"[^>]*>\s*')
_HEAD = "<head>"


@dataclass(frozen=True, slots=True)
class FrameAddresses:
    """The addresses of a frame's files, relative to the frame's own page; ``pack`` is marimo's."""

    marimo: str
    pack: str
    pyodide: str
    lock: str
    index: str


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
