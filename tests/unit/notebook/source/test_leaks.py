"""Parts of solutions left in a finished release (such a release is refused)."""

from __future__ import annotations

import pytest

from mograder.notebook.source.leaks import CellOutput, find_leaks, hidden_values

SOURCE = """\
import marimo

app = marimo.App()


@app.cell
def _(check, f):
    n = 2024
    check("Q1: f", [(f(1) > 0, "it is positive")])
    ### BEGIN HIDDEN TESTS
    check("Q1: f (hidden)", [(abs(f(2) - 20.209) < 0.01, "wrong"), (f(3) == 123456, "no")])
    check("Q1: g", [(f(4) == "forty-two", ""), (f(5) in (2024, 1000, 1.5, True, 1e400), "")])
    ### END HIDDEN TESTS
    return


@app.cell
def _():
    return
"""
RELEASE = (
    SOURCE[: SOURCE.index("    ### BEGIN")] + "    return\n\n\n@app.cell\ndef _():\n    return\n"
)
HIDDEN = hidden_values(SOURCE, RELEASE, "A1.py")


def leaks(text: str, index: int = 1) -> list[str]:
    found = find_leaks(RELEASE, "A1.py", outputs=[CellOutput(index, text)], hidden=HIDDEN)
    return [f"{finding.line}: {finding.message}" for finding in found]


def with_line(line: str) -> list[int]:
    release = RELEASE.replace("n = 2024", line)
    return [finding.line for finding in find_leaks(release, "A1.py")]


def test_the_values_of_hidden_tests_are_those_that_nobody_meets_by_chance() -> None:
    assert set(HIDDEN) == {"20.209", "123456", "forty-two", "Q1: f (hidden)"}


def test_a_value_that_the_release_writes_in_another_way_is_known_anyway() -> None:
    assert "123456" not in hidden_values(SOURCE, RELEASE + "\nx = 123_456\n", "A1.py")


@pytest.mark.parametrize(
    "shown", ["20.209", "-20.209", "f(2) = 20.2090", "[1, 20.20912345]", "<td>20.209</td>"]
)
def test_an_expected_number_in_an_output_is_a_leak(shown: str) -> None:
    line = RELEASE[: RELEASE.rindex("@app.cell")].count("\n") + 1
    assert leaks(shown) == [f"{line}: the output shows '20.209', which a hidden test expects."]


@pytest.mark.parametrize(
    "shown", ["20.21", "20.2", "120.209", "20.2099", "v20.209x", "1.5 2024 1000 True", "forty"]
)
def test_another_number_is_none(shown: str) -> None:
    assert leaks(shown) == []


def test_an_expected_text_in_an_output_is_a_leak() -> None:
    assert len(leaks("the answer is forty-two.")) == 1
    assert len(leaks("123456.0")) == 1


def test_an_output_of_a_cell_that_nobody_knows_is_looked_at_as_well() -> None:
    assert leaks("20.209", index=99)[0].startswith("1: ")


@pytest.mark.parametrize(
    "line",
    [
        'open("/home/ada/course/data.csv")',
        "open('/Users/ada/data.csv')",
        "x = 'file:///home/ada/data.csv'",
        'mo.md("![plot](/home/ada/plot.png)")',
        r'open("C:\\Users\\ada\\data.csv")',
        r'open(r"C:\Users\ada\data.csv")',
        'open("D:/data/x.csv")',
        "# see /mnt/share/solutions",
        'open("/' + 'root/data.csv")',
        'open("/Volumes/USB/data.csv")',
    ],
)
def test_a_path_of_the_authors_own_is_told_with_its_line(line: str) -> None:
    assert with_line(line) == [8]


@pytest.mark.parametrize(
    "line",
    [
        *('open("data.csv")', 'x = "https://example.org/home/ada/x"', 'y = "../../run/L01/"'),
        *('x = "/run/L01/"', 'p = "/usr/share/dict/words"', 'q = "/tmp/x"', 'r = r"^/home/\\w+"'),
        *('print("A:\\nB:\\n")', 'x = "~/home/ada"', "# your files are in /home/student/work"),
        *(
            't = "at 10:30/mnt/x"',
            'u = "$HOME/Users/x"',
            'v = "{root}/home/ada"',
            "w = a / home / b",
        ),
        *("d = {1:2}", 's = "home/ada/x"', 'x = "/homework/ada"'),
    ],
)
def test_other_slashes_are_no_path(line: str) -> None:
    assert with_line(line) == []


def test_a_path_in_an_output_is_told_with_the_cell() -> None:
    assert len(leaks("saved to /home/ada/result.csv")) == 1
    assert leaks("saved to result.csv") == []
