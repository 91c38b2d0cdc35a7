"""Writing keys into the PEP 723 block, and nothing else (compatibility-0.3.16.md 7, B70, B90)."""

from __future__ import annotations

import tomllib

import pytest

from mograder.core.errors import InvalidInput
from mograder.notebook.header_edit import check_header, ensure_kind, read_key, set_keys
from mograder.notebook.pep723 import read_kind, read_script

BLOCK = "# /// script\n# dependencies = []  # none\n# # mine\n# ///\n\nimport marimo\n"
KEYS: dict[str, str | bool] = {"mograder-assignment": "A1", "mograder-hidden-tests": True}


def toml_of(text: str) -> dict[str, object]:
    lines = text.removeprefix("\ufeff").splitlines()
    begin, end = lines.index("# /// script"), lines.index("# ///")
    return tomllib.loads("\n".join(line[2:] for line in lines[begin + 1 : end]))


def test_keys_are_the_last_lines_of_the_block() -> None:
    assert set_keys(BLOCK, KEYS) == BLOCK.replace(
        "# ///\n\n", '# mograder-assignment = "A1"\n# mograder-hidden-tests = true\n# ///\n\n'
    )


def test_a_key_that_is_there_changes_in_its_place() -> None:
    text = BLOCK.replace("# # mine", '# mograder-assignment = "old"\n# # mine')
    assert set_keys(text, {"mograder-assignment": "new"}) == text.replace("old", "new")


@pytest.mark.parametrize("quote", ['"', "'"])
def test_a_key_in_quotes_is_replaced_and_not_given_twice(quote: str) -> None:
    text = BLOCK.replace("# # mine", f'# {quote}mograder-type{quote} = "demo"')
    assert ensure_kind(text, "lecture") == BLOCK.replace("# # mine", '# mograder-type = "lecture"')


def test_a_text_without_a_block_stays_as_it_is() -> None:
    for text in ("", "import marimo\n", "# /// script\n# x = 1\n\nimport marimo\n"):
        assert set_keys(text, KEYS) == text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_stay(end: str, mark: str) -> None:
    text = mark + BLOCK.replace("\n", end)
    assert set_keys(text, KEYS) == mark + set_keys(BLOCK, KEYS).replace("\n", end)
    assert read_key(set_keys(text, KEYS), "mograder-assignment") == "A1"


@pytest.mark.parametrize(
    "table",
    [
        "# [tool.uv]\n# index-url = 'https://example.org'\n",
        "# [tool.uv.sources]\n# x = { path = 'x' }\n",
        "# [[tool.uv.index]]\n# url = 'https://example.org'\n",
        "#\n# # why\n# [tool.uv] # behind\n# managed = false\n# [tool.other]\n",
    ],
)
def test_keys_never_fall_into_a_table(table: str) -> None:
    """uv takes each entry of ``[tool.uv.sources]`` for a source, and fails at ours."""
    text = BLOCK.replace("# # mine\n", table)
    written = set_keys(text, KEYS)
    assert toml_of(written) == {**toml_of(text), **KEYS}
    assert table in written


def test_a_list_of_lists_is_no_table() -> None:
    text = BLOCK.replace("# # mine\n", '# x = [\n#   ["a"]\n# ]\n')
    assert toml_of(set_keys(text, KEYS)) == {**toml_of(text), **KEYS}


def test_a_name_with_quotes_stays_readable_toml() -> None:
    written = set_keys(BLOCK, {"mograder-assignment": 'a "b" \\ \x7f\x01 é'})
    assert toml_of(written)["mograder-assignment"] == 'a "b" \\ \x7f\x01 é'


@pytest.mark.parametrize(
    ("line", "value"),
    [
        *(('# key = "a,b"', "a,b"), ("# key = 'a'", "a"), ("# key = true", "true")),
        *(('# key = "a\'b"', "a'b"), ("# key = 'a\"b'", 'a"b')),
        *(('#  key="a" # why', "a"), ('# # key = "a"', ""), ('# other = "key = 1"', "")),
        *(('# key = ""', ""), ("# key =", ""), ('#key = "a"', "")),
    ],
)
def test_a_key_is_read_by_its_line(line: str, value: str) -> None:
    assert read_key(f"# /// script\n{line}\n# ///\n", "key") == value


def test_keys_outside_of_the_block_are_not_read() -> None:
    assert read_key('# /// other\n# key = "a"\n# ///\n# key = "b"\n', "key") == ""


def test_the_first_closed_block_counts() -> None:
    text = "# /// script\n\n# /// script\n# key = 'b'\n# ///\n"
    assert read_key(text, "key") == "b"


@pytest.mark.parametrize(
    ("head", "rest"),
    [
        ("", "import marimo\n"),
        ("", '"""A docstring."""\n\nimport marimo\n'),
        ("", "# a remark\nimport marimo\n"),
        ("#!/usr/bin/env python\n", "import marimo\n"),
        ("# -*- coding: utf-8 -*-\n", "import marimo\n"),
        ("#!/usr/bin/env python\n# coding: utf-8\n", "import marimo\n"),
        ("\ufeff", "import marimo\n"),
        ("\ufeff# coding: utf-8\n", "import marimo\n"),
        ("", ""),
    ],
)
def test_a_block_is_made_where_tools_look_for_it(head: str, rest: str) -> None:
    block = '# /// script\n# mograder-type = "lecture"\n# ///\n\n'
    made = ensure_kind(head + rest, "lecture")
    assert made == head + block + rest
    assert read_kind(made) == "lecture"
    assert read_script(made).kind == "lecture"
    assert ensure_kind(made, "lecture") == made


def test_a_kind_replaces_another() -> None:
    text = BLOCK.replace("# # mine", '# mograder-type = "demo"')
    assert read_kind(ensure_kind(text, "lecture")) == "lecture"
    assert ensure_kind(text, "lecture") == text.replace("demo", "lecture")


def test_a_malformed_block_is_refused_with_file_and_line() -> None:
    check_header(BLOCK, "A1.py")
    with pytest.raises(InvalidInput, match=r"^A1\.py:3: .*not valid TOML"):
        check_header(BLOCK.replace("[]", "["), "A1.py")
