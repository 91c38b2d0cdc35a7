"""The names of a rehearsal's users, which no person can have."""

from __future__ import annotations

import unicodedata
from typing import Literal

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.names import INSTRUCTOR, Username, is_rehearsal, nfc, rehearsal_user


def test_no_person_has_such_a_name_or_signs_in_with_it() -> None:
    name = rehearsal_user(7)
    assert is_rehearsal(name)
    with pytest.raises(InvalidInput, match="not starting with '__'"):
        Username.parse(name)
    with pytest.raises(InvalidInput, match="not starting with '__'"):
        Username.of_account(name)


@pytest.mark.parametrize("name", ["alice", "rehearsal-1", "_rehearsal-1", INSTRUCTOR, ""])
def test_others_are_none(name: str) -> None:
    assert not is_rehearsal(name)


@pytest.mark.parametrize(
    "name",
    [
        "\N{GREEK SMALL LETTER ALPHA WITH PSILI AND VARIA AND YPOGEGRAMMENI}" * 66,
        "\N{LATIN SMALL LETTER U WITH DIAERESIS AND MACRON}" * 100,
    ],
)
def test_a_long_name_may_be_spelled_with_many_accents(name: str) -> None:
    apart = unicodedata.normalize("NFD", name)
    assert len(apart) > 260
    assert Username.parse(apart) == name == nfc(apart)


def test_accents_of_a_whole_path_are_not_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python takes the square of their number for that: 20 000, in one path, took 0.5 s."""
    normalize, lengths = unicodedata.normalize, [0]

    def counting(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
        lengths.append(len(text))
        return normalize(form, text)

    monkeypatch.setattr(unicodedata, "normalize", counting)
    text = "a" + "\N{COMBINING CEDILLA}\N{COMBINING ACUTE ACCENT}" * 10_000
    with pytest.raises(InvalidInput, match="longer than 100 characters"):
        Username.parse(text)
    assert nfc(text) == text
    assert max(lengths) <= 1000
