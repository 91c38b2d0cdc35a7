"""Logging: no secrets in logs (security.md, "Who is asking"; architecture.md, "The packages")."""

from __future__ import annotations

import io
import logging
import sys
import time

import pytest

from mograder.auth.credentials import make_token
from mograder.core.errors import InvalidInput
from mograder.core.log import (
    JournalFormatter,
    TextFormatter,
    configure_logging,
    get_logger,
    mask,
    register_secret,
    request_id,
)

TOKEN = make_token("the hub's secret", "alice")
MAC = TOKEN.partition(":")[2]
CAPABILITY = "Zm9vYmFyYmF6cXV4MTIzNDU2"


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("mograder.web", logging.INFO, "app.py", 1, message, args, None)
    vars(made).update(extra)
    return made


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"token {TOKEN} refused", MAC),
        (f"GET /x?t=alice%3A{MAC}", MAC),
        (f"GET /live/hub/s/{CAPABILITY}/api/kernel", CAPABILITY),
        ("GET /signin?code=one-time-code&x=1", "one-time-code"),
        ("GET /keys?a=1&token=abc123", "abc123"),
        ("POST /?wstoken=abc123", "abc123"),
        (f"Authorization: Bearer {TOKEN}", MAC),
        ("{'authorization': 'Basic YWxpY2U6cGFzc3dvcmQ='}", "YWxpY2U6"),
        ("(b'authorization', b'Basic YWxpY2U6cGFzc3dvcmQ=')", "YWxpY2U6"),
        ("sent Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc", "eyJhbGci"),
        ("Cookie: theme=dark; other=value", "value"),
        ("Set-Cookie: mograder_session=payload.mac; Path=/", "payload"),
        ("[(b'cookie', b'__Host-mograder_session=payload.mac')]", "payload"),
        ("__Secure-mograder_session=payload.mac", "payload"),
        ("__Host-mograder_signin_0a1b2c=payload.mac", "payload"),
        ("refused id_token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMyJ9.c2ln", "eyJzdWIi"),
        ("GET /auth?nonce=n0nce-value&x=1", "n0nce-value"),
        ("POST /token code_verifier=abc-def", "abc-def"),
        ("postgresql://hub:hunter2@db/hub", "hunter2"),
        ("MOGRADER_HUB_SECRET=0123456789abcdef", "0123456789abcdef"),
    ],
)
def test_what_opens_a_door_is_masked(text: str, hidden: str) -> None:
    assert hidden in text
    assert hidden not in mask(text)
    assert "***" in mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "GET /edit/user/alice@example.net/A1/?file=A1.py 200",
        "http://127.0.0.1:8080/edit/user/alice@example.net/A1",
        "alice started A1: 3 sessions, exit code=1",
        "static /s/probe",
        "two login cookies, refused",
    ],
)
def test_ordinary_lines_stay_readable(text: str) -> None:
    assert mask(text) == text


def test_a_masked_path_keeps_its_shape() -> None:
    assert mask(f"/hub/s/{CAPABILITY}/ws?x=1") == "/hub/s/***/ws?x=1"
    assert mask(TOKEN) == "alice:***"


def test_tokens_of_other_systems_and_addresses_of_registration_are_masked() -> None:
    signed = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMyJ9.c2lnbmF0dXJl"
    sealed = "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aXY.Y2lwaGVy.dGFn"
    for token in (signed, sealed):
        assert mask(f"refused {token}, from moodle") == "refused ***, from moodle"
    assert mask(f"https://hub/lti/register/{CAPABILITY}?x") == "https://hub/lti/register/***?x"


@pytest.mark.parametrize("piece", ["-eyJ", "eyJ-", "://a:", "mograder_signin_0"])
def test_no_address_takes_long_to_mask(piece: str) -> None:
    text = "/" + piece * (120_000 // len(piece))
    began = time.process_time()
    mask(text)
    assert time.process_time() - began < 1


def test_a_registered_secret_is_masked_wherever_it_appears() -> None:
    register_secret("correct horse battery")
    register_secret("tiny")
    assert mask("using 'correct horse battery'") == "using '***'"
    assert mask("a tiny thing") == "a tiny thing"


def test_a_text_line_masks_message_extra_fields_and_traceback() -> None:
    try:
        raise ValueError(f"bad token {TOKEN}")
    except ValueError:
        made = record("no %s", TOKEN, user="alice", session_token="abc", path=f"/s/{CAPABILITY}/")
        made.exc_info = sys.exc_info()
    line = TextFormatter().format(made)
    assert "user=alice session_token=*** path=/s/***/" in line
    assert "ValueError: bad token alice:***" in line
    assert MAC not in line
    assert CAPABILITY not in line


def test_nobody_forges_a_line_with_control_characters() -> None:
    line = TextFormatter().format(record("name %s", "x\n2026 error: all is lost\x1b[31m"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_a_record_whose_arguments_do_not_fit_is_written_all_the_same() -> None:
    assert "%d things" in TextFormatter().format(record("%d things", "many"))


def test_configuring_twice_writes_each_record_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(journal=True)
    configure_logging(level="info")
    get_logger("mograder.web").info("hello %s", TOKEN)
    get_logger("web").debug("too fine")
    logging.getLogger("a.library").info("chatter")
    written = capsys.readouterr().err
    assert written.count("hello alice:***") == 1
    assert "too fine" not in written
    assert "chatter" not in written


class Full(io.StringIO):
    """A stream to a full disk."""

    def write(self, text: str) -> int:
        raise OSError("no space left")


def test_a_record_that_cannot_be_written_does_not_spill_its_arguments(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Full())
    configure_logging()
    get_logger("web").warning("token %s", TOKEN)
    written = capfd.readouterr().err
    assert "could not be written" in written
    assert MAC not in written


def test_a_log_on_a_full_disk_does_not_end_what_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the loop that keeps the disk from filling up."""
    for name in ("stderr", "__stderr__"):
        monkeypatch.setattr(sys, name, Full())
    configure_logging()
    get_logger("web").warning("the disk is full")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(InvalidInput, match="loud"):
        configure_logging(level="loud")


def test_loggers_live_below_one_root() -> None:
    assert get_logger("mograder.web").name == "mograder.web"
    assert get_logger("elsewhere").name == "mograder.elsewhere"
    assert get_logger("mograder").name == "mograder"


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
        (logging.DEBUG, 7),
        (1, 7),
    ],
)
def test_b45_the_journal_gets_a_priority_for_each_level(level: int, priority: int) -> None:
    """B45: journalctl -u mograder-hub -p warning."""
    made = record("hello")
    made.levelno = level
    assert JournalFormatter().format(made) == f"<{priority}>mograder.web: hello"


def test_b45_every_line_of_a_traceback_has_the_priority_and_the_request_is_named() -> None:
    """B45: journald makes an entry of each line."""
    made = record("failed", item="A1")
    made.levelno = logging.ERROR
    try:
        raise ValueError("bad")
    except ValueError:
        made.exc_info = sys.exc_info()
    token = request_id.set("r-1")
    try:
        lines = JournalFormatter().format(made).splitlines()
    finally:
        request_id.reset(token)
    assert lines[0] == "<3>mograder.web: failed item=A1 request=r-1"
    assert lines[-1] == "<3>ValueError: bad"
    assert all(line.startswith("<3>") for line in lines)


def test_the_journal_learns_no_secret() -> None:
    assert MAC not in JournalFormatter().format(record(f"token {TOKEN}"))


def test_where_standard_error_is_the_journals_lines_have_no_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging(journal=True)
    get_logger("mograder.web").warning("hello")
    assert stream.getvalue() == "<4>mograder.web: hello\n"
