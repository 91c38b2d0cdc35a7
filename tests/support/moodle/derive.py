"""Exchanges with Moodle that were not recorded, derived from the description of a trial.

The description of a trial against Moodle 5.1 has the values sent and Moodle's state afterwards,
but not the traffic. The forms of requests and answers are those of the recordings; names, numbers
and times are made here. ``python -m tests.support.moodle.derive`` writes
``tests/data/moodle/derived-grades.jsonl``, and a test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[2] / "data" / "moodle"
DERIVED = DATA / "derived-grades.jsonl"
FIRST = 400
TEACHER, ALICE, BOB, CAROL, DORA, TUTOR = 3, 4, 5, 6, 7, 9
NAMES = {
    CAROL: "Carol Nguyễn-Łukasz",
    DORA: "Dora O'Connor",
    BOB: "Bob Smith",
    ALICE: "Alice Ångström",
}
ACTORS = {TEACHER: "teach1", TUTOR: "tutor", ALICE: "alice", BOB: "bob"}
TEAM = (ALICE, BOB)
DRAFT = 500000001
"""A draft area with ``alice.html``: see ``drafts.py``."""

T1, T2, E1, E2, C1, M1, R1, S1, F1, T3 = range(20, 30)
"""The assignments: two teams, two with empty cells, changed comments, an interrupted upload, a
second attempt, a scale, feedback files, a team whose grades nobody touched."""

TITLES = {
    T1: "T1. Members with grades of their own",
    T2: "T2. A member whose grade was changed",
    E1: "E1. Empty cells",
    E2: "E2. Empty cells that erase",
    C1: "C1. Comments changed on Moodle",
    M1: "M1. Interrupted",
    R1: "R1. A second attempt",
    S1: "S1. A scale",
    F1: "F1. Feedback files",
    T3: "T3. One grade for a team",
}
SCALE = "Poor, Good, Very good"


@dataclass
class Row:
    """A grade with its comment and files, as Moodle keeps it."""

    grade: str
    comment: str
    modified: int
    grader: int
    attempt: int = 0
    files: tuple[tuple[str, int], ...] = ()


@dataclass
class Tape:
    """The exchanges so far, and what Moodle holds after them."""

    lines: list[dict[str, object]] = field(default_factory=list)
    rows: dict[tuple[int, int], Row] = field(default_factory=dict)
    attempts: dict[tuple[int, int], int] = field(default_factory=dict)
    now: int = 1795200000

    def add(
        self, function: str, what: str, by: int, fields: Mapping[str, object], answer: object
    ) -> None:
        """Add one exchange with a web-service function."""
        head = {"wstoken": "TOKEN", "wsfunction": function, "moodlewsrestformat": "json"}
        self.lines.append(
            {
                "name": f"{FIRST + len(self.lines)}-{function}-{what}",
                "by": ACTORS[by],
                "request": {
                    "method": "POST",
                    "path": "/webservice/rest/server.php",
                    "params": {**head, **fields},
                },
                "status": 200,
                "headers": {"content-type": "application/json; charset=utf-8"},
                "response": answer,
                "note": "derived from the description of a trial, not recorded",
            }
        )

    def save(
        self,
        number: int,
        user: int,
        grade: str,
        comment: str,
        *,
        by: int = TEACHER,
        draft: int = 0,
        files: tuple[tuple[str, int], ...] = (),
    ) -> None:
        """Save a grade, and ask about everything afterwards."""
        fields: dict[str, object] = {
            "assignmentid": number,
            "userid": user,
            "grade": grade,
            "attemptnumber": -1,
            "addattempt": 0,
            "workflowstate": "",
            "applytoall": 0,
            "plugindata[assignfeedbackcomments_editor][text]": comment,
            "plugindata[assignfeedbackcomments_editor][format]": 1,
        }
        if draft:
            fields["plugindata[files_filemanager]"] = draft
        self.add("mod_assign_save_grade", f"{TITLES[number][:2]}-{user}", by, fields, None)
        self.now += 60
        attempt = self.attempts.get((number, user), 0)
        held = self.rows.get((number, user))
        kept = files or (held.files if held and held.attempt == attempt else ())
        self.rows[number, user] = Row(grade, comment, self.now, by, attempt, kept)
        self.ask(number)

    def hand_in_again(self, number: int, user: int) -> None:
        """Submit a second attempt."""
        fields = {"assignmentid": number, "plugindata[files_filemanager]": 451232723}
        self.add("mod_assign_save_submission", "attempt-2", user, fields, [])
        self.attempts[number, user] = 1
        self.now += 60
        self.ask(number)

    def ask(self, number: int) -> None:
        """Ask for the participants, the work, the grades and everybody's feedback."""
        what = TITLES[number][:2]
        self.add(
            "mod_assign_list_participants",
            what,
            TEACHER,
            {"assignid": number, "groupid": 0, "filter": ""},
            [self._participant(number, user) for user in NAMES],
        )
        one = {"assignmentids[0]": number}
        work = [self._submission(number, user) for user in NAMES]
        self.add(
            "mod_assign_get_submissions",
            what,
            TEACHER,
            one,
            {"assignments": [{"assignmentid": number, "submissions": work}], "warnings": []},
        )
        rows = [self._grade(number, user) for user in NAMES if self._current(number, user)]
        self.add(
            "mod_assign_get_grades",
            what,
            TEACHER,
            one,
            {
                "assignments": [{"assignmentid": number, "grades": rows}] if rows else [],
                "warnings": [],
            },
        )
        for user in NAMES:
            if self._current(number, user):
                self._status(number, user)

    def _status(self, number: int, user: int) -> None:
        answer = deepcopy(_recorded()["333"])
        row = self.rows[number, user]
        submission = answer["lastattempt"]["submission"]
        submission |= {"userid": user, "assignment": number, "attemptnumber": row.attempt}
        submission["plugins"] = []
        feedback = answer["feedback"]
        feedback["grade"] = self._grade(number, user)
        feedback["gradeddate"] = row.modified
        feedback["gradefordisplay"] = f"{row.grade}&nbsp;/&nbsp;100.00"
        comments, _, files = feedback["plugins"]
        comments["editorfields"][0]["text"] = row.comment
        template = files["fileareas"][0]["files"][0]
        files["fileareas"][0]["files"] = [
            template
            | {
                "filename": name,
                "filesize": size,
                "fileurl": f"https://moodle.example.edu/webservice/pluginfile.php/{100 + number}"
                f"/assignfeedback_file/feedback_files/{number * 10 + user}/{name}",
            }
            for name, size in row.files
        ]
        answer["assignmentdata"] = []
        fields = {
            "assignid": number,
            "userid": user,
            "moodlewssettingraw": 1,
            "moodlewssettingfileurl": 0,
        }
        what = f"{TITLES[number][:2]}-{user}"
        self.add("mod_assign_get_submission_status", what, TEACHER, fields, answer)

    def _current(self, number: int, user: int) -> Row | None:
        """Return the grade of the latest attempt: Moodle lists no others (recording 214)."""
        row = self.rows.get((number, user))
        return row if row and row.attempt == self.attempts.get((number, user), 0) else None

    def _participant(self, number: int, user: int) -> dict[str, object]:
        team = number in (T1, T2, T3) and user in TEAM
        return {
            "id": user,
            "fullname": NAMES[user],
            "email": f"{NAMES[user].split()[0].lower()}@example.edu",
            "recordid": -1,
            "submitted": True,
            "requiregrading": False,
            "grantedextension": False,
            "submissionstatus": "submitted",
            **({"groupid": 1, "groupname": "Lab 1 – été"} if team else {}),
        }

    def _submission(self, number: int, user: int) -> dict[str, object]:
        return {
            "id": number * 10 + user,
            "userid": user,
            "attemptnumber": self.attempts.get((number, user), 0),
            "timecreated": 1795200000,
            "timemodified": 1795200000,
            "timestarted": None,
            "status": "submitted",
            "groupid": 0,
            "plugins": [],
            "gradingstatus": "graded" if self._current(number, user) else "notgraded",
        }

    def _grade(self, number: int, user: int) -> dict[str, object]:
        row = self.rows[number, user]
        return {
            "id": number * 10 + user,
            "userid": user,
            "attemptnumber": row.attempt,
            "timecreated": 1795200000,
            "timemodified": row.modified,
            "grader": row.grader,
            "grade": f"{float(row.grade):.5f}",
        }


def derived() -> str:
    """Return the lines of the file."""
    tape = Tape()
    _course(tape)
    for number in TITLES:
        tape.ask(number)
    _teams(tape)
    _comments(tape)
    _others(tape)
    return "".join(
        json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in tape.lines
    )


def _course(tape: Tape) -> None:
    course = deepcopy(_recorded()["063"])["courses"][0]
    settings = course["assignments"][0]
    course["assignments"] = [
        settings
        | {"id": number, "cmid": 100 + number, "name": title, "introattachments": []}
        | {"teamsubmission": int(number in (T1, T2, T3)), "grade": -2 if number == S1 else 100}
        for number, title in TITLES.items()
    ]
    answer = {"courses": [course], "warnings": []}
    for by in (TEACHER, TUTOR):
        fields = {"courseids[0]": 2}
        tape.add("mod_assign_get_assignments", "derived", by, fields, answer)
    people = [
        {"id": TEACHER, "fullname": "Tina Teacher", "roles": []},
        {"id": TUTOR, "fullname": "Theo Tutor", "roles": []},
    ]
    fields = {"courseid": 2}
    tape.add("core_enrol_get_enrolled_users", "derived", TEACHER, fields, people)
    module = deepcopy(_recorded()["247"])
    module["cm"] |= {"id": 100 + S1, "instance": S1, "name": TITLES[S1], "grade": -2}
    module["cm"] |= {"scale": SCALE}
    fields = {"cmid": 100 + S1}
    tape.add("core_course_get_course_module", "scale", TEACHER, fields, module)
    report = deepcopy(_recorded()["242"])
    report["usergrades"] = report["usergrades"][:1]
    item = report["usergrades"][0]["gradeitems"][0]
    item |= {"itemname": TITLES[S1], "iteminstance": S1, "cmid": 100 + S1, "scaleid": 2}
    report["usergrades"][0]["gradeitems"] = [item | {"grademin": 1, "grademax": 3}]
    fields = {"courseid": 2, "userid": CAROL}
    tape.add("gradereport_user_get_grade_items", "scale", TEACHER, fields, report)


def _teams(tape: Tape) -> None:
    """Review H1: two members with grades of their own; a member whose grade the tutor changed."""
    tape.save(T1, ALICE, "80", "team")
    tape.save(T1, BOB, "60", "other")
    tape.save(T1, ALICE, "85", "new")
    tape.save(T2, ALICE, "12", "t")
    tape.save(T2, BOB, "12", "t")
    tape.save(T2, BOB, "99", "HAND bob only", by=TUTOR)
    tape.save(T2, ALICE, "13", "t2")
    tape.save(T3, ALICE, "12", "t")
    tape.save(T3, BOB, "12", "t")
    tape.save(T3, ALICE, "13", "t2")
    tape.save(T3, BOB, "13", "t2")


def _comments(tape: Tape) -> None:
    """Review H2 and H3: empty cells, and comments that the tutor changed."""
    for number, kept in ((E1, True), (E2, False)):
        tape.save(number, ALICE, "50", "HAND alice", by=TUTOR)
        tape.save(number, CAROL, "-1", "HAND carol no grade", by=TUTOR)
        tape.save(number, ALICE, "60", "HAND alice" if kept else "")
        tape.save(number, CAROL, "60", "HAND carol no grade" if kept else "")
    tape.save(C1, ALICE, "60", "one")
    tape.save(C1, BOB, "45", "mine")
    tape.save(C1, ALICE, "60", "HANDNEW alice", by=TUTOR)
    tape.save(C1, BOB, "45", "HAND2 bob better words", by=TUTOR)
    tape.save(C1, ALICE, "70", "two")
    tape.save(C1, BOB, "45", "mine v2")


def _others(tape: Tape) -> None:
    """Review M1, M4, L6 and scales."""
    for grades, word in (((11, 22, 23), "one"), ((21, 32, 33), "two"), ((31, 42, 43), "three")):
        for user, grade in zip((ALICE, BOB, CAROL), grades, strict=True):
            tape.save(M1, user, str(grade), word)
    tape.save(R1, BOB, "40", "try again")
    tape.hand_in_again(R1, BOB)
    tape.save(R1, BOB, "45", "better")
    tape.save(S1, ALICE, "2", "")
    tape.save(S1, BOB, "3", "")
    tape.save(F1, ALICE, "50", "", draft=DRAFT, files=(("alice.html", 3),))
    tape.save(F1, ALICE, "50", "", by=TUTOR, files=(("alice.html", 3), ("marked.pdf", 9)))


@cache
def _recorded() -> Mapping[str, Any]:
    lines = (DATA / "recordings.jsonl").read_text("utf-8").splitlines()
    return {line["name"][:3]: line["response"] for line in map(json.loads, lines)}


if __name__ == "__main__":
    DERIVED.write_text(derived(), "utf-8")
