"""Which folders a notebook's text names."""

from __future__ import annotations

import pytest

from mograder.notebook.references import names_folder


@pytest.mark.parametrize(
    "text",
    [
        "open('{}/x.csv')",
        "![]({}/x.png)",
        'open("./{}/x.csv")',
        'Path("{}") / "x.csv"',
        'os.path.join("{}", "x.csv")',
        "os.path.join(here, '{}')",
        'mo.notebook_dir() / "{}"',
        "os.listdir('{}')",
        "from {}.f import g",
        "import {}",
    ],
)
@pytest.mark.parametrize("folder", ["data", "solutions"])
def test_a_path_or_an_import_names_a_folder(text: str, folder: str) -> None:
    assert names_folder(text.format(folder), folder)


@pytest.mark.parametrize("text", ['FOLDER = "{}"', "load('{}')", "load(here, '{}')"])
def test_a_value_names_a_folder_unless_that_may_hold_solutions(text: str) -> None:
    assert names_folder(text.format("data"), "data")
    assert not names_folder(text.format("solution"), "solution")
    assert not names_folder(text.format("hidden_tests"), "hidden_tests")


@pytest.mark.parametrize(
    "text",
    ['{{"{}": 1}}', '{{"a": 0, "{}": 1}}', 'result["{}"]', "kind == '{}'", "{} = 1", '"{}x/y"'],
)
@pytest.mark.parametrize("folder", ["data", "solution"])
def test_a_key_an_index_or_a_name_names_no_folder(text: str, folder: str) -> None:
    assert not names_folder(text.format(folder), folder)
