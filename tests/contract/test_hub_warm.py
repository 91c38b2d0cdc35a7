"""``mograder hub warm-cache`` with a real supervisor and real builds (B100, B104)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.sandbox.environments.record import RECORD
from tests.support.command_line import cli

pytestmark = pytest.mark.full

HEADER = '# /// script\n# dependencies = ["{0}"]\n# ///\nimport marimo\n'


@pytest.fixture(autouse=True)
def course(here: Path) -> Path:
    """A course with notebooks whose packages exist, and one whose package does not."""
    (here / "good.py").write_text(HEADER.format("marimo"))
    (here / "bad.py").write_text(HEADER.format("mograder-no-such-package"))
    (here / "plain.py").write_text("import marimo\n")
    return here


def test_b100_b104_what_a_notebook_needs_is_built_and_in_the_cache(course: Path) -> None:
    """One that cannot be is told with uv's own words, ends with 1 and stops nobody else's."""
    (course / "mograder.toml").write_text("[hub]\nuv_cache_dir = 'cache'\n")
    out = cli("hub warm-cache bad.py plain.py good.py", status=1).out
    assert out.startswith("  bad.py: mograder-no-such-package\n    failed: ")
    assert "mograder-no-such-package was not found" in out
    assert out.endswith("  plain.py: no PEP 723 deps\n  good.py: marimo\n    ok\n")
    built = list((course / ".mograder" / "environments").glob(f"*/{RECORD}"))
    assert len(built) == 1, "a hub of this course will find it"
    assert any((course / "cache").iterdir())
    assert cli("hub warm-cache good.py").out == "  good.py: marimo\n    ok\n"
