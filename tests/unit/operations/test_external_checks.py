"""What `hub check` finds about the provider and the learning platforms."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from mograder.auth.jose import PrivateKey
from mograder.core.clock import SystemClock
from mograder.core.sections.settings_model import LtiPlatform as Configured
from mograder.core.sections.settings_model import LtiSettings
from mograder.core.settings import load_settings, read_environ
from mograder.operations.external_checks import external_lines, members_decide
from mograder.operations.report import Level, Line
from mograder.store.database.database import database_url, open_engine
from mograder.store.database.upgrades import upgrade
from mograder.store.external.lti_platforms import Keys, Platforms
from tests.support.lti.exchange import Asked, Reply, as_json
from tests.support.lti.server import serving
from tests.support.lti_platform import LtiPlatform, lti_platform
from tests.support.mail_server import PASSWORD, mail_server

SECRET = "canary-of-the-hub-0123456789abcdef"
CLIENT_SECRET = "canary-of-the-client"
PUBLIC = '[hub]\npublic_url = "https://hub.example.org"\n'


def look(course: Path, toml: str = "", *, secret: str = SECRET, mail: str = "") -> list[Line]:
    """Run the checks on a course with these settings; no line tells a secret."""
    (course / "mograder.toml").write_text(toml)
    loaded = load_settings(course, environ={})
    environ = read_environ(
        {
            "MOGRADER_HUB_SECRET": secret,
            "MOGRADER_OIDC_SECRET": CLIENT_SECRET,
            "MOGRADER_MAIL_PASSWORD": mail,
        }
    )
    lines = list(external_lines(loaded, environ))
    assert "canary" not in str(lines)
    return lines


@pytest.fixture
def kid(tmp_path: Path) -> str:
    """A hub has run in the course, and made its key."""
    engine = open_engine(database_url("", tmp_path))
    upgrade(engine)
    made = Keys(engine, SECRET).current(SystemClock().now())
    engine.dispose()
    return made.kid


@pytest.fixture
def platform(kid: str, tmp_path: Path) -> Iterator[LtiPlatform]:
    """A platform that knows the hub's key."""
    engine = open_engine(database_url("", tmp_path))
    published = Keys(engine, SECRET).public_set(SystemClock().now())
    engine.dispose()
    with lti_platform(hub_keys=dict(published)) as platform:
        yield platform


def settings(platform: LtiPlatform, **more: object) -> str:
    """Return a ``mograder.toml`` with the platform."""
    table = platform.settings(**more)
    lines = (f"{name} = {json.dumps(value)}" for name, value in table.items())
    return f"{PUBLIC}[[lti.platform]]\n" + "\n".join(lines) + "\n"


MAIL = '[mail]\nhost = "127.0.0.1"\nport = {}\nsecurity = "none"\nsender = "hub@example.edu"\n'
EVENTS = 'user = "hub"\nevents = ["released"]\n'


def test_the_mail_server_is_signed_in_to_and_no_letter_is_sent(tmp_path: Path) -> None:
    with mail_server(sign_in=True) as box:
        toml = PUBLIC + MAIL.format(box.port) + EVENTS
        (line,) = look(tmp_path, toml, mail=PASSWORD)
        assert (line.check, line.level) == ("mail", Level.OK)
        assert f"127.0.0.1:{box.port} answers without encryption, signed in as hub" in line.text
        (refused,) = look(tmp_path, toml, mail="canary-of-mail")
        assert "535" in refused.text
        (plain,) = look(tmp_path, toml.replace('"none"', '"starttls"'), mail=PASSWORD)
        assert "STARTTLS" in plain.text
        (nobody,) = look(tmp_path, toml.replace("hub@example.edu", "hub"), mail=PASSWORD)
        assert "sender must be a mail address" in nobody.text
        (accented,) = look(tmp_path, toml, mail=f"{PASSWORD}ü")
        assert "letters without accents only" in accented.text
        assert box.letters == []
    (gone,) = look(tmp_path, toml, mail=PASSWORD)
    assert {each.level for each in (refused, plain, nobody, accented, gone)} == {Level.PROBLEM}


def test_a_hub_without_other_systems_has_no_such_lines(tmp_path: Path) -> None:
    assert look(tmp_path) == []
    assert not (tmp_path / ".mograder").exists()


def test_a_platform_that_works_is_told_and_asked_for_no_more_than_the_settings_use(
    tmp_path: Path, platform: LtiPlatform
) -> None:
    lines = look(tmp_path, settings(platform, scores="released", roster="show"))
    assert [(line.check, line.level) for line in lines] == [
        ("lti-keys", Level.OK),
        ("lti-services", Level.OK),
    ]
    assert "client client-full) publishes" in lines[0].text
    assert {each.path for each in platform.asked} == {"/mod/lti/certs.php", "/mod/lti/token.php"}
    platform.asked.clear()
    (line,) = look(tmp_path, settings(platform))
    assert line.check == "lti-keys"
    assert {each.path for each in platform.asked} == {"/mod/lti/certs.php"}


def test_a_registered_platform_is_tried_as_well(tmp_path: Path, platform: LtiPlatform) -> None:
    engine = open_engine(database_url("", tmp_path))
    from_settings = load_with(tmp_path, settings(platform))
    Platforms(engine, LtiSettings()).put(from_settings, SystemClock().now())
    engine.dispose()
    (line,) = look(tmp_path, PUBLIC)
    assert (line.check, line.level) == ("lti-keys", Level.OK)
    (line,) = look(tmp_path)
    assert line.level is Level.PROBLEM
    assert "public_url" in line.text


def test_members_decide_by_the_settings_and_by_registrations(tmp_path: Path) -> None:
    platform = 'issuer = "https://moodle.example.org"\nclient_id = "x"\nroster = "allow"\n'
    toml = f"{PUBLIC}[[lti.platform]]\n{platform}"
    (tmp_path / "mograder.toml").write_text(toml)
    assert members_decide(load_settings(tmp_path, environ={}))
    engine = open_engine(database_url("", tmp_path))
    upgrade(engine)
    assert members_decide(load_settings(tmp_path, environ={}))
    allowing = load_with(tmp_path, toml)
    (tmp_path / "mograder.toml").write_text(PUBLIC)
    assert not members_decide(load_settings(tmp_path, environ={}))
    Platforms(engine, LtiSettings()).put(allowing, SystemClock().now())
    assert members_decide(load_settings(tmp_path, environ={}))
    engine.dispose()


def load_with(course: Path, toml: str) -> Configured:
    """Return the platform of these settings."""
    (course / "mograder.toml").write_text(toml)
    (platform,) = load_settings(course, environ={}).settings.lti.platform
    return platform


@pytest.mark.parametrize(
    ("kind", "trouble", "check", "remedy"),
    [
        ("keys", 500, "lti-keys", "jwks_url"),
        ("keys", "HTML", "lti-keys", "jwks_url"),
        ("keys", "no HTTP", "lti-keys", "jwks_url"),
        ("keys", "redirect:https://evil.example.org/", "lti-keys", "jwks_url"),
        ("token", 401, "lti-services", "public key set"),
        ("token", 400, "lti-services", "services"),
    ],
)
def test_what_goes_wrong_has_a_remedy(
    tmp_path: Path,
    platform: LtiPlatform,
    kind: str,
    trouble: str | int,
    check: str,
    remedy: str,
) -> None:
    platform.trouble(kind, trouble)
    last = look(tmp_path, settings(platform, scores="released"))[-1]
    assert (last.check, last.level) == (check, Level.PROBLEM)
    assert remedy in last.hint


def test_services_that_are_off_there_are_named(tmp_path: Path, platform: LtiPlatform) -> None:
    tool = platform.state.tools["client-full"]
    platform.state.tools["client-full"] = replace(tool, services=False)
    last = look(tmp_path, settings(platform, scores="released"))[-1]
    assert last.level is Level.PROBLEM
    assert "invalid_scope" in last.text


def test_a_platform_without_courses_or_deployments_lets_nobody_in(
    tmp_path: Path, platform: LtiPlatform
) -> None:
    line = look(tmp_path, settings(platform, courses=[], deployments=[]))[0]
    assert (line.check, line.level) == ("lti-settings", Level.PROBLEM)
    assert "no deployments and no courses" in line.text


@pytest.mark.parametrize("secret", ["", "another-secret-0123456789abcdef"])
def test_without_the_hubs_secret_no_key_is_made_and_services_are_not_tried(
    tmp_path: Path, platform: LtiPlatform, kid: str, secret: str
) -> None:
    last = look(tmp_path, settings(platform, scores="released"), secret=secret)[-1]
    assert (last.check, last.level) == ("lti-services", Level.NOTE)
    engine = open_engine(database_url("", tmp_path))
    assert [each.kid for each in Keys(engine, SECRET).facts()] == [kid]
    engine.dispose()


@dataclass
class Provider:
    """A provider's description and keys; ``document`` and ``keys`` can be changed."""

    document: dict[str, object] = field(default_factory=dict)
    keys: list[dict[str, object]] = field(default_factory=lambda: [PrivateKey.new().public()])
    asked: list[Asked] = field(default_factory=list)

    def kind(self, asked: Asked) -> str:
        return asked.path

    def next_trouble(self, kind: str) -> str | int | None:
        return None

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/.well-known/openid-configuration":
            return as_json(self.document)
        return as_json({"keys": self.keys}) if asked.path == "/keys" else Reply(404, b"")


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    with serving(made) as port:
        issuer = f"http://127.0.0.1:{port}"
        made.document = {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/auth",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/keys",
        }
        yield made


def oidc(provider: Provider, **more: object) -> str:
    table = {
        "issuer": provider.document["issuer"],
        "client_id": "hub",
        "private_network": True,
        **more,
    }
    lines = (f"{name} = {json.dumps(value)}" for name, value in table.items())
    return f"{PUBLIC}[oidc]\n" + "\n".join(lines) + "\n"


def test_a_provider_that_answers_is_told(tmp_path: Path, provider: Provider) -> None:
    (line,) = look(tmp_path, oidc(provider))
    assert (line.check, line.level) == ("oidc", Level.OK)
    assert line.text.endswith("answers, with 1 key")


def test_a_providers_faults_and_those_of_the_settings_are_problems(
    tmp_path: Path, provider: Provider
) -> None:
    issuer = str(provider.document["issuer"])
    toml = oidc(provider)
    provider.document["token_endpoint_auth_methods_supported"] = ["private_key_jwt"]
    (secret,) = look(tmp_path, toml)
    provider.document["issuer"] = f"{issuer}/"
    (other,) = look(tmp_path, toml)
    provider.document["issuer"] = issuer
    provider.document.pop("token_endpoint_auth_methods_supported")
    provider.keys.clear()
    (none,) = look(tmp_path, toml)
    (unset,) = look(tmp_path, oidc(provider, client_id=""))
    (silent,) = look(tmp_path, toml.replace(issuer, f"{issuer}/other"))
    lines = (secret, other, none, unset, silent)
    assert {line.level for line in lines} == {Level.PROBLEM}
    assert "secret" in secret.text
    assert "as the provider writes it" in other.hint
    assert "no key" in none.text
    assert "client_id" in unset.text
    assert "404" in silent.text
