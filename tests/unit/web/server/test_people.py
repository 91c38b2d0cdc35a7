"""User names and registration on an assignment server.

B139-B141, B145; security.md, "The assignment server".
"""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

import httpx
import pytest

from mograder.core.errors import Conflict, InvalidInput
from mograder.core.names import Username
from mograder.store.assignment_server import name_registry as registry_module
from mograder.store.assignment_server.name_registry import How, NameRegistry
from mograder.store.assignment_server.secret import ensure_secret, read_secret
from mograder.web.error_responses import TooManyAttempts
from mograder.web.server import limits as limits_module
from mograder.web.server.limits import RegistrationLimits
from tests.support.assignment_app import CODE, Course
from tests.support.clock import ManualClock
from tests.support.threads import at_once


async def _register(
    course: Course, user: object, code: object = CODE, as_user: str | None = None, **more: object
) -> httpx.Response:
    body = {"user": user, "enrollment_code": code, **more}
    return await course.ask("POST", "/register", as_user, json=body)


async def _me(course: Course, token: str) -> int:
    """Return the status of a request with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    return (await course.ask("GET", "/me", headers=headers)).status_code


async def test_b139_a_secret_is_made_and_tokens_are_its_hmac(course: Course) -> None:
    """B139: 64 hexadecimal digits in a file for the server alone; it stays over a restart."""
    path = course.root / ".mograder-secret"
    secret = course.services.secret
    assert path.read_text() == secret + "\n"
    assert len(bytes.fromhex(secret)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    mac = hmac.new(secret.encode(), b"alice", hashlib.sha256).hexdigest()
    headers = {"Authorization": f"Bearer alice:{mac}"}
    assert (await course.ask("GET", "/assignments", headers=headers)).status_code == 200
    course.restart()
    assert course.services.secret == secret


async def test_b139_auth_is_on_by_default(course: Course) -> None:
    for token in ("", "Bearer", "Bearer alice", "Bearer alice:00", "Basic YTpi", "Bearer a:b:c"):
        answer = await course.ask("GET", "/assignments", headers={"Authorization": token})
        assert (answer.status_code, answer.json()) == (401, {"error": "Authentication required"})
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_b141_who_knows_the_code_gets_a_token_of_their_own(course: Course) -> None:
    """B141: in 0.3.16's shape; the code is apart from the secret."""
    told = (await _register(course, "alice")).json()
    assert told == {"token": course.token("alice"), "user": "alice"}
    headers = {"Authorization": f"Bearer {told['token']}"}
    me = (await course.ask("GET", "/me", headers=headers)).json()
    assert me == {"user": "alice", "role": "student", "time": "2026-09-01T09:00:00.000Z"}
    assert CODE not in course.services.secret


@pytest.mark.parametrize(
    ("user", "code", "status", "error"),
    [
        ("alice", "wrong", 403, "Invalid enrollment code"),
        ("alice", "", 403, "Invalid enrollment code"),
        ("alice", "é", 403, "Invalid enrollment code"),
        ("", CODE, 400, "Missing 'user' field"),
        (3, CODE, 400, "'user' must be a text"),
        ("a b", CODE, 400, "Invalid username: must be alphanumeric, underscore, hyphen, or dot"),
        ("a/../b", CODE, 400, "Invalid username: must be alphanumeric, underscore, hyphen, or dot"),
        ("a..b", CODE, 400, "Invalid username: must not contain '..'"),
        ("__instructor__", CODE, 400, "Reserved username"),
    ],
)
async def test_a_bad_registration_is_refused_in_0316s_words(
    course: Course, user: object, code: str, status: int, error: str
) -> None:
    answer = await _register(course, user, code)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


async def test_what_is_no_json_is_told(course: Course) -> None:
    for body in (b"", b"{", b"[]", b"\xff", b"[" * 100_000):
        answer = await course.ask("POST", "/register", content=body[:16_000])
        assert (answer.status_code, answer.json()) == (400, {"error": "Invalid JSON"})
    answer = await course.ask("POST", "/register", content=b'{"enrollment_code": "x"}')
    assert answer.json() == {"error": "Missing 'user' field"}


async def test_without_a_code_nobody_registers(course: Course) -> None:
    course.restart(enrollment_code="")
    answer = await _register(course, "alice")
    told = {"error": "Registration is not enabled on this server"}
    assert (answer.status_code, answer.json()) == (403, told)
    course.restart(enrollment_code=CODE, no_auth=True)
    answer = await _register(course, "alice")
    told = {"error": "Server has no auth secret (running in --no-auth mode)"}
    assert (answer.status_code, answer.json()) == (400, told)


async def test_a_name_is_given_out_once(course: Course) -> None:
    """compatibility-0.3.16.md 4: anybody with the code got anybody's token."""
    token = (await _register(course, "alice")).json()["token"]
    for name in ("alice", "Alice", "ALICE"):
        answer = await _register(course, name)
        assert answer.status_code == 409
        assert "ask your instructor to reset" in answer.json()["error"]
        assert "token" not in answer.json()
    course.restart()
    assert (await _register(course, "alice")).status_code == 409
    again = await _register(course, "alice", as_user="alice")
    assert again.json()["token"] == token


async def test_names_in_use_are_not_given_out(course: Course) -> None:
    await course.ask("GET", "/me", "carol")
    (course.place("old")).mkdir(parents=True)
    (course.place("old") / "dave.py").touch()
    for name in ("carol", "dave", "Carol", "DAVE"):
        assert (await _register(course, name)).status_code == 409


async def test_a_lost_answer_locks_nobody_out(course: Course) -> None:
    key = "k" * 16
    first = await _register(course, "alice", retry_key=key)
    again = await _register(course, "alice", retry_key=key)
    assert again.json() == first.json()
    assert (await _register(course, "alice", retry_key="j" * 16)).status_code == 409
    assert (await _register(course, "bob", retry_key="short")).status_code == 400
    kept = (course.root / ".mograder" / "people.jsonl").read_text()
    assert key not in kept


async def test_an_instructor_gives_a_name_free(course: Course) -> None:
    old = (await _register(course, "alice")).json()["token"]
    assert (await course.ask("POST", "/people/alice/reset", "prof")).json() == {
        "status": "ok",
        "user": "alice",
    }
    assert await _me(course, old) == 401
    new = (await _register(course, "alice")).json()["token"]
    assert new != old
    course.restart()
    assert await _me(course, new) == 200


async def test_a_revoked_persons_name_stays_taken(course: Course) -> None:
    old = (await _register(course, "alice")).json()["token"]
    await course.ask("POST", "/people/alice/revoke", "prof")
    assert await _me(course, old) == 401
    assert (await _register(course, "alice")).status_code == 409
    (alice,) = (await course.ask("GET", "/people", "prof")).json()["people"]
    assert (alice["user"], alice["how"]) == ("alice", "revoked")


async def test_a_revoked_person_with_a_new_token_is_not_listed_as_revoked(course: Course) -> None:
    await _register(course, "alice")
    await course.ask("POST", "/people/alice/revoke", "prof")
    course.clock.advance(60)
    course.services.people.note(["alice"], How.ISSUED, course.clock.now())
    assert (await course.ask("GET", "/me", "alice")).status_code == 200
    (alice,) = (await course.ask("GET", "/people", "prof")).json()["people"]
    assert alice == {"user": "alice", "since": "2026-09-01T09:01:00.000Z", "how": "issued"}


async def test_what_the_command_line_ends_a_running_server_notices(course: Course) -> None:
    token = course.token("alice")
    assert await _me(course, token) == 200
    NameRegistry(course.root / ".mograder" / "people.jsonl").end(
        "alice", How.REVOKED, course.clock.now()
    )
    course.clock.advance(1)
    assert await _me(course, token) == 401


async def test_only_names_on_the_roster_register(course: Course, tmp_path: Path) -> None:
    roster = tmp_path / "roster.txt"
    roster.write_text("# the class\nalice\n")
    course.restart(roster=roster)
    assert (await _register(course, "alice")).status_code == 200
    answer = await _register(course, "bob")
    assert answer.status_code == 403
    assert "not on this course's list" in answer.json()["error"]
    roster.rename(tmp_path / "renamed while the server runs")
    assert (await _register(course, "bob")).status_code == 403
    course.restart(roster=tmp_path / "zz")
    with pytest.raises(InvalidInput, match="no roster"):
        _ = course.services


async def test_guessing_the_code_is_slowed_down(course: Course) -> None:
    for _ in range(20):
        assert (await _register(course, "mallory", "guess")).status_code == 403
    answer = await _register(course, "mallory", CODE)
    assert answer.status_code == 429
    assert (await _register(course, "alice")).status_code == 200, "the others of the campus"
    assert int(answer.headers["retry-after"]) == 60
    course.clock.advance(60)
    assert (await _register(course, "mallory")).status_code == 200


async def test_a_class_behind_one_address_registers_at_once(course: Course) -> None:
    for number in range(40):
        assert (await _register(course, f"student{number}")).status_code == 200


async def test_b145_with_no_auth_nobody_signs_in(course: Course) -> None:
    course.restart(no_auth=True)
    for path in ("/assignments", "/assignments/hw1/submissions", "/people"):
        assert (await course.ask("GET", path)).status_code == 200
    sent = await course.ask("POST", "/assignments/hw1/submit?user=anyone", content=b"x")
    assert sent.status_code == 200
    elsewhere = {"Origin": "http://evil.test"}
    assert (await course.ask("GET", "/people", headers=elsewhere)).status_code == 403
    assert (await course.ask("GET", "/assignments", headers=elsewhere)).status_code == 200
    own = {"Origin": "http://course.test"}
    assert (await course.ask("GET", "/people", headers=own)).status_code == 200
    rebound = {"Host": "evil.example:8080"}  # a page that leads its own name here
    assert (await course.ask("GET", "/people", headers=rebound)).status_code == 403


def test_two_servers_that_begin_at_once_have_one_secret(tmp_path: Path) -> None:
    secrets = at_once(8, lambda _: ensure_secret(tmp_path / ".mograder-secret"))
    assert len(set(secrets)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [".mograder-secret"]


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"x" * 5000])
def test_a_secret_that_is_none_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".mograder-secret"
    with pytest.raises(InvalidInput, match="no secret"):
        read_secret(path)
    path.write_bytes(content)
    with pytest.raises(InvalidInput):
        ensure_secret(path)


def test_a_name_is_given_to_one_of_many_servers_askers(course: Course) -> None:
    """Several processes may serve one course: here several registers of one file."""
    path = course.root / ".mograder" / "people.jsonl"
    alice, now = Username.parse("alice"), course.clock.now()
    results = at_once(8, lambda _: NameRegistry(path).register(alice, "", now))
    assert sum(isinstance(each, Conflict) for each in results) == 7


def test_a_name_that_was_reset_is_free_again_where_all_are_taken(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "_MOST", 3)
    now, people = course.clock.now(), NameRegistry(course.root / ".mograder" / "people.jsonl")
    for user in ("alice", "bob", "carol"):
        people.register(user, "", now)
    with pytest.raises(Conflict, match="3 names"):
        people.register("dave", "", now)
    people.end("bob", How.RESET, now)
    people.register("dave", "", now)
    people.register("bob", "", now)
    with pytest.raises(Conflict, match="3 names"):
        people.register("erin", "", now)


def test_a_torn_line_of_the_register_is_passed_over(course: Course) -> None:
    path = course.root / ".mograder" / "people.jsonl"
    now = course.clock.now()
    people = NameRegistry(path)
    people.note(["alice"], How.ISSUED, now)
    with path.open("ab") as file:
        file.write(b'{"user": "bo')
    people.note(["carol"], How.ISSUED, now)
    assert [each.user for each in NameRegistry(path).taken()] == ["alice", "carol"]


@pytest.mark.parametrize("emptied", [False, True])
def test_a_register_that_was_put_back_counts_each_revocation_once(
    course: Course, *, emptied: bool
) -> None:
    """Every token of a name that was ever reset was refused, until the server began anew."""
    path, now = course.root / ".mograder" / "people.jsonl", course.clock.now()
    people = NameRegistry(path)
    people.register("alice", "", now)
    people.end("alice", How.RESET, now)
    people.register("alice", "", now)
    text = path.read_bytes()
    path.rename(path.with_suffix(".earlier"))
    if emptied:
        path.touch()
    people.refresh()
    assert people.epoch("alice") == 1, "a file that is missing or empty revokes nothing"
    path.write_bytes(text)
    people.refresh()
    assert people.epoch("alice") == NameRegistry(path).epoch("alice") == 1
    people.end("alice", How.RESET, now)
    assert people.epoch("alice") == 2


async def test_a_name_that_no_file_on_windows_can_have_is_not_given_out(course: Course) -> None:
    answer = await _register(course, "Aux")
    assert answer.status_code == 400
    assert "Windows reserves the name AUX" in answer.json()["error"]
    course.services.people.note(["aux"], How.RESET, course.services.clock.now())
    assert (await _register(course, "aux")).status_code == 200  # a name from before this rule


def test_other_addresses_do_not_reset_the_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "_MOST_ADDRESSES", 50)
    limits = RegistrationLimits(ManualClock())
    for number in range(1980):
        limits.failed(f"10.0.{number // 200}.{number % 200}", "alice")
    for _ in range(19):
        limits.failed("192.0.2.1", "mallory")
    limits.check("192.0.2.1", "mallory")
    limits.failed("192.0.2.1", "mallory")
    for address in ("192.0.2.1", "192.0.2.2"):  # by itself, and all together
        with pytest.raises(TooManyAttempts):
            limits.check(address, "mallory")
    assert len(limits._failed) == 50


def test_one_address_locks_out_itself_only() -> None:
    limits = RegistrationLimits(ManualClock())
    for number in range(200):
        limits.check("192.0.2.1", f"guess{number}")
        limits.failed("192.0.2.1", f"guess{number}")
    with pytest.raises(TooManyAttempts):
        limits.check("192.0.2.1", "another")
    limits.check("192.0.2.2", "alice")
