"""marimo's own code that saves a notebook, as sessions run it, without its server.

A whole editor takes minutes to start in the emulated machine. For each line on standard input the
notebook's first cell becomes that line; ``saved`` is written when marimo would answer its page.

Usage: ``python marimo_saver.py DIRECTORY-OF-SERVE NOTEBOOK``
"""

from __future__ import annotations

import importlib
import sys
from typing import Any


def main(programs: str, notebook: str) -> None:
    """Save what is read, line by line."""
    sys.path.insert(0, programs)
    serve: Any = importlib.import_module("serve")
    serve._save_whole()
    files: Any = importlib.import_module("marimo._session.notebook.file_manager")
    models: Any = importlib.import_module("marimo._server.models.models")
    manager = files.AppFileManager(notebook)
    (cell,) = manager.app.cell_manager.cell_data()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        request = models.SaveNotebookRequest(
            cell_ids=[cell.cell_id],
            codes=[line.strip()],
            names=[cell.name],
            configs=[cell.config],
            filename=notebook,
        )
        manager.save(request)
        sys.stdout.write("saved\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
