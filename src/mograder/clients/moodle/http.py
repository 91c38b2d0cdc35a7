"""One request to a Moodle and its answer: forms sent, JSON received, refusals as our errors.

A token is sent in the body: addresses are written to logs, of proxies too. Only where a site serves
files by GET alone, a file's address has it. A request that only reads is retried when the network
fails, one that changes something only if nothing was sent.

Refusals are converted by error code, not by class name or HTTP status: almost every refusal of
Moodle is HTTP 200, its class names change between versions, and some codes have two spellings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import BinaryIO

import httpx
from pydantic import ValidationError

from mograder.clients import http
from mograder.clients.http import (
    RetryPolicy,
    Server,
    bounded_body,
    family_of,
    make_client,
    redirect_target,
    send,
)
from mograder.clients.moodle.models import Refused
from mograder.clients.server_url import parse_moodle_url
from mograder.core.context_managers import Closing
from mograder.core.errors import (
    Busy,
    Conflict,
    Forbidden,
    InvalidInput,
    MograderError,
    NotAuthenticated,
    NotFound,
    RemoteFailed,
    TimedOut,
    TooLarge,
)

Value = str | int | bool | Decimal
"""The value of a form field; booleans are sent as 0 and 1, as Moodle refuses "True"."""

Pause = Callable[[float], None]

_SILENCE_SECONDS, ANSWER_SECONDS = 120.0, 600.0
_MAX_ANSWER = 64_000_000
_REST = "/webservice/rest/server.php"

_READING = RetryPolicy(
    tries=3,
    factor=4.0,
    spread=0.0,
    failures=(httpx.TransportError,),
    # From a proxy, or a server that failed or is busy. Maintenance (503) takes longer.
    statuses=frozenset({429, 500, 502, 504}),
)
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
"""Failures before the request was sent, after which any request may be sent again."""

_LOGIN = "Get a new token: `mograder moodle login`."
_SERVICE = (
    "The token may be expired or bound to another address: `mograder moodle login` gets a new one. "
    "If that does not help, ask the Moodle administrator to add what is missing to the service "
    "(see the page for administrators in our documentation)."
)
_WEB_SERVICES = (
    "Ask the Moodle administrator to enable web services and the REST protocol, or the mobile app "
    "(Site administration > General > Mobile app)."
)
_ADDRESS = (
    "Give the address that your browser shows on Moodle's front page, with https and without "
    "anything behind the site's own path: --url, or [moodle] url in mograder.toml."
)
_MAINTENANCE = "Try again later; nothing was changed."
_REPORT = "Look whether the numbers still exist in Moodle (`mograder moodle sync`), then try again."

_DEEDS = {
    "mod_assign_get_submissions": "see what was handed in",
    "mod_assign_get_submission_status": "see this work",
    "mod_assign_get_grades": "see the grades",
    "mod_assign_get_user_flags": "see how far the marking is",
    "mod_assign_get_user_mappings": "see who is behind a participant's number",
    "mod_assign_list_participants": "see the participants",
    "mod_assign_save_grade": "grade",
    "mod_assign_save_submission": "hand work in",
    "mod_assign_submit_for_grading": "hand work in",
    "core_enrol_get_enrolled_users": "see who is in the course",
}

_SAME_AS = {
    "invalidrecord": "invalidrecordunknown",
    "nopermissions": "nopermission",
    "redirecterrordetected": "requirecorrectaccess",
    "upload_error_ini_size": "fileoversized",
    "upload_error_form_size": "fileoversized",
    "userquotalimit": "fileoversized",
    "maxbytes": "fileoversized",
}
"""Codes with the same meaning: the spelling depends on the debugging level and the endpoint."""

_TOO_MUCH = (
    "{url} does not take that much at once.",
    "Make the file smaller, or ask the Moodle administrator for a higher limit.",
    0,
)

_PAGES = {
    404: ("There is no Moodle at {url}.", _ADDRESS, 0),
    413: _TOO_MUCH,
    429: ("{url} asks us to slow down.", "Try again in a minute.", 60),
    503: ("{url} is not available now: it is under maintenance, or too busy.", _MAINTENANCE, 300),
    507: _TOO_MUCH,
}
"""HTTP status of an answer that is not JSON → message, remedy, and seconds to wait."""


@dataclass(frozen=True, slots=True)
class Form:
    """A request to one of Moodle's endpoints; ``asked`` is its name in messages.

    ``safe``: it changes nothing, so that it may be retried.
    """

    path: str
    fields: Mapping[str, Value]
    asked: str
    safe: bool = False
    files: Sequence[tuple[str, BinaryIO]] = ()
    document: str = ""
    in_address: bool = False


class Wire(Closing):
    """The connections to one site; may be used by several threads.

    Every request raises :class:`~mograder.core.errors.MograderError` if Moodle refuses, cannot be
    reached, or closes the connection.
    """

    def __init__(
        self,
        url: str,
        *,
        transport: httpx.BaseTransport | None = None,
        pause: Pause = time.sleep,
    ) -> None:
        """Check the address before anything is sent."""
        self.url = parse_moodle_url(url)
        self.retry = replace(_READING, sleep=pause)
        self._server = Server(
            "Moodle",
            self.url,
            unreachable="Check the address and your network (some sites need a VPN).",
            silent="Try again in a minute.",
            timeout=TimedOut,
        )
        self._client = make_client(self.url, read=_SILENCE_SECONDS, transport=transport)

    def close(self) -> None:
        self._client.close()

    def call(self, function: str, token: str, fields: Mapping[str, Value], *, safe: bool) -> object:
        """Return a web-service function's answer; ``None`` is a success too."""
        head = {"wstoken": token, "wsfunction": function, "moodlewsrestformat": "json"}
        return self.ask(Form(_REST, {**head, **fields}, function, safe=safe))

    def ask(self, form: Form) -> object:
        with self.sent(form) as response, self.errors(form):
            if response.status_code != httpx.codes.OK:
                self.refuse(response, form)
            body = bounded_body(response, _MAX_ANSWER, ANSWER_SECONDS)
        try:
            answer: object = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise as_page_error(response.status_code, "", self.url) from error
        refused = refusal_in(body, form) if isinstance(answer, dict) else None
        if refused is not None:
            raise refused
        return answer

    @contextmanager
    def sent(
        self, form: Form, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """Send a form and yield the answer, whatever its status, before its body is read."""
        retry = self.retry
        if not form.safe:
            retry = replace(retry, failures=_NOT_SENT, statuses=frozenset())
        with self.errors(form):
            response = send(self._client, self._request(form, headers or {}), retry)
        with closing(response):
            yield response

    def errors(self, form: Form) -> AbstractContextManager[None]:
        unsure = "" if form.safe else "It may have been done all the same: look in Moodle first."
        return self._server.errors(form.asked, unsure)

    def refuse(self, response: httpx.Response, form: Form) -> None:
        body = self.demand_no_refusal(response, form)
        raise as_page_error(response.status_code, redirect_target(response), self.url, body)

    def demand_no_refusal(self, response: httpx.Response, form: Form) -> bytes:
        """Return the body of an answer; raise the refusal of Moodle that it may be."""
        with self.errors(form):
            body = bounded_body(response, _MAX_ANSWER, ANSWER_SECONDS)
        refused = refusal_in(body, form)
        if refused is not None:
            raise refused
        return body

    def _request(self, form: Form, headers: Mapping[str, str]) -> httpx.Request:
        if form.document:
            headers = {**headers, "content-type": "application/json"}
        fields = {name: written(value) for name, value in form.fields.items()}
        if form.in_address:
            return self._client.build_request("GET", form.path, params=fields, headers=headers)
        return self._client.build_request(
            "POST",
            form.path,
            content=form.document or None,
            data=None if form.document else fields,
            files=[(f"file_{n}", file) for n, file in enumerate(form.files, 1)] or None,
            headers=headers,
        )


def written(value: Value) -> str:
    """Return a form field in Moodle's format: 0 and 1 for booleans, a point in numbers."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def check_token(token: str) -> str:
    return http.check_token(token, "Get one: `mograder moodle login`.")


def refusal_in(body: bytes, form: Form) -> MograderError | None:
    """Return the error that a body tells, None for other bodies: all endpoints give a code."""
    try:
        refused = Refused.model_validate_json(body)
    except ValidationError:
        return None
    code = refused.errorcode
    if not code or not (refused.exception or refused.error):
        return None
    message = refused.message or (refused.error if isinstance(refused.error, str) else "")
    if code == "missingparam" and form.files:
        # Above PHP's post_max_size the whole body is dropped, and the token with it.
        code = "fileoversized"
    return as_error(code, message, form.asked, refused.debuginfo)


@dataclass(frozen=True, slots=True)
class _Rule:
    """Our error for a code: ``message`` may have {asked}, {deed} and {message}."""

    family: type[MograderError]
    message: str
    hint: str


_TABLE: dict[str, _Rule] = {
    "invalidtoken": _Rule(NotAuthenticated, "Moodle does not know this token (any more).", _LOGIN),
    "accessexception": _Rule(Forbidden, "Moodle does not let this token use {asked}.", _SERVICE),
    "invalidlogin": _Rule(
        NotAuthenticated,
        "Moodle does not accept this user name and password.",
        "Type them again. If you sign in to Moodle through your university's page, use "
        "`mograder moodle login --sso`.",
    ),
    "enablewsdescription": _Rule(
        RemoteFailed,
        "Web services are switched off on this Moodle.",
        _WEB_SERVICES,
    ),
    "servicenotavailable": _Rule(
        RemoteFailed,
        "This Moodle does not offer the service we sign in to.",
        _WEB_SERVICES,
    ),
    "cannotcreatetoken": _Rule(
        Forbidden,
        "You may not make a token for this service yourself.",
        "Ask the Moodle administrator for the right moodle/webservice:createtoken, or for a token "
        "to give as --token.",
    ),
    "usernotallowed": _Rule(
        Forbidden,
        "You are not on the list of those who may use this service.",
        "Ask the Moodle administrator to add you to the service's authorised users.",
    ),
    "invalidparameter": _Rule(
        InvalidInput,
        "Moodle does not accept what we sent to {asked}.",
        "A value has a form that Moodle does not take (a grade such as 71,5 or an empty one, a "
        "forbidden character), or this Moodle is older than the ones we know.",
    ),
    "invalidrecordunknown": _Rule(
        NotFound,
        "Moodle does not know the course, assignment or person that this is about.",
        _REPORT,
    ),
    "errorcoursecontextnotvalid": _Rule(
        Forbidden,
        "You are not enrolled in this course.",
        "Check the course number: it is the id= in the course page's address. "
        "--course-id, or [moodle] course_id in mograder.toml.",
    ),
    "nopermission": _Rule(
        Forbidden,
        "Your role in the course does not allow you to {deed}.",
        "Most of this needs a teacher's role. If you are a teacher, ask the Moodle administrator; "
        "our documentation lists the rights that each function needs.",
    ),
    "requireloginerror": _Rule(
        Forbidden,
        "Moodle does not show you this course or activity.",
        "It may be hidden from students, or your enrolment may be suspended; ask your teacher.",
    ),
    "filenotfound": _Rule(
        NotFound,
        "Moodle has no such file for you: {asked}.",
        "It may have been replaced or deleted, may not be open yet, or may belong to somebody "
        "else. Read the list again.",
    ),
    "filenameexist": _Rule(
        Conflict,
        "Two files of the same name cannot be uploaded together: {asked}.",
        "Give them different names.",
    ),
    "fileoversized": _Rule(
        TooLarge,
        "{asked} is larger than this Moodle lets you upload.",
        "Make it smaller, for example by clearing outputs, or ask for a higher limit.",
    ),
    "dmlwriteexception": _Rule(
        RemoteFailed,
        "Moodle could not write this into its database.",
        "Look in Moodle before you repeat: it may be half saved.",
    ),
    "sitemaintenance": _Rule(Busy, "This Moodle is under maintenance.", _MAINTENANCE),
    "requirecorrectaccess": _Rule(
        InvalidInput,
        "This is not the address that the Moodle site calls its own.",
        _ADDRESS,
    ),
    "missingparam": _Rule(
        RemoteFailed,
        "Moodle did not receive all we sent: {message}",
        "A proxy in between may cut requests short. Try again from another network.",
    ),
    "couldnotsavesubmission": _Rule(
        Conflict,
        "Moodle did not save the submission: {message}",
        "Open the assignment in Moodle to see whether it is open to you.",
    ),
    "couldnotsubmitforgrading": _Rule(
        Conflict,
        "Moodle kept the work as a draft and did not hand it in: {message}",
        "It may be handed in already, or the submission statement may have to be accepted. "
        "Open the assignment in Moodle and look.",
    ),
    "couldnotrevert": _Rule(
        Conflict,
        "Moodle did not turn the submission back into a draft: {message}",
        "There may be no submission to turn back. Open the assignment in Moodle and look.",
    ),
}


def as_error(told: str, message: str, asked: str, detail: str = "") -> MograderError:
    """Return our error for a refusal with the code ``told``; an unknown one keeps Moodle's words.

    ``asked`` is a function or a file name; ``detail`` is sent by sites with debugging on.
    """
    code = _SAME_AS.get(told, told)
    if code not in _TABLE:
        words = message or detail or "no reason given"
        return RemoteFailed(
            f"Moodle refused {asked}: {_sentence(words)}",
            hint=f"Moodle calls this {told!r}; its administrator can look that up.",
        )
    rule = _TABLE[code]
    deed = _DEEDS.get(asked, f"use {asked}")
    text = rule.message.format(asked=asked, deed=deed, message=_sentence(message))
    if code in {"invalidparameter", "nopermission", "dmlwriteexception"}:
        # The missing right, or a debugging site's words.
        told_more = detail or message
        if told_more not in {"", "error/nopermission", "Invalid parameter value detected"}:
            text = f"{text[:-1]}: {_sentence(told_more[:500])}"
    return rule.family(text, hint=rule.hint)


def as_page_error(status: int, location: str, url: str, body: bytes = b"") -> MograderError:
    """Return our error for an answer that is not JSON: a page, a redirect, an empty body.

    Moodle's own 403 has an empty one; with a page it is of something in front of Moodle.
    """
    if 300 <= status < 400:
        return InvalidInput(
            f"{url} redirects to {location or 'another address'}, where our request would be lost.",
            hint=_ADDRESS,
        )
    if status == 403 and not body.strip():
        return RemoteFailed(f"Web services are switched off at {url}.", hint=_WEB_SERVICES)
    if status in _PAGES:
        message, hint, wait = _PAGES[status]
        family = family_of(status)
        if family is Busy:
            return Busy(message.format(url=url), hint=hint, retry_after=wait)
        return family(message.format(url=url), hint=hint)
    if status >= 500:
        return RemoteFailed(
            f"Moodle at {url} failed with status {status}.", hint="Try again in a minute."
        )
    return RemoteFailed(
        f"What answers at {url} is a page, not Moodle's web service.",
        hint=f"A sign-in page or a proxy may stand in front. {_ADDRESS}",
    )


def _sentence(words: str) -> str:
    text = " ".join(words.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
