"""Record what mograder 0.3.16 reads in the copies of submissions that grading writes.

    .venv/bin/python -m tests.support.grading_copies
    .venv/bin/python -m scripts.record_0316_marks

The first command writes the copies into ``tests/data/legacy/grading-copies.json``. This one
installs that release from the package index below ``.tools/``, asks it for the marks of the checks,
and for mark and comment before and after it has written some, and adds the answers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
RELEASE = "0.3.16"
_PLACE = REPOSITORY / ".tools" / f"mograder-{RELEASE}"
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
    """Add what that release reads to each copy."""
    python = install().with_name("python")
    copies = json.loads(TARGET.read_text())["copies"]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "alice.py"
        for copy in copies.values():
            path.write_text(copy["text"])
            command = [str(python), "-c", _READER, str(path)]
            said = subprocess.run(command, check=True, capture_output=True, text=True)
            copy.update(json.loads(said.stdout))
    TARGET.write_text(json.dumps({"release": RELEASE, "copies": copies}, indent=1) + "\n")
    return 0


def install() -> Path:
    """Return the old release's command, installed from the index by its exact version."""
    command = _PLACE / "bin" / "mograder"
    if not command.exists():
        uv = Path(sys.executable).with_name("uv")
        python = sys.executable
        subprocess.run([uv, "venv", "--relocatable", "--python", python, _PLACE], check=True)
        wanted = f"mograder=={RELEASE}"
        target = _PLACE / "bin" / "python"
        subprocess.run([uv, "pip", "install", "--python", target, wanted], check=True)
    told = subprocess.run([command, "--version"], check=True, capture_output=True, text=True)
    if RELEASE not in told.stdout:
        raise SystemExit(f"{command} is not {RELEASE}: {told.stdout}")
    return command


if __name__ == "__main__":
    raise SystemExit(main())
