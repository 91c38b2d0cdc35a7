"""The names of a rehearsal's users, which no person can have."""

from __future__ import annotations

import pytest

from mograder.core.errors import InvalidInput
from mograder.core.names import INSTRUCTOR, Username, is_rehearsal, rehearsal_user


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
