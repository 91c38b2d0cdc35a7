"""What authors are told of packages that do not run in the browser."""

from __future__ import annotations

import pytest

from mograder.core.errors import InvalidInput
from mograder.publishing import pyodide
from mograder.publishing.browser_export import marimo_pyodide_version
from mograder.publishing.pyodide import Selection, advise_browser, distribution


def notebook(*packages: str) -> str:
    listed = "".join(f'#   "{each}",\n' for each in packages)
    return f"# /// script\n# dependencies = [\n{listed}# ]\n# ///\n\nimport marimo\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The requirements that were resolved; torch is not to be had."""
    found: list[list[str]] = []

    def select(wanted: list[str], *_: object, seconds: float) -> Selection:
        assert seconds < 60
        found.append(wanted)
        if "nonsense" in wanted:
            raise InvalidInput("no such package")
        return Selection((), ("torch 2.9",) if "torch" in wanted else ())

    monkeypatch.setattr(pyodide, "select_wheels", select)
    return found


def test_the_table_is_of_the_version_that_marimo_uses() -> None:
    table = distribution()
    assert table.version == marimo_pyodide_version()
    assert {"numpy", "pandas", "matplotlib", "scipy"} <= table.packages.keys()


def test_a_version_that_pyodide_does_not_have_is_told(asked: list[list[str]]) -> None:
    (found,) = advise_browser(notebook("marimo", "numpy<2"), "hw.py")
    has = distribution().packages["numpy"]
    version = distribution().version
    assert (found.line, found.message) == (4, f"numpy<2, but Pyodide {version} has {has}.")
    assert asked == []


def test_a_package_that_nobody_built_for_the_browser_is_told(asked: list[list[str]]) -> None:
    (found,) = advise_browser(notebook("marimo", "torch"), "hw.py")
    assert found.line == 2
    assert "torch 2.9" in found.message
    assert asked == [["torch"]]


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        (notebook("marimo", "mograder", "numpy>=2", "Pandas", "x; sys_platform == 'win32'"), []),
        (notebook("seaborn"), [["seaborn"]]),
        (notebook("marimo[sql,lsp]>=0.25"), [["marimo-base[lsp,sql]"]]),
        (notebook("nonsense"), [["nonsense"]]),
        ("# /// script\n# dependencies = [\n# ///\n", []),
    ],
    ids=[
        "pyodide has them",
        "plain python",
        "marimo's extras",
        "the index does not answer",
        "unreadable",
    ],
)
def test_nothing_is_told_and_only_what_pyodide_has_not_is_resolved(
    asked: list[list[str]], text: str, resolved: list[list[str]]
) -> None:
    assert advise_browser(text, "hw.py") == ()
    assert asked == resolved
