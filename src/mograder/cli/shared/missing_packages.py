"""The message of a command that needs packages which are not installed; loaded only on failure.

The distribution alone installs what students and authors need, the extra ``server`` the rest.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import PurePath

from mograder.core.errors import Unsupported
from mograder.core.wheel import PROGRAM

_OTHER_EXTRAS = {"psycopg": "postgresql"}
_UVX = ("archive-v0", "environments-v2")
"""Directories of uv's cache with the environments of ``uvx``, which uv may replace at any time."""


def missing_package(error: ModuleNotFoundError) -> Unsupported | None:
    """Return the failure of a command whose package is not installed; None if it is a bug.

    Its hint is the line that installs the rest into the environment that runs.
    """
    package = (error.name or "").partition(".")[0]
    if package in {"", "mograder"} or package in sys.stdlib_module_names:
        return None
    return Unsupported(
        f"This command needs more than a student's install of mograder: {package} is missing.",
        hint=f"Install the rest: {_line(_OTHER_EXTRAS.get(package, 'server'))}",
    )


def _line(extra: str) -> str:
    requirement = f'"{PROGRAM}[{extra}] @ {_origin()}"'
    if any(part in _UVX for part in PurePath(sys.prefix).parts):
        return f"uvx --from {requirement} mograder"
    return f"{_quoted(sys.executable)} -m uv pip install {requirement}"


def _origin() -> str:
    """Return the address that this mograder was installed from, as pip and uv record it.

    An install from an index has none, and no line of ours installs from one (decision 5).
    """
    wheel = "./mograder_hub-VERSION-py3-none-any.whl"
    try:
        recorded = metadata.distribution(PROGRAM).read_text("direct_url.json")
        url = str(json.loads(recorded or "{}").get("url", ""))
    except (metadata.PackageNotFoundError, ValueError):
        return wheel
    return url or wheel


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
