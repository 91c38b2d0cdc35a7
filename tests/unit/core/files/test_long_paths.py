"""Windows paths of more than 260 characters."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.files.windows_files import extended, reachable, shown

LONG = "\\".join(["a folder with a name"] * 20)
STEPS = st.lists(st.text("abcxyz äö", min_size=1, max_size=30).map(lambda s: f"{s}_"), min_size=1)


@pytest.mark.parametrize(
    ("path", "reached"),
    [
        ("C:\\course\\lab.py", "C:\\course\\lab.py"),
        (f"C:\\{LONG}", f"\\\\?\\C:\\{LONG}"),
        (f"C:/{LONG}".replace("\\", "/"), f"\\\\?\\C:\\{LONG}"),
        (f"\\\\home\\me\\{LONG}", f"\\\\?\\UNC\\home\\me\\{LONG}"),
        (f"\\\\?\\C:\\{LONG}", f"\\\\?\\C:\\{LONG}"),
        (LONG, LONG),
    ],
)
def test_long_absolute_paths_get_the_extended_form(path: str, reached: str) -> None:
    assert extended(path) == reached


@given(STEPS)
def test_the_extended_form_leads_to_the_same_file_and_is_extended_once(steps: list[str]) -> None:
    path = "C:\\" + "\\".join(steps)
    found = extended(path, longest=0)
    assert PureWindowsPath(found).parts[1:] == PureWindowsPath(path).parts[1:]
    assert shown(found) == path
    assert extended(found, longest=0) == found


def test_people_see_a_share_as_it_is() -> None:
    path = f"\\\\home\\me\\{LONG}"
    assert shown(extended(path)) == path


def test_a_tree_is_reached_by_the_extended_form_although_its_root_is_short() -> None:
    assert extended("C:\\course", longest=0) == "\\\\?\\C:\\course"


def test_other_systems_need_no_other_form() -> None:
    path = Path("/", *["a folder with a name"] * 20)
    assert reachable(path) is path
    assert reachable(path, whole_tree=True) is path
