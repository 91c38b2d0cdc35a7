"""The cache of Moodle tokens: readable by 0.3.16, and more than it knows (compat 1)."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mograder.clients.token_store import MOODLE, CachedToken, TokenStore
from mograder.core.errors import InvalidInput

ONE = CachedToken("https://one.example.edu", "t1", "", "Alice Ångström")
TWO = CachedToken("https://two.example.edu/moodle", "t2", "alice", "Alice A.")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the file of 0.3.16."""
    return tmp_path / ".config" / "mograder" / "token.json"


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path, MOODLE)


def keep(store: TokenStore, token: CachedToken) -> None:
    store.save(token.url, token.token, token.user, token.full_name)


def test_a_token_is_found_however_its_address_is_written(store: TokenStore) -> None:
    keep(store, ONE)
    for url in (
        "https://one.example.edu",
        "https://one.example.edu/",
        "https://ONE.example.edu/my/",
    ):
        assert store.find(url) == ONE


def test_the_old_file_is_that_of_0_3_16(path: Path, store: TokenStore) -> None:
    keep(store, ONE)
    assert json.loads(path.read_text("utf-8")) == {
        "url": "https://one.example.edu",
        "token": "t1",
        "fullname": "Alice Ångström",
    }


def test_a_token_of_0_3_16_is_found_and_stays(path: Path, store: TokenStore) -> None:
    path.parent.mkdir(parents=True)
    old = {"url": "https://one.example.edu/", "token": "t1", "fullname": "Alice Ångström"}
    path.write_text(json.dumps(old), "utf-8")
    assert store.find(ONE.url) == ONE
    keep(store, TWO)
    assert store.find(ONE.url) == ONE
    assert store.find(TWO.url) == TWO


def test_who_signs_in_with_0_3_16_later_is_believed(path: Path, store: TokenStore) -> None:
    keep(store, ONE)
    keep(store, TWO)
    newer = {"url": "https://one.example.edu", "token": "newer", "fullname": "A"}
    path.write_text(json.dumps(newer), "utf-8")
    found = store.find(ONE.url)
    assert found is not None
    assert found.token == "newer"
    assert store.find(TWO.url) == TWO


def test_nobody_else_can_read_the_files(path: Path, store: TokenStore) -> None:
    keep(store, ONE)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_token_is_forgotten_in_both_files(path: Path, store: TokenStore) -> None:
    keep(store, ONE)
    keep(store, TWO)
    assert store.forget(TWO.url)
    assert store.find(TWO.url) is None
    assert store.find(ONE.url) == ONE
    assert not store.forget(TWO.url)
    assert "t2" not in "".join(file.read_text("utf-8") for file in path.parent.iterdir())


@pytest.mark.parametrize("content", ["", "{", '["a"]', '{"url": 1}', '{"url": "ftp://x"}'])
def test_a_damaged_file_counts_as_empty_and_a_login_mends_it(
    content: str, path: Path, store: TokenStore
) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content, "utf-8")
    assert store.find(ONE.url) is None
    keep(store, ONE)
    assert store.find(ONE.url) == ONE


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be kept"):
        keep(TokenStore(tmp_path / "file", MOODLE), ONE)


def test_a_token_is_not_in_the_words_of_its_record() -> None:
    assert "t1" not in repr(ONE)
