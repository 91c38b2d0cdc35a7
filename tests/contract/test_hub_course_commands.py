"""Commands about a whole course, against a hub that is served.

B35, B36; compatibility-0.3.16.md 10.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mograder.auth.credentials import Role, make_token
from mograder.clients.hub_course import Undone
from mograder.store.releases.releases import ItemKind
from tests.support.command_line import Printed, cli
from tests.support.course import copy_example_course
from tests.support.hub_app import NOTEBOOK, SECRET
from tests.support.moodle.teacher import ServedHub, served_hub
from tests.support.other_system import OtherSystem, System
from tests.support.other_system.marks import SYSTEMS
from tests.support.updated_course import (
    BROKEN,
    HALF,
    NEW,
    OLD,
    TEXT_CHANGED,
    correct,
    publish,
    take_copy,
)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedHub]:
    """A hub on a free port, with an instructor's token in the environment."""
    with served_hub(tmp_path / "course") as served:
        served.hub.publish("A1")
        served.hub.publish("L01", ItemKind.LECTURE)
        monkeypatch.setenv("MOGRADER_HUB_URL", served.url)
        monkeypatch.setenv("MOGRADER_HUB_INSTRUCTOR_TOKEN", served.token)
        monkeypatch.delenv("MOGRADER_HUB_SSH", raising=False)
        monkeypatch.chdir(tmp_path)
        yield served


def schedule(text: str) -> Printed:
    """Set what a file of this text says."""
    Path("term.toml").write_text(text)
    return cli("hub schedule term.toml")


def test_b35_b36_sync_users_sends_the_names_of_a_file(served: ServedHub) -> None:
    Path("users.txt").write_text("# the course\nbob  # tutorial 3\n\n  alice\n")
    printed = cli("hub sync-users users.txt")
    told = "Read 2 users from users.txt\nSynced 2 users to hub.\n"
    assert printed.out == told
    listed = (served.hub.course / "allowed_users.txt").read_text().splitlines()
    assert listed[1:] == ["alice", "bob"]


def test_b35_sync_users_takes_url_and_token(served: ServedHub) -> None:
    Path("users.txt").write_text("alice\n")
    student = make_token(SECRET, "bob")
    cli("hub sync-users users.txt --url", served.url, "--token", student, status=4)
    assert not (served.hub.course / "allowed_users.txt").exists()


def test_a_dry_run_of_sync_users_changes_nothing(served: ServedHub) -> None:
    Path("users.txt").write_text("alice\n")
    assert cli("hub sync-users users.txt --dry-run").out.endswith("  alice\n")
    assert not (served.hub.course / "allowed_users.txt").exists()


@pytest.mark.parametrize("more", ["", "--dry-run"])
def test_all_names_that_sync_users_cannot_take_are_named_with_their_lines(
    served: ServedHub, more: str
) -> None:
    Path("users.txt").write_text("# the course\nalice\nb b  # two words\n\n__x\n")
    told = cli("hub sync-users users.txt", *more.split(), status=2)
    assert told.out == ""
    assert "users.txt cannot be used; nothing was changed.\n  line 3: Invalid username 'b b'" in (
        told.err
    )
    assert "\n  line 5: Invalid username '__x'" in told.err
    assert not (served.hub.course / "allowed_users.txt").exists()


@pytest.mark.parametrize(
    ("more", "may"), [("", "may enter now"), ("--dry-run", "could then enter")]
)
def test_sync_users_says_what_an_empty_list_means(served: ServedHub, more: str, may: str) -> None:
    assert served.url
    Path("users.txt").write_text("# nobody yet\n")
    told = cli("hub sync-users users.txt", *more.split()).out
    assert told.endswith(f"The list is empty: nobody but instructors and markers {may}.\n")


def test_visibility_lists_every_item(served: ServedHub) -> None:
    assert cli("hub visibility").out == ("  A1   assignment  visible\n  L01  lecture     visible\n")


def test_full_width_names_take_two_cells_each_in_the_list(served: ServedHub) -> None:
    printed = cli("hub visibility A1 演習 --hide")
    assert printed.out == (
        "  A1    assignment  hidden\n  演習  -           hidden  (not published)\n"
    )


def test_visibility_is_changed_and_told(served: ServedHub) -> None:
    printed = cli("hub visibility L01 A9 --hide")
    assert printed.out == (
        "  L01  lecture     hidden\n  A9   -           hidden  (not published)\n"
    )
    shown = cli("hub visibility A1 --from 2030-07-01T09:00")
    assert shown.out == "  A1  assignment  opens Mon 01 Jul 2030, 09:00\n"
    output = cli("hub visibility A1 --from 2020-07-01 --timezone UTC")
    assert output.out == ("  A1  assignment  open (since Wed 01 Jul 2020, 00:00)\n")
    cli("hub visibility L01 A9 --show")
    told = json.loads(cli("hub visibility --json").lines[-1])
    assert [(each["name"], each["hidden"]) for each in told] == [("A1", False), ("L01", False)]


def test_a_part_of_a_name_means_the_item_and_anything_else_is_a_later_one(
    served: ServedHub,
) -> None:
    """Floors 8.4: `hub visibility a1` set a rule for an item "a1", and A1 stayed visible."""
    printed = cli("hub visibility a1 l-01 --hide")
    assert printed.out == "  A1   assignment  hidden\n  L01  lecture     hidden\n"


@pytest.mark.parametrize(
    "command",
    [
        "visibility l0 --from 2030-12-01",
        "visibility l0 --hide",
        "visibility l0 --show",
        "schedule term.toml",
        "schedule term.toml --dry-run",
    ],
)
def test_a_beginning_of_a_word_is_not_taken_for_a_later_item(
    served: ServedHub, command: str
) -> None:
    """0.3.16 took `L0` for L01; a rule for a later item would leave L01 visible to all."""
    Path("term.toml").write_text("[items]\nA1 = 2030-11-01\nl0 = 2030-12-01\n")
    told = cli(f"hub {command}", status=2)
    assert told.out == ""
    assert "There is no item 'l0', but L01. Nothing was changed.\nGive the whole name." in told.err
    assert not (served.hub.course / "hub-release" / ".visibility.json").exists()


def test_a_later_item_keeps_its_rule_when_a_published_name_begins_with_it(
    served: ServedHub,
) -> None:
    cli("hub visibility Exam --hide")
    served.hub.publish("Exam2")
    assert "  Exam  -" in cli("hub visibility Exam --from 2030-12-01").out
    schedule("[items]\nExam = 2030-11-01\n")
    assert json.loads(_rules(served)) == {"Exam": {"visible_from": "2030-11-01T09:00:00+00:00"}}
    schedule("[items]\nA = 2030-11-01\nA1 = 2030-10-01\n")
    assert set(json.loads(_rules(served))) == {"A", "A1"}, "the file has both"


@pytest.mark.parametrize(
    "arguments",
    [["A1", "--hide", "--show"], ["--hide"], ["A1", "--from", "soon"], ["--timezone", "Mars/X"]],
)
def test_visibility_refuses_what_cannot_be_meant(served: ServedHub, arguments: list[str]) -> None:
    cli("hub visibility", *arguments, status=2)


def test_visibility_of_what_is_not_there_is_told(served: ServedHub) -> None:
    cli("hub visibility A8 --hide")
    assert cli("hub visibility A8").out == "  A8  -           hidden  (not published)\n"
    told = cli("hub visibility A1 A9", status=3)
    assert (told.out, told.err) == ("", "Error: There is no item 'A9'.\nThere are: A1, L01, A8.\n")


SCHEDULE = """
start = 2030-10-07
time = "09:30"
timezone = "Europe/London"
hide_unlisted = true
[weeks]
1 = ["A1"]
4 = ["A4"]
[items]
A2 = 2030-12-01
"""


def test_a_schedule_replaces_all_that_was_set(served: ServedHub) -> None:
    cli("hub visibility A7 --hide")
    Path("term.toml").write_text(SCHEDULE)
    assert cli("hub schedule term.toml --dry-run").out.endswith("Dry run — nothing was changed.\n")
    assert set(json.loads(_rules(served))) == {"A7"}
    printed = cli("hub schedule term.toml")
    assert printed.out == (
        "  A1   assignment  opens Mon 07 Oct 2030, 09:30\n"
        "  L01  lecture     hidden\n"
        "  A4   -           opens Mon 28 Oct 2030, 09:30  (not published)\n"
        "  A2   -           opens Sun 01 Dec 2030, 09:30  (not published)\n"
        "  A7   -           hidden  (not published)\n"
    )
    assert printed.err == ""
    assert json.loads(_rules(served)) == {
        "A1": {"visible_from": "2030-10-07T09:30:00+01:00"},
        "A2": {"visible_from": "2030-12-01T09:30:00+00:00"},
        "A4": {"visible_from": "2030-10-28T09:30:00+00:00"},
        "A7": {"hidden": True},
        "L01": {"hidden": True},
    }


def test_a_schedule_names_what_it_shows_to_students(served: ServedHub) -> None:
    cli("hub visibility A1 --hide")
    told = schedule("[items]\nL01 = 2030-12-01\n").err
    assert told == (
        "Warning: A1 was hidden, and is not in the file: students see it from now on.\n"
    )
    assert cli("hub schedule term.toml").err == ""


def test_a_schedule_names_what_it_shows_when_it_is_published(served: ServedHub) -> None:
    cli("hub visibility Exam --hide")
    cli("hub visibility Later --from 2030-07-01")
    cli("hub visibility Past --from 2020-07-01")
    Path("term.toml").write_text("[items]\nL01 = 2030-12-01\n")
    told = "is not published yet, and is not in the file: students will see it as soon as it is"
    assert cli("hub schedule term.toml").err == (
        f"Warning: Exam was hidden, {told} published.\n"
        f"Warning: Later was not open yet, {told} published.\n"
    )
    assert set(json.loads(_rules(served))) == {"L01"}


def test_a_schedule_tells_which_dates_to_come_it_takes_away(served: ServedHub) -> None:
    cli("hub visibility A1 --from 2030-07-01")
    Path("term.toml").write_text("[items]\nL01 = 2030-12-01\n")
    told = "Warning: A1 was not open yet, and is not in the file: students see it from now on"
    tried = cli("hub schedule term.toml --dry-run").err
    assert tried == f"{told}, unless the hub's mograder.toml opens it later.\n"
    assert cli("hub schedule term.toml").err == f"{told}.\n"


def test_short_names_in_a_schedule_mean_the_items_that_are_published(served: ServedHub) -> None:
    """0.3.16 took beginnings of names there; taken as they are, they leave an exam open to all."""
    for name in ("A3-Exam", "A3-Practice"):
        served.hub.publish(name)
    lines = ("[items]", "A3 = 2030-12-01", "A3-Practice = 2030-11-01", "A9 = 2030-10-01")
    schedule("\n".join(lines))
    assert json.loads(_rules(served)) == {
        "A3-Exam": {"visible_from": "2030-12-01T09:00:00+00:00"},
        "A3-Practice": {"visible_from": "2030-11-01T09:00:00+00:00"},
        "A9": {"visible_from": "2030-10-01T09:00:00+01:00"},
    }


def test_demos_are_items_of_visibility_and_schedule(served: ServedHub) -> None:
    served.hub.publish("Answers", ItemKind.DEMO)
    assert "  Answers  demo        visible\n" in cli("hub visibility").out
    assert cli("hub visibility answers --hide").out == "  Answers  demo        hidden\n"
    told = schedule("[items]\nA1 = 2030-12-01\n").err
    assert told == (
        "Warning: Answers was hidden, and is not in the file: students see it from now on.\n"
    )
    Path("term.toml").write_text("hide_unlisted = true\n[items]\nA1 = 2030-12-01\n")
    assert "  Answers  demo        hidden\n" in cli("hub schedule term.toml").out
    assert json.loads(_rules(served))["Answers"] == {"hidden": True}
    schedule("[items]\nanswers = 2030-12-01\n")
    assert set(json.loads(_rules(served))) == {"Answers"}
    told = cli("hub schedule answers --opens 2030-11-01 --timezone UTC").out
    assert "  opens   Fri 01 Nov 2030, 00:00 UTC" in told


def test_times_of_warming_are_told_in_the_zone_of_the_course(served: ServedHub) -> None:
    cli("hub warm A1 --at 2030-12-01T09:00 --timezone Europe/Berlin")
    Path("mograder.toml").write_text('timezone = "Asia/Kolkata"\n')
    assert cli("hub warm").out == "  A1: Sun 01 Dec 2030, 13:30 IST\n"


def test_two_names_of_one_item_in_a_schedule_are_refused(served: ServedHub) -> None:
    served.hub.publish("A3-Exam")
    Path("term.toml").write_text("[items]\nA3 = 2030-12-01\na3 = 2030-11-01\n")
    told = cli("hub schedule term.toml", status=2).err
    assert "a3 and A3 both mean A3-Exam." in told
    assert not (served.hub.course / "hub-release" / ".visibility.json").exists()


@pytest.mark.parametrize(
    ("named", "option", "moment"),
    [
        ("", [], "2030-12-01T09:00:00+00:00"),
        ("", ["--timezone", "Europe/Athens"], "2030-12-01T09:00:00+02:00"),
        (
            "timezone = 'Asia/Tokyo'\n",
            ["--timezone", "Europe/Athens"],
            "2030-12-01T09:00:00+09:00",
        ),
    ],
)
def test_a_schedule_that_names_no_zone_is_in_that_of_the_option(
    served: ServedHub, named: str, option: list[str], moment: str
) -> None:
    Path("term.toml").write_text(f"{named}[items]\nA1 = 2030-12-01\n")
    cli("hub schedule term.toml", *option)
    assert json.loads(_rules(served)) == {"A1": {"visible_from": moment}}


def test_times_without_a_zone_are_in_that_of_the_course(served: ServedHub) -> None:
    Path("mograder.toml").write_text('timezone = "Asia/Tokyo"\n')
    schedule("[items]\nA1 = 2030-12-01\n")
    assert json.loads(_rules(served)) == {"A1": {"visible_from": "2030-12-01T09:00:00+09:00"}}
    cli("hub visibility A1 --from 2030-11-01T08:00")
    assert json.loads(_rules(served)) == {"A1": {"visible_from": "2030-11-01T08:00:00+09:00"}}
    told = cli("hub schedule A1 --due 2030-12-02T18:00").out
    assert "Mon 02 Dec 2030, 18:00 JST" in told
    told = cli("hub schedule A1 --due 2030-12-02T18:00 --timezone UTC").out
    assert "Mon 02 Dec 2030, 18:00 UTC" in told


@pytest.mark.parametrize(
    "text",
    [
        "start = ",
        'weeks = {1 = ["A1"]}',
        "start = 2030-01-01\nweeks = {-1 = []}",
        "x = 1",
        'start = 9999-12-30\nweeks = {3 = ["A1"]}',
    ],
)
def test_a_schedule_that_cannot_be_meant_changes_nothing(served: ServedHub, text: str) -> None:
    Path("term.toml").write_text(text)
    cli("hub schedule term.toml", status=2)


@pytest.mark.usefixtures("served")
def test_a_schedule_that_is_not_there_is_told() -> None:
    told = cli("hub schedule none.toml", status=2).err
    assert told == "Error: none.toml cannot be read: No such file or directory.\n"


def test_a_token_is_revoked_on_a_hub_elsewhere(served: ServedHub) -> None:
    (served.hub.course / "allowed_users.txt").write_text("alice\n")
    printed = cli("hub revoke-token alice --url", served.url)
    assert printed.out == "All tokens and logins of alice are void.\n"
    assert served.hub.services.revocations.epoch("alice") == 1
    shown = cli("hub revoke-token alcie --url", served.url, status=3)
    assert "This hub has no record of alcie." in shown.err


def _rules(served: ServedHub) -> str:
    return (served.hub.course / "hub-release" / ".visibility.json").read_text()


def test_the_dates_of_an_item_are_set_by_the_command(served: ServedHub) -> None:
    zone = ["--timezone", "Europe/Berlin"]
    told = cli("hub schedule a1 --due 2030-12-01T18:00", *zone).lines
    assert told == [
        "A1",
        "  opens   not set",
        "  due     Sun 01 Dec 2030, 18:00 CET  (set by an instructor)",
        "  closes  not set",
    ]
    options = ["--opens", "2030-11-01", "--closes", "2030-12-08"]
    told = cli("hub schedule A1", *options, *zone).lines
    assert told[1] == "  opens   Fri 01 Nov 2030, 00:00 CET  (set by an instructor)"
    assert told[2].startswith("  due     Sun 01 Dec 2030, 18:00 CET"), "what is not named stays"
    assert told[3].startswith("  closes  Sun 08 Dec 2030, 23:59 CET")
    assert "  due     not set" in cli("hub schedule A1 --due none --closes none", *zone).out
    assert "  due     not set" in cli("hub schedule A1").out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["A1", "--due", "soon"], 2),
        (["A1", "--due", "2030-12-01", "--closes", "2030-11-01"], 2),
        (["A9", "--due", "2030-12-01"], 3),
        (["A1", "--dry-run"], 2),
    ],
)
def test_dates_that_cannot_be_meant_are_refused(
    served: ServedHub, arguments: list[str], code: int
) -> None:
    cli("hub schedule", *arguments, status=code)
    assert not (served.hub.course / "hub-release" / ".visibility.json").exists()


def test_a_receipt_of_the_hub_is_verified_by_its_file_alone(served: ServedHub) -> None:
    headers = {"Authorization": f"Bearer {make_token(SECRET, 'alice')}"}
    with httpx.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as alice:
        alice.post("/download/A1")
        alice.post("/submit/alice/A1")
        receipt, work = (
            alice.get(f"/submissions/alice/A1/1/{each}").content for each in ("receipt", "file")
        )
    Path("receipt.json").write_bytes(receipt)
    Path("A1.py").write_bytes(work)
    told = cli("receipt verify receipt.json --file A1.py").out
    assert "A1, submission 1 of alice" in told
    assert "genuine, and the server holds the file, which counts." in told
    assert "A1.py is exactly what it is for." in told
    Path("receipt.json").write_bytes(receipt.replace(b"alice", b"bobby"))
    cli("receipt verify receipt.json", status=1)


@pytest.mark.full
@SYSTEMS
def test_a_lecturer_on_another_system_looks_after_a_hub(
    served: ServedHub, tmp_path: Path, system: System
) -> None:
    """Generate, publish, schedule, hide, warm and update; only what needs the server is refused."""
    token = make_token(SECRET, "dana", Role.INSTRUCTOR)
    extra = {"MOGRADER_HUB_URL": served.url, "MOGRADER_HUB_INSTRUCTOR_TOKEN": token}
    lecturer = OtherSystem(system, home=tmp_path / "home", extra=extra)
    (tmp_path / "home").mkdir()
    course = copy_example_course(tmp_path / "own")
    source = course / "source" / "A7"
    source.mkdir()
    solved = "### BEGIN SOLUTION\n    1 + 1\n    ### END SOLUTION\n    return"
    text = NOTEBOOK.replace("1 + 1\n    return", solved)
    (source / "A7.py").write_text(text, encoding="utf-8")
    (course / "users.txt").write_text("bob\nalice\n", encoding="utf-8")

    def run_there(*words: str, group: str = "hub", status: int = 0) -> str:
        done = lecturer.ran(group, *words, cwd=course, status=status)
        return done.stdout + done.stderr

    run_there("A7", "--no-validate", group="generate")
    assert "A7" in run_there("publish", "A7", "--force", "--no-source")
    published = served.hub.course / "hub-release" / "A7" / "A7.py"
    assert "1 + 1" not in published.read_text()
    due = ("--due", "2030-12-01T18:00", "--timezone", "Europe/Berlin")
    assert "Sun 01 Dec 2030, 18:00 CET" in run_there("schedule", "A7", *due)
    assert "hidden" in run_there("visibility", "A7", "--hide")
    assert "Synced 2 users" in run_there("sync-users", "users.txt")
    assert "A7: ready" in run_there("warm", "A7")
    assert "Sun 01 Dec 2030, 18:00 CET" in run_there("warm", "A7", "--at", *due[1:])
    assert "0 copies" in run_there("update", "A7", "--preview")
    assert "void" in run_there("revoke-token", "bob", "--url", served.url)
    assert "runs on Linux only" in run_there("revoke-token", "bob", status=78)
    assert "Warmed 3 notebooks: A1, A7, L01" in run_there("warm-cache")
    assert "runs on Linux only" in run_there("warm-cache", "users.txt", status=78)
    secret = {"MOGRADER_HUB_SECRET": SECRET}
    made = OtherSystem(system, home=tmp_path / "home", extra=secret)
    told = made.ran("hub", "generate-token", "dana", "--role", "instructor", cwd=course)
    assert told.stdout.strip() == token
    told = made.ran("token", "--secret", SECRET, "alice", cwd=course)
    assert told.stdout.startswith(f"alice: {make_token(SECRET, 'alice')}")
    (course / ".mograder-secret").write_text(f"{SECRET}\n")
    for again in range(2):
        told = made.ran("token", f"bob{again}", cwd=course)
        assert (told.stdout.split(":")[0], told.stderr) == (f"bob{again}", "")
    noted = (course / ".mograder" / "people.jsonl").read_text().splitlines()
    assert [json.loads(line)["user"] for line in noted] == ["bob0", "bob1"]


UPDATE = ["hub", "update", "A1"]
PREVIEW = """\
3 copies: 1 merge cleanly, 1 with conflicts, 1 cannot be merged, 0 with no cell to change.
  zoe: 1 conflict
"""


@pytest.fixture
def corrected(served: ServedHub) -> ServedHub:
    """A hub whose item is corrected, with a clean copy, one with a conflict and a broken one."""
    publish(served.hub, OLD)
    for student, text in {"anna": HALF, "bert": BROKEN, "zoe": TEXT_CHANGED}.items():
        take_copy(served.hub, student, text)
    correct(served.hub)
    return served


def is_offered() -> bool:
    """Ask the hub whether it offers the update."""
    return cli(*UPDATE, "--preview", "--json", status=1).json["offered"] is True


def test_a_preview_names_the_copies_and_offers_nothing(corrected: ServedHub) -> None:
    told = cli(*UPDATE, "--preview", status=1).out
    assert told.startswith(PREVIEW)
    assert "  bert: the copy:" in told
    assert not is_offered()


def test_json_offers_nothing_without_yes(corrected: ServedHub) -> None:
    told = cli(*UPDATE, "--json", status=1).json
    assert not told["offered"]
    assert {line["student"] for line in told["preview"]["copies"]} == {"anna", "bert", "zoe"}


def test_an_update_is_offered_told_of_and_undone(corrected: ServedHub) -> None:
    assert "\nOffered. Each copy gets it" in cli(*UPDATE, "--yes", status=1).out
    assert is_offered()
    assert "This release is offered already. 0 copies have it." in cli(*UPDATE, status=1).out
    assert cli(*UPDATE, "--undo").out == "Withdrawn. 0 copies have the text from before again.\n"
    assert not is_offered()


def test_one_copy_is_told_in_the_singular(
    corrected: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = Undone(undone=("anna",), kept=(), waiting=(), failed={})
    monkeypatch.setattr("mograder.clients.hub_course.undo", lambda *_: done)
    assert cli(*UPDATE, "--undo").out == "Withdrawn. 1 copy has the text from before again.\n"


def test_a_question_that_is_answered_with_no_offers_nothing(
    corrected: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("click.confirm", lambda question, **_: asked.append(question))
    cli(*UPDATE, status=1)
    assert asked == ["Offer the update to these copies?"]
    assert not is_offered()


def test_a_script_that_cannot_be_asked_is_told_the_option(
    corrected: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    printed = cli(*UPDATE, status=5)
    assert printed.out.startswith(PREVIEW)
    assert "Run it again with --yes." in printed.err
    assert not is_offered()


def test_a_copy_that_needs_nothing_is_counted(served: ServedHub) -> None:
    publish(served.hub, NEW)
    take_copy(served.hub, "anna")
    assert "0 cannot be merged, 1 with no cell to change." in cli(*UPDATE, "--preview").out


def test_an_item_that_is_not_there_is_told(served: ServedHub) -> None:
    assert "There is no assignment 'Z9' on the hub." in cli("hub update Z9", status=3).err


def test_an_item_is_found_by_a_part_of_its_name(served: ServedHub) -> None:
    served.hub.publish("A4-My-First")
    assert "0 copies" in cli("hub update A4 --preview").out


def test_two_wishes_at_once_are_refused(served: ServedHub) -> None:
    cli(*UPDATE, "--preview", "--undo", status=2)
