"""A learning platform over LTI: its services for grades (AGS) and members (NRPS), and registration.

The hub gets tokens for the services by an assertion that it signs (client credentials). The media
types are exact: Moodle refuses a request with another. No message holds an address, a token or what
the platform says in words, which may repeat a comment.

For the registration (LTI's dynamic registration) the platform's administrator brings the address of
its configuration and a token that works once. The platform is known before
(``store.external.lti_platforms``), so nothing is fetched from another host than its own.
"""

from __future__ import annotations

import html
import json
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote, urljoin

from mograder.auth.external_signin import display_line
from mograder.auth.lti_addresses import (
    CONFIGURATION,
    RESULT,
    ROSTER_SCOPE,
    SCORE_SCOPES,
    ToolAddresses,
    addresses_of,
    registration_document,
)
from mograder.clients.guarded_http import Answer, GuardedHttp
from mograder.clients.http import check_token
from mograder.core.clock import Clock
from mograder.core.errors import InvalidInput, RemoteFailed
from mograder.core.sections.settings_model import LtiPlatform
from mograder.core.web_origin import origin_of

_SCORE_TYPE = "application/vnd.ims.lis.v1.score+json"
_RESULTS_TYPE = "application/vnd.ims.lis.v2.resultcontainer+json"
_LINE_ITEMS_TYPE = "application/vnd.ims.lis.v2.lineitemcontainer+json"
_MEMBERS_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
_NOT_AUTHORIZED = 401
_MOST_PAGES = 200
_MOST_MEMBERS = 20_000
_MEMBERS_BYTES = 4 << 20
_LINE_ITEMS_BYTES = 1 << 20
_RESULTS_BYTES = 16 << 20
_LONGEST_ID = 255
_HIGHEST = 1e12
_CANVAS = "/api/lti/courses/"

_CANVAS_SUBMISSION = "https://canvas.instructure.com/lti/submission"
_NEXT = re.compile(r'<([^<>]{1,2000})>\s*;[^,<]*\brel="?next"?')
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EARLIER = 30
"""Seconds by which an assertion's time lies back: Moodle refuses one that is ahead of its clock."""

_LIFE = 300
_DEFAULT_LIFE = 3600
_RESERVE = 300
"""Seconds before its end at which a token is not used any more."""

_ERROR = re.compile(r"[a-z_]{1,40}")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,8192}")
_LONGEST_TEXT = 255
_LONGEST_ADDRESS = 500
_REGISTER_AGAIN = (
    "Make a new address with mograder hub lti register, and begin again on the platform; "
    "or register by hand."
)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token with the scopes that the platform granted; ``until`` is in steady seconds."""

    text: str
    scopes: frozenset[str]
    until: float


def _parsed(answer: Answer, asked: frozenset[str], begun: float) -> AccessToken:
    found = answer.json()
    values = found if isinstance(found, dict) else {}
    text, kind = values.get("access_token"), values.get("token_type", "Bearer")
    if not isinstance(text, str) or not _TOKEN.fullmatch(text) or str(kind).lower() != "bearer":
        raise RemoteFailed("The platform's answer holds no access token that can be used.")
    granted = values.get("scope")
    life = values.get("expires_in")
    seconds = life if isinstance(life, int | float) and life > 0 else _DEFAULT_LIFE
    return AccessToken(
        text,
        frozenset(granted.split()) if isinstance(granted, str) else asked,
        begun + max(min(seconds, _DEFAULT_LIFE * 24) - _RESERVE, 0.0),
    )


def _code(answer: Answer) -> str:
    """Return the code of an error, "" for any other text, which may hold a secret."""
    try:
        found = answer.json()
    except RemoteFailed:
        return ""
    code = found.get("error") if isinstance(found, dict) else None
    return f", {code}" if isinstance(code, str) and _ERROR.fullmatch(code) else ""


class Refused(RemoteFailed):
    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Score:
    """A mark to send; ``given`` None erases the mark at the platform.

    ``stamp`` is an aware time in whole seconds: the platform takes newer ones only.
    """

    subject: str
    given: float | None
    maximum: float
    comment: str
    stamp: datetime

    def body(self, lineitem: str) -> bytes:
        """Return the JSON for a grade item; only `FullyGraded` keeps a mark, all else erases it.

        Canvas records each mark as a new submission of the student at the present time, which may
        be late or one too many. The member for Canvas switches that off.
        """
        told: dict[str, object] = {
            "userId": self.subject,
            "timestamp": f"{self.stamp.astimezone(UTC):%Y-%m-%dT%H:%M:%S}Z",
            "activityProgress": "Completed",
            "gradingProgress": "NotReady" if self.given is None else "FullyGraded",
        }
        if self.given is not None:
            told |= {"scoreGiven": self.given, "scoreMaximum": self.maximum}
        if self.comment:
            told["comment"] = self.comment
        if _CANVAS in lineitem:
            told[_CANVAS_SUBMISSION] = {"new_submission": False}
        # A refusal repeats the body in its status line: escapes would make it three times as long.
        return json.dumps(told, ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Result:
    """The mark of a person at the platform; ``score`` None: there is none."""

    score: float | None = None
    maximum: float = 1.0


@dataclass(frozen=True, slots=True)
class LineItem:
    address: str
    resource_id: str = ""
    resource_link: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a course; ``claims`` are texts that may name a user, by the setting's words.

    ``roles`` are bare words or URNs; ``active`` is false for those who left or are suspended.
    """

    subject: str
    name: str = ""
    roles: tuple[str, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    active: bool = True


class LtiServices:
    """The services of one platform; synchronous and thread-safe.

    Every method may raise :class:`RemoteFailed`, and :class:`Refused` for an answer's status.
    ``sign`` returns a signed token with the claims given. Mutable state: ``_kept``, the access
    tokens by the scopes asked for.
    """

    def __init__(
        self,
        platform: LtiPlatform,
        sign: Callable[[Mapping[str, object]], str],
        clock: Clock,
        http: GuardedHttp | None = None,
    ) -> None:
        """Raises: InvalidInput, which names the setting, for an address that cannot be used."""
        addresses, private = addresses_of(platform), platform.private_network
        self._http = http or GuardedHttp(
            addresses.services, private_network=private, name="the platform"
        )
        self._token_url = addresses.token
        self._client_id = platform.client_id
        self._sign = sign
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[frozenset[str], AccessToken] = {}

    def access(self, scopes: Collection[str]) -> AccessToken:
        """Return a token for some of the scopes at least; blocks. No error holds a secret."""
        wanted = frozenset(scopes)
        with self._lock:
            kept = self._kept.get(wanted)
            if kept is None or kept.until <= self._clock.steady():
                kept = self._kept[wanted] = self._new_access(wanted)
            return kept

    def _drop(self, token: AccessToken) -> None:
        with self._lock:
            self._kept = {each: kept for each, kept in self._kept.items() if kept != token}

    def _new_access(self, scopes: frozenset[str]) -> AccessToken:
        begun, now = self._clock.steady(), int(self._clock.now().timestamp())
        claims = {
            "iss": self._client_id,
            "sub": self._client_id,
            "aud": self._token_url,
            "iat": now - _EARLIER,
            "exp": now + _LIFE,
            "jti": secrets.token_urlsafe(24),
        }
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION,
            "client_assertion": self._sign(claims),
            "scope": " ".join(sorted(scopes)),
        }
        answer = self._http.send("POST", self._token_url, form=form)
        if not answer.good:
            raise RemoteFailed(
                f"The platform gives the hub no access ({answer.status}{_code(answer)}).",
                hint="Look at the tool's services and its public key set in the platform, and "
                "compare the clocks of both servers.",
            )
        return _parsed(answer, scopes, begun)

    def send(self, lineitem: str, score: Score) -> None:
        """Send a mark; a page in answer, as of a proxy, says nothing about it: RemoteFailed."""
        headers = [("Content-Type", _SCORE_TYPE)]
        url = _below(lineitem, "scores")
        answer = self._ask("POST", url, SCORE_SCOPES, headers, body=score.body(lineitem))
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if answer.body.strip() and not kind.endswith(("/json", "+json")):
            raise RemoteFailed("The platform's address answered with a page, and not for grades.")

    def result(self, lineitem: str, subject: str) -> Result | None:
        """Return the mark that the platform has; None where the hub may not read it."""
        found = self.results(lineitem, subject)
        return None if found is None else found.get(subject, Result())

    def results(self, lineitem: str, subject: str = "") -> Mapping[str, Result] | None:
        """Return the marks of a grade item by the people's ids, of one person if one is given.

        All its pages; Moodle has one, and fails if it is asked for smaller ones. None where the hub
        may not read them.
        """
        if RESULT not in self.access(SCORE_SCOPES).scopes:
            return None
        url = _below(lineitem, "results")
        url = _with(url, "user_id", subject) if subject else url
        pages = self._pages(url, SCORE_SCOPES, _RESULTS_TYPE, _RESULTS_BYTES)
        entries = (each for answer in pages for each in _list(answer.json()))
        return {
            str(each.get("userId")): Result(
                _number(each.get("resultScore")), _number(each.get("resultMaximum")) or 1.0
            )
            for each in entries
        }

    def line_items(self, lineitems: str, resource_id: str) -> tuple[LineItem, ...]:
        """Return the grade items with this id of ours, of those that the hub may use.

        One page only: Moodle's links to further pages cannot be used.
        """
        url = _with(lineitems, "resource_id", resource_id)
        headers = [("Accept", _LINE_ITEMS_TYPE)]
        answer = self._ask("GET", url, SCORE_SCOPES, headers, longest=_LINE_ITEMS_BYTES)
        found = (
            LineItem(
                _text(each, "id", 1000),
                _text(each, "resourceId"),
                _text(each, "resourceLinkId") or _text(each, "ltiLinkId"),
            )
            for each in _list(answer.json())
        )
        return tuple(each for each in found if each.address and each.resource_id == resource_id)

    def members(self, memberships: str, context: str) -> tuple[Member, ...]:
        """Return all members of a course: all pages, or none at all (RemoteFailed)."""
        members: dict[str, Member] = {}
        for answer in self._pages(memberships, (ROSTER_SCOPE,), _MEMBERS_TYPE, _MEMBERS_BYTES):
            members |= {each.subject: each for each in _members(answer, context)}
            if len(members) > _MOST_MEMBERS:
                raise RemoteFailed(f"The platform's course has more than {_MOST_MEMBERS} members.")
        return tuple(members.values())

    def _pages(
        self, url: str, scopes: tuple[str, ...], kind: str, longest: int
    ) -> Iterator[Answer]:
        """Yield all pages of a list, of which each names the next."""
        asked: set[str] = set()
        while url:
            if url in asked or len(asked) >= _MOST_PAGES:
                raise RemoteFailed("The platform's list has too many pages.")
            asked.add(url)
            headers = [("Accept", kind)]
            answer = self._ask("GET", url, scopes, headers, longest=longest)
            yield answer
            found = _NEXT.search(answer.headers.get("link", ""))
            try:
                url = urljoin(url, found[1]) if found else ""
            except ValueError:
                told = "The address of the next page of members cannot be used."
                raise RemoteFailed(told) from None

    def _ask(
        self,
        method: str,
        url: str,
        scopes: tuple[str, ...],
        headers: list[tuple[str, str]],
        *,
        body: bytes = b"",
        longest: int = 65_536,
    ) -> Answer:
        """Return the answer to a request; a token that the platform refuses is replaced once."""
        send = partial(self._http.send, method, url, headers=headers, body=body, longest=longest)
        token = self.access(scopes)
        answer = send(bearer=token.text)
        if answer.status == _NOT_AUTHORIZED:
            self._drop(token)
            answer = send(bearer=self.access(scopes).text)
        if not answer.good:
            raise Refused(f"The platform refused ({answer.status}).", status=answer.status)
        return answer


def _below(url: str, name: str) -> str:
    """Return the address of a part of a grade item; the address may have a query."""
    path, mark, query = url.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def _with(url: str, name: str, value: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{name}={quote(value, safe='')}"


def _list(found: object) -> list[Mapping[str, object]]:
    if not isinstance(found, list):
        raise RemoteFailed("The platform's answer is no list.")
    return [each for each in found if isinstance(each, dict)]


def _number(value: object) -> float | None:
    """Return a number, None for one that no mark is; JSON has integers of any length."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _HIGHEST else None


def _members(answer: Answer, context: str) -> Iterator[Member]:
    """Raise RemoteFailed for a page of another course, or a member without an id."""
    found = answer.json()
    values = found if isinstance(found, dict) else {}
    course, entries = values.get("context"), values.get("members")
    if not isinstance(course, dict) or str(course.get("id")) != context:
        raise RemoteFailed("The platform's list of members is that of another course.")
    for entry in _list(entries):
        subject = _text(entry, "user_id")
        if not subject:
            raise RemoteFailed("The platform's list has a member without an id.")
        roles, name = entry.get("roles"), entry.get("name")
        named = {
            "ext.user_username": _text(entry, "ext_user_username"),
            "lis.person_sourcedid": _text(entry, "lis_person_sourcedid"),
            "email": _text(entry, "email"),
        }
        yield Member(
            subject,
            # Moodle escapes names here.
            display_line(html.unescape(name) if isinstance(name, str) else "", _LONGEST_ID),
            tuple(str(each)[:_LONGEST_ID] for each in roles) if isinstance(roles, list) else (),
            {claim: text for claim, text in named.items() if text},
            _text(entry, "status") in ("", "Active"),
        )


def _text(entry: Mapping[str, object], name: str, longest: int = _LONGEST_ID) -> str:
    """Return a text, or "" where there is none.

    One that is too long or not printable counts as missing: a part of it could be another's.
    """
    value = entry.get(name)
    if not isinstance(value, str | int) or isinstance(value, bool):
        return ""
    text = str(value)
    return text if len(text) <= longest and text.isprintable() else ""


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
    """
    if token:
        check_token(token, _REGISTER_AGAIN)
    seen = _json_object(http.send("GET", configuration_url), "its configuration")
    issuer = _line(seen, "issuer", _LONGEST_ADDRESS)
    if issuer.rstrip("/") != platform.issuer.rstrip("/"):
        raise InvalidInput(
            f"The platform calls itself {issuer}, and the address was made for {platform.issuer}.",
            hint=_REGISTER_AGAIN,
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
    given = _json_object(answer, "the registration")
    deployment = _deployment(given)
    values = platform.model_dump() | {
        "issuer": issuer,
        "client_id": _line(given, "client_id", _LONGEST_TEXT),
        "deployments": (deployment,) if deployment else platform.deployments,
        **found,
    }
    return LtiPlatform.model_validate(values)


def _json_object(answer: Answer, what: str) -> Mapping[str, object]:
    """Return the JSON object of an answer; its text is never part of a message."""
    if answer.status not in (200, 201):
        used = " Its token works once only." if answer.status == 401 else ""
        raise RemoteFailed(
            f"The platform refused {what} with status {answer.status}.{used}", hint=_REGISTER_AGAIN
        )
    document = answer.json()
    if not isinstance(document, dict):
        raise RemoteFailed(
            f"The platform's answer to {what} is no JSON object.", hint=_REGISTER_AGAIN
        )
    return document


def _line(document: Mapping[str, object], name: str, longest: int) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= longest:
        raise InvalidInput(
            f"The platform's {name} is missing, or not a short text.", hint=_REGISTER_AGAIN
        )
    return value


def _address(document: Mapping[str, object], name: str, issuer: str) -> str:
    """Return an address of the platform's configuration, on the host of its issuer."""
    value = _line(document, name, _LONGEST_ADDRESS)
    if origin_of(value) != origin_of(issuer):
        raise InvalidInput(
            f"The platform's {name} is on another host than {issuer}.",
            hint="Register by hand, with its addresses in mograder.toml.",
        )
    return value


def _deployment(answer: Mapping[str, object]) -> str:
    """Return the deployment's id, "" if the platform does not tell it; ILIAS tells a number."""
    told = answer.get(CONFIGURATION)
    return _text(told, "deployment_id") if isinstance(told, dict) else ""
