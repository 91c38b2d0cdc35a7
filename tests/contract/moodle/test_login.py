"""The ways to a token against a real Moodle's answers (001-020, 348-368)."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from pydantic import TypeAdapter

from mograder.clients.moodle.client import MoodleClient
from mograder.clients.moodle.login import (
    Launch,
    launch,
    login_with_password,
    public_config,
    token_of,
)
from mograder.clients.moodle.records import PublicConfig
from mograder.core.errors import (
    Busy,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
)
from tests.support.moodle.replay import Replay
from tests.support.moodle.replay import token_of as known_token

SSO = PublicConfig(
    url="https://moodle.example.edu",
    name="x",
    web_services=True,
    maintenance=False,
    browser_login=True,
    launch_url="https://moodle.example.edu/admin/tool/mobile/launch.php",
)


def link_of(started: Launch, token: str, *, site: str = SSO.url, private: str = "") -> str:
    """Return the link that Moodle would end the sign-in in (368)."""
    signature = hashlib.md5(f"{site}{started.passport}".encode()).hexdigest()
    parts = [signature, token, *([private] if private else [])]
    return f"moodlemobile://token={base64.b64encode(':::'.join(parts).encode()).decode()}"


@pytest.mark.parametrize("name", ["alice", "alice "])
def test_a_password_gives_a_token_that_works_and_goes_into_no_address(
    name: str, moodle: Replay
) -> None:
    """005, 009; 011: a GET would do, and would end in every log on the way."""
    token = login_with_password(moodle.url, name, "PASSWORD")
    assert moodle.requests[0].method == "POST"
    assert not moodle.requests[0].in_address
    with MoodleClient(moodle.url, token) as client:
        assert client.site().username == "alice"


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("nobody", "wrong")])
def test_a_wrong_password_and_an_unknown_name_are_one(
    name: str, password: str, moodle: Replay
) -> None:
    """012, 013; the remedy names single sign-on, where passwords never work here."""
    with pytest.raises(NotAuthenticated, match="does not accept") as caught:
        login_with_password(moodle.url, name, password)
    assert "--sso" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "service", "family", "words"),
    [
        ("alice", "nosuchservice", RemoteFailed, "does not offer the service"),
        ("carol", "autograder", Forbidden, "may not make a token"),
        ("teach1", "restricted", Forbidden, "not on the list"),
    ],
)
def test_a_service_that_refuses_says_why(
    name: str, service: str, family: type[MograderError], words: str, moodle: Replay
) -> None:
    """014, 015, 017."""
    with pytest.raises(family, match=words):
        login_with_password(moodle.url, name, "PASSWORD", service=service)


@pytest.mark.parametrize(
    ("mood", "name", "password", "family"),
    [
        ("web-services-off", "admin", "x", RemoteFailed),
        ("down", "alice", "PASSWORD", Busy),
        ("maintenance", "alice", "PASSWORD", Busy),
        ("other-host", "alice", "PASSWORD", InvalidInput),
    ],
)
def test_a_site_that_cannot_sign_in_says_why(
    mood: str, name: str, password: str, family: type[MograderError], moodle: Replay
) -> None:
    """001, 291, 296, 350."""
    moodle.begin(99, mood)
    with pytest.raises(family) as caught:
        login_with_password(moodle.url, name, password)
    assert caught.value.hint


def test_a_site_tells_before_a_sign_in_what_it_offers(moodle: Replay) -> None:
    """348."""
    moodle.begin(360)
    config = public_config(moodle.url)
    assert config.name == "Université de Côte-d’Azur — Moodle 测试"
    assert (config.web_services, config.maintenance) == (True, False)
    assert not config.browser_login
    assert config.url == moodle.url


def test_a_wrong_path_is_no_moodle(moodle: Replay) -> None:
    """300."""
    moodle.begin(299)
    with (
        pytest.raises(NotFound, match="no Moodle at"),
        MoodleClient(f"{moodle.url}/moodle", known_token("alice")) as client,
    ):
        client.site()


def test_a_redirect_is_not_followed(moodle: Replay) -> None:
    """349: a POST that is followed loses its body; the address to use is named."""
    moodle.begin(348, "other-host")
    with (
        pytest.raises(InvalidInput, match="redirects to http") as caught,
        MoodleClient(moodle.url, known_token("alice")) as client,
    ):
        client.site()
    assert "[moodle] url" in caught.value.hint
    assert len(moodle.requests) == 1


def test_the_browser_is_sent_to_the_launch_page() -> None:
    """367: with a passport that is new each time."""
    started, again = launch(SSO), launch(SSO)
    assert started.url.startswith(f"{SSO.launch_url}?")
    query = parse_qs(urlsplit(started.url).query)
    assert query["service"] == ["moodle_mobile_app"]
    assert query["urlscheme"] == ["moodlemobile"]
    assert query["passport"] == [started.passport]
    assert started.passport != again.passport


def test_a_site_without_sign_in_by_browser_is_refused() -> None:
    """366: its launch page does not exist."""
    with pytest.raises(RemoteFailed, match="does not hand out tokens through the browser"):
        launch(replace(SSO, browser_login=False))


def test_a_site_with_accounts_elsewhere_signs_people_in_by_the_browser() -> None:
    """Users who sign in by OAuth 2 have no password to type here."""
    answer = {
        "wwwroot": SSO.url,
        "typeoflogin": 1,
        "launchurl": SSO.launch_url,
        "identityproviders": [{"name": "Microsoft", "iconurl": "", "url": f"{SSO.url}/auth"}],
    }
    config = TypeAdapter(PublicConfig).validate_python(answer)
    assert not config.browser_login, "a password is asked for without --sso"
    assert launch(config).url.startswith(f"{SSO.launch_url}?")
    none = TypeAdapter(PublicConfig).validate_python({**answer, "identityproviders": []})
    with pytest.raises(RemoteFailed):
        launch(none)


@pytest.mark.parametrize("private", ["", "p" * 64])
def test_the_link_holds_the_token(private: str) -> None:
    """368: with or without a private token behind it."""
    started = launch(SSO)
    token = "0123456789abcdef" * 2
    link = link_of(started, token, private=private)
    assert token_of(link, started) == token
    assert token_of(f"  {quote(link, safe=':/=')}\n", started) == token


def test_a_link_of_another_sign_in_is_refused() -> None:
    """Whoever has one click on a link of theirs would sign one in as themselves."""
    started, other = launch(SSO), launch(SSO)
    with pytest.raises(NotAuthenticated, match="another sign-in"):
        token_of(link_of(other, "t" * 32), started)
    with pytest.raises(NotAuthenticated):
        token_of(link_of(started, "t" * 32, site="https://evil.example.org"), started)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "https://moodle.example.edu/my/",
        "moodlemobile://token=%%%",
        "moodlemobile://token=bm9jb2xvbnM=",
        "other://token=YTo6OmI=",
        "moodlemobile://token=" + "A" * 10_000,
    ],
)
def test_what_is_no_link_is_refused(link: str) -> None:
    with pytest.raises(InvalidInput, match="not the link"):
        token_of(link, launch(SSO))
