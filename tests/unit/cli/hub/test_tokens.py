"""``hub generate-token`` and ``hub login-link`` (B47, B105, compatibility-0.3.16.md 1)."""

from __future__ import annotations

import hashlib
import hmac
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mograder.auth.credentials import Claims, Role, make_token, verify_metrics_token, verify_token
from mograder.core.clock import SystemClock
from mograder.core.names import INSTRUCTOR
from mograder.store.hub.hub_state import HubState
from tests.support.command_line import cli

SECRET = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def course(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty course that is the working directory, and the hub's secret."""
    monkeypatch.setenv("MOGRADER_HUB_SECRET", SECRET)
    return here


def printed(words: str, *more: str) -> str:
    told = cli(f"hub {words}", *more)
    assert told.err == ""
    assert told.out.endswith("\n")
    assert told.out.count("\n") == 1
    return told.out.strip()


def test_a_students_token_is_the_one_that_0_3_16_made(course: Path) -> None:
    """B105: only the token and a newline, and no database."""
    expected = hmac.new(SECRET.encode(), b"alice", hashlib.sha256).hexdigest()
    assert printed("generate-token", "alice") == f"alice:{expected}"
    assert list(course.iterdir()) == []


def test_an_instructors_token_names_its_instructor() -> None:
    """B47."""
    token = printed("generate-token", "--role", "instructor", "admin")
    assert verify_token(SECRET, token, lambda _: 0) == Claims("admin", Role.INSTRUCTOR)


def test_a_metrics_token_is_no_persons_token(state: HubState) -> None:
    token = printed("generate-token", "--role", "metrics", "prometheus")
    assert verify_token(SECRET, token, state.epoch) is None
    assert verify_metrics_token(SECRET, token, state.epoch)
    state.bump_epoch("prometheus")
    assert not verify_metrics_token(SECRET, token, state.epoch)


def test_a_token_is_valid_after_earlier_ones_were_revoked(state: HubState) -> None:
    old = printed("generate-token", "alice")
    state.bump_epoch("alice")
    new = printed("generate-token", "alice")
    assert verify_token(SECRET, old, state.epoch) is None
    assert verify_token(SECRET, new, state.epoch) == Claims("alice", Role.STUDENT)


def test_an_install_without_the_servers_packages_makes_the_token_from_the_secret_alone(
    state: HubState, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.bump_epoch("alice")
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "sqlalchemy", None)
        token = printed("generate-token", "alice")
    assert token == make_token(SECRET, "alice", Role.STUDENT)


def test_without_the_secret_there_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOGRADER_HUB_SECRET")
    told = cli("hub generate-token alice", status=1)
    assert told.err.startswith("Error: MOGRADER_HUB_SECRET must be set")
    assert told.out == ""


def test_with_the_guides_own_secret_there_is_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOGRADER_HUB_SECRET", "<your-secret-here>")
    told = cli("hub generate-token alice", status=2)
    assert told.err.startswith("Error: MOGRADER_HUB_SECRET is a placeholder")
    assert told.out == ""


@pytest.mark.parametrize("command", ["generate-token", "login-link"])
@pytest.mark.parametrize("name", ["__instructor__", "a:b", "a/b", ""])
def test_a_name_outside_the_grammar_gets_nothing(command: str, name: str) -> None:
    told = cli("hub", command, name, status=2)
    assert "Invalid username" in told.err
    assert told.out == ""


@pytest.mark.parametrize(
    ("options", "role"), [([], Role.STUDENT), (["--role", "instructor"], Role.INSTRUCTOR)]
)
def test_a_link_signs_in_its_person_once_and_is_written_down(
    state: HubState, options: list[str], role: Role
) -> None:
    """A student's, unless another role is named."""
    link = printed("login-link", *options, "alice")
    base, _, code = link.partition("/login/link?code=")
    assert base == "http://127.0.0.1:8080"
    assert len(code) >= 32
    kept = hashlib.sha256(code.encode()).hexdigest()
    now = SystemClock().now()
    row = state.use_link(kept, now)
    assert row is not None
    assert (row.username, row.role) == ("alice", role)
    assert state.use_link(kept, now) is None
    (line,) = state.recent_audit(5)
    assert (line.action, line.what) == (f"make {role.value} sign-in link", "alice")
    assert code not in str(line)


def test_b47_the_instructors_token_may_be_asked_for_by_its_reserved_name() -> None:
    """0.3.16 ignores the name where the role is that of instructors."""
    made = printed("generate-token", INSTRUCTOR, "--role", "instructor")
    assert made == make_token(SECRET, INSTRUCTOR, Role.INSTRUCTOR)
    cli("hub generate-token", INSTRUCTOR, status=2)


def test_a_link_ends_by_itself(state: HubState) -> None:
    code = printed("login-link", "alice").partition("code=")[2]
    kept = hashlib.sha256(code.encode()).hexdigest()
    assert state.use_link(kept, SystemClock().now() + timedelta(minutes=16)) is None


@pytest.mark.parametrize(
    ("toml", "environ", "options", "base"),
    [
        ("[hub]\nport = 9000\n", "", [], "http://127.0.0.1:9000"),
        ('[hub]\nbase_url = "/hub"\n', "", [], "http://127.0.0.1:8080/hub"),
        (
            '[hub]\nbase_url = "/hub"\npublic_url = "https://h.example"\n',
            "",
            [],
            "https://h.example/hub",
        ),
        ("", "https://env.example/x/", [], "https://env.example/x"),
        ("", "https://env.example", ["--url", "http://own.example/"], "http://own.example"),
    ],
)
def test_a_link_leads_where_browsers_find_the_hub(
    state: HubState,
    course: Path,
    toml: str,
    environ: str,
    options: list[str],
    base: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (course / "mograder.toml").write_text(toml)
    monkeypatch.setenv("MOGRADER_HUB_URL", environ)
    assert printed("login-link", "alice", *options).startswith(f"{base}/login/link?code=")


def test_a_course_without_a_hub_keeps_no_link(course: Path) -> None:
    assert "No hub has run in" in cli("hub login-link alice", status=3).err
    assert list(course.iterdir()) == []


def test_revoking_ends_old_tokens_and_the_log_tells(state: HubState) -> None:
    old = printed("generate-token", "alice")
    assert printed("revoke-token", "alice") == "All tokens and logins of alice are void."
    assert verify_token(SECRET, old, state.epoch) is None
    told = [(row.action, row.what, row.origin) for row in state.recent_audit(2)]
    assert told == [
        ("revoke token", "alice", "command line"),
        ("make student token", "alice", "command line"),
    ]


def test_revoking_here_is_told_where_the_environment_names_another_hub(
    state: HubState, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("hub generate-token alice")
    assert cli("hub revoke-token alice").err == ""
    monkeypatch.setenv("MOGRADER_HUB_URL", "https://hub.example.org")
    assert "only the course here was changed" in cli("hub revoke-token alice").err
    assert state.epoch("alice") == 2


def test_a_name_that_the_hub_does_not_know_is_told_and_void_all_the_same(state: HubState) -> None:
    """A token may have been made where the hub's database is not at hand."""
    elsewhere = make_token(SECRET, "alcie", Role.STUDENT)
    told = cli("hub revoke-token alcie", status=3)
    assert told.out == ""
    assert "This hub has no record of alcie." in told.err
    assert verify_token(SECRET, elsewhere, state.epoch) is None


def test_revoking_without_a_hub_makes_no_database(course: Path) -> None:
    cli("hub revoke-token alice", status=3)
    assert list(course.iterdir()) == []
