"""Keys, signed tokens and claims, as the recorded platform makes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from mograder.core.sections.settings_model import LtiPlatform
from tests.support.lti.state import Activity, Member, State, Tool

DATA = Path(__file__).parents[2] / "data" / "lti"
RECORDED_PLATFORM = "https://moodle.example.org"
RECORDED_HUB = "https://hub.example.org"

LTI = "https://purl.imsglobal.org/spec/lti/claim/"
AGS = "https://purl.imsglobal.org/spec/lti-ags/"
NRPS = "https://purl.imsglobal.org/spec/lti-nrps/"
DEEP_LINKING = "https://purl.imsglobal.org/spec/lti-dl/claim/"
GRADE_SCOPES = tuple(
    f"{AGS}scope/{each}" for each in ("lineitem", "lineitem.readonly", "result.readonly", "score")
)
ROSTER_SCOPE = f"{NRPS}scope/contextmembership.readonly"
LIFETIME = 60

# The clock, the platforms and the hub that the made-up id_tokens belong to.
NOW = datetime.fromtimestamp(1795300000, UTC)
NONCE = "nonce-for-tests"
PLATFORM = LtiPlatform(
    issuer=RECORDED_PLATFORM,
    client_id="client-full",
    deployments=("1",),
    courses=("4",),
)
OTHER = PLATFORM.model_copy(update={"issuer": "https://other.example.org"})


class Made(NamedTuple):
    """One of the made-up tokens."""

    name: str
    accept: bool
    why: str
    token: str
    changed: dict[str, Any]


@cache
def recording(name: str) -> tuple[dict[str, Any], ...]:
    """Return the exchanges of ``recordings/NAME.jsonl`` in their order."""
    lines = (DATA / "recordings" / f"{name}.jsonl").read_text("utf-8").splitlines()
    return tuple(map(json.loads, lines))


@cache
def made_tokens() -> tuple[Made, ...]:
    """Return the made-up tokens with what is expected of them."""
    lines = map(json.loads, (DATA / "tokens.jsonl").read_text("utf-8").splitlines())
    return tuple(
        Made(each["name"], each["expect"] == "accept", each["why"], each["token"], each["changed"])
        for each in lines
    )


def keys(name: str, *, private: bool = False) -> dict[str, Any]:
    """Return a key set, such as of ``platform``, ``platform.rotated`` or ``tool``."""
    kind = "private" if private else "public"
    found: dict[str, Any] = json.loads((DATA / "keys" / f"{name}.{kind}.json").read_text("utf-8"))
    return found


def sign(claims: dict[str, Any], key: str = "platform", **header: str) -> str:
    """Return a token signed with RS256 by the first key of a set."""
    return jwt.encode(
        {"typ": "JWT", "alg": "RS256", "kid": _kid(key), **header}, claims, _private(key)
    )


def verified(token: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the claims of a token of the hub; raises where the signature is none of its keys."""
    return dict(jwt.decode(token, KeySet.import_key_set(document), algorithms=["RS256"]).claims)  # type: ignore[arg-type]


def launch_claims(
    url: str, state: State, tool: Tool, person: Member, activity: Activity
) -> dict[str, Any]:
    """Return the claims of a launch but ``nonce``, ``iat`` and ``exp``, in Moodle's words."""
    link = {
        "title": activity.title,
        "description": activity.description,
        "id": str(activity.number),
    }
    outcome = {"data": {"instanceid": link["id"], "userid": person.subject}, "hash": "0" * 64}
    item = state.line_item_of(activity)
    claims = {
        **_person_claims(url, state, tool, person, activity.course),
        f"{LTI}message_type": "LtiResourceLinkRequest",
        f"{LTI}resource_link": link,
        "https://purl.imsglobal.org/spec/lti-bo/claim/basicoutcome": {
            "lis_result_sourcedid": json.dumps(outcome),
            "lis_outcome_service_url": f"{url}/mod/lti/service.php",
        },
        f"{LTI}launch_presentation": {
            "locale": "en",
            "document_target": "iframe" if activity.frame else "window",
            "return_url": f"{url}/mod/lti/return.php?course={activity.course}&sesskey=SESSKEY",
        },
        f"{LTI}custom": _custom(url, tool, person, activity),
    }
    if tool.services and item is not None:
        claims[f"{AGS}claim/endpoint"]["lineitem"] = line_item_url(
            url, activity.course, item.number, tool.type_id
        )
    return claims


def picking_claims(
    url: str, state: State, tool: Tool, person: Member, course: str
) -> dict[str, Any]:
    """Return the claims of a deep linking request but ``nonce``, ``iat`` and ``exp``."""
    return {
        **_person_claims(url, state, tool, person, course),
        f"{LTI}message_type": "LtiDeepLinkingRequest",
        f"{LTI}target_link_uri": tool.picking,
        f"{LTI}launch_presentation": {"locale": "en"},
        f"{LTI}custom": {**_custom(url, tool, person, None), "linkid": None},
        f"{DEEP_LINKING}deep_linking_settings": {
            "accept_types": ["ltiResourceLink"],
            "accept_presentation_document_targets": ["frame", "iframe", "window"],
            "accept_copy_advice": False,
            "accept_multiple": True,
            "accept_unsigned": False,
            "auto_create": False,
            "can_confirm": False,
            "deep_link_return_url": f"{url}/mod/lti/contentitem_return.php"
            f"?course={course}&id={tool.type_id}&sesskey=SESSKEY",
            "title": "Proto full",
            "text": "",
        },
    }


def line_items_url(url: str, course: str, type_id: str) -> str:
    return f"{url}/mod/lti/services.php/{course}/lineitems?type_id={type_id}"


def line_item_url(url: str, course: str, number: int, type_id: str) -> str:
    """Return the address of one line item, which is its id."""
    return f"{url}/mod/lti/services.php/{course}/lineitems/{number}/lineitem?type_id={type_id}"


def members_url(url: str, course: str, tool: Tool) -> str:
    return f"{url}/mod/lti/services.php/CourseSection/{course}/bindings/{tool.type_id}/memberships"


def _person_claims(
    url: str, state: State, tool: Tool, person: Member, course: str
) -> dict[str, Any]:
    label, title = state.courses[course]
    names = {
        "given_name": person.given,
        "family_name": person.family,
        "name": person.name,
        f"{LTI}ext": {"user_username": person.username, "lms": "moodle-2"},
        "email": person.email,
    }
    services = {
        f"{AGS}claim/endpoint": {
            "scope": list(GRADE_SCOPES),
            "lineitems": line_items_url(url, course, tool.type_id),
        },
        f"{NRPS}claim/namesroleservice": {
            "context_memberships_url": members_url(url, course, tool),
            "service_versions": ["1.0", "2.0"],
        },
    }
    return {
        "iss": url,
        "aud": tool.client_id,
        "sub": person.subject,
        f"{LTI}deployment_id": tool.deployment,
        f"{LTI}target_link_uri": tool.target,
        f"{LTI}lis": {"person_sourcedid": person.sourcedid, "course_section_sourcedid": ""},
        f"{LTI}roles": list(person.roles),
        f"{LTI}context": {"id": course, "label": label, "title": title, "type": ["CourseSection"]},
        f"{LTI}tool_platform": {
            "product_family_code": "moodle",
            "version": "2025100600.02",
            "guid": "0" * 32,
            "name": "TM",
            "description": "Test Moodle",
        },
        f"{LTI}version": "1.3.0",
        **(names if tool.names else {f"{LTI}ext": {"lms": "moodle-2"}}),
        **(services if tool.services else {}),
    }


def _custom(url: str, tool: Tool, person: Member, activity: Activity | None) -> dict[str, Any]:
    """Custom values: the tool's own win over the teacher's, and the teacher may add any others."""
    teacher: dict[str, Any] = {}
    if activity is not None:
        teacher = {**({"item": activity.item} if activity.item else {}), **dict(activity.custom)}
        teacher["linkid"] = str(activity.number)
    return {
        **teacher,
        "username": person.username,
        "idnumber": person.sourcedid,
        "contexthistory": "",
        "groups": person.groups,
        "unknown": "$Person.nosuch",
        "submitend": "$ResourceLink.submission.endDateTime",
        "system_setting_url": f"{url}/mod/lti/services.php/tool/{tool.type_id}/custom",
        "link_setting_url": f"{url}/mod/lti/services.php/links/{{link_id}}/custom",
        **dict(tool.custom),
    }


@cache
def _private(name: str) -> RSAKey:
    return RSAKey.import_key(keys(name, private=True)["keys"][0])


def _kid(name: str) -> str:
    kid: str = keys(name)["keys"][0]["kid"]
    return kid
