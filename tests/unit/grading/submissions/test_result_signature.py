"""grading.result_signature and auth.signing: what a signature covers, and where its key is from."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mograder.auth.signing import derived_key, signature_of
from mograder.core.errors import InvalidInput
from mograder.core.settings import load_settings
from mograder.grading.submissions.grading_result import (
    GradingState,
    grading_key,
    is_signed,
    parse_result,
    render_result,
    sign_result,
)
from mograder.store.submissions.receipts import UNSIGNED, Receipt, sign_receipt
from tests.support.graded_results import graded_result

KEY = derived_key("secret", "grading")


def test_a_signature_is_valid_for_the_result_it_was_made_for_only() -> None:
    result = graded_result()
    signature = sign_result(KEY, result)
    assert is_signed(KEY, result, signature)
    assert is_signed(KEY, parse_result(render_result(result)), signature)
    question = result.questions[0].model_copy(update={"earned": 10.0})
    changes: list[dict[str, object]] = [
        {"auto_mark": 10.0},
        {"student": "bob"},
        {"questions": (question,)},
        {"state": GradingState.CLAIMED},
        {"at": "2027-01-01T00:00:00Z"},
    ]
    for change in changes:
        assert not is_signed(KEY, result.model_copy(update=change), signature), change


def test_results_without_checks_beside_the_answer_keep_their_signatures() -> None:
    """Of those that were signed before a check could say it; one that says it is signed with it."""
    result = graded_result()
    assert '"beside"' not in render_result(result)
    checks = tuple(each.model_copy(update={"beside": True}) for each in result.checks)
    changed = result.model_copy(update={"checks": checks})
    assert parse_result(render_result(changed)) == changed
    assert not is_signed(KEY, changed, sign_result(KEY, result))


@pytest.mark.parametrize("signature", ["", "0" * 64, "ü" * 64, "\ud800"])
def test_any_other_text_is_no_signature(signature: str) -> None:
    assert not is_signed(KEY, graded_result(), signature)


def test_keys_of_other_purposes_and_secrets_give_other_signatures() -> None:
    result = graded_result()
    for key in (derived_key("secret", "receipt"), derived_key("other", "grading")):
        assert not is_signed(key, result, sign_result(KEY, result))


def test_no_key_comes_of_an_empty_secret() -> None:
    with pytest.raises(InvalidInput):
        derived_key("", "grading")


def test_receipts_keep_their_signatures() -> None:
    """The key and the form that 0.3 receipts were signed with: a change would void them all."""
    import hmac
    import json

    unsigned = Receipt(
        assignment="hw1",
        user="alice",
        filename="alice.py",
        sha256="a" * 64,
        size=5,
        received="2026-01-01T00:00:00.000Z",
        sequence=3,
        late=True,
        signature=UNSIGNED,
    )
    receipt = sign_receipt("secret", unsigned)
    fields = dict(receipt)
    del fields["signature"]
    key = hmac.digest(b"secret", b"\0mograder-receipt", "sha256")
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    assert receipt.signature == hmac.digest(key, text.encode(), "sha256").hex()
    assert receipt.signature == signature_of(key, fields)


def test_the_key_is_from_a_secret_that_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    loaded = load_settings(tmp_path, environ={})
    key = grading_key(loaded)
    assert grading_key(loaded) == key
    secret = tmp_path / ".mograder" / "grading-secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_the_servers_secret_is_used_where_there_is_no_other(tmp_path: Path) -> None:
    (tmp_path / ".mograder-secret").write_text("server\n")
    loaded = load_settings(tmp_path, environ={})
    assert grading_key(loaded) == derived_key("server", "grading")


@pytest.mark.parametrize("before", ["server\n", ""])
def test_a_later_secret_of_the_server_does_not_void_old_signatures(
    tmp_path: Path, before: str
) -> None:
    """It is replaced to end all tokens (docs/how-to/serve-a-course.md); results stay valid."""
    server = tmp_path / ".mograder-secret"
    if before:
        server.write_text(before)
    loaded = load_settings(tmp_path, environ={})
    key = grading_key(loaded)
    server.write_text("another\n")
    assert grading_key(loaded) == key
