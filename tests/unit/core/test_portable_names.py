"""Names that Windows and macOS take, and the way back to those of the server."""

from __future__ import annotations

import ntpath
import sys
import unicodedata
import warnings
from pathlib import PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mograder.core.portable_names import (
    double_of,
    doubles,
    fold,
    local_name,
    local_paths,
    problem,
    problems,
    server_name,
)

STEPS = st.one_of(
    st.text(min_size=1, max_size=12),
    st.text(alphabet='aA.: %/\\?*"<>|\t3Fc2¹é', min_size=1, max_size=8),
    st.sampled_from(["aux", "CON.py", "com¹", "LPT9.tar.gz", "nul .txt", "PRN."]),
).filter(lambda name: name not in {".", ".."} and "/" not in name and "\0" not in name)
PATHS = st.lists(STEPS, min_size=1, max_size=3).map("/".join)


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def is_reserved(name: str) -> bool:
    """What Python's own rules for Windows say of a name."""
    if sys.version_info >= (3, 13):
        return ntpath.isreserved(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PureWindowsPath(name).is_reserved()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("aux", "AUX"),
        ("Con.py", "CON"),
        ("com1", "COM1"),
        ("COM¹.csv", "COM¹"),
        ("nul .txt", "NUL"),
        ("lpt9.tar.gz", "LPT9"),
        ("data.", "end"),
        ("data ", "end"),
        ("a:b", "takes no :"),
        ("a\\b", "takes no \\"),
        ("why?", "takes no ?"),
        ('say "x"', 'takes no "'),
        ("tab\there", r"'\t'"),
        ("...", "dots and spaces"),
        ("", "dots and spaces"),
        ("é" * 200, "255"),
        ("M\udcfcller.csv", "not UTF-8"),
    ],
)
def test_what_some_system_refuses_is_named(name: str, word: str) -> None:
    assert word in problem(name)


@pytest.mark.parametrize(
    "name", ["A1-Intro.py", "auxiliary.py", "com", "console", "COM10", "My notes (2).py", ".x", "é"]
)
def test_ordinary_names_have_no_problem(name: str) -> None:
    assert problem(name) == ""
    assert local_name(name, windows=True) == name


@given(STEPS)
def test_a_name_without_a_problem_is_one_name_on_windows_and_stays(name: str) -> None:
    if problem(name) == "":
        assert PureWindowsPath(name).parts == (name,)
        assert not is_reserved(name)
        assert server_name(local_name(name, windows=True)) == nfc(name)


@given(STEPS)
@example("%3A:")
@example("%%4:")
@example("é%C3")
def test_a_local_name_is_accepted_by_windows_and_leads_back(name: str) -> None:
    local = local_name(name, windows=True)
    assert PureWindowsPath(local).parts == (local,)
    assert not is_reserved(local)
    assert not set(local) & set('<>:"/\\|?*\t')
    assert not local.endswith((".", " "))
    assert server_name(local) == nfc(name)


@given(STEPS)
def test_on_other_systems_only_separators_are_encoded(name: str) -> None:
    local = local_name(name, windows=False)
    assert not set(local) & set(":\\\t")
    assert server_name(local) == nfc(name)
    if not set(name) & set(":\\%") and name.isprintable():
        assert local == nfc(name)


@given(st.lists(PATHS, max_size=8), st.booleans())
@example(["a.csv", "A.csv"], True)
@example(["é", "e\u0301", "É"], True)
@example(["%61.csv", "a.csv", "A.csv"], False)
@example([":b", ":B", "%3Ab"], True)
def test_no_two_local_paths_are_one_and_each_leads_back(paths: list[str], windows: bool) -> None:
    local = local_paths(paths, windows=windows)
    assert set(local) == set(paths)
    assert doubles(local.values()) == () or _file_and_folder(paths)
    assert len({fold(each) for each in local.values()}) == len(local)
    for path, mine in local.items():
        assert nfc("/".join(map(server_name, mine.split("/")))) == nfc(path)
    assert local_paths(reversed(paths), windows=windows) == local


def _file_and_folder(paths: list[str]) -> bool:
    """Whether a path is a folder of another one, which no local name can mend."""
    return any(
        one != other and fold(other).startswith(f"{fold(one)}/") for one in paths for other in paths
    )


def test_a_file_of_ones_own_with_a_percent_sign_is_left_as_it_is() -> None:
    assert server_name("100%.py") == "100%.py"
    assert server_name("a%zz%ff.py") == "a%zz%ff.py"
    assert server_name("a%FF.py") == "a%FF.py"  # no character in UTF-8


def test_doubles_are_pairs_of_files_or_a_file_and_a_folder() -> None:
    assert doubles(["A.csv", "a.csv", "b.csv"]) == (("A.csv", "a.csv"),)
    assert doubles(["é.py", "e\u0301.py"]) == (("e\u0301.py", "é.py"),)
    assert doubles(["Data", "data/x.csv"]) == (("Data", "data/x.csv"),)
    assert doubles(["data/x.csv", "Data/y.csv"]) == ()  # one folder with both files
    assert doubles(["a", "a"]) == ()


def test_the_problems_of_a_release_are_sentences_that_name_the_file() -> None:
    assert problems(["A1.py", "data/x.csv"]) == ()
    assert problems(["aux.csv", "data/con", "B.txt", "b.txt"]) == (
        "aux.csv: Windows reserves the name AUX for a device.",
        "data/con: Windows reserves the name CON for a device.",
        "B.txt and b.txt: on Windows and macOS they are one file.",
    )


def test_a_double_among_other_names() -> None:
    assert double_of("a1", ["A1", "A2"]) == "A1"
    assert double_of("A1", ["A1", "A2"]) == ""
