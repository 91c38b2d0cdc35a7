"""Writes the table of Pyodide's packages: python -m scripts.gen_pyodide_packages [PYODIDE].

PYODIDE is Pyodide's npm package or its directory; without it, the version that the installed marimo
uses is downloaded. Run it when marimo changes its version of Pyodide.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mograder.publishing import pyodide
from mograder.publishing.browser_export import marimo_pyodide_version
from mograder.publishing.pyodide import download_pyodide, read_pyodide

PLACE = Path(pyodide.__file__).with_name(pyodide.TABLE)


def main() -> None:
    """Write the table beside the module that reads it."""
    version = marimo_pyodide_version()
    named = sys.argv[1:]
    found = read_pyodide(Path(named[0])) if named else download_pyodide(version)
    table = {
        "version": version,
        "python": found.python,
        "platform": found.platform,
        "packages": dict(sorted(found.packages.items())),
    }
    PLACE.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
