"""The set-up of the tests of `mograder moodle`: a course directory and a recorded Moodle.

Files that the recordings list but that were not downloaded are supplied here by hand; any other
request that was not recorded fails the test.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

import pytest

from mograder.auth.credentials import Role, make_token
from tests.support.hub_app import SECRET, Hub, make_hub
from tests.support.moodle.recordings import DATA, NORMAL, REST, SITE, recorded
from tests.support.moodle.replay import Replay, Reply, Request, token_of
from tests.support.moodle.server import serving
from tests.support.served_course import serving_app

DERIVED = DATA / "derived_collecting.jsonl"
FILES = "/webservice/pluginfile.php"
SUBMITTED = f"{FILES}/18/assignsubmission_file/submission_files"
ATTACHED = f"{FILES}/18/mod_assign/introattachment/0/A1-Introduction.py"

SUPPLIED = {
    f"{SUBMITTED}/1/helper.py": b"print('helper')  #",
    f"{SUBMITTED}/5/A1-Introduction.py": b"# bob\nx = 1  \n\n",
}
"""Content of files whose names and sizes (18 and 15) are in 129, but in no recording."""

CONFIG = """\
# Our course.
title = "SciML 101"  # for students

[[assignments]]
name = "A paper exercise"

[[assignments]]
name = "A1. Introduction"
id = 1
dir = "A1-Introduction"

[[assignments]]
name = "A3. Blind & hidden"
id = 3

[moodle]
course_id = 2
"""
STUDENTS = (
    "username,email\n"
    "alice,alice@example.edu\n"
    "bsmith,bob@example.edu\n"
    "carol,carol@example.edu\n"
    "dora,dora@example.edu\n"
)


class Moodle(Replay):
    """The recorded Moodle, with the files that are supplied by hand, by path.

    ``scene`` names a set of answers that were derived from recordings and the description of a
    trial (``derived_collecting.jsonl``); they take precedence over recorded answers. ``gone`` are
    the paths of files that do not exist any more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.supplied = dict(SUPPLIED)
        self.scene = ""
        self.gone: frozenset[str] = frozenset()

    def answer(self, request: Request) -> Reply:
        """Answer with a derived answer of the scene or a supplied file, else as recorded."""
        derived = self._derived(request) if self.scene else None
        if derived is not None:
            self.requests.append(request)
            return derived
        if request.path in self.gone:
            self.requests.append(request)
            missing = recorded(147)
            return Reply(missing.status, missing.content_type, missing.body)
        content = self.supplied.get(request.path)
        if content is None or self.actor(request) == "invalid":
            return super().answer(request)
        self.requests.append(request)
        digest = sha1(content, usedforsecurity=False).hexdigest()
        return Reply(200, "text/plain", content, {"etag": f'"{digest}"'})

    def _derived(self, request: Request) -> Reply | None:
        """Return the derived answer to a teacher's request in this scene, if there is one."""
        asked = {name: value for name, value in request.fields.items() if name != "wstoken"}
        if self.actor(request) != "teach1" or request.path != REST:
            return None
        for line in DERIVED.read_text("utf-8").splitlines():
            each = json.loads(line)
            wanted = {name: str(value) for name, value in each["request"]["params"].items()}
            del wanted["wstoken"]
            if each["scene"] == self.scene and wanted == asked:
                body = json.dumps(each["response"], ensure_ascii=False).replace(SITE, self.url)
                return Reply(each["status"], each["headers"]["content-type"], body.encode())
        return None


@dataclass(frozen=True)
class CourseSetup:
    """A course directory, the working directory of the commands, and the Moodle it is on."""

    course: Path
    moodle: Moodle
    environment: pytest.MonkeyPatch

    def sign_in(self, actor: str) -> None:
        """Use another person's token from now on."""
        self.environment.setenv("MOGRADER_MOODLE_TOKEN", token_of(actor))

    def at(self, after: int, mood: str = NORMAL) -> None:
        """Put the site into the state right after a recording."""
        self.moodle.begin(after, mood)

    def asked(self, function: str) -> list[dict[str, str]]:
        """Return the parameters of each call of a function, without tokens."""
        return [
            {name: value for name, value in each.fields.items() if name != "wstoken"}
            for each in self.moodle.requests
            if each.fields.get("wsfunction") == function
        ]


@contextmanager
def course_setup(course: Path, environment: pytest.MonkeyPatch) -> Iterator[CourseSetup]:
    """Serve the Moodle as it was after everybody had submitted, to its teacher."""
    course.mkdir()
    (course / "mograder.toml").write_text(CONFIG)
    (course / "students.csv").write_text(STUDENTS)
    moodle = Moodle()
    moodle.begin(134)
    with serving(moodle):
        for name in ("HUB_URL", "HUB_INSTRUCTOR_TOKEN", "HUB_SSH", "COURSE_DIR"):
            environment.delenv(f"MOGRADER_{name}", raising=False)
        environment.setenv("HOME", str(course.parent))
        environment.setenv("MOGRADER_MOODLE_URL", moodle.url)
        environment.chdir(course)
        made = CourseSetup(course, moodle, environment)
        made.sign_in("teach1")
        yield made
    assert not moodle.problems, moodle.problems


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CourseSetup]:
    """The course, and its teacher at the command line."""
    with course_setup(tmp_path / "course", monkeypatch) as made:
        yield made


@dataclass(frozen=True)
class ServedHub:
    """A real hub, where it is, and an instructor's token for it."""

    hub: Hub
    url: str
    token: str


@contextmanager
def served_hub(course: Path) -> Iterator[ServedHub]:
    """Serve a hub with a course of its own on a free port."""
    hub = make_hub(course)
    try:
        with serving_app(hub.app, lifespan="on") as url:
            yield ServedHub(hub, url, make_token(SECRET, "dana", Role.INSTRUCTOR))
    finally:
        hub.close()
