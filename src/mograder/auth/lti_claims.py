"""The claims of LTI 1.3: those of a platform's id_token, checked and in one form, and our answer's.

A platform's token is only as trustworthy as the part of the platform that filled in a claim: any
teacher of any course can write ``custom`` values, so they never say who a person is or may do,
unless the hub's settings name one of them.

A platform's request for links (deep linking) is answered from the page of picking. It is in a frame
of the platform, where the hub knows no login. Its handle says what the platform's signed request
allowed, and counts once, with the cookie of that request only.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import parse_qs, urlsplit

from mograder.auth.credentials import Role
from mograder.auth.external_signin import display_line
from mograder.auth.jose import InvalidToken, check_times, is_for, text_claim
from mograder.auth.lti_addresses import DATES, addresses_of, platform_origin
from mograder.auth.signing import derived_key, read_signed_record, signed_record
from mograder.core.clock import within_reach
from mograder.core.errors import Forbidden
from mograder.core.item_dates import ItemDates
from mograder.core.sections.settings_model import LtiPlatform

_LTI = "https://purl.imsglobal.org/spec/lti/claim/"
_DEEP_LINKING = "https://purl.imsglobal.org/spec/lti-dl/claim/"
_GRADES = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"
_NAMES_AND_ROLES = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
_MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership"
_INSTRUCTOR = frozenset({f"{_MEMBERSHIP}#Instructor", "Instructor"})
_ASSISTANT = f"{_MEMBERSHIP}/Instructor#TeachingAssistant"
STAFF = _INSTRUCTOR | {_ASSISTANT}
"""The roles of those who teach a course of a platform."""

VERSION = "1.3.0"
_LONGEST_TITLE = 500
_LONGEST_NAME = 200
_LONGEST_DATA = 20_000
_MOST_ROLES = 100

_PICKING = "lti-pick"
_ANSWER_SECONDS = 300
_BEHIND = 30
"""Seconds: Moodle refuses a token whose time is ahead of its own clock."""

_LONGEST_HANDLE = 128 * 1024
"""Characters of a handle, as many as its form may have: it holds the platform's own data."""


class Message(StrEnum):
    LAUNCH = "LtiResourceLinkRequest"
    PICK = "LtiDeepLinkingRequest"


@dataclass(frozen=True, slots=True)
class LaunchServices:
    """The addresses of a course's services, "" for none and for those of ``foreign`` origins."""

    lineitem: str
    lineitems: str
    memberships: str
    foreign: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Picking:
    """A request for links: where to the answer goes, and the platform's own data, returned as is.

    ``data`` is None if the platform sent none. ``multiple`` is whether it takes several links.
    """

    return_url: str
    data: str | None
    multiple: bool


@dataclass(frozen=True, slots=True)
class Launch:
    """One message of a platform, checked.

    ``username`` is the name as the platform tells it, unchecked, "" for none. ``role`` is the role
    in the platform's course. ``item`` is the item that the activity asks for, unchecked.
    ``picking`` is None for other messages than requests for links, ``resource_link`` and ``item``
    are "" for these.
    ``dates`` are the item's for this person, None if the platform does not pass them on.
    """

    message: Message
    issuer: str
    client_id: str
    deployment: str
    subject: str
    username: str
    display_name: str
    role: Role
    course: str
    course_title: str
    resource_link: str
    title: str
    item: str
    services: LaunchServices
    picking: Picking | None
    dates: ItemDates | None = None


def launch_of(
    claims: Mapping[str, object], platform: LtiPlatform, *, nonce: str, now: datetime, own_url: str
) -> Launch:
    """Return the launch of a token's claims; the signature was checked with the platform's keys.

    ``nonce`` is the one that the hub sent with its request, ``own_url`` the hub's own address.

    Raises: InvalidToken, Forbidden for a course that does not belong to this hub.
    """
    check_times(claims, now)
    if text_claim(claims, "iss", 500) != platform.issuer:
        raise InvalidToken("The token is of another platform.")
    if not is_for(claims, platform.client_id):
        raise InvalidToken(
            f"{_activity(claims)} is addressed to another client id than this hub's.",
            hint="In Moodle, a consumer key in the activity's own settings does that: remove it.",
        )
    if not hmac.compare_digest(text_claim(claims, "nonce").encode(), nonce.encode()):
        raise InvalidToken("The token answers another request.", hint="Begin again.")
    message = _message(claims)
    deployment = text_claim(claims, f"{_LTI}deployment_id")
    if deployment not in platform.deployments:
        raise InvalidToken(
            f"The platform's deployment {deployment!r} is not one of this hub's.",
            hint="An administrator can add it to deployments of [[lti.platform]].",
        )
    course, course_title = _course(claims, platform)
    link, launches = _part(claims, f"{_LTI}resource_link"), message is Message.LAUNCH
    custom = _part(claims, f"{_LTI}custom")
    dates = [_moment(_told(custom.get(name))) for name in DATES]
    return Launch(
        message=message,
        issuer=platform.issuer,
        client_id=platform.client_id,
        deployment=deployment,
        subject=text_claim(claims, "sub"),
        username=_username(claims, platform.username),
        display_name=_display_name(claims),
        role=_role(claims),
        course=course,
        course_title=course_title,
        resource_link=text_claim(link, "id") if launches else "",
        title=display_line(link.get("title"), _LONGEST_TITLE),
        item=_item(claims, own_url) if launches else "",
        services=_services(claims, platform),
        picking=None if launches else _picking(claims, platform),
        dates=ItemDates(*dates) if any(name in custom for name in DATES) else None,
    )


def role_on_hub(role: Role, platform: LtiPlatform) -> Role:
    """Return the role on this hub for a role in the platform's course, by the hub's settings.

    Moodle calls its non-editing teachers instructors, too, and nothing else in a launch tells them
    apart: a custom value could be a teacher's own. So the role counts only where the settings
    accept that; who is named in ``[hub] instructors`` is one by any sign-in.
    """
    if role is Role.INSTRUCTOR and platform.teachers == "all":
        return Role.INSTRUCTOR
    if role is Role.MARKER and platform.assistants:
        return Role.MARKER
    return Role.STUDENT


def _activity(claims: Mapping[str, object]) -> str:
    link = _part(claims, f"{_LTI}resource_link")
    title, number = display_line(link.get("title"), 100), display_line(link.get("id"), 100)
    return f"The activity {title!r} (link {number})" if title or number else "The request"


def _message(claims: Mapping[str, object]) -> Message:
    if text_claim(claims, f"{_LTI}version") != VERSION:
        raise InvalidToken("The platform speaks another version of LTI than 1.3.")
    kind = text_claim(claims, f"{_LTI}message_type")
    try:
        return Message(kind)
    except ValueError:
        raise InvalidToken(f"The hub does not know the platform's message {kind!r}.") from None


def _role(claims: Mapping[str, object]) -> Role:
    """Return the role in the platform's course; roles in the institution or system do not count.

    An assistant's token also says Instructor, as LTI demands, so the narrower role counts.
    """
    listed = claims.get(f"{_LTI}roles", [])
    if not isinstance(listed, list) or len(listed) > _MOST_ROLES:
        raise InvalidToken("The token's roles are no list.")
    if _ASSISTANT in listed:
        return Role.MARKER
    named = {each for each in listed if isinstance(each, str)}
    return Role.STUDENT if named.isdisjoint(_INSTRUCTOR) else Role.INSTRUCTOR


def _course(claims: Mapping[str, object], platform: LtiPlatform) -> tuple[str, str]:
    """Return the id and the title of the course. Raises: Forbidden for a course of others."""
    course = _part(claims, f"{_LTI}context")
    number, title = course.get("id"), display_line(course.get("title"), _LONGEST_TITLE)
    if isinstance(number, str) and number in platform.courses:
        return number, title
    shown = f"{title!r} ({display_line(number, 100)}) of {platform.issuer}"
    raise Forbidden(
        f"The course {shown} does not belong to this hub.",
        hint="An administrator can add its number to the platform's courses: mograder hub lti "
        "platforms prints the table for mograder.toml.",
    )


def _username(claims: Mapping[str, object], setting: str) -> str:
    """Return the name of the claim that the settings name, "" if the platform does not tell it."""
    if setting == "identities":
        return ""
    part, _, member = setting.rpartition(".")
    return _told((_part(claims, f"{_LTI}{part}") if part else claims).get(member))


def _display_name(claims: Mapping[str, object]) -> str:
    parts = (
        display_line(claims.get(each), _LONGEST_NAME) for each in ("given_name", "family_name")
    )
    whole = display_line(claims.get("name"), _LONGEST_NAME)
    return whole or " ".join(filter(None, parts))[:_LONGEST_NAME]


def _item(claims: Mapping[str, object], own_url: str) -> str:
    """Return the item of the link, else of its address; raises InvalidToken for another server."""
    target = text_claim(claims, f"{_LTI}target_link_uri", 1000)
    if not is_own_address(target, own_url):
        raise InvalidToken(
            f"{_activity(claims)} leads to another server than this hub.",
            hint=f"Its address must begin with {own_url}/lti/.",
        )
    named = parse_qs(urlsplit(target).query).get("item", [""])
    return _told(_part(claims, f"{_LTI}custom").get("item")) or named[0]


def _moment(text: str) -> datetime | None:
    """Return a date, None for one that cannot be read or has no offset."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None and within_reach(found) else None


def is_own_address(url: str, own_url: str) -> bool:
    """Return whether an address is one of this hub's; ``own_url`` has no slash at its end.

    Its query may hold any text: teachers type names of items there as they are.
    """
    mine = urlsplit(own_url)
    origin = platform_origin(url.partition("?")[0])
    if not origin or origin != platform_origin(own_url):
        return False
    return f"{urlsplit(url).path}/".startswith(f"{mine.path}/")


def _services(claims: Mapping[str, object], platform: LtiPlatform) -> LaunchServices:
    origins = addresses_of(platform).services
    grades, members = _part(claims, _GRADES), _part(claims, _NAMES_AND_ROLES)
    told = {
        "lineitem": _told(grades.get("lineitem")),
        "lineitems": _told(grades.get("lineitems")),
        "memberships": _told(members.get("context_memberships_url")),
    }
    used = {name: url if platform_origin(url) in origins else "" for name, url in told.items()}
    foreign = frozenset(map(platform_origin, told.values())) - origins - {""}
    return LaunchServices(used["lineitem"], used["lineitems"], used["memberships"], foreign)


def _picking(claims: Mapping[str, object], platform: LtiPlatform) -> Picking:
    asked = _part(claims, f"{_DEEP_LINKING}deep_linking_settings")
    types, url, data = asked.get("accept_types"), _told(asked.get("deep_link_return_url")), None
    if not isinstance(types, list) or "ltiResourceLink" not in types:
        raise InvalidToken("The platform does not accept links to activities here.")
    if platform_origin(url) not in addresses_of(platform).services:
        raise InvalidToken(
            "The platform wants the answer at another server than its own.",
            hint="An administrator can add that server to services of [[lti.platform]].",
        )
    if "data" in asked:
        given = asked["data"]
        if not isinstance(given, str) or len(given) > _LONGEST_DATA:
            raise InvalidToken("The platform's own data is no text, or too long.")
        data = given
    return Picking(url, data, asked.get("accept_multiple") is True)


def _part(claims: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return a claim that is an object; an empty one for other values."""
    value = claims.get(name)
    return value if isinstance(value, dict) else {}


def _told(value: object) -> str:
    """Return a text as it is; "" for what platforms send for a missing one.

    Moodle leaves the member out, sends null or an empty text, or the name of the variable.
    """
    return "" if not isinstance(value, str) or value.startswith("$") else value


@dataclass(frozen=True, slots=True)
class PickedItem:
    """An item that was picked; ``maximum`` is the highest mark, None for an item without marks."""

    name: str
    maximum: float | None


def answer_claims(
    handle: PickHandle, items: Sequence[PickedItem], now: datetime
) -> dict[str, object]:
    """Return the claims of the answer to a request for links, with these items.

    No item has an address: Moodle would look for a tool by it, and lose the connection to this one.
    """
    moment = int(now.timestamp())
    claims: dict[str, object] = {
        "iss": handle.client_id,
        "aud": handle.issuer,
        "iat": moment - _BEHIND,
        "exp": moment + _ANSWER_SECONDS,
        "nonce": secrets.token_urlsafe(16),
        f"{_LTI}deployment_id": handle.deployment,
        f"{_LTI}message_type": "LtiDeepLinkingResponse",
        f"{_LTI}version": VERSION,
        f"{_DEEP_LINKING}content_items": [_content_item(each) for each in items],
    }
    if handle.data is not None:
        claims[f"{_DEEP_LINKING}data"] = handle.data
    return claims


def _content_item(item: PickedItem) -> dict[str, object]:
    found: dict[str, object] = {
        "type": "ltiResourceLink",
        "title": item.name,
        "custom": {"item": item.name},
    }
    if item.maximum:  # a platform can scale nothing to 0
        found["lineItem"] = {
            "label": item.name,
            "scoreMaximum": item.maximum,
            "resourceId": item.name,
            "tag": "grade",
        }
    return found


@dataclass(frozen=True, slots=True)
class PickHandle:
    """One page of picking, as :class:`Picking`; its sign-in's cookie is named after ``state``."""

    state: str
    issuer: str
    client_id: str
    deployment: str
    subject: str
    return_url: str
    data: str | None
    multiple: bool


def make_handle(secret: str, handle: PickHandle) -> str:
    return signed_record(derived_key(secret, _PICKING), handle)


def read_handle(secret: str, text: str) -> PickHandle | None:
    """Return a handle of this hub, None for another text; its cookie says whether it is fresh."""
    return read_signed_record(derived_key(secret, _PICKING), text, PickHandle, _LONGEST_HANDLE)
