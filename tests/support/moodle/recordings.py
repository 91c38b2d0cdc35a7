"""The recordings of a real Moodle, with the person of each request and the site's configuration.

Every token in the recordings is ``TOKEN``: the person of each request follows from the order, the
names and the answers, and was added to the lines by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

DATA = Path(__file__).parents[2] / "data" / "moodle"
SITE = "https://moodle.example.edu"
ANYBODY = "*"
NOBODY = ""
REST = "/webservice/rest/server.php"

PEOPLE = {3: "teach1", 4: "alice", 5: "bob", 6: "carol", 7: "dora", 8: "erik", 9: "tutor"}
NUMBERS = {name: number for number, name in PEOPLE.items()}

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
    actor: str = NOBODY
    """The person of the request, which the recorder did not note; added by hand."""
    mood: str = NORMAL
    """The site's configuration at that time."""
    is_derived: bool = False

    @cached_property
    def number(self) -> int:
        return int(self.name[:3])

    @cached_property
    def fields(self) -> Mapping[str, str]:
        """The parameters of the query and the body together."""
        return {**self.params, **self.query}

    @cached_property
    def function(self) -> str:
        return self.params.get("wsfunction", "")

    @cached_property
    def has_token(self) -> bool:
        return bool({"wstoken", "token"} & (set(self.params) | set(self.query)))

    @cached_property
    def assignment(self) -> int:
        value = self.params.get("assignid") or self.params.get("assignmentid") or "0"
        return int(value) if value.isdecimal() else 0

    @cached_property
    def is_servable(self) -> bool:
        """Whether a client without a browser's cookie can have sent it."""
        browser = self.path.startswith(("/mod/", "/admin/"))
        odd = self.number in _CUSTOM or "..." in self.params
        return not browser and not odd

    @cached_property
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


@cache
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
        actor=str(line.get("by") or line.get("actor", NOBODY)),
        mood=str(line.get("mood", NORMAL)),
        is_derived="by" in line,
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
