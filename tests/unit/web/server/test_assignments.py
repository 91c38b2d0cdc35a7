"""The files that the course offers (B136-B138, B146; compatibility-0.3.16.md 4)."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.settings import load_settings
from mograder.web.server.services import ServerOptions
from tests.support.assignment_app import Course

FILE = "/assignments/hw1/files/homework.py"


async def test_b136_a_directory_with_files_in_it_is_an_assignment(course: Course) -> None:
    """B136, in 0.3.16's shape; other directories and loose files are none."""
    course.add("a2", {"b.csv": b"1", "a.py": b"2", ".hidden": b"3"})
    (course.root / "notes").mkdir()
    (course.root / "loose.py").touch()
    assert (await course.ask("GET", "/assignments", "alice")).json() == [
        {
            "name": "a2",
            "id": "a2",
            "files": [
                {"filename": "a.py", "url": "/assignments/a2/files/a.py"},
                {"filename": "b.csv", "url": "/assignments/a2/files/b.csv"},
            ],
        },
        {
            "name": "hw1",
            "id": "hw1",
            "files": [{"filename": "homework.py", "url": FILE}],
        },
    ]


async def test_b137_a_manifest_is_told_as_it_stands(course: Course) -> None:
    entry = {
        "name": "hw1",
        "id": 17,
        "duedate": 1773172800,
        "topic": {"week": 3},
        "files": [{"filename": "homework.py", "url": FILE}],
    }
    course.write_manifest(entry)
    course.add("unlisted")
    assert (await course.ask("GET", "/assignments", "alice")).json() == [entry]
    assert (await course.ask("GET", "/assignments/unlisted/files/homework.py", "alice")).is_error
    manifest = course.root / "assignments.json"
    manifest.write_text(manifest.read_text(), "utf-8-sig")  # as Windows saves it
    assert (await course.ask("GET", "/assignments", "alice")).json() == [entry]


async def test_b137_a_file_is_handed_out_at_the_address_in_the_manifest(course: Course) -> None:
    """B137: as in 0.3.16, the name may differ from the directory's."""
    file = {"filename": "homework.py", "url": FILE}
    entry = {"name": "Homework One", "id": 1, "files": [file]}
    course.write_manifest(entry, {"name": "Without files"})
    assert (await course.ask("GET", "/assignments", "alice")).json()[0] == entry
    assert (await course.ask("GET", FILE, "alice")).content == b"x = 1\n"
    (told, _) = (await course.ask("GET", "/assignments?detail=1", "alice")).json()
    assert told["files"][0]["size"] == 6
    assert (await course.submit("alice", b"x = 2\n", "Homework One")).status_code == 200
    assert (await course.ask("GET", "/assignments/hw1/status?user=alice", "alice")).is_error


@pytest.mark.parametrize("hidden", ["hw1", "Homework One"])
async def test_a_file_is_not_handed_out_before_its_assignment_or_directory_opens(
    course: Course, hidden: str
) -> None:
    course.write_manifest(
        {"name": "Homework One", "files": [{"filename": "homework.py", "url": FILE}]}
    )
    (course.root / "mograder.toml").write_text(
        f'[items."{hidden}"]\nopens = 2031-01-01T08:00:00Z\n'
    )
    course.restart(loaded=load_settings(course.root, environ={}))
    assert (await course.ask("GET", FILE, "alice")).status_code == 404
    assert (await course.ask("GET", FILE, "prof")).status_code == 200


def test_addresses_in_the_manifest_without_a_file_are_warned_of_at_the_start(
    course: Course, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = "https://example.org/a.py"
    course.write_manifest(
        {"name": "One", "files": [{"filename": "homework.py", "url": FILE}]},
        {"name": "Two", "files": [{"filename": "a.py"}, {"filename": "a.py", "url": elsewhere}]},
        {"name": "Three", "files": []},
        {"name": "Four"},
    )
    assert course.services
    remedy = "Correct the `url`."
    directory = course.root / "Four" / "files"
    assert [each.getMessage() for each in caplog.records] == [
        f"assignments.json: Two: no file is handed out at /assignments/Two/files/a.py. {remedy}",
        f"assignments.json: Two: no file is handed out at {elsewhere}. {remedy}",
        f"assignments.json: Four: there is no directory {directory}. Make it, or list `files`.",
    ]


async def test_b138_a_release_directory_holds_files_flat(course: Course, tmp_path: Path) -> None:
    """B138: also the one named release in the directory itself, unless told otherwise."""
    release = course.root / "release"
    (release / "w1").mkdir(parents=True)
    (release / "w1" / "w1.py").write_bytes(b"flat")
    (release / "empty").mkdir()
    names = (await course.ask("GET", "/assignments", "alice")).json()
    assert [each["name"] for each in names] == ["hw1", "w1"]
    answer = await course.ask("GET", "/assignments/w1/files/w1.py", "alice")
    assert answer.content == b"flat"
    other = tmp_path / "elsewhere"
    (other / "w2").mkdir(parents=True)
    (other / "w2" / "w2.py").touch()
    (other / "w2" / "w2.zip").touch()
    course.restart(release_dir=other)
    (listed,) = (await course.ask("GET", "/assignments", "alice")).json()
    assert [each["filename"] for each in listed["files"]] == ["w2.zip"]


async def test_b138_b156_the_directories_of_the_settings_are_used(course: Course) -> None:
    """B138, B156: those that the other commands of the course use; an option counts before them."""
    toml = course.root / "mograder.toml"
    toml.write_text('[dirs]\nsubmitted = "abgaben"\nrelease = "ausgabe"\n')
    for place in ("ausgabe", "release"):
        (course.root / place / place[0]).mkdir(parents=True)
        (course.root / place / place[0] / "a.py").touch()
    course.restart(loaded=load_settings(course.root, environ={}))
    listed = (await course.ask("GET", "/assignments", "alice")).json()
    assert [each["name"] for each in listed] == ["a", "hw1"]
    assert (await course.submit("alice", b"x = 2\n", "a")).status_code == 200
    assert (course.root / "abgaben" / "a" / "alice.py").read_bytes() == b"x = 2\n"
    assert not (course.root / "submitted").exists()
    course.restart(submissions_dir=course.root / "other", release_dir=course.root / "release")
    listed = (await course.ask("GET", "/assignments", "alice")).json()
    assert [each["name"] for each in listed] == ["r"]
    assert (await course.submit("alice", b"x = 3\n", "r")).status_code == 200
    assert (course.root / "other" / "r" / "alice.py").is_file()


async def test_b136_a_release_directory_does_not_hide_the_other_assignments(
    course: Course, tmp_path: Path
) -> None:
    course.add("hw2", {"b.py": b"nested"})
    for name in ("w1", "hw2"):
        (course.root / "release" / name).mkdir(parents=True)
        (course.root / "release" / name / "a.py").write_bytes(b"flat")
    (course.root / "release" / "Week 1: 50%").mkdir()
    course.restart()
    listed = (await course.ask("GET", "/assignments", "alice")).json()
    found = {each["name"]: [file["filename"] for file in each["files"]] for each in listed}
    assert found == {"hw1": ["homework.py"], "hw2": ["b.py"], "w1": ["a.py"]}
    for name, file, content in (("w1", "a.py", b"flat"), ("hw2", "b.py", b"nested")):
        answer = await course.ask("GET", f"/assignments/{name}/files/{file}", "alice")
        assert answer.content == content
    assert (await course.ask("GET", "/assignments/release/files/w1", "alice")).status_code == 404
    course.restart(release_dir=course.root / "release")
    names = [each["name"] for each in (await course.ask("GET", "/assignments", "alice")).json()]
    assert names == ["hw2", "w1"], "a directory that was named has them all"


def test_names_that_some_students_cannot_store_are_warned_of_at_the_start(
    course: Course, caplog: pytest.LogCaptureFixture
) -> None:
    course.add("HW1", {"aux.csv": b"1", "A.csv": b"2", "a.csv": b"3"})
    course.restart()
    assert course.services
    told = [each.getMessage() for each in caplog.records]
    remedy = "Rename it: students' computers run Windows and macOS, too."
    assert told == [
        f"HW1 and hw1: on Windows and macOS they are one file. {remedy}",
        f"HW1: aux.csv: Windows reserves the name AUX for a device. {remedy}",
        f"HW1: A.csv and a.csv: on Windows and macOS they are one file. {remedy}",
    ]


def test_b136_names_that_are_not_handed_out_are_warned_of_at_the_start(
    course: Course, caplog: pytest.LogCaptureFixture
) -> None:
    course.add("Week 1: 50%", {"a.py": b"1", "bu\u0308ro.csv": b"2", "50%.csv": b"3"})
    course.restart()
    assert course.services
    told = [each.getMessage() for each in caplog.records]
    allowed = "use only letters, digits, spaces and . _ - + @ ( ) , ' &."
    remedy = "Rename it: it is not handed out."
    assert told == [
        f"Invalid name 'Week 1: 50%': {allowed} {remedy}",
        f"Invalid file name '50%.csv': {allowed} {remedy}",
        f"Invalid file name 'bu\u0308ro.csv': it is not in the form NFC of Unicode. {remedy}",
    ]


def test_a_place_of_submissions_that_cannot_be_written_is_warned_of_at_the_start(
    course: Course, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "submitted")
    (course.root / "submitted").mkdir()
    course.restart()
    assert course.services
    told = f"{course.root}/submitted cannot be written by this user: no submission can be taken"
    assert told in caplog.text


async def test_b146_a_student_downloads_a_file(course: Course) -> None:
    """B146, with what a client needs to check and to resume it."""
    answer = await course.ask("GET", FILE, "alice")
    assert answer.status_code == 200
    assert answer.content == b"x = 1\n"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["access-control-allow-origin"] == "*"
    digest = base64.b64encode(hashlib.sha256(b"x = 1\n").digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert answer.headers["accept-ranges"] == "bytes"
    head = await course.ask("HEAD", FILE, "alice")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == "6"


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=2-3", 206, b"23", "bytes 2-3/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
    ],
)
async def test_a_range_of_a_file(
    course: Course, asked: str, status: int, content: bytes, told: str | None
) -> None:
    course.add("big", {"f": b"0123456789"})
    path = "/assignments/big/files/f"
    answer = await course.ask("GET", path, "alice", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers.get("content-range") == told


async def test_a_large_file_is_sent_in_pieces_from_any_place(course: Course) -> None:
    content = os.urandom(3 * 1024 * 1024 + 17)
    course.add("big", {"data.zip": content})
    whole = await course.ask("GET", "/assignments/big/files/data.zip", "alice")
    assert whole.content == content
    headers = {"Range": "bytes=2000000-", "If-Range": whole.headers["etag"]}
    rest = await course.ask("GET", "/assignments/big/files/data.zip", "alice", headers=headers)
    assert (rest.status_code, rest.content) == (206, content[2000000:])


async def test_a_file_that_changed_is_not_resumed_and_one_that_did_not_is_not_resent(
    course: Course,
) -> None:
    etag = (await course.ask("GET", FILE, "alice")).headers["etag"]
    same = await course.ask("GET", FILE, "alice", headers={"If-None-Match": f'"x", {etag}'})
    assert (same.status_code, same.content) == (304, b"")
    (course.root / "hw1" / "files" / "homework.py").write_bytes(b"changed")
    resumed = {"Range": "bytes=3-", "If-Range": etag}
    answer = await course.ask("GET", FILE, "alice", headers=resumed)
    assert (answer.status_code, answer.content) == (200, b"changed")
    anew = await course.ask("GET", FILE, "alice", headers={"If-None-Match": etag})
    assert anew.status_code == 200


async def test_names_are_percent_decoded_step_by_step(course: Course) -> None:
    """compatibility-0.3.16.md 4: in 0.3.16 names with spaces could not be reached."""
    course.add("week 1 (é)", {"my file.py": b"ok"})
    found = (await course.ask("GET", "/assignments", "alice")).json()
    (file,) = next(each["files"] for each in found if each["name"] == "week 1 (é)")
    answer = await course.ask("GET", file["url"] + "/", "alice")
    assert answer.content == b"ok"


@pytest.mark.parametrize("name", ["..%2f..%2f.mograder-secret", "%2e%2e", ".hidden", "a%00b"])
async def test_a_name_that_leaves_the_directory_is_refused(course: Course, name: str) -> None:
    answer = await course.ask("GET", f"/assignments/hw1/files/{name}", "alice")
    assert (answer.status_code, answer.json()) == (403, {"error": "Invalid path"})


async def test_what_is_not_there_is_not_found(course: Course) -> None:
    answer = await course.ask("GET", "/assignments/hw1/files/zz.py", "alice")
    assert (answer.status_code, answer.json()) == (404, {"error": "Not found: zz.py"})
    assert (await course.ask("GET", "/assignments/zz/files/a.py", "alice")).status_code == 404
    assert (await course.ask("GET", "/zz", "alice")).status_code == 404


async def test_no_student_is_given_grades_submissions_or_links_as_files(course: Course) -> None:
    """With --release-dir at the root itself, other people's things lie beside the files."""
    flat = course.root / "hw2"
    flat.mkdir()
    for name in ("hw2.py", "grades.json", "bob_20260310T200800.py", "keys_all.json", "files.json"):
        (flat / name).write_text("secret")
    (flat / "bob.py").symlink_to("bob_20260310T200800.py")
    course.restart(release_dir=course.root)
    found = (await course.ask("GET", "/assignments", "alice")).json()
    assert {"name": "hw2", "files": ["hw2.py"]} in [
        {"name": each["name"], "files": [file["filename"] for file in each["files"]]}
        for each in found
    ]
    for name in ("grades.json", "bob.py", "bob_20260310T200800.py", "keys_all.json"):
        answer = await course.ask("GET", f"/assignments/hw2/files/{name}", "alice")
        assert answer.status_code == 404


async def test_the_directory_of_submissions_is_no_assignment(course: Course) -> None:
    course.add("files")
    await course.submit("alice", b"mine", "files")
    names = [each["name"] for each in (await course.ask("GET", "/assignments", "bob")).json()]
    assert names == ["files", "hw1"]
    answer = await course.ask("GET", "/assignments/submitted/files/alice.py", "bob")
    assert answer.status_code == 404


async def test_everybody_is_told_their_own_dates_and_nobody_anothers(course: Course) -> None:
    course.write_manifest(
        {
            "name": "hw1",
            "due": "2026-09-02T09:00:00+00:00",
            "cutoff": "2026-09-03T09:00:00Z",
            "extensions": {"alice": "2026-09-05T09:00:00Z", "bob": {"cutoff": 1788600000}},
        }
    )
    (prof,) = (await course.ask("GET", "/assignments", "prof")).json()
    assert set(prof["extensions"]) == {"alice", "bob"}
    (carol,) = (await course.ask("GET", "/assignments", "carol")).json()
    assert "extensions" not in carol
    assert (carol["due"], carol["duedate"]) == ("2026-09-02T09:00:00+00:00", 1788339600)
    (alice,) = (await course.ask("GET", "/assignments?detail=1", "alice")).json()
    assert alice["due"] == alice["cutoff"] == "2026-09-05T09:00:00.000Z"
    assert alice["duedate"] == 1788598800
    assert alice["files"][0]["size"] == 6
    assert alice["files"][0]["sha256"] == hashlib.sha256(b"x = 1\n").hexdigest()


def test_a_date_that_means_never_can_be_told_in_each_zone(course: Course) -> None:
    never = "9999-12-31T23:59:59Z"
    course.write_manifest({"name": "hw1", "cutoff": never, "extensions": {"alice": never}})
    found = course.services.catalogue.find("hw1")
    for at in (found.deadline.cutoff, found.extensions["alice"].due):
        assert at is not None
        assert at.astimezone(ZoneInfo("Pacific/Kiritimati")).year == 3000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "JSON"),
        ("{}", "valid array"),
        ('[{"id": 1}]', "name"),
        ('[{"name": "a"}, {"name": "b", "due": "2026-09-02T09:00:00"}]', "entry 2.due: .*timezone"),
        ('[{"name": "a"}, {"name": "a"}]', "twice"),
        ('[{"name": "a", "files": ["homework.py"]}]', "entry 1.files.0: Input should be an object"),
        ('[{"name": "a", "files": [{"filename": "a.py"}, {}]}]', "entry 1.files.1.filename: "),
    ],
)
def test_a_manifest_that_is_wrong_is_told_once_at_the_start(
    course: Course, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    (course.root / "assignments.json").write_text(text)
    with pytest.raises(InvalidInput, match=words):
        _ = course.services
    assert caplog.messages == []


async def test_a_listed_name_that_cannot_be_served_withholds_no_other(
    course: Course, caplog: pytest.LogCaptureFixture
) -> None:
    """0.3.16 serves such a list; no file and no work can have the name here."""
    course.write_manifest({"name": "Week 1: 50%"}, {"name": "../a"}, {"name": "hw1"})
    listed = (await course.ask("GET", "/assignments", "alice")).json()
    assert [each["name"] for each in listed] == ["hw1"]
    told = [each.getMessage() for each in caplog.records]
    assert [each.startswith("assignments.json: Invalid name") for each in told] == [True, True]


@pytest.mark.parametrize("due", ["2026-09-02T09:00:00+00:00", 1788339600])
@pytest.mark.parametrize("earlier", [{}, {"duedate": 1773172800}, {"duedate": None}])
async def test_a_due_date_is_told_as_duedate_in_place_of_another_one_there(
    course: Course, due: object, earlier: dict[str, object]
) -> None:
    """0.3.16's clients show ``duedate`` only, and ``due`` is what counts."""
    course.write_manifest({"name": "hw1", **earlier, "due": due})
    (told,) = (await course.ask("GET", "/assignments", "alice")).json()
    assert (told["due"], told["duedate"]) == (due, 1788339600)


@pytest.mark.parametrize("asked", [True, False])
async def test_a_manifest_that_is_spoilt_after_the_start_counts_as_it_was(
    course: Course, asked: bool
) -> None:
    course.write_manifest({"name": "hw1", "cutoff": "2026-09-02T09:00:00Z"})
    assert course.services
    if asked:
        assert (await course.ask("GET", "/assignments", "alice")).status_code == 200
    (course.root / "assignments.json").write_text("[{")
    course.clock.advance(timedelta(days=3).total_seconds())
    assert (await course.submit("alice", b"late")).status_code == 403


async def test_a_course_without_a_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no directory"):
        _ = Course(ServerOptions(tmp_path / "zz")).services


async def test_every_answer_may_be_read_by_a_notebook_in_a_browser(course: Course) -> None:
    """CORS, as 0.3.16 had it."""
    for answer in (
        await course.ask("OPTIONS", "/any/where"),
        await course.ask("GET", "/"),
        await course.ask("GET", "/assignments"),
        await course.ask("GET", "/zz"),
    ):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-methods"] == "GET, POST, OPTIONS"
        assert answer.headers["access-control-allow-headers"] == "Content-Type, Authorization"
    assert (await course.ask("OPTIONS", "/x")).status_code == 204


async def test_another_verb_is_told_which_ones_there_are(course: Course) -> None:
    answer = await course.ask("DELETE", "/assignments", "prof", content=io.BytesIO(b"x").read())
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
