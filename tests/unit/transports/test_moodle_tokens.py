"""The cache of Moodle tokens: readable by 0.3.16, and more than it knows (compat 1)."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.transports.moodle.tokens import CachedToken, TokenCache

ONE = CachedToken("https://one.example.edu", "t1", "Alice Ångström")
TWO = CachedToken("https://two.example.edu/moodle", "t2", "Alice A.")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mograder" / "token.json"


def test_a_token_is_found_however_its_address_is_written(path: Path) -> None:
    TokenCache(path).keep(ONE)
    for url in (
        "https://one.example.edu",
        "https://one.example.edu/",
        "https://ONE.example.edu/my/",
    ):
        assert TokenCache(path).find(url) == ONE


def test_the_old_file_is_that_of_0_3_16(path: Path) -> None:
    TokenCache(path).keep(ONE)
    assert json.loads(path.read_text("utf-8")) == {
        "url": "https://one.example.edu",
        "token": "t1",
        "fullname": "Alice Ångström",
    }


def test_a_token_of_0_3_16_is_found_and_stays(path: Path) -> None:
    path.parent.mkdir()
    old = {"url": "https://one.example.edu/", "token": "t1", "fullname": "Alice Ångström"}
    path.write_text(json.dumps(old), "utf-8")
    cache = TokenCache(path)
    assert cache.find(ONE.url) == ONE
    cache.keep(TWO)
    assert cache.find(ONE.url) == ONE
    assert cache.find(TWO.url) == TWO


def test_who_signs_in_with_0_3_16_later_is_believed(path: Path) -> None:
    cache = TokenCache(path)
    cache.keep(ONE)
    cache.keep(TWO)
    newer = {"url": "https://one.example.edu", "token": "newer", "fullname": "A"}
    path.write_text(json.dumps(newer), "utf-8")
    found = cache.find(ONE.url)
    assert found is not None
    assert found.token == "newer"
    assert cache.find(TWO.url) == TWO


def test_nobody_else_can_read_the_files(path: Path) -> None:
    TokenCache(path).keep(ONE)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_token_is_forgotten_in_both_files(path: Path) -> None:
    cache = TokenCache(path)
    cache.keep(ONE)
    cache.keep(TWO)
    assert cache.forget(TWO.url)
    assert cache.find(TWO.url) is None
    assert cache.find(ONE.url) == ONE
    assert not cache.forget(TWO.url)
    assert "t2" not in "".join(file.read_text("utf-8") for file in path.parent.iterdir())


@pytest.mark.parametrize("content", ["", "{", '["a"]', '{"url": 1}', '{"url": "ftp://x"}'])
def test_a_damaged_file_counts_as_empty_and_a_login_mends_it(content: str, path: Path) -> None:
    path.parent.mkdir()
    path.write_text(content, "utf-8")
    cache = TokenCache(path)
    assert cache.find(ONE.url) is None
    cache.keep(ONE)
    assert cache.find(ONE.url) == ONE


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot be kept"):
        TokenCache(tmp_path / "file" / "token.json").keep(ONE)


def test_a_token_is_not_in_the_words_of_its_record() -> None:
    assert "t1" not in repr(ONE)
