"""auth.external_names: the user name of a person whom another system has proved."""

from __future__ import annotations

import pytest

from mograder.auth.external_names import (
    ProvenPerson,
    Refusal,
    check_new_name,
    parsed_name,
)


def person(name: str = "alice", *, same: bool = False) -> ProvenPerson:
    return ProvenPerson("lti", "https://moodle.test", "13", name, same_names=same, lifetime=60)


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
    assert parsed_name(person(name)) == expected


@pytest.mark.parametrize(
    ("linked", "used", "same", "expected"),
    [
        (False, False, False, None),
        (False, True, False, Refusal.KNOWN_HERE),
        (False, True, True, None),
        (True, False, False, Refusal.OTHER_SUBJECT),
        (True, True, True, Refusal.OTHER_SUBJECT),
    ],
)
def test_rules_of_new_links(linked: bool, used: bool, same: bool, expected: Refusal | None) -> None:
    assert check_new_name(person(same=same), linked=linked, used=used) == expected
