"""The header of a notebook: PEP 723 and the ``mograder-*`` keys.

B90, compatibility-0.3.16.md 7.
"""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.core.errors import InvalidInput
from mograder.core.sections.settings_model import ItemLimits
from mograder.notebook.pep723 import Script, read_kind, read_script

REFERENCE = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
"""The expression that PEP 723 gives as its reference."""

NOTEBOOK = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "marimo",
#     "numpy >= 2",
# ]
# ///

import marimo
"""


def with_block(*lines: str) -> str:
    body = "".join(f"# {line}\n" if line else "#\n" for line in lines)
    return f"# /// script\n{body}# ///\n\nimport marimo\n"


def reference_script(text: str) -> dict[str, object] | None:
    """Read as the PEP's own example does: None without a block, ValueError with two."""
    found = [match for match in REFERENCE.finditer(text) if match["type"] == "script"]
    if len(found) > 1:
        raise ValueError("Multiple script blocks found")
    if not found:
        return None
    content = "".join(
        line[2:] if line.startswith("# ") else line[1:]
        for line in found[0]["content"].splitlines(keepends=True)
    )
    return tomllib.loads(content)


def outcome(text: str) -> Script | str:
    """The script, or the message of the refusal."""
    try:
        return read_script(text)
    except InvalidInput as refused:
        return refused.message


def test_a_block_tells_python_and_dependencies() -> None:
    script = read_script(NOTEBOOK)
    assert script.requires_python == ">=3.11"
    assert script.dependencies == ("marimo", "numpy>=2")
    assert script.tool_uv == ""
    assert script.kind == ""


@pytest.mark.parametrize("text", ["", "import marimo\n", "# a comment\n", "# /// other\n# x\n"])
def test_a_notebook_without_a_block_asks_for_nothing(text: str) -> None:
    assert read_script(text) == Script()


@pytest.mark.parametrize(
    "text",
    [
        NOTEBOOK.replace("\n", "\r\n"),
        NOTEBOOK.replace("\n", "\r"),
        "\ufeff" + NOTEBOOK,
        "#!/usr/bin/env python\n" + NOTEBOOK,
        NOTEBOOK.removesuffix("\n\nimport marimo\n"),
    ],
)
def test_line_ends_and_byte_order_marks_change_nothing(text: str) -> None:
    assert read_script(text) == read_script(NOTEBOOK)


def test_the_same_wishes_in_other_words_compare_equal() -> None:
    one = with_block('dependencies = ["numpy>=2,<3"]', 'requires-python = ">=3.11,<3.14"')
    other = with_block('requires-python = "<3.14, >= 3.11"', "dependencies = [ 'numpy <3, >=2' ]")
    assert read_script(one) == read_script(other)


def test_a_block_runs_to_the_last_end_among_its_comments() -> None:
    text = with_block("[tool.x]", 'text = """', "///", '"""', "[tool.uv]", 'index-url = "u"')
    assert read_script(text).tool_uv == '{"index-url":"u"}'


def test_tool_uv_is_kept_in_one_spelling_whatever_its_order() -> None:
    one = with_block("[tool.uv]", "b = 1", 'a = "x"', "[tool.uv.sources]", 'p = { path = "q" }')
    other = with_block("[tool.uv.sources.p]", 'path = "q"', "[tool.uv]", 'a = "x"', "b = 1")
    expected = '{"a":"x","b":1,"sources":{"p":{"path":"q"}}}'
    assert read_script(one).tool_uv == expected
    assert read_script(other).tool_uv == expected


def test_where_an_author_keeps_our_runtime_is_no_part_of_the_environment() -> None:
    """The hub brings its own; the path of ``mograder new`` leads nowhere there."""
    index = '# [[tool.uv.index]]\n# name = "{0}"\n# url = "{0}"\n'
    sources = "# [tool.uv.sources]\n# mograder = {{ index = 'mograder' }}\n{}# ///\n"
    text = "# /// script\n" + index.format("mograder") + sources.format("")
    assert read_script(text).tool_uv == ""
    other = index.format("torch") + sources.format("# torch = { index = 'torch' }\n")
    text = "# /// script\n" + index.format("mograder") + other
    assert json.loads(read_script(text).tool_uv) == {
        "index": [{"name": "torch", "url": "torch"}],
        "sources": {"torch": {"index": "torch"}},
    }


def test_a_date_in_tool_uv_can_be_kept() -> None:
    script = read_script(with_block("[tool.uv]", "exclude-newer = 2026-01-02T03:04:05Z"))
    assert script.tool_uv == '{"exclude-newer":"2026-01-02T03:04:05+00:00"}'


@pytest.mark.parametrize("kind", ["assignment", "lecture", "demo"])
def test_mograder_type_in_the_block_is_the_kind(kind: str) -> None:
    """B90."""
    text = with_block('dependencies = ["marimo"]', f'mograder-type = "{kind}"')
    assert read_script(text).kind == kind
    assert read_kind(text) == kind


def test_mograder_keys_that_toml_counts_to_tool_uv_still_count_and_stay_out_of_it() -> None:
    """0.3.16 adds them before the closing line, whatever table the block ended in."""
    text = with_block(
        "dependencies = []",
        "[tool.uv]",
        'index-url = "https://example.org/simple"',
        'mograder-cell-hashes = "0a,1b"',
        'mograder-type = "lecture"',
    )
    script = read_script(text)
    assert script.kind == "lecture"
    assert script.tool_uv == '{"index-url":"https://example.org/simple"}'


@pytest.mark.parametrize("source", [{"path": "../extra"}, [{"index": "ours"}]])
def test_a_package_that_is_called_as_those_keys_keeps_its_source(source: object) -> None:
    written = json.dumps(source).replace(":", " =")
    text = with_block(
        "[tool.uv.sources]", f"mograder-extra = {written}", 'mograder-type = "lecture"'
    )
    assert json.loads(read_script(text).tool_uv) == {"sources": {"mograder-extra": source}}


def test_what_an_instructor_allows_is_kept_in_one_spelling() -> None:
    text = with_block(
        'dependencies = ["numpy"]',
        "[tool.mograder]",
        'allow = ["terminal", "ai", "terminal"]',
        'mograder-cell-hashes = "0a,1b"',
    )
    assert read_script(text).allow == ("ai", "terminal")
    assert read_script(with_block("dependencies = []")).allow == ()


def test_the_limits_of_an_items_sessions_are_read_however_toml_spells_them() -> None:
    spelt = [
        ("[tool.mograder.limits]", "memory_mb = 4096", "processes = 9", 'mograder-type = "demo"'),
        ("[tool.mograder]", "limits = {memory_mb = 4096, processes = 9}"),
        ("[tool.mograder]", "limits.memory_mb = 4096", "limits.processes = 9"),
    ]
    for lines in spelt:
        limits = read_script(with_block(*lines)).limits
        assert limits.model_dump(exclude_none=True) == {"memory_mb": 4096, "processes": 9}
    assert read_script(with_block("dependencies = []")).limits == ItemLimits()


def test_a_script_with_limits_is_a_key_like_any_other() -> None:
    """Environments are remembered by header."""
    text = with_block("[tool.mograder.limits]", "memory_mb = 4096")
    assert {read_script(text): 1}[read_script(text)] == 1


@pytest.mark.parametrize(
    "text",
    [
        'import marimo\n# mograder-type = "lecture"\n',
        "# mograder-type = 'lecture'\n",
        '# /// script\n# dependencies = [\n# mograder-type = "lecture"\n# ///\n',
        '# /// script\n# mograder-type = "lecture"\n# no end\n',
        '# /// script\r\n# mograder-type = "lecture"\r\n# ///\r\n',
    ],
)
def test_the_kind_is_found_by_its_line_when_the_block_does_not_tell_it(text: str) -> None:
    assert read_kind(text) == "lecture"


def test_a_kind_nobody_knows_is_no_kind_for_a_quick_look_and_refused_by_a_close_one() -> None:
    text = with_block("dependencies = []", 'mograder-type = "lectrue"')
    assert read_kind(text) == ""
    with pytest.raises(
        InvalidInput, match=r"line 3: mograder-type 'lectrue' is not known\. Use one of"
    ):
        read_script(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (with_block('requires-python = ">=3.11"', "dependencies = [x]"), "line 3: .*TOML"),
        (with_block("dependencies = [", '"numpy"'), "line 3: .*TOML"),
        (
            NOTEBOOK + NOTEBOOK,
            r"line 10: a second script block \(the first is in line 1\)\. Keep one",
        ),
        (
            with_block("dependencies = [", '"numpy",', '"num py >"', "]"),
            "line 4: .*'num py >'.*Write it like",
        ),
        (with_block('dependencies = ["-e ."]'), "line 2: .*, not '-e .'"),
        (
            with_block('dependencies = "numpy"'),
            "line 2: dependencies must be a list.*Write it like",
        ),
        (with_block("dependencies = [1]"), "line 2: dependencies must be a list"),
        (
            with_block("x = 1", 'requires-python = "three"'),
            "line 3: requires-python 'three'.*Write it like",
        ),
        (with_block("requires-python = 3.11"), "line 2: requires-python must be text"),
        (with_block("[tool]", "uv = 1"), r"line 3: \[tool.uv\] must be a table"),
        (with_block("[tool]", "mograder = 1"), r"line 3: \[tool.mograder\] must be a table"),
        (
            with_block("[tool.mograder]", "alow = []"),
            r"line 3: \[tool.mograder\] has no key 'alow'",
        ),
        (with_block("[tool.mograder]", 'allow = "ai"'), "line 3: allow must be a list"),
        (with_block("[tool.mograder]", "allow = [1]"), "line 3: allow must be a list"),
        (with_block("[tool.mograder]", 'allow = ["shell"]'), "line 3: allow must list some"),
        (
            with_block('dependencies = ["memory_mb"]', "[tool.mograder.limits]", "memory_mb = 0"),
            r"line 4: memory_mb in \[tool.mograder.limits\] must be at least 1, not 0",
        ),
        (
            with_block("[tool.mograder]", 'limits = {processes = 3, memory_mb = "2 GB"}'),
            "line 3: memory_mb in .* must be a whole number, not '2 GB'",
        ),
        (
            with_block("[tool.mograder.limits]", "processes = 3", "open_files = true"),
            "line 4: open_files in .* must be a whole number, not true",
        ),
        (
            with_block("[tool.mograder.limits]", "tmp_mb = 99999999999"),
            "line 3: tmp_mb in .* must be at most 16777216",
        ),
        (
            with_block("[tool.mograder.limits]", "memory = 3"),
            r"line 3: \[tool.mograder.limits\] has no key 'memory'.*`memory_mb`",
        ),
        (
            with_block("[tool.mograder]", "limits = 3"),
            r"line 3: \[tool.mograder.limits\] must be a table",
        ),
        (with_block("mograder-type = 1"), "line 2: mograder-type must be text"),
        (
            "# /// script\n# dependencies = []\n\nimport marimo\n",
            "line 1: .*not closed. End it with a line",
        ),
        (with_block("a = " + "[" * 5000 + "]" * 5000), "line 1: .*nested too deeply"),
        (with_block("a" + ".a" * 2000 + " = 1"), "line 1: .*nested too deeply"),
        (with_block("a = " + "9" * 5000), "line 1: .*too long a number"),
        (with_block("[tool.uv]", "a = 0x" + "f" * 5000), "line 1: .*too long a number"),
        (with_block(f'requires-python = "=={"9" * 5000}"'), "line 2: .*not a version range"),
    ],
)
def test_a_broken_header_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_script(text)


def test_an_example_of_a_block_in_the_prose_of_a_cell_is_no_mistake() -> None:
    """An unclosed start counts only at the head of the file."""
    assert read_script('import marimo\nx = """\n# /// script\n"""\n') == Script()


_LINES = st.sampled_from(
    [
        "# /// script",
        "# /// other",
        "# ///",
        "#",
        "# ",
        "#x",
        "",
        " # ///",
        "# /// script ",
        "# a = 1",
        "# [tool.uv]",
        '# b = "x"',
        "import marimo",
        "# dependencies = []",
        "# dependencies = ['numpy']",
        "# dependencies = ['numpy'",
    ]
)


@given(st.lists(_LINES, max_size=14), st.sampled_from(["\n", "\r\n"]))
def test_every_file_is_read_as_the_reference_reads_it(lines: list[str], end: str) -> None:
    text = end.join(lines)
    script = outcome(text)
    try:
        expected = reference_script(text.replace("\r\n", "\n"))
    except ValueError:
        assert isinstance(script, str)
        return
    if isinstance(script, str):
        assert expected is None
        assert "not closed" in script
        return
    dependencies = (expected or {}).get("dependencies", [])
    assert isinstance(dependencies, list)
    assert script.dependencies == tuple(dependencies)


@given(st.text())
def test_any_text_is_read_or_refused_and_nothing_else(text: str) -> None:
    assert read_kind(text) in {"", "assignment", "lecture", "demo"}
    script = outcome(text)
    assert isinstance(script, Script) or script.startswith("line ")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_block_is_read_or_refused_with_a_line(content: str) -> None:
    script = outcome(with_block(*content.splitlines()))
    assert isinstance(script, Script) or script.startswith("line ")


@given(
    st.lists(st.sampled_from(["numpy", "pandas>=2", "scipy[all]", "x @ https://e.org/x.whl"])),
    st.sampled_from(["", "assignment", "lecture", "demo"]),
)
def test_what_is_written_is_read_back(dependencies: list[str], kind: str) -> None:
    listed = ", ".join(f'"{each}"' for each in dependencies)
    lines = [f"dependencies = [{listed}]", *([f'mograder-type = "{kind}"'] if kind else [])]
    script = read_script(with_block(*lines))
    assert [each.replace(" ", "") for each in script.dependencies] == [
        each.replace(" ", "") for each in dependencies
    ]
    assert script.kind == kind
