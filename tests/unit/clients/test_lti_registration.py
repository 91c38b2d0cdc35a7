"""clients.lti_registration: what was recorded with Moodle, and platforms that are not honest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from mograder.auth.lti_addresses import CONFIGURATION, ToolAddresses
from mograder.clients.guarded_http import GuardedHttp
from mograder.clients.lti_platform import register
from mograder.core.errors import InvalidInput, MograderError, RemoteFailed
from mograder.core.sections.settings_model import LtiPlatform
from mograder.store.external.lti_platforms import UNREGISTERED
from tests.support.lti.tokens import recording

ISSUER = "https://moodle.example.org"
CONFIG = f"{ISSUER}/mod/lti/openid-configuration.php"
EXPECTED = LtiPlatform(
    issuer=ISSUER, client_id=UNREGISTERED, courses=("4",), scores="released", names="same"
)
SECRET = "canary-registration-token"

NOTHING: Mapping[str, object] = {}
LINES = recording("moodle-registration")


class Platform:
    """A platform that answers as recorded, but for ``changes``; ``seen`` are the requests."""

    def __init__(self, registration: int = 2, changes: Mapping[str, object] = NOTHING) -> None:
        self.seen: list[httpx.Request] = []
        self._configuration = {**LINES[1]["response"]["json"], **changes}
        self._registration = LINES[registration]["response"]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if request.method == "GET":
            return httpx.Response(200, json=self._configuration)
        recorded = self._registration
        body = recorded.get("body", "") or json.dumps(recorded.get("json"))
        return httpx.Response(recorded["status"], text=body, headers=recorded["headers"])


def registered(platform: Callable[[httpx.Request], httpx.Response], **more: Any) -> LtiPlatform:
    http = GuardedHttp(
        [ISSUER],
        private_network=False,
        name="the platform",
        transport=httpx.MockTransport(platform),
        resolve=lambda *_: ["93.184.216.34"],
    )
    addresses = ToolAddresses("https://hub.example.org")
    return register(
        http,
        more.get("config", CONFIG),
        more.get("token", SECRET),
        EXPECTED,
        addresses=addresses,
        title="Numerics",
    )


def test_the_recorded_registration_gives_a_platform_with_its_addresses() -> None:
    platform = Platform()
    assert registered(platform) == EXPECTED.model_copy(
        update={
            "client_id": "client-dynamic",
            "deployments": ("4",),
            "auth_url": f"{ISSUER}/mod/lti/auth.php",
            "token_url": f"{ISSUER}/mod/lti/token.php",
            "jwks_url": f"{ISSUER}/mod/lti/certs.php",
        }
    )
    fetched, sent = platform.seen
    assert "authorization" not in fetched.headers
    assert sent.headers["authorization"] == f"Bearer {SECRET}"
    # The members of ours that Moodle took, with their recorded spelling.
    ours, recorded = json.loads(sent.content), LINES[2]["request"]["json"]
    assert ours.keys() == recorded.keys()
    assert ours[CONFIGURATION].keys() == recorded[CONFIGURATION].keys()


def test_a_status_of_201_is_as_good_and_a_platform_may_keep_its_deployment_to_itself() -> None:
    def created(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=LINES[1]["response"]["json"])
        return httpx.Response(201, json={"client_id": "c"})

    assert registered(created).deployments == ()


@pytest.mark.parametrize(
    ("told", "deployments"),
    [("7", ("7",)), (7, ("7",)), (True, ()), (None, ()), ("a\nb", ()), ("d" * 300, ())],
)
def test_a_deployment_may_be_told_as_a_number(told: object, deployments: tuple[str, ...]) -> None:
    """ILIAS does so, and names it as a text in its tokens."""

    def answers(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=LINES[1]["response"]["json"])
        given = {"client_id": "c", CONFIGURATION: {"deployment_id": told}}
        return httpx.Response(201, json=given)

    assert registered(answers).deployments == deployments


@pytest.mark.parametrize("recorded", [3, 4, 5])
def test_a_refusal_is_told_without_the_platforms_words(recorded: int) -> None:
    with pytest.raises(RemoteFailed) as refused:
        registered(Platform(registration=recorded))
    status = LINES[recorded]["response"]["status"]
    assert f"status {status}" in refused.value.message
    assert "token_already_used" not in str(refused.value)
    assert "hub lti register" in refused.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example.org"},
        {"issuer": f"{ISSUER}.evil.example.org"},
        {"issuer": None},
        {"registration_endpoint": "https://evil.example.org/register"},
        {"registration_endpoint": "http://moodle.example.org/register"},
        {"registration_endpoint": "https://moodle.example.org@evil.example.org/"},
        {"token_endpoint": "https://169.254.169.254/latest"},
        {"jwks_uri": "https://moodle.example.org:8443/keys"},
        {"authorization_endpoint": ["https://moodle.example.org/auth"]},
        {"authorization_endpoint": "https://moodle.example.org/" + "a" * 600},
    ],
)
def test_no_token_is_sent_to_a_platform_that_is_not_the_expected_one(
    changes: dict[str, object],
) -> None:
    platform = Platform(changes=changes)
    with pytest.raises(MograderError) as refused:
        registered(platform)
    assert [each.method for each in platform.seen] == ["GET"]
    assert SECRET not in str(refused.value)


def test_a_configuration_elsewhere_is_not_even_fetched() -> None:
    platform = Platform()
    for elsewhere in ("https://evil.example.org/c", "http://moodle.example.org/c", "file:///x"):
        with pytest.raises(MograderError):
            registered(platform, config=elsewhere)
    assert platform.seen == []


def test_a_token_that_no_header_can_carry_is_refused() -> None:
    platform = Platform()
    with pytest.raises(InvalidInput):
        registered(platform, token="a\r\nX-Evil: 1")
    assert platform.seen == []


@pytest.mark.parametrize("client", [None, "", 7, "a\nb", "c" * 300])
def test_an_answer_without_a_usable_client_id_is_refused(client: object) -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json=LINES[1]["response"]["json"])
        return httpx.Response(200, json={"client_id": client})

    with pytest.raises(InvalidInput, match="client_id"):
        registered(answers)
