"""Record what mograder 0.3.16 reads in the copies of submissions that grading writes.

    .venv/bin/python -m scripts.record_0316_marks

It writes the copies of ``tests/support/grading_copies.py`` and asks that release, installed as by
:mod:`scripts.record_0316`, for the marks of the checks, and for mark and comment before and after
it has written some. The recording is ``tests/data/legacy/grading-copies.json``.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from mograder.grading.grading_cells import grading_copy
from scripts.record_0316 import RELEASE, REPOSITORY, install
from tests.support.grading_copies import CASES

TARGET = REPOSITORY / "tests" / "data" / "legacy" / "grading-copies.json"
_READER = """
import json, pathlib, sys
from mograder.grading import cells
path = pathlib.Path(sys.argv[1])
lines = lambda: path.read_text().splitlines(keepends=True)
said = {"auto_marks": cells.parse_auto_marks(lines())}
said["marker"] = cells.parse_marker_feedback(lines())
cells.write_marker_feedback(path, 45, 'Good "work".')
said["marker_after_writing"] = cells.parse_marker_feedback(lines())
print(json.dumps(said))
"""


def main() -> int:
    """Write the recording."""
    python = install().with_name("python")
    told = {}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "alice.py"
        for name, (text, result) in CASES.items():
            copy = grading_copy(text, result).text
            path.write_text(copy)
            command = [python, "-c", _READER, path]
            said = subprocess.run(command, check=True, capture_output=True, text=True)
            told[name] = {"text": copy, **json.loads(said.stdout)}
    TARGET.write_text(json.dumps({"release": RELEASE, "copies": told}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
