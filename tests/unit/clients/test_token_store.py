"""Tokens kept between commands, beside the file of 0.3.16 (B148, compatibility-0.3.16.md 1)."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mograder.clients.token_store import HTTPS, MOODLE, TokenStore
from mograder.core.errors import InvalidInput

ONE, TWO = "https://one.example.org", "https://two.example.org/course"


@pytest.fixture
def cache(tmp_path: Path) -> TokenStore:
    return TokenStore(tmp_path, HTTPS)


def old_file(home: Path) -> Path:
    return home / ".config" / "mograder" / "https_token.json"


def old_login(home: Path, url: str, token: str) -> None:
    """Write the file as 0.3.16 does: one server, replacing earlier ones."""
    old_file(home).parent.mkdir(parents=True, exist_ok=True)
    old_file(home).write_text(json.dumps({"url": url, "token": token, "user": "old"}))


def token_for(cache: TokenStore, url: str) -> str | None:
    found = cache.find(url)
    return None if found is None else found.token


def test_b148_a_token_is_kept_for_each_server(cache: TokenStore) -> None:
    cache.save(ONE, "alice:1", "alice")
    cache.save(TWO, "al:2", "al")
    assert (token_for(cache, ONE), token_for(cache, TWO)) == ("alice:1", "al:2")
    assert token_for(cache, "https://three.example.org") is None


@pytest.mark.parametrize("spelling", [f"{TWO}/", f" {TWO}", "HTTPS://TWO.example.org:443/course"])
def test_b148_one_server_has_one_token_however_it_is_spelt(
    cache: TokenStore, spelling: str
) -> None:
    cache.save(spelling, "alice:1", "alice")
    found = cache.find(TWO)
    assert found is not None
    assert (found.url, found.token, found.user) == (TWO, "alice:1", "alice")


def test_b148_both_files_are_readable_by_their_owner_alone(
    cache: TokenStore, tmp_path: Path
) -> None:
    cache.save(ONE, "alice:1", "alice")
    old_file(tmp_path).chmod(0o644)
    cache.save(ONE, "alice:2", "alice")
    for path in (cache.path, old_file(tmp_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700
    assert {path.name for path in cache.path.parent.iterdir()} == {
        "https_tokens.json",
        "https_token.json",
        ".https_tokens.lock",
    }


def test_b148_0_3_16_reads_who_signed_in_last(cache: TokenStore, tmp_path: Path) -> None:
    cache.save(ONE, "alice:1", "alice")
    cache.save(f"{TWO}/", "al:2", "al")
    assert json.loads(old_file(tmp_path).read_text()) == {"url": TWO, "token": "al:2", "user": "al"}


def test_b148_a_token_of_0_3_16_is_found_and_survives_our_next_login(
    cache: TokenStore, tmp_path: Path
) -> None:
    old_login(tmp_path, f"{ONE}", "alice:old")
    assert token_for(cache, f"{ONE}/") == "alice:old"
    cache.save(TWO, "al:2", "al")
    assert token_for(cache, ONE) == "alice:old"


def test_b148_a_later_login_with_0_3_16_is_believed(cache: TokenStore, tmp_path: Path) -> None:
    cache.save(ONE, "alice:1", "alice")
    cache.save(TWO, "al:2", "al")
    old_login(tmp_path, ONE, "alice:newer")
    assert (token_for(cache, ONE), token_for(cache, TWO)) == ("alice:newer", "al:2")
    cache.save(ONE, "alice:newest", "alice")
    assert token_for(cache, ONE) == "alice:newest"


def test_a_forgotten_token_is_in_neither_file(cache: TokenStore, tmp_path: Path) -> None:
    cache.save(ONE, "alice:1", "alice")
    cache.save(TWO, "al:2", "al")
    cache.forget(TWO)
    assert (token_for(cache, ONE), token_for(cache, TWO)) == ("alice:1", None)
    assert not old_file(tmp_path).exists()


def test_an_untried_token_is_marked_in_our_file_alone(cache: TokenStore, tmp_path: Path) -> None:
    def untried() -> list[bool]:
        return [each.untried for each in cache.servers()]

    cache.save(ONE, "alice:1", "alice")
    cache.save(TWO, "al:2", "al", untried=True)
    assert untried() == [False, True]
    assert "untried" not in old_file(tmp_path).read_text()
    cache.save(TWO, "al:2", "al")
    cache.save(ONE, "alice:1", "alice", untried=True)
    assert untried() == [False, False]


@pytest.mark.parametrize("damage", ["", "[]", '{"servers": 3}', '{"url": 7}', "\ud800"])
def test_a_damaged_file_counts_as_empty_and_the_next_login_mends_it(
    cache: TokenStore, tmp_path: Path, damage: str
) -> None:
    cache.save(ONE, "alice:1", "alice")
    for path in (cache.path, old_file(tmp_path)):
        path.write_bytes(damage.encode("utf-8", "surrogatepass"))
    assert token_for(cache, ONE) is None
    cache.save(TWO, "al:2", "al")
    assert token_for(cache, TWO) == "al:2"


def test_two_logins_at_once_both_stay(cache: TokenStore) -> None:
    urls = [f"https://h{number}.example.org" for number in range(24)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda url: cache.save(url, f"a:{url}", "a"), urls))
    assert [token_for(cache, url) for url in urls] == [f"a:{url}" for url in urls]


def test_b141_a_registration_has_one_key_until_a_token_is_kept(
    cache: TokenStore, tmp_path: Path
) -> None:
    """Each try had another, so that a name whose answer was lost was taken, by nobody."""
    key = cache.retry_key(ONE, "alice")
    assert TokenStore(tmp_path, HTTPS).retry_key(f"{ONE}/", "alice") == key
    file = cache.path.with_name("https_registering.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert cache.retry_key(ONE, "bob") != key
    cache.save(TWO, "al:2", "al")
    assert file.exists()
    cache.save(ONE, "bob:1", "bob")
    assert not file.exists()


def test_a_home_that_cannot_be_written_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("a file where the directory should be")
    with pytest.raises(InvalidInput, match="cannot be kept"):
        TokenStore(tmp_path, HTTPS).save(ONE, "alice:1", "alice")


def test_moodles_have_files_of_their_own_with_the_persons_full_name(tmp_path: Path) -> None:
    """0.3.16 stores no user name there, which stays known beside its file."""
    moodle, old = TokenStore(tmp_path, MOODLE), old_file(tmp_path).with_name("token.json")
    moodle.save("https://ONE.example.edu/my/", "t1", "alice", "Alice Ångström")
    saved = moodle.find("https://one.example.edu")
    assert saved is not None
    assert (saved.user, saved.full_name, "t1" in repr(saved)) == ("alice", "Alice Ångström", False)
    assert json.loads(old.read_text("utf-8")) == {
        "url": "https://ONE.example.edu/my",
        "token": "t1",
        "fullname": "Alice Ångström",
    }
    assert not old_file(tmp_path).exists()
    for content in ('["a"]', '{"url": "ftp://x"}', '{"url": "ftp://x", "token": "t3"}'):
        old.write_text(content)
        assert moodle.find("https://one.example.edu") == saved
