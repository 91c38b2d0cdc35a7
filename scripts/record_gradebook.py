"""Record a gradebook that mograder 0.3.16 made, and what it reads from it.

    .venv/bin/python -m scripts.record_gradebook

The release is installed as by ``scripts.record_0316_marks``. ``tests/data/legacy/gradebook/`` gets
the database as SQL (``gradebook.sql``) and what 0.3.16 reads from it (``read.json``).
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from scripts.record_0316_marks import REPOSITORY, install

TARGET = REPOSITORY / "tests" / "data" / "legacy" / "gradebook"
_PROGRAM = Path(__file__).with_name("gradebook_0316.py")
_SECONDS = 60


def main() -> int:
    python = install().with_name("python")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gradebook.db"
        run(python, "make", path)
        read = run(python, "read", path)
        with closing(sqlite3.connect(path)) as connection:
            dump = "\n".join(connection.iterdump())
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "gradebook.sql").write_text(f"{dump}\n", "utf-8")
    text = json.dumps(json.loads(read), indent=1, ensure_ascii=False, sort_keys=True)
    (TARGET / "read.json").write_text(f"{text}\n", "utf-8")
    return 0


def run(python: Path, command: str, gradebook: Path, values: object = None) -> str:
    """Run a command of ``scripts/gradebook_0316.py`` with 0.3.16's own code; return its output."""
    words = [str(python), "-I", str(_PROGRAM), command, str(gradebook), json.dumps(values)]
    ran = subprocess.run(words, check=True, capture_output=True, text=True, timeout=_SECONDS)
    return ran.stdout


if __name__ == "__main__":
    sys.exit(main())
