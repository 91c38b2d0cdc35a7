"""Environments have a record, and are removed if not needed, in use, or just requested."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from mograder.core.errors import NotFound
from mograder.sandbox.environments import pruning
from mograder.sandbox.environments.builder import LOCK, REQUESTS, mark_used
from mograder.sandbox.environments.pruning import (
    GRACE_SECONDS,
    finished_environments,
    prune_environments,
    unneeded_environments,
)
from mograder.sandbox.environments.record import RECORD, EnvironmentRecord, keep, read_record, take
from mograder.sandbox.environments.static_assets import ASSETS

LONG_AGO = time.time() - 10 * GRACE_SECONDS
BYTES = 100_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four environments, the later ones used earlier, and what belongs to them."""
    root = tmp_path / "environments"
    (root / REQUESTS).mkdir(parents=True)
    for number, name in enumerate(("a", "b", "c", "d")):
        assets = f"1.0-{number:016}"
        directory = root / name
        (directory / "env").mkdir(parents=True)
        (directory / "env" / "package").write_bytes(b"x" * BYTES)
        record = EnvironmentRecord(
            key=name, python="3.11", marimo="1", interpreter_roots=(), assets=assets
        )
        (directory / RECORD).write_text(record.model_dump_json())
        (directory / LOCK).write_text("")
        os.utime(directory / LOCK, (LONG_AGO - number, LONG_AGO - number))
        (root / ASSETS / assets).mkdir(parents=True)
        os.utime(root / ASSETS / assets, (LONG_AGO, LONG_AGO))
        (root / REQUESTS / f"of-{name}").write_text(name)
    return root


def names(root: Path) -> set[str]:
    return {path.name for path in finished_environments(root)}


def test_needed_and_used_environments_stay_and_the_rest_goes_with_all_of_its_own(
    root: Path,
) -> None:
    kept = keep(root / "b")
    pruned = prune_environments(root, frozenset({"a"}))
    os.close(kept)
    assert names(root) == {"a", "b"}
    assert pruned.in_use == ("b",)
    assert pruned.freed >= 2 * BYTES
    assert {path.name for path in (root / REQUESTS).iterdir()} == {"of-a", "of-b"}
    assert len(list((root / ASSETS).iterdir())) == 2
    assert list(root.glob(".*")) == []


def test_a_dry_run_says_it_and_removes_nothing(root: Path) -> None:
    pruned = prune_environments(root, frozenset({"a"}), dry_run=True)
    assert [each.path.name for each in pruned.removed] == ["d", "c", "b"]
    assert names(root) == {"a", "b", "c", "d"}


def test_with_a_limit_only_those_used_longest_ago_go(root: Path) -> None:
    (size, *_) = [each.size for each in unneeded_environments(root, frozenset())]
    prune_environments(root, frozenset(), keep=2 * size)
    assert names(root) == {"a", "b"}
    prune_environments(root, frozenset(), keep=2 * size)
    assert names(root) == {"a", "b"}


def test_one_that_was_asked_for_within_the_hour_stays(root: Path) -> None:
    assert mark_used(root / "d")
    prune_environments(root, frozenset())
    assert names(root) == {"d"}


def test_one_that_is_asked_for_at_the_last_moment_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start that found it before it was to be removed: by its mark, or by a session's lock."""
    marked, kept = root / "d", root / "c"
    held: list[int] = []

    def use_first(environment: Path) -> int | None:
        if environment == marked and not held:  # the first look is whether it is in use
            held.append(keep(kept))
            assert mark_used(marked)
        return take(environment)

    monkeypatch.setattr(pruning, "take", use_first)
    prune_environments(root, frozenset())
    os.close(held[0])
    assert names(root) == {"c", "d"}
    assert (root / "d" / "env" / "package").stat().st_size == BYTES


def test_one_that_was_removed_can_be_neither_marked_nor_kept(root: Path) -> None:
    (root / "d").rename(root / ".pruned-d")
    assert not mark_used(root / "d")
    with pytest.raises(NotFound):
        keep(root / "d")


def test_all_of_several_that_keep_it_must_have_ended(root: Path) -> None:
    one, other = keep(root / "d"), keep(root / "d")
    os.close(one)
    assert take(root / "d") is None
    os.close(other)
    taken = take(root / "d")
    assert taken is not None
    os.close(taken)


# --- the record beside an environment is the sign that it is finished -------------------------


def test_a_later_releases_record_is_read_as_well(tmp_path: Path) -> None:
    text = '{"key":"k","python":"3","marimo":"0","interpreter_roots":[],"more":1}'
    (tmp_path / RECORD).write_text(text)
    assert read_record(tmp_path).key == "k"
    assert read_record(tmp_path).assets == ""


def test_a_record_names_a_set_of_files_and_no_path(tmp_path: Path) -> None:
    text = '{"key":"k","python":"3","marimo":"0","interpreter_roots":[],"assets":"../up"}'
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(NotFound):
        read_record(tmp_path)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"key":"k"}', "\0"])
def test_half_a_record_is_none(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / RECORD).write_text(text)
    with pytest.raises(NotFound, match="no finished environment"):
        read_record(tmp_path)
