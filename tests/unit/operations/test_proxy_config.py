"""``mograder hub proxy-config``: what it takes from the settings, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import LimitsSettings
from mograder.core.settings import load_settings
from mograder.operations.front import (
    Front,
    FrontOptions,
    caddy_config,
    front_of,
    nginx_config,
)
from scripts.gen_fronts import files
from tests.support.command_line import cli
from tests.support.course import REPOSITORY

PUBLIC = {"hub.public_url": "https://hub.example.org"}
BOTH = pytest.mark.parametrize("write", [nginx_config, caddy_config])


def front(course: Path, options: FrontOptions | None = None, **settings: object) -> Front:
    overrides = {**PUBLIC, **{f"hub.{key}": value for key, value in settings.items()}}
    loaded = load_settings(course, overrides=overrides, environ={})
    return front_of(loaded, options or FrontOptions())


def test_the_shipped_files_are_what_the_command_writes() -> None:
    for path, text in files().items():
        assert path.read_text() == text, "run make reference"


def test_the_guides_own_nginx_lets_the_bodies_through_that_the_hub_takes() -> None:
    """By default nginx refuses more than 1 MB, with which a notebook cannot be saved any more."""
    page = (REPOSITORY / "docs" / "how-to" / "behind-a-proxy.md").read_text("utf-8")
    (block,) = (each for each in page.split("```nginx\n")[1:] if each.startswith("server {"))
    assert f"client_max_body_size {LimitsSettings().request_mb}m;" in block.partition("```")[0]


def test_the_trusted_header_is_deleted_unless_somebody_signs_in(tmp_path: Path) -> None:
    """security.md, "Who is asking": shipped configurations delete what a client sends in it."""
    nobody = front(tmp_path, trusted_header="Remote-Name")
    assert 'proxy_set_header Remote-Name "";' in nginx_config(nobody)
    assert "$remote_user" not in nginx_config(nobody)
    assert "request_header -Remote-Name" in caddy_config(nobody)
    somebody = front(tmp_path, FrontOptions(user="$remote_user"))
    with pytest.raises(InvalidInput, match="is no variable of Caddy"):
        caddy_config(somebody)
    assert "proxy_set_header X-Remote-User $remote_user;" in nginx_config(somebody)
    assert "auth_basic_user_file" in nginx_config(somebody), "else a client's own word"
    told = front(tmp_path, FrontOptions(user="{http.auth.user.id}"))
    assert "header_up X-Remote-User {http.auth.user.id}" in caddy_config(told)
    with pytest.raises(InvalidInput, match="is no variable of nginx"):
        nginx_config(told)


@pytest.mark.parametrize("user", ["{http.request.header.Remote-User}", "{header.Remote-User}"])
def test_caddy_deletes_the_header_that_its_sign_on_sets(tmp_path: Path, user: str) -> None:
    """security.md, "Who is asking": a client could send it where the sign-on's lines do not."""
    text = caddy_config(front(tmp_path, FrontOptions(user=user)))
    before, own_lines, _ = text.partition("import /etc/caddy/mograder.d/route*.caddy")
    assert own_lines
    assert "\t\trequest_header -Remote-User\n" in before
    other = caddy_config(front(tmp_path, FrontOptions(user="{http.auth.user.id}")))
    assert "request_header -Remote-User" not in other


def test_nginx_takes_no_user_from_a_header_of_the_request(tmp_path: Path) -> None:
    told = front(tmp_path, FrontOptions(user="$http_remote_user"))
    with pytest.raises(InvalidInput, match="a client can send any name"):
        nginx_config(told)


@pytest.mark.parametrize("user", ["$remote_user", "{http.auth.user.id}"])
def test_a_front_that_names_people_needs_a_header_that_the_hub_believes(
    tmp_path: Path, user: str
) -> None:
    with pytest.raises(InvalidInput, match="trusted_header is empty"):
        front(tmp_path, FrontOptions(user=user), trusted_header="")
    assert 'proxy_set_header X-Remote-User "";' in nginx_config(front(tmp_path, trusted_header=""))


def test_prefix_port_name_and_bounds_follow_the_settings(tmp_path: Path) -> None:
    here = front(
        tmp_path,
        FrontOptions(domain="other.example.org:8443"),
        base_url="/live/hub",
        host="0.0.0.0",
        port=9123,
    )
    for text in (nginx_config(here), caddy_config(here)):
        assert "127.0.0.1:9123" in text
        assert "/live/hub/s/" in text
        assert "other.example.org" in text
        assert "8443" in text
    assert "location ^~ /live/hub/s/" in nginx_config(here)
    assert "client_max_body_size 256m;" in nginx_config(here)


@BOTH
def test_a_certificate_that_is_named_is_used_wherever_it_is(
    tmp_path: Path, write: Callable[[Front], str]
) -> None:
    """Also one that another program gets from Let's Encrypt: Caddy then gets none by itself."""
    live = "/etc/letsencrypt/live/hub.example.org"
    named = FrontOptions(certificate=f"{live}/fullchain.pem", key=f"{live}/privkey.pem")
    text = write(front(tmp_path, named))
    assert f"{live}/fullchain.pem" in text
    assert f"{live}/privkey.pem" in text
    assert "tls /etc" not in caddy_config(front(tmp_path))
    assert f"ssl_certificate {live}/fullchain.pem;" in nginx_config(front(tmp_path))


@BOTH
def test_sessions_of_an_origin_of_their_own_have_their_place(
    tmp_path: Path, write: Callable[[Front], str]
) -> None:
    there = front(tmp_path, session_url="https://{session}.example.net")
    assert "*.example.net" in write(there)
    assert "*.example.net" not in write(front(tmp_path))


@BOTH
def test_cookies_that_a_notebook_sets_for_all_sessions_stop_at_the_front(
    tmp_path: Path, write: Callable[[Front], str]
) -> None:
    written = write(front(tmp_path, session_url="https://{session}.example.net"))
    sessions = written[written.index("*.example.net") :]
    assert 'proxy_set_header Cookie "";' in sessions or "header_up -Cookie" in sessions
    assert "Cookie" not in written[: written.index("*.example.net")]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        (FrontOptions(), {"public_url": ""}),
        (FrontOptions(), {"port": 0}),
        (FrontOptions(), {"port": 443}),
        (FrontOptions(), {"port": 9123, "public_url": "http://127.0.0.1:9123"}),
        (FrontOptions(hubs=("localhost:443",)), {}),
        (FrontOptions(user="alice"), {}),
        (FrontOptions(user="$a; evil"), {}),
        (FrontOptions(domain="a b"), {}),
        (FrontOptions(domain="a;b"), {}),
        (FrontOptions(certificate="/etc/x;y", key="/etc/key"), {}),
        (FrontOptions(certificate="/etc/x.pem"), {}),
        (
            FrontOptions(session_key="/etc/key.pem"),
            {"session_url": "https://{session}.example.net"},
        ),
        (FrontOptions(), {"session_url": "https://hub.example.org:8443"}),
        (FrontOptions(hubs=("hub-1",)), {}),
        (FrontOptions(hubs=("hub-1:8080", "a b:1")), {}),
        (FrontOptions(hubs=("hub-1:8080; evil",)), {}),
    ],
)
def test_what_would_be_no_configuration_is_refused(
    tmp_path: Path, options: FrontOptions, settings: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        front(tmp_path, options, **settings)


def test_two_courses_can_stand_in_one_nginx(tmp_path: Path) -> None:
    """The second one's file ended `nginx -t` with a duplicate upstream."""
    urls = ("https://hub-1.example.org", "https://hub-2.example.org", "http://[::1]:8088")
    texts = [nginx_config(front(tmp_path, public_url=url)) for url in urls]
    names = [re.findall(r"^upstream (\w+) ", text, re.MULTILINE) for text in texts]
    assert names[0] == ["mograder_hub_1_example_org"]
    assert len({each for (each,) in names}) == 3
    for text, (name,) in zip(texts, names, strict=True):
        assert set(re.findall(r"proxy_pass http://(\w+)", text)) == {name}


def test_the_command_prints_it(tmp_path: Path) -> None:
    printed = cli("hub proxy-config nginx --domain hub.example.org -C", str(tmp_path))
    assert "server_name hub.example.org;" in printed.out
    cli("hub proxy-config apache -C", str(tmp_path), status=2)


@pytest.mark.parametrize("program", ["nginx", "caddy"])
def test_each_of_several_hubs_is_named(tmp_path: Path, program: str) -> None:
    words = f"hub proxy-config {program} --domain hub.example.org --hub hub-1.internal:8080"
    both = cli(f"{words} --hub [fd00::2]:8080 -C", str(tmp_path)).out
    assert "hub-1.internal:8080" in both
    assert "[fd00::2]:8080" in both
    assert "127.0.0.1" not in both
    alone = cli(f"{words} -C", str(tmp_path)).out
    assert "hub-1.internal:8080" in alone
    assert "health_uri" not in alone


def test_the_health_of_several_hubs_is_asked_below_the_prefix(tmp_path: Path) -> None:
    both = front(tmp_path, FrontOptions(hubs=("one:1", "two:2")), base_url="/live/hub")
    assert "health_uri /live/hub/health" in caddy_config(both)
