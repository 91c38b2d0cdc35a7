"""The comments in the two cells that grading adds to a notebook (compatibility-0.3.16.md 9)."""

from __future__ import annotations

VERIFICATION = "# === MOGRADER: VERIFICATION SUMMARY ==="
FEEDBACK = "# === MOGRADER: MARKER FEEDBACK ==="
GRADERS_CELLS = (VERIFICATION, FEEDBACK)
