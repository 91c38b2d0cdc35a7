"""auth.external_signin: the user name of a person whom another system has proved."""

from __future__ import annotations

import pytest

from mograder.auth.external_signin import ProvenPerson, Refusal, parsed_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alice", "alice"),
        ("ALICE", "ALICE"),
        ("al\u0131ce", "al\u0131ce"),
        ("alice@example.edu", "alice@example.edu"),
        ("", Refusal.NO_NAME),
        ("../x", Refusal.BAD_NAME),
        ("__instructor__", Refusal.BAD_NAME),
        ("alice ", Refusal.BAD_NAME),
        ("-rf", Refusal.BAD_NAME),
        ("a/b", Refusal.BAD_NAME),
        ("a\0b", Refusal.BAD_NAME),
        ("x" * 101, Refusal.BAD_NAME),
        ("\u212aate", Refusal.BAD_NAME),
        ("ju\u0308rgen", Refusal.BAD_NAME),
    ],
)
def test_names_pass_the_grammar_unchanged(name: str, expected: str) -> None:
    person = ProvenPerson("lti", "https://moodle.test", "13", name, same_names=False, lifetime=60)
    assert parsed_name(person) == expected
