"""``mograder validate`` on a real notebook: it reports, exits and leaves as it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mograder.cli.main import root

pytestmark = pytest.mark.timeout(300)

NOTEBOOK = """import marimo

app = marimo.App()


@app.cell
def _():
    from mograder.runtime import check
    x = 1
    return check, x


@app.cell
def _(check, x):
    check("Q1: one", [(x == 1, "not one")])
    return


if __name__ == "__main__":
    app.run()
"""


def test_it_tells_right_from_wrong_and_changes_nothing(tmp_path: Path, uv_cache: Path) -> None:
    (tmp_path / "mograder.toml").write_text(f'[hub]\nuv_cache_dir = "{uv_cache}"\n')
    work = tmp_path / "work"
    work.mkdir()
    right, wrong, odd = work / "right.py", work / "wrong.py", work / "odd.py"
    right.write_text(NOTEBOOK)
    wrong.write_text(NOTEBOOK.replace("x = 1\n", "x = 2\n"))
    odd.write_text("# /// script\n# dependencies = 3\n# ///\n" + NOTEBOOK)
    pages = tmp_path / "pages"
    files = [str(each) for each in (right, wrong, odd)]
    result = CliRunner().invoke(
        root, ["validate", "-C", str(tmp_path), "--json", "--html", str(pages), *files]
    )
    assert result.exit_code == 1, result.output
    answers = json.loads(result.stdout)
    assert [answer["ok"] for answer in answers] == [True, False, False]
    assert answers[1]["checks"][0]["details"] == ["not one"]
    assert "dependencies" in answers[2]["export_error"]
    assert "does not pass yet" in (pages / "wrong.html").read_text()
    assert right.read_text() == NOTEBOOK
    assert sorted(each.name for each in work.iterdir()) == ["odd.py", "right.py", "wrong.py"]

    result = CliRunner().invoke(root, ["validate", "-C", str(tmp_path), str(right)])
    assert result.exit_code == 0, result.output
    assert "1 of 1 checks pass" in result.stdout
