"""The settings with which `mograder student` starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from mograder.cli.student import settings_of
from mograder.core.errors import InvalidInput

TOKEN = "alice:" + "0" * 64


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://Course.example.org/", TOKEN),
        ("https://other.example.org", ""),
    ],
)
def test_a_token_in_the_settings_is_sent_to_the_server_named_there_alone(
    here: Path, url: str, token: str
) -> None:
    settings = f'[https]\nurl = "https://course.example.org"\ntoken = "{TOKEN}"\n'
    (here / "mograder.toml").write_text(settings)
    https = settings_of(url).settings.https
    assert (https.url, https.token.get_secret_value()) == (url, token)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("https://Course.example.org/", TOKEN),
        ("https://other.example.org", ""),
    ],
)
def test_it_is_not_sent_to_another_server_that_the_environment_names_either(
    here: Path, monkeypatch: pytest.MonkeyPatch, url: str, token: str
) -> None:
    settings = f'[https]\nurl = "https://course.example.org"\ntoken = "{TOKEN}"\n'
    (here / "mograder.toml").write_text(settings)
    monkeypatch.setenv("MOGRADER_HTTPS_URL", url)
    https = settings_of(".").settings.https
    assert (https.url, https.token.get_secret_value()) == (url, token)


def test_a_token_of_the_environment_is_for_the_server_that_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mograder.toml").write_text('[https]\nurl = "https://course.example.org"\n')
    monkeypatch.setenv("MOGRADER_HTTPS_TOKEN", TOKEN)
    https = settings_of("https://other.example.org").settings.https
    assert https.token.get_secret_value() == TOKEN


def test_the_address_of_settings_is_told_from_that_of_a_server(here: Path) -> None:
    """0.3.16 fetched them, so courses tell students to give it (compatibility-0.3.16.md 5)."""
    with pytest.raises(InvalidInput) as refused:
        settings_of("https://raw.example.org/course/main/mograder.toml?token=abc")
    assert "Save it as mograder.toml in a folder" in refused.value.hint
    assert "token" not in str(refused.value)
    assert list(here.iterdir()) == []


def test_the_home_of_an_unknown_account_is_told_and_makes_no_folder(here: Path) -> None:
    with pytest.raises(InvalidInput, match="no home directory"):
        settings_of("~nobody-here/course")
    assert list(here.iterdir()) == []


def test_an_address_without_its_scheme_makes_no_folder(here: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        settings_of("course.example.org")
    assert "https://course.example.org" in refused.value.hint
    assert list(here.iterdir()) == []
    for name in ("numerics", "week.2", "terms/spring.ws"):
        assert settings_of(name).course_dir == here / name
    (here / "stat.ws").mkdir()
    assert settings_of("stat.ws").course_dir == here / "stat.ws"
