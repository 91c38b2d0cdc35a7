"""Registering this hub at a learning platform: LTI's dynamic registration.

The platform's administrator brings the address of its configuration and a token that works once.
The platform is known before (``store.external.lti_platforms``), so nothing is fetched from
another host than its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mograder.auth.lti_addresses import CONFIGURATION, ToolAddresses, registration_document
from mograder.clients.guarded_http import Answer, GuardedHttp
from mograder.clients.http import check_token
from mograder.core.errors import InvalidInput, RemoteFailed
from mograder.core.sections.external_settings import LtiPlatform
from mograder.core.web_origin import origin_of

_LONGEST = 255
_LONGEST_ADDRESS = 500
_AGAIN = (
    "Make a new address with mograder hub lti register, and begin again on the platform; "
    "or register by hand."
)


def register(
    http: GuardedHttp,
    configuration_url: str,
    token: str,
    platform: LtiPlatform,
    *,
    addresses: ToolAddresses,
    title: str,
) -> LtiPlatform:
    """Register the hub, and return the platform with its client id, deployment and addresses.

    ``title`` is the tool's name on the platform; ``token`` may be empty, not all platforms use one.

    Raises:
        InvalidInput: The configuration is not that of the expected platform, or incomplete.
        RemoteFailed: The platform does not answer, or refuses.
    """
    if token:
        check_token(token, _AGAIN)
    seen = _document(http.send("GET", configuration_url), "its configuration")
    issuer = _text(seen, "issuer", _LONGEST_ADDRESS)
    if issuer.rstrip("/") != platform.issuer.rstrip("/"):
        raise InvalidInput(
            f"The platform calls itself {issuer}, and the address was made for {platform.issuer}.",
            hint=_AGAIN,
        )
    found = {
        ours: _address(seen, theirs, issuer)
        for ours, theirs in (
            ("auth_url", "authorization_endpoint"),
            ("token_url", "token_endpoint"),
            ("jwks_url", "jwks_uri"),
        )
    }
    answer = http.send(
        "POST",
        _address(seen, "registration_endpoint", issuer),
        headers=(("Content-Type", "application/json"), ("Accept", "application/json")),
        body=json.dumps(registration_document(addresses, title, platform)).encode(),
        bearer=token,
    )
    given = _document(answer, "the registration")
    deployment = _deployment(given)
    values = platform.model_dump() | {
        "issuer": issuer,
        "client_id": _text(given, "client_id", _LONGEST),
        "deployments": (deployment,) if deployment else platform.deployments,
        **found,
    }
    return LtiPlatform.model_validate(values)


def _document(answer: Answer, what: str) -> Mapping[str, object]:
    """Return the JSON object of an answer; its text is never part of a message."""
    if answer.status not in (200, 201):
        used = " Its token works once only." if answer.status == 401 else ""
        raise RemoteFailed(
            f"The platform refused {what} with status {answer.status}.{used}", hint=_AGAIN
        )
    document = answer.json()
    if not isinstance(document, dict):
        raise RemoteFailed(f"The platform's answer to {what} is no JSON object.", hint=_AGAIN)
    return document


def _text(document: Mapping[str, object], name: str, longest: int) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= longest:
        raise InvalidInput(f"The platform's {name} is missing, or not a short text.", hint=_AGAIN)
    return value


def _address(document: Mapping[str, object], name: str, issuer: str) -> str:
    """Return an address of the platform's configuration, on the host of its issuer."""
    value = _text(document, name, _LONGEST_ADDRESS)
    if origin_of(value) != origin_of(issuer):
        raise InvalidInput(
            f"The platform's {name} is on another host than {issuer}.",
            hint="Register by hand, with its addresses in mograder.toml.",
        )
    return value


def _deployment(answer: Mapping[str, object]) -> str:
    """Return the deployment's id, "" if the platform does not tell it."""
    told = answer.get(CONFIGURATION)
    value = told.get("deployment_id") if isinstance(told, dict) else None
    valid = isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST
    return str(value) if valid else ""
