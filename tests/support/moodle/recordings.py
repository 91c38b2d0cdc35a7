"""The recordings of a real Moodle, with the person of each request and the site's configuration.

The recordings contain no names of persons: every token is ``TOKEN``. The person of each request
follows from the order, the names and the answers, and is listed here by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "moodle"
SITE = "https://moodle.example.edu"
ANYBODY = "*"
NOBODY = ""
REST = "/webservice/rest/server.php"

PEOPLE = {3: "teach1", 4: "alice", 5: "bob", 6: "carol", 7: "dora", 8: "erik", 9: "tutor"}
NUMBERS = {name: number for number, name in PEOPLE.items()}

_ASKED: tuple[tuple[int, int, str], ...] = (
    (2, 2, "invalid"),
    (21, 21, "teach1"),
    (22, 22, "alice"),
    (23, 23, "teach1@autograder"),
    (24, 26, "alice"),
    (28, 29, "invalid"),
    (33, 33, "expired"),
    (34, 34, "wrong-ip"),
    (35, 35, "restricted"),
    (37, 38, "teach1"),
    (44, 49, "alice"),
    (50, 52, "teach1"),
    (53, 55, "alice"),
    (56, 56, "teach1"),
    (57, 57, "alice"),
    (58, 59, "teach1"),
    (60, 60, "alice"),
    (61, 62, "teach1"),
    (63, 64, "alice"),
    (66, 75, "teach1"),
    (76, 79, "alice"),
    (80, 81, "teach1"),
    (82, 90, "alice"),
    (91, 91, "invalid"),
    (93, 93, "no-files"),
    (94, 98, "alice"),
    (100, 108, "alice"),
    (109, 115, "bob"),
    (116, 116, "carol"),
    (117, 127, "alice"),
    (128, 136, "teach1"),
    (137, 138, "alice"),
    (139, 139, "teach1"),
    (140, 140, "alice"),
    (141, 141, "teach1"),
    (142, 142, "bob"),
    (143, 143, "invalid"),
    (145, 145, "expired"),
    (146, 146, "no-files"),
    (147, 154, "alice"),
    (155, 190, "teach1"),
    (191, 191, "teach1@autograder"),
    (192, 195, "teach1"),
    (196, 196, "bob"),
    (198, 200, "teach1"),
    (201, 201, "bob"),
    (203, 207, "teach1"),
    (209, 209, "alice"),
    (210, 214, "teach1"),
    (215, 216, "bob"),
    (218, 233, "teach1"),
    (234, 234, "teach1@autograder"),
    (235, 237, "teach1"),
    (238, 238, "alice"),
    (239, 239, "bob"),
    (240, 241, "alice"),
    (242, 242, "teach1"),
    (243, 248, "teach1@autograder"),
    (262, 277, "teach1"),
    (281, 281, "teach1"),
    (282, 282, "invalid"),
    (283, 283, "wrong-ip"),
    (286, 286, "invalid"),
    (287, 287, "teach1"),
    (289, 303, "alice"),
    (304, 304, "teach1"),
    (306, 309, "alice"),
    (311, 314, "teach1"),
    (315, 318, "alice"),
    (319, 321, "teach1"),
    (322, 324, "erik"),
    (325, 326, "tutor"),
    (327, 332, "teach1"),
    (334, 334, "teach1"),
    (336, 336, "teach1"),
    (338, 341, "teach1"),
    (349, 352, "alice"),
    (353, 357, "teach1"),
    (359, 359, "teach1"),
    (360, 360, "alice"),
    (362, 364, "teach1"),
)

_MOODS: tuple[tuple[int, int, str], ...] = (
    (1, 2, "web-services-off"),
    (95, 96, "small-uploads"),
    (260, 265, "identity-shown"),
    (275, 277, "details-shown"),
    (278, 288, "debugging"),
    (289, 293, "down"),
    (294, 298, "maintenance"),
    (301, 302, "rest-off"),
    (349, 351, "other-host"),
    (366, 366, "passwords"),
)
NORMAL = "normal"

_CUSTOM = (27, 151, 152, 361)
"""Asked in ways that a client cannot use: a header, a key in the path, a JSON body; a redirect
followed."""


@dataclass(frozen=True)
class Recording:
    """One request and its answer; ``place`` is its place in time, ``number`` the first digits."""

    place: int
    name: str
    method: str
    path: str
    params: Mapping[str, str]
    files: tuple[tuple[str, int], ...]
    status: int
    content_type: str
    location: str
    body: bytes
    answer: object = field(hash=False)
    query: Mapping[str, str] = field(default_factory=dict)
    """The query parameters of a POST."""
    by: str = ""
    """The person, where the line has one: only derived lines do."""

    @property
    def number(self) -> int:
        return int(self.name[:3])

    @property
    def function(self) -> str:
        return self.params.get("wsfunction", "")

    @property
    def actor(self) -> str:
        """The person of the request; a student's status contains it."""
        if self.by:
            return self.by
        if self.function == "mod_assign_get_submission_status" and "userid" not in self.params:
            own = _whose(self.answer)
            if own:
                return PEOPLE[own]
        if self.path.startswith(("/login/", "/lib/", "/admin/", "/mod/")):
            return NOBODY
        if not self.has_token:
            return NOBODY
        return _in(_ASKED, self.number) or ANYBODY

    @property
    def has_token(self) -> bool:
        return bool({"wstoken", "token"} & (set(self.params) | set(self.query)))

    @property
    def mood(self) -> str:
        return _in(_MOODS, self.number) or NORMAL

    @property
    def assignment(self) -> int:
        value = self.params.get("assignid") or self.params.get("assignmentid") or "0"
        return int(value) if value.isdecimal() else 0

    @property
    def is_servable(self) -> bool:
        """Whether a client without a browser's cookie can have sent it."""
        browser = self.path.startswith(("/mod/", "/admin/"))
        odd = self.number in _CUSTOM or "..." in self.params
        return not browser and not odd

    @property
    def refused(self) -> bool:
        """Whether nothing came of it: an exception, or a list of warnings with a code."""
        if self.status != 200:
            return True
        if isinstance(self.answer, dict):
            return "errorcode" in self.answer
        rows = self.answer if isinstance(self.answer, list) else []
        return any(isinstance(row, dict) and "warningcode" in row for row in rows)


@cache
def tape() -> tuple[Recording, ...]:
    """Return all recordings in time order."""
    functions = json.loads((DATA / "functions.json").read_text("utf-8"))
    lines = [
        line
        for name in ("recordings.jsonl", "derived-grades.jsonl")
        for line in (DATA / name).read_text("utf-8").splitlines()
    ]
    return tuple(_recording(place, json.loads(line), functions) for place, line in enumerate(lines))


def recorded(number: int) -> Recording:
    """Return the recording with a number; 348 is there twice, and this is the first."""
    return next(each for each in tape() if each.number == number)


def _recording(place: int, line: dict[str, object], functions: object) -> Recording:
    request, answer = line["request"], line["response"]
    headers = line["headers"]
    assert isinstance(request, dict)
    assert isinstance(headers, dict)
    if isinstance(answer, dict) and answer.get("functions") == "$functions":
        answer = answer | {"functions": functions}
    files = request.get("files", {})
    return Recording(
        place=place,
        name=str(line["name"]),
        method=request["method"],
        path=request["path"],
        params=_texts(request.get("params")),
        files=tuple((each["filename"], each["size"]) for each in files.values()),
        status=int(str(line["status"])),
        content_type=str(headers["content-type"]),
        location=str(line.get("location", "")),
        body=_body(str(headers["content-type"]), answer),
        answer=answer,
        query=_texts(request.get("query")),
        by=str(line.get("by", "")),
    )


def _body(content_type: str, answer: object) -> bytes:
    """Return the bytes that were answered; the recorder parsed what was JSON."""
    if isinstance(answer, str):
        # 353 and those of core_course_edit_module are texts of JSON answers.
        is_json = content_type.startswith("application/json") and not answer.startswith("{")
        return (json.dumps(answer) if is_json else answer).encode()
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _texts(params: object) -> dict[str, str]:
    if not isinstance(params, dict):
        return {} if params is None else {"": str(params)}
    return {str(name): str(value) for name, value in params.items()}


def _in(table: tuple[tuple[int, int, str], ...], number: int) -> str:
    return next((who for first, last, who in table if first <= number <= last), "")


def _whose(answer: object) -> int:
    """Return the person whose work a status shows, who is the one of the request."""
    last = answer.get("lastattempt") if isinstance(answer, dict) else None
    row = last.get("submission") if isinstance(last, dict) else None
    return int(row["userid"]) if isinstance(row, dict) else 0
