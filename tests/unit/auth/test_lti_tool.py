"""The hub's addresses for platforms, and what it asks a platform for."""

from __future__ import annotations

import json
from typing import Any

from mograder.auth.lti_addresses import (
    CONFIGURATION,
    DATES,
    ROSTER_SCOPE,
    SCORE_SCOPES,
    ToolAddresses,
    registration_document,
)
from mograder.core.sections.settings_model import LtiPlatform

HUB = ToolAddresses("https://hub.example.org/live")


def document(**settings: object) -> dict[str, Any]:
    values = {"issuer": "https://moodle.example.org", "client_id": "c", **settings}
    made = registration_document(HUB, "Numerics", LtiPlatform.model_validate(values))
    return dict(json.loads(json.dumps(made)))


def test_the_addresses_are_below_the_hubs_public_address() -> None:
    made = document()
    tool = made[CONFIGURATION]
    assert made["initiate_login_uri"] == "https://hub.example.org/live/lti/login"
    assert made["redirect_uris"] == ["https://hub.example.org/live/lti/launch"]
    assert made["jwks_uri"] == "https://hub.example.org/live/lti/keys"
    assert tool["domain"] == "hub.example.org"
    targets = {each["type"]: each["target_link_uri"] for each in tool["messages"]}
    assert targets == {
        "LtiResourceLinkRequest": "https://hub.example.org/live/lti/launch",
        "LtiDeepLinkingRequest": "https://hub.example.org/live/lti/pick",
    }


def test_no_more_scopes_are_asked_for_than_the_settings_use() -> None:
    assert document()["scope"] == ""
    assert document(roster="show")["scope"] == ROSTER_SCOPE
    assert document(scores="released")["scope"] == " ".join(SCORE_SCOPES)
    both = document(scores="released", roster="allow")["scope"].split()
    assert both == [*SCORE_SCOPES, ROSTER_SCOPE]


def test_an_email_address_and_a_custom_value_are_asked_for_only_if_names_come_from_them() -> None:
    plain = document()[CONFIGURATION]
    assert "name" in plain["claims"]
    assert "email" not in plain["claims"]
    assert plain["custom_parameters"] == DATES
    assert "email" in document(username="email")[CONFIGURATION]["claims"]
    custom = document(username="custom.username")[CONFIGURATION]["custom_parameters"]
    assert custom == {"username": "$User.username", **DATES}
