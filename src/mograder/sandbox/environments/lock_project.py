"""The project file that uv locks for a notebook."""

from __future__ import annotations

import json

import tomlkit
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mograder.core.wheel import OURS
from mograder.notebook.pep723 import Script

NO_MOGRADER = "".join(f"{name} ; python_version < '0'\n" for name in sorted(OURS))
"""uv overrides that remove ``mograder`` and ``mograder-hub`` from all requirements.

What an index has under these names is not ours; notebooks get the wheel of the runtime (decision
5). They are used only for the lock: in the project's settings they would exclude our wheel as well.
"""


def lock_project(script: Script) -> str:
    """Return a ``pyproject.toml`` with the notebook's requirements, and marimo."""
    names = {canonicalize_name(Requirement(text).name) for text in script.dependencies}
    wanted = [*script.dependencies, *([] if "marimo" in names else ["marimo"])]
    project = {"name": "notebook", "version": "0", "dependencies": wanted}
    if script.requires_python:
        project["requires-python"] = script.requires_python
    options = json.loads(script.tool_uv) if script.tool_uv else {}
    return tomlkit.dumps({"project": project, "tool": {"uv": options}})
