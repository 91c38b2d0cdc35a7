"""``mograder moodle sync-users`` against the recorded Moodle and a real hub (B28 to B34)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mograder.store.gradebook.gradebook import Gradebook, Identity
from tests.support.command_line import cli
from tests.support.moodle.replay import Reply, Request
from tests.support.moodle.teacher import CourseSetup, ServedHub, served_hub

NAMES = {
    "alice": "Alice Ångström",
    "bsmith": "Bob Smith",
    "carol": "Carol Nguyễn-Łukasz",
    "dora": "Dora O'Connor",
}
MAP = ["--map", "students.csv"]
_NO_ACCESS = (
    b'{"exception":"webservice_access_exception","errorcode":"accessexception",'
    b'"message":"Access control exception"}'
)
FIRST = '[[assignments]]\nname = "A1"\nid = 1\n'


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[ServedHub]:
    with served_hub(tmp_path / "hub-course") as served:
        yield served


def names_in(teacher: CourseSetup) -> dict[str, str]:
    with Gradebook(teacher.course / "gradebook.db") as book:
        return dict(book.students())


def test_b28_b30_b31_the_participants_may_use_the_hub_and_graders_see_their_names(
    teacher: CourseSetup, hub: ServedHub
) -> None:
    """B28, B30, B31: the list is on the hub, and full names in the gradebook."""
    arguments = ["--hub-url", hub.url, "--hub-token", hub.token, *MAP]
    told = cli("moodle sync-users", *arguments).out
    assert told == "Found 4 enrolled users on Moodle.\nSynced 4 users to hub.\n"
    listed = (hub.hub.course / "allowed_users.txt").read_text().splitlines()
    assert listed == ["# Allowed users — managed by mograder sync-users", *NAMES]
    assert names_in(teacher) == NAMES
    assert not (teacher.course / "allowed_users.txt").exists()


def test_b28_the_hub_and_its_token_may_come_from_the_environment(
    teacher: CourseSetup, hub: ServedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B28; compatibility-0.3.16.md 9: MOGRADER_HUB_URL and MOGRADER_HUB_INSTRUCTOR_TOKEN."""
    monkeypatch.setenv("MOGRADER_HUB_URL", hub.url)
    cli("moodle sync-users", *MAP, status=1)
    assert not (teacher.course / "gradebook.db").exists()
    monkeypatch.setenv("MOGRADER_HUB_INSTRUCTOR_TOKEN", hub.token)
    cli("moodle sync-users", *MAP)
    assert (hub.hub.course / "allowed_users.txt").exists()


def test_b28_a_hub_that_refuses_is_told_as_such(teacher: CourseSetup, hub: ServedHub) -> None:
    """B28."""
    arguments = ["--hub-url", hub.url, "--hub-token", "dana:00"]
    assert "does not accept this token" in cli("moodle sync-users", *arguments, *MAP, status=4).err
    assert not (hub.hub.course / "allowed_users.txt").exists()


def test_b29_the_first_configured_assignment_that_is_on_moodle_counts(teacher: CourseSetup) -> None:
    """B29; compatibility-0.3.16.md 9: the first with id > 0."""
    cli("moodle sync-users", *MAP)
    (asked,) = teacher.asked("mod_assign_list_participants")
    assert (asked["assignid"], asked["groupid"], asked["filter"]) == ("1", "0", "")


def test_an_anonymous_assignment_that_comes_first_is_passed_over(teacher: CourseSetup) -> None:
    """Sync keeps Moodle's order, in which an anonymous one may be the first."""
    anonymous = '[[assignments]]\nname = "A3"\nid = 3\n'
    config = teacher.course / "mograder.toml"
    config.write_text(f'{anonymous}[[assignments]]\nname = "A1"\nid = 1\n')
    cli("moodle sync-users", *MAP)
    assert [each["assignid"] for each in teacher.asked("mod_assign_list_participants")] == [
        "3",
        "1",
    ]
    (teacher.course / "allowed_users.txt").unlink()
    config.write_text(anonymous)
    printed = cli("moodle sync-users", *MAP, status=5)
    assert "Every assignment in mograder.toml is marked anonymously" in printed.err
    assert not (teacher.course / "allowed_users.txt").exists()


@pytest.mark.parametrize("head", ["[moodle]\ncourse_id = 2\n", ""], ids=["named", "only"])
def test_an_assignment_that_is_restricted_to_a_group_does_not_lock_the_others_out(
    head: str, teacher: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moodle lists only its participants whom the restriction lets in."""
    answer, restricted = teacher.moodle.answer, [b'"id":4,']
    none, rule = (
        b'"availability":null',
        rb'"availability":"{\"c\":[{\"type\":\"group\",\"id\":5}]}"',
    )

    def altered(request: Request) -> Reply:
        reply = answer(request)
        if request.fields.get("wsfunction") != "core_course_get_contents":
            return reply
        body = reply.body
        for each in restricted:
            before, after = body.split(each, 1)
            body = before + each + after.replace(none, rule, 1)
        return replace(reply, body=body)

    monkeypatch.setattr(teacher.moodle, "answer", altered)
    second = '[[assignments]]\nname = "A2"\nid = 2\n'
    (teacher.course / "mograder.toml").write_text(f"{head}{second}{FIRST}")
    told = cli("moodle sync-users", *MAP).err
    assert [each["assignid"] for each in teacher.asked("mod_assign_list_participants")] == ["1"]
    assert "restricted" not in told
    restricted.append(b'"id":3,')
    (teacher.course / "mograder.toml").write_text(f"{head}{FIRST}")
    told = cli("moodle sync-users", *MAP).err
    assert "A1 is restricted on Moodle, so other students of the course are not listed" in told


def test_b32_without_sync_there_is_no_assignment_to_ask_for(teacher: CourseSetup) -> None:
    """B32."""
    (teacher.course / "mograder.toml").write_text('[[assignments]]\nname = "On paper"\n')
    printed = cli("moodle sync-users", *MAP, status=3)
    assert printed.err == (
        "Error: mograder.toml names no assignment on Moodle yet.\n"
        "Run `mograder moodle sync` first.\n"
    )
    assert teacher.moodle.requests == []


def test_b33_a_dry_run_shows_the_users_and_changes_nothing(
    teacher: CourseSetup, hub: ServedHub
) -> None:
    """B33; compatibility-0.3.16.md 9: its lines."""
    arguments = ["--hub-url", hub.url, "--dry-run", *MAP]
    printed = cli("moodle sync-users", *arguments)
    lines = [f"  {user}  ({name})" for user, name in NAMES.items()]
    assert printed.lines == ["Found 4 enrolled users on Moodle.", *lines]
    assert not (hub.hub.course / "allowed_users.txt").exists()
    assert sorted(path.name for path in teacher.course.iterdir()) == [
        "mograder.toml",
        "students.csv",
    ]


def test_names_on_moodle_cannot_write_to_the_terminal(
    teacher: CourseSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People choose their names there; an escape sequence could hide a line, or forge one."""
    answer = teacher.moodle.answer

    def altered(request: Request) -> Reply:
        reply = answer(request)
        body = reply.body.replace(b"Alice", b"\\u001b[2JAl").replace(b"A2. ", b"A2\\u001b[2J. ")
        return replace(reply, body=body)

    monkeypatch.setattr(teacher.moodle, "answer", altered)
    printed = cli("moodle sync-users --dry-run", *MAP)
    assert "  alice  ( [2JAl Ångström)" in printed.lines
    assert "A2 [2J. " in cli("moodle sync --dry-run").out
    assert "A2 [2J. " in cli("moodle upload-feedback Z9", status=3).err


def test_b34_without_a_hub_the_list_is_written_into_the_course(teacher: CourseSetup) -> None:
    """B34; compatibility-0.3.16.md 9: the text and the heading."""
    (teacher.course / "allowed_users.txt").write_text("mallory\n")
    assert cli("moodle sync-users", *MAP).out.endswith("Wrote 4 users to allowed_users.txt.\n")
    assert (teacher.course / "allowed_users.txt").read_text() == (
        "# Allowed users — synced from Moodle\nalice\nbsmith\ncarol\ndora\n"
    )


def test_a_teacher_who_sees_no_usernames_is_told_what_solves_it(teacher: CourseSetup) -> None:
    """Which right, or a mapping file; nothing has changed."""
    told = cli("moodle sync-users", status=4)
    assert told.out == "Found 4 enrolled users on Moodle.\n"
    assert "Moodle does not show you any usernames" in told.err
    assert "moodle/user:viewalldetails" in told.err
    assert "--map FILE" in told.err
    assert not (teacher.course / "allowed_users.txt").exists()
    assert not (teacher.course / "gradebook.db").exists()


def test_who_was_matched_once_needs_no_mapping_again(teacher: CourseSetup) -> None:
    """The local mapping is kept in the gradebook."""
    cli("moodle sync-users", *MAP)
    (teacher.course / "allowed_users.txt").unlink()
    cli("moodle sync-users")
    assert (teacher.course / "allowed_users.txt").read_text().split("\n")[1:5] == list(NAMES)
    with Gradebook(teacher.course / "gradebook.db") as book:
        alice, bob, *_ = book.identities(teacher.moodle.url)
    assert alice == Identity(4, "alice", "Alice Ångström", "alice@example.edu")
    assert (bob.user_id, bob.username) == (5, "bsmith")


def test_an_account_that_was_made_anew_gets_its_name_by_the_mapping(teacher: CourseSetup) -> None:
    """Nothing helped: the hint was to name each username once, which the file did."""
    gone = Identity(99, "alice", "Alice Ångström", "alice@example.edu")
    with Gradebook(teacher.course / "gradebook.db") as book:
        book.put_identities(teacher.moodle.url, [gone])
    printed = cli("moodle sync-users --username-from email-name", status=5)
    assert "alice would be two users of Moodle: 99 and 4." in printed.err
    assert "--map FILE" in printed.err
    doubled = teacher.course / "doubled.csv"
    doubled.write_text("username,email\nalice,alice@example.edu\nalice,other@example.edu\n")
    more = ["--username-from", "email-name"]
    cli("moodle sync-users --map doubled.csv", *more, status=5)
    assert "Wrote 4 users" in cli("moodle sync-users", *MAP).out
    with Gradebook(teacher.course / "gradebook.db") as book:
        assert [each.user_id for each in book.identities(teacher.moodle.url)] == [4, 5, 6, 7]


@pytest.fixture
def details_shown(teacher: CourseSetup, monkeypatch: pytest.MonkeyPatch) -> CourseSetup:
    """Recording 275: the teacher has moodle/user:viewalldetails; no course's page is in it."""
    teacher.at(274, "details-shown")
    answer = teacher.moodle.answer

    def altered(request: Request) -> Reply:
        if request.fields.get("wsfunction") == "core_course_get_contents":
            return Reply(200, "application/json", _NO_ACCESS)
        return answer(request)

    monkeypatch.setattr(teacher.moodle, "answer", altered)
    return teacher


def test_an_account_that_is_renamed_on_moodle_keeps_its_name_here(
    details_shown: CourseSetup,
) -> None:
    """Its work, marks and sign-in stayed behind; the new name alone was on the list."""
    teacher = details_shown
    with Gradebook(teacher.course / "gradebook.db") as book:
        book.put_identities(teacher.moodle.url, [Identity(4, "al")])
    told = cli("moodle sync-users")
    assert "is alice on Moodle, and stays al here" in told.err
    assert "al" in names_in(teacher)
    listed = (teacher.course / "allowed_users.txt").read_text().splitlines()
    assert "al" in listed
    assert "alice" not in listed
    (teacher.course / "renamed.csv").write_text("username,user_id\nalice,4\n")
    cli("moodle sync-users --map renamed.csv")
    assert "and stays" not in cli("moodle sync-users").err
    assert "alice" in (teacher.course / "allowed_users.txt").read_text().splitlines()


def test_usernames_that_are_email_addresses_need_no_file(teacher: CourseSetup) -> None:
    told = cli("moodle sync-users --username-from email-name --json").json
    assert [each["username"] for each in told["users"]] == ["alice", "bob", "carol", "dora"]
    assert told["to"] == "file"


def test_usernames_that_moodle_shows_are_used(details_shown: CourseSetup) -> None:
    teacher = details_shown
    assert "Wrote 4 users" in cli("moodle sync-users").out
    assert names_in(teacher) == {
        **{n: v for n, v in NAMES.items() if n != "bsmith"},
        "bob": "Bob Smith",
    }
