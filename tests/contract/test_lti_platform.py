"""The fake platform answers the recorded requests as the recorded Moodle did."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mograder.clients.http import trusted_authorities
from tests.support.lti.tokens import (
    LTI,
    RECORDED_HUB,
    RECORDED_PLATFORM,
    keys,
    launch_claims,
    recording,
)
from tests.support.lti_platform import LtiPlatform, lti_platform

RECORDED = 1795296140
"""When the recorded assertions were made."""


@pytest.fixture
def platform() -> Iterator[LtiPlatform]:
    with lti_platform(clock=lambda: RECORDED, hub_keys=keys("tool")) as platform:
        platform.serve(RECORDED_HUB)
        yield platform


def send(platform: LtiPlatform, exchange: dict[str, Any]) -> httpx.Response:
    """Send a recorded request to the platform."""
    request = exchange["request"]
    address = request["url"].replace(RECORDED_PLATFORM, platform.url)
    headers = {name: value for name, value in request["headers"].items() if value}
    content = json.dumps(request["json"]).encode() if "json" in request else None
    with httpx.Client(trust_env=False, timeout=60, verify=trusted_authorities()) as client:
        return client.request(
            request["method"], address, headers=headers, content=content, data=request.get("form")
        )


def as_recorded(platform: LtiPlatform, value: object) -> object:
    """Return a value with the platform's address as it was recorded."""
    return json.loads(json.dumps(value).replace(platform.url, RECORDED_PLATFORM))


def compare(platform: LtiPlatform, exchange: dict[str, Any]) -> None:
    """Send a recorded request and compare the answer with the recorded one."""
    expected = exchange["response"]
    if "broken" in expected:
        with pytest.raises(httpx.RemoteProtocolError):
            send(platform, exchange)
        return
    found = send(platform, exchange)
    assert found.status_code == expected["status"], found.text
    if "json" in expected and found.is_success:
        assert as_recorded(platform, found.json()) == expected["json"]
        assert found.headers["content-type"] == expected["headers"]["content-type"].split(";")[0]
    if 'rel="next"' in expected["headers"].get("link", ""):
        link = as_recorded(platform, found.headers["link"])
        assert link == expected["headers"]["link"]


NOT_ASKED = re.compile(
    "create|read one|change its|delete|the auto-created|role=|rlid|members of one link"
    "|other course|course where the tool is not used|.*limit=[12]$"
    "|all results$"  # it has a comment of which the recording tells the length only
)
"""Recorded steps that ask for what the hub does not ask for."""


def others_act(platform: LtiPlatform, step: str) -> None:
    """Do what the teacher, and the recorded tool, did between two requests of a hub."""
    items = platform.state.line_items
    if step in ("create a line item", "create the same once more (no idempotence)"):
        made = platform.state.add_line_item("4", "1", "A1 Introduction", 10)
        made.link, made.resource_id, made.tag = 1, "A1-Introduction", "grade"
    if step == "delete a line item":
        del items[35]
    if step == "score: after the teacher overrode it (link's item)":
        platform.override("dora", items[28], 3, "by hand")
        items[28].grades["16"].seconds = 1795296143
    if step == "score: item is locked":
        items[34].locked = True
    if step == "score: expired token":
        platform.forget_tokens()


def test_scores_are_taken_and_refused_as_recorded(platform: LtiPlatform) -> None:
    compared = 0
    for exchange in recording("moodle-ags"):
        step, recorded = exchange["step"], exchange["response"]
        if "token.php" in exchange["request"]["url"]:
            told = json.loads(recorded["body"])
            scopes = tuple(told["scope"].split())
            platform._tokens[told["access_token"]] = ("client-full", scopes, RECORDED + 3600)
            continue
        others_act(platform, step)
        if not NOT_ASKED.match(step):
            compare(platform, exchange)
            compared += 1
    assert compared == 71


def test_members_are_given_as_recorded(platform: LtiPlatform) -> None:
    compared = 0
    for exchange in recording("moodle-nrps"):
        step = exchange["step"]
        if "token.php" in exchange["request"]["url"]:
            told = json.loads(exchange["response"]["body"])
            client = "client-private" if exchange["flow"] == "nrps-private" else "client-full"
            scopes = tuple(told["scope"].split())
            platform._tokens[told["access_token"]] = (client, scopes, RECORDED + 3600)
            continue
        if NOT_ASKED.match(step):
            continue
        bearer = exchange["request"]["headers"]["Authorization"].removeprefix("Bearer ")
        if exchange["flow"] == "nrps-private":
            platform._tokens[bearer] = ("client-private", platform._tokens[bearer][1], RECORDED + 9)
            platform.state.change("erik", active=True)
        if bearer == "8a72a8efa6c5fd97206be6118be8331f":
            scopes = ("https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly",)
            platform._tokens[bearer] = ("client-full", scopes, RECORDED + 3600)
        if step == "members while erik is suspended":
            platform.state.change("erik", active=False)
        compare(platform, exchange)
        compared += 1
    assert compared == 13


def test_assertions_get_tokens_as_recorded(platform: LtiPlatform) -> None:
    for exchange in recording("moodle-token"):
        if "token.php" not in exchange["request"]["url"]:
            continue
        recorded, found = exchange["response"], send(platform, exchange)
        assert found.status_code == recorded["status"], exchange["step"]
        assert found.headers["content-type"] == "text/html"
        if found.is_success:
            told = json.loads(recorded["body"])
            assert {**found.json(), "access_token": ""} == {**told, "access_token": ""}


@pytest.mark.parametrize("name", ["alice", "teach1", "tutor", "carol", "dora", "frank", "admin"])
def test_a_launch_has_the_recorded_claims(platform: LtiPlatform, name: str) -> None:
    username = "frank@uni.example" if name == "frank" else name
    recorded = next(
        each["decoded"]["id_token"]["claims"]
        for each in recording("moodle-launch")
        if each["flow"] == f"launch-full-{name}" and each["request"]["method"] == "GET"
        if "decoded" in each
    )
    # The recorded link had several line items, and then none is named.
    platform.state.line_items.pop(28)
    state = platform.state
    claims = launch_claims(
        platform.url, state, state.tools["client-full"], state.person(username), state.activities[1]
    )
    found = as_recorded(platform, claims)
    assert isinstance(found, dict)
    made_each_time = {"nonce", "iat", "exp"}
    assert found.keys() == recorded.keys() - made_each_time
    varying = {f"{LTI}custom", f"{LTI}launch_presentation"}
    outcome = "https://purl.imsglobal.org/spec/lti-bo/claim/basicoutcome"
    for member in found.keys() - varying - {outcome}:
        assert found[member] == recorded[member], member
    for known in ("item", "username", "idnumber", "submitend", "linkid"):
        assert found[f"{LTI}custom"][known] == recorded[f"{LTI}custom"][known]
