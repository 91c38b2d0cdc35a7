"""A Moodle that answers from recordings, as a real HTTP server.

It answers requests recorded for the same person, endpoint, function and parameters, and only in a
state in which the recorded answer holds (``state.py``). There are no default answers: whatever was
not recorded is answered 500 and noted in ``problems``, which a test must find empty. It adds to the
recordings only what they and their README prove:

- a token in a POST body opens a file as one in the address does (138);
- a list for some assignments is the part of a longer list (129, 331);
- the number of a draft area is a name for its files: an upload gets a new one, and saving it is the
  recorded saving of an area with the same files;
- all students see the same list of assignments: none of them is restricted to some;
- an assignment that nobody was graded on answers as 075 and 359 do, with its own number;
- A4 has an active rubric (226): its module is that of 247 with another number and this method;
- what was uploaded and saved is given back byte for byte (139 to 141, 238), where a recorded answer
  that holds names the file;
- a student without a submission gets the status of 076 (``empty_submission.py``);
- files have an ETag, the SHA-1 of their content, and may be had in ranges (153).
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cache
from urllib.parse import quote, unquote

from tests.support.moodle.draft_areas import DRAFTS, Files, evident
from tests.support.moodle.empty_submission import STUDENTS, standing_of_nothing
from tests.support.moodle.recordings import (
    ANYBODY,
    NOBODY,
    NORMAL,
    NUMBERS,
    REST,
    SITE,
    Recording,
    recorded,
    tape,
)
from tests.support.moodle.state import Aspect, Scope, World, changes, depends

UPLOAD = "/webservice/upload.php"
LOGIN = "/login/token.php"
_DRAFT = re.compile(r"files_filemanager\]$")
_LISTS = {"mod_assign_get_submissions", "mod_assign_get_grades", "mod_assign_get_user_flags"}
_UNCOMPARED = {"wstoken", "token"}
INVALID = "0" * 32
_RUBRIC_MODULE = "6"


@dataclass(frozen=True)
class Request:
    """A client's request; ``fields`` are those of the query and the body together."""

    method: str
    path: str
    fields: Mapping[str, str]
    in_address: Mapping[str, str] = field(default_factory=dict)
    files: Files = ()
    contents: tuple[bytes, ...] = ()
    range: str = ""


@dataclass(frozen=True)
class Reply:
    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Only so many bytes of the body go out before the connection ends."""


def token_of(actor: str) -> str:
    """Return a person's token; ``invalid`` has the one that Moodle does not know."""
    return INVALID if actor == "invalid" else hashlib.sha256(actor.encode()).hexdigest()[:32]


@cache
def _actors() -> Mapping[str, str]:
    """Return the people of the recordings by token."""
    return {token_of(each.actor): each.actor for each in tape() if each.actor}


class Replay:
    """The site: its address, its state, and what went wrong."""

    def __init__(self) -> None:
        self.url = SITE
        self.problems: list[str] = []
        self.requests: list[Request] = []
        self.mood = NORMAL
        self.world = World.after(99)
        self.cookies: set[str] = set()
        """Cookies that clients sent back."""
        self.between: Callable[[Reply], Reply] | None = None
        """A network that damages what passes through it."""
        self._drafts: dict[str, tuple[str, Files]] = {}
        self._contents: dict[tuple[str, str], bytes] = {}
        self._lock = threading.Lock()

    def begin(self, after: int, mood: str = NORMAL) -> None:
        """Become the site as it was right after a recording."""
        self.become(World.after(after), mood)

    def become(self, world: World, mood: str) -> None:
        """Restore a state of the site, unsaved drafts included."""
        self.world, self.mood, self.between = world, mood, None
        self.problems.clear()
        self.requests.clear()
        self.cookies.clear()
        self._drafts = {number: (who, files) for number, (who, files) in DRAFTS.items()}

    def answer(self, request: Request) -> Reply:
        """Answer from the recordings, or note a problem."""
        with self._lock:
            self.requests.append(request)
            if {"token", "wstoken"} & set(request.in_address):
                self.problems.append(f"a token stood in the address of {request.path}")
            found = self._find(request)
            given_back = self._given_back(request) if found is None else None
            if given_back is not None:
                return given_back
            if found is None:
                self.problems.append(_described(request))
                return Reply(500, "text/plain", f"Not recorded: {_described(request)}".encode())
            self.world.apply(found)
            return self._reply(found, request)

    def actor(self, request: Request) -> str:
        """Return the person of a request, or None for an unknown token."""
        token = request.fields.get("wstoken") or request.fields.get("token") or ""
        return _actors().get(token, "invalid" if token else NOBODY)

    def _find(self, request: Request) -> Recording | None:
        actor = self.actor(request)
        given = self._comparable(request.fields, actor)
        alike = [each for each in tape() if self._matches(each, request, actor, given)]
        ahead = [each for each in alike if changes(each) and self.world.allows(each)]
        if ahead:
            return ahead[0]
        only = _listed(request) if request.fields.get("wsfunction") in _LISTS else set()
        same = [each for each in alike if not changes(each) and self.world.holds(each, only)]
        if not same and self._is_ungraded(request, actor):
            return recorded(75)
        if not same and actor in STUDENTS and self._has_nothing(request, actor):
            return standing_of_nothing(int(request.fields["assignid"]))
        # The nearest in time: what does not depend on the state may still name what was there.
        return min(same, key=lambda each: abs(each.place - self.world.at), default=None)

    def _is_ungraded(self, request: Request, actor: str) -> bool:
        """Whether a teacher asks for the grades of one assignment that has none yet."""
        one = _listed(request)
        asked = request.fields.get("wsfunction") == "mod_assign_get_grades" and len(one) == 1
        if not asked or actor != recorded(75).actor or self.mood != NORMAL:
            return False
        scope = Scope(Aspect.GRADE, min(one))
        return not any(scope.covers(each) for each in self.world.last)

    def _has_nothing(self, request: Request, actor: str) -> bool:
        """Return whether a request is for the person's own status on an untouched assignment."""
        number = request.fields.get("assignid", "")
        own = request.fields.get("wsfunction") == "mod_assign_get_submission_status"
        if not own or not number.isdecimal() or "userid" in request.fields:
            return False
        mine = {Scope(each, int(number), NUMBERS[actor]) for each in Aspect}
        return not mine & set(self.world.last)

    def _given_back(self, request: Request) -> Reply | None:
        """Return a file that was uploaded to this site, if an answer that holds names it."""
        if "/webservice/pluginfile.php/" not in request.path:
            return None
        address, name = f"{SITE}{request.path}".encode(), unquote(request.path.rpartition("/")[2])
        actor = self.actor(request).partition("@")[0]
        named = any(
            address in each.body and each.actor == actor and self.world.holds(each)
            for each in tape()
            if depends(each)
        )
        content = self._contents.get((actor, name))
        if not named or content is None:
            return None
        return _as_file(Reply(200, "application/octet-stream", content), request)

    def _matches(
        self, each: Recording, request: Request, actor: str, given: Mapping[str, object]
    ) -> bool:
        if each.fields.get("wsfunction") != request.fields.get("wsfunction"):
            return False
        if not each.is_servable or each.mood != self.mood or not _asked_by(each, request, actor):
            return False
        if request.path == UPLOAD and each.path == UPLOAD:
            return self._is_upload(each, request)
        if each.path.partition("?")[0] != request.path:
            return False
        if "pluginfile.php" not in each.path and each.method != request.method:
            return False
        if each.path.startswith("/lib/"):
            return _same_json(each.params.get("", ""), request.fields.get("", ""))
        if each.number == 247 and request.fields.get("cmid") == _RUBRIC_MODULE:
            return request.fields.get("wsfunction") == each.function
        wanted = self._comparable(each.fields, each.actor)
        if each.function in _LISTS and request.path == REST:
            return _is_part(given, wanted)
        return wanted == given

    def _is_upload(self, each: Recording, request: Request) -> bool:
        """Same files into an area with the same files; or files that a later answer shows."""
        if each.method != request.method:
            return False
        into = self._area(each.fields.get("itemid", "0"))
        if into != self._area(request.fields.get("itemid", "0")):
            return False
        if each.files == request.files:
            return True
        return each.number == 83 and not self._exact(request)

    def _exact(self, request: Request) -> bool:
        return any(
            each.path == UPLOAD and each.files == request.files and each.mood == self.mood
            for each in tape()
        )

    def _comparable(self, fields: Mapping[str, str], actor: str) -> dict[str, object]:
        return {
            name: self._value(name, value, actor)
            for name, value in fields.items()
            if name not in _UNCOMPARED
        }

    def _value(self, name: str, value: str, actor: str) -> object:
        if _DRAFT.search(name) and value in self._drafts:
            owner, files = self._drafts[value]
            return (owner == actor.partition("@")[0], files)
        try:
            return Decimal(value)
        except InvalidOperation:
            return value

    def _area(self, item: str) -> Files:
        return self._drafts[item][1] if item in self._drafts else ()

    def _reply(self, found: Recording, request: Request) -> Reply:
        if found.path == UPLOAD and isinstance(found.answer, list) and found.answer:
            return self._uploaded(found, request)
        body = found.body.replace(SITE.encode(), self.url.encode())
        if found.path == LOGIN and b'"TOKEN"' in body:
            body = body.replace(b'"TOKEN"', json.dumps(_token_at_login(request)).encode())
        if request.fields.get("cmid") == _RUBRIC_MODULE:
            body = body.replace(b'"id":3,', b'"id":6,').replace(
                b'"method":null', b'"method":"rubric"'
            )
        if found.number == 75:
            body = body.replace(
                b'"itemid":1', f'"itemid":{request.fields["assignmentids[0]"]}'.encode()
            )
        elif found.function in _LISTS:
            body = _part(body, request)
        headers = {"location": found.location.replace(SITE, self.url)} if found.location else {}
        reply = Reply(found.status, found.content_type, body, headers)
        is_file = "pluginfile.php" in found.path and found.status in {200, 206}
        is_refusal = isinstance(found.answer, dict)
        return _as_file(reply, request) if is_file and not is_refusal else reply

    def _uploaded(self, found: Recording, request: Request) -> Reply:
        """Give the files a number of their own and name them as they were uploaded."""
        rows: list[dict[str, object]] = json.loads(found.body)
        if rows[0].get("errortype") and len(rows) == 1:
            return Reply(found.status, found.content_type, found.body)
        item = request.fields.get("itemid", "0")
        if item not in self._drafts:
            item = str(900_000_000 + len(self._drafts))
        if found.number == 83:
            number = NUMBERS[self.actor(request).partition("@")[0]]
            same = rows[0] | {"userid": str(number)}
            rows = [same | {"filename": n, "filesize": size} for n, size in request.files]
        kept = tuple(
            (str(row["filename"]), int(str(row["filesize"]))) for row in rows if "itemid" in row
        )
        owner = self.actor(request).partition("@")[0]
        self._drafts[item] = (owner, (*self._area(item), *kept))
        for (name, _), content in zip(kept, request.contents, strict=False):
            self._contents[owner, name] = content
        rows = [row | ({"itemid": int(item)} if "itemid" in row else {}) for row in rows]
        return Reply(found.status, found.content_type, json.dumps(rows).encode())


def _asked_by(each: Recording, request: Request, actor: str) -> bool:
    """Return whether an answer was recorded for the person of this request."""
    if each.actor in {actor, ANYBODY}:
        return bool(actor) or each.actor == NOBODY
    if each.function == "mod_assign_get_assignments" and each.actor == "alice":
        return actor in {"bob", "carol", "dora"}
    if each.number == 247:
        return each.actor == f"{actor}@autograder"  # The mobile service has it too (021).
    return each.number == 83 and evident(actor, request.files)


def _is_part(given: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Whether what is asked for is contained in a recorded list."""
    ids = {value for name, value in given.items() if name.startswith("assignmentids[")}
    all_ids = {value for name, value in wanted.items() if name.startswith("assignmentids[")}
    rest = {n: v for n, v in given.items() if not n.startswith("assignmentids[")}
    all_rest = {n: v for n, v in wanted.items() if not n.startswith("assignmentids[")}
    return bool(ids) and ids <= all_ids and rest == all_rest


def _listed(request: Request) -> set[int]:
    """Return the assignments that a list is asked of."""
    fields = request.fields.items()
    return {int(v) for n, v in fields if n.startswith("assignmentids[") and v.isdecimal()}


def _part(body: bytes, request: Request) -> bytes:
    ids = _listed(request)
    answer = json.loads(body)
    if "assignments" not in answer:
        return body
    answer["assignments"] = [a for a in answer["assignments"] if a["assignmentid"] in ids]
    answer["warnings"] = [w for w in answer["warnings"] if w["itemid"] in ids]
    return json.dumps(answer, ensure_ascii=False).encode()


def _token_at_login(request: Request) -> str:
    name = request.fields["username"].strip().lower()
    service = request.fields["service"]
    return token_of(name if service == "moodle_mobile_app" else f"{name}@{service}")


def _as_file(reply: Reply, request: Request) -> Reply:
    digest = hashlib.sha1(reply.body, usedforsecurity=False).hexdigest()
    headers = {"etag": f'"{digest}"', "accept-ranges": "bytes"}
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.range)
    if not found:
        return replace(reply, status=200, headers=headers)
    first, total = int(found[1]), len(reply.body)
    if first >= total:
        return replace(reply, status=416, body=b"", headers=headers)
    last = min(int(found[2] or total - 1), total - 1)
    headers["content-range"] = f"bytes {first}-{last}/{total}"
    return replace(reply, status=206, body=reply.body[first : last + 1], headers=headers)


def _same_json(one: str, other: str) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def _described(request: Request) -> str:
    shown = {n: v for n, v in request.fields.items() if n not in _UNCOMPARED}
    files = f" files={request.files}" if request.files else ""
    return f"{request.method} {quote(request.path)} {shown}{files}"
