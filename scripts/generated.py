"""Files that programs here write from the code; with ``--check`` they only compare."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def write_or_check(files: Mapping[Path, str], how: str = "make reference") -> int:
    """Write these files; with ``--check`` return 1 when one is not current, and name it."""
    if "--check" not in sys.argv[1:]:
        for path, text in files.items():
            path.write_text(text, "utf-8")
        return 0
    stale = [
        path for path, text in files.items() if not path.exists() or path.read_text("utf-8") != text
    ]
    for path in stale:
        print(f"{path.name} is out of date: run {how}", file=sys.stderr)
    return int(bool(stale))
