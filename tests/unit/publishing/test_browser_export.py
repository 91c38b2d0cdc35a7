"""``mograder https export-web``: what it refuses."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line import cli


def test_a_notebook_that_is_no_text_is_named(here: Path) -> None:
    (here / "hw1" / "files").mkdir(parents=True)
    notebook = here / "hw1" / "files" / "hw1.py"
    notebook.write_bytes(b"import marimo  # \xff\n")
    assert f"{notebook} is not UTF-8 text." in cli("https export-web w1", status=2).err
    told = cli("https export-web hw2", status=3).err
    assert f"There is no assignment 'hw2' in {here}.\nThere are: hw1." in told
