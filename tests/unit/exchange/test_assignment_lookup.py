"""Which assignment, which person, which line: matching a Moodle course with this one."""

from __future__ import annotations

import pytest

from mograder.clients.course_server import RemoteAssignment
from mograder.clients.moodle.records import Assignment, Course, Person
from mograder.core.errors import InvalidInput, NotFound
from mograder.core.names import ItemName, Username
from mograder.core.portable_names import problems
from mograder.core.sections.settings_model import Assignment as Configured
from mograder.exchange.assignment_lookup import (
    choose_assignment,
    folder_of,
    local_name,
    only_course,
)
from mograder.exchange.moodle.identities import (
    NamedBy,
    Participants,
    name_people,
    need_names,
    parse_mapping,
)
from mograder.store.gradebook.gradebook import Identity

NAMES = (
    *("A1. Introduction", "A2. Optimisation", "A3. Blind & hidden", "A10. Team", "A11. Later"),
    "Project",
)
COURSE = [Assignment(number, number + 2, 2, name) for number, name in enumerate(NAMES, start=1)]

ALICE = Person(4, "Alice Ångström", email="alice@example.edu", idnumber="s1001")
BOB = Person(5, "Bob Smith", email="bob@example.edu")
CAROL = Person(6, "Carol Nguyễn-Łukasz", email="carol@example.edu")


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("1", "A1. Introduction"),
        ("optim", "A2. Optimisation"),
        ("A1-Introduction", "A1. Introduction"),
        ("A1-Intro-to-SciML", "A1. Introduction"),
        ("lab3", "A3. Blind & hidden"),
    ],
)
def test_an_assignment_is_found_by_its_number_a_part_or_its_name_here(
    argument: str, name: str
) -> None:
    """B89, compatibility-0.3.16.md 4; what else may be typed is in ``test_name_lookup``."""
    configured = [Configured(name="A3. Blind & hidden", id=3, dir="lab3")]
    directories = ["A1-Intro-to-SciML", "A1-Old", "lab3", "other"]
    assert choose_assignment(argument, COURSE, configured, directories).name == name


def test_the_course_is_the_only_one_or_has_to_be_told() -> None:
    one, two = Course(2, "SciML"), Course(9, "Maths")
    assert only_course([one]) == 2
    with pytest.raises(InvalidInput) as problem:
        only_course([one, two])
    assert "9  Maths" in problem.value.hint
    with pytest.raises(NotFound) as none:
        only_course([])
    assert "teacher" not in none.value.hint, "students use it, too"


@pytest.mark.parametrize(
    ("argument", "chosen", "name"),
    [
        ("1", COURSE[0], "lab1"),
        ("A1. Introduction", None, "lab1"),
        ("A1", None, "lab1"),
        ("A2", COURSE[1], "A2-Optimisation"),
        ("A2", None, "A2-Optimisation"),
        ("2", COURSE[1], "A2-Optimisation"),
        ("A3", COURSE[2], "A3. Blind & hidden"),
        ("3", COURSE[2], "A3. Blind & hidden"),
        ("Mine", None, "Mine"),
        ("new/one", None, "new_one"),
    ],
)
def test_an_assignment_is_called_here_as_configured_or_as_its_directory(
    argument: str, chosen: Assignment | None, name: str
) -> None:
    """So that what is fetched lies where grading looks for it."""
    configured = [Configured(name="A1. Introduction", id=1, dir="lab1")]
    directories = ["A2-Optimisation", "Mine", "lab1"]
    assert local_name(argument, configured, directories, chosen) == name


@pytest.mark.parametrize("directory", ["lab1/", "source/lab1", "lab1"])
@pytest.mark.parametrize("argument", ["1", "A1", "lab1"])
def test_the_item_of_an_assignment_is_the_last_part_of_its_directory(
    directory: str, argument: str
) -> None:
    """With a slash behind it, no marks and no releases were found, and all pages were sent."""
    configured = [Configured(name="A1. Introduction", id=1, dir=directory)]
    directories = ["A2-Optimisation", "lab1"]
    chosen = choose_assignment(argument, COURSE, configured, directories)
    assert chosen is COURSE[0]
    assert local_name(argument, configured, directories, chosen) == "lab1"
    if argument != "1":
        assert local_name(argument, configured, directories) == "lab1"


@pytest.mark.parametrize(
    "name", ["hw1", "Week 1: Intro/Part 2", "../../etc", "...", "a" * 300, "日本 1", "user", " x. "]
)
def test_an_assignments_folder_is_a_safe_name_whatever_the_server_calls_it(name: str) -> None:
    folder = folder_of(RemoteAssignment("k17", name))
    assert folder_of(RemoteAssignment("k17", name), windows=True) == folder
    assert ItemName.parse(folder) == folder
    assert folder == "hw1" or name != "hw1"


@pytest.mark.parametrize("name", ["aux", "Con", "nul.part 1", "COM1"])
def test_on_windows_a_reserved_name_gets_a_line_before_it(name: str) -> None:
    assignment = RemoteAssignment("k17", name)
    assert folder_of(assignment, windows=False) == name
    assert folder_of(assignment, windows=True) == f"_{name}"
    assert problems([folder_of(assignment, windows=True)]) == ()


def test_usernames_come_from_the_file_then_from_memory_then_from_moodle() -> None:
    people = [ALICE, Person(5, "Bob Smith", username="bob"), CAROL]
    mapping = parse_mapping(b"\xef\xbb\xbfusername;Email address\nann;ALICE@example.edu\n", "m.csv")
    known = name_people(people, [Identity(6, "carol")], mapping)
    assert known == {4: "ann", 5: "bob", 6: "carol"}
    assert name_people(people, [Identity(5, "b")], mapping)[5] == "b", "renamed on Moodle since"


@pytest.mark.parametrize(
    ("by", "username"),
    [
        (NamedBy.EMAIL, "alice@example.edu"),
        (NamedBy.EMAIL_NAME, "alice"),
        (NamedBy.IDNUMBER, "s1001"),
        (None, None),
    ],
)
def test_what_moodle_does_not_show_is_made_only_when_asked(
    by: NamedBy | None, username: str | None
) -> None:
    known = name_people([ALICE], by=by)
    assert known.get(4) == username
    assert Participants((ALICE,), known).unnamed == (() if username else (ALICE,))


def test_missing_usernames_are_told_with_the_right_and_the_file_that_solve_it() -> None:
    """A clear message saying which right or mapping file."""
    problem = need_names([ALICE, BOB], total=2)
    assert "does not show you any usernames" in problem.message
    for remedy in ("moodle/user:viewalldetails", "--map FILE", "--username-from"):
        assert remedy in problem.hint
    some = need_names([ALICE, BOB], total=3)
    assert "the usernames of Alice Ångström, Bob Smith, so they cannot be matched" in some.message
    assert some.hint.index("--map FILE") < some.hint.index("moodle/user:viewalldetails")
    assert "any ID numbers" in need_names([ALICE, BOB], 2, NamedBy.IDNUMBER).message


def test_two_people_never_share_a_username() -> None:
    with pytest.raises(InvalidInput, match=r"Alice Ångström and Bob Smith would both be x\."):
        name_people([ALICE, BOB], mapping=parse_mapping(b"username,user_id\nx,4\nx,5\n", "m.csv"))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"name,age\n", "does not say which Moodle user is whom"),
        (b"username,email\n../x,a@b\n", "line 2: Invalid username"),
        (b"username,email\nalice\n", "line 2: there are too few columns"),
        (b"username,email\n\xff\n", "not UTF-8"),
        (b"", "does not say"),
    ],
)
def test_a_mapping_file_that_is_wrong_names_the_line(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        parse_mapping(data, "m.csv")


@pytest.mark.parametrize(
    "text",
    [
        "ann",
        "ALICE@example.edu",
        "s1001",
        "alice ångström",
        "Alice A\u030angstro\u0308m",
        " ann ",
    ],
)
def test_a_line_of_grades_finds_its_person_by_whatever_names_them(text: str) -> None:
    assert Participants((BOB, ALICE), {4: Username("ann")}).find(text) is ALICE


def test_a_number_is_moodles_user_id_only_in_a_column_of_those() -> None:
    """A username may be a number, too, of somebody who has left."""
    assert Participants((BOB, ALICE), {}).find("4") is None
    assert Participants((BOB, ALICE), {}).find("4", is_user_id=True) is ALICE


def test_a_name_that_two_people_have_is_not_guessed() -> None:
    twins = (Person(8, "Kim Lee"), Person(9, "Kim Lee"))
    with pytest.raises(InvalidInput, match="may mean Kim Lee"):
        Participants(twins, {}).find("Kim Lee")


@pytest.mark.parametrize(
    "text", ["nobody", "", "Participant ²", "participant-", f"participant {'9' * 5000}"]
)
def test_what_names_nobody_finds_nobody(text: str) -> None:
    assert Participants((ALICE, Person(8, "")), {}).find(text) is None


def test_anonymous_people_are_found_by_their_number() -> None:
    hidden = Person(4, "Participant 1", participant=1)
    assert Participants((hidden,), {}).find("Participant-1") is hidden
    assert Participants((hidden,), {}).find("participant 1") is hidden
    assert Participants((hidden,), {}).find("Participant-12") is None


def test_a_file_of_an_anonymous_person_is_not_that_of_a_namesake() -> None:
    """A username may look like the name under which another person's files are kept."""
    seven, eight = Person(4, "Participant 7", participant=7), Person(5, "", participant=8)
    people = Participants((seven, eight), {5: Username("participant-7")})
    assert people.find("Participant-7", from_here=True) is seven


def test_a_name_in_the_gradebook_is_not_the_new_one_of_a_renamed_account() -> None:
    """The gradebook may have somebody else of that name, who has left Moodle."""
    renamed = Person(4, "Alice Smith", username="ajones")
    people = Participants((renamed,), {4: Username("asmith")})
    assert people.find("ajones", from_here=True) is None
    assert people.find("ajones") is people.find("asmith", from_here=True) is renamed
