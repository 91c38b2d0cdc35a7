"""What a page may do is read from the release, and not from a student's copy."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from mograder.core.names import ItemName
from mograder.sessions.allowances import Allowances
from mograder.store.releases import ItemKind, Releases

ALLOWING = b"""# /// script
# dependencies = []
# [tool.mograder]
# allow = ["terminal"]
# ///
import marimo
"""


def publish(releases: Releases, name: str, text: bytes) -> None:
    with releases.stage(ItemName.parse(name)) as staged:
        staged.add(f"{name}.py", BytesIO(text))
        staged.commit(ItemKind.ASSIGNMENT)


async def test_only_what_the_release_names_is_allowed(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    publish(releases, "A1", ALLOWING)
    publish(releases, "A2", b"import marimo\n")
    allowances = Allowances(releases)
    assert await allowances.allows("A1", "terminal")
    assert not await allowances.allows("A1", "ai")
    assert not await allowances.allows("A2", "terminal")


async def test_a_release_published_again_counts_at_once(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    allowances = Allowances(releases)
    publish(releases, "A1", ALLOWING)
    assert await allowances.allows("A1", "terminal")
    publish(releases, "A1", b"import marimo\n")
    assert not await allowances.allows("A1", "terminal")


async def test_what_cannot_be_read_allows_nothing(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    allowances = Allowances(releases)
    assert not await allowances.allows("gone", "terminal")
    publish(releases, "A1", ALLOWING.replace(b"[tool.mograder]", b"[tool.mograder"))
    assert not await allowances.allows("A1", "terminal")
    publish(releases, "A1", b"\xff\xfe")
    assert not await allowances.allows("A1", "terminal")
