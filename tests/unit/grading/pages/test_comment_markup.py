"""Comments in Markdown: what they show, and what they cannot do."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mograder.grading.pages.comment_markup import comment_html, task_html


def test_markdown_with_formulas_is_rendered() -> None:
    html = comment_html(
        "Good, *but*:\nsee $x^2$\n\n- `a<b`\n\n| a |\n|---|\n| 1 |\n\n$$\\frac{1}{2}$$"
    )
    for part in ("<em>but</em>", "<br>", "<msup>", "<code>a&lt;b</code>", "<td>1</td>", "<mfrac>"):
        assert part in html, part


def test_lines_stay_lines_in_a_comment_and_flow_in_a_question_as_in_the_notebook() -> None:
    text = "In 60 words: say\nhow $r_0$ was found."
    assert "<br>" in comment_html(text)
    assert "<br>" not in task_html(text)
    assert "<math" in task_html(text)


def test_money_is_no_formula_and_unknown_tex_is_shown() -> None:
    assert "<math" not in comment_html("It costs $5 and $6.")
    assert "\\nosuch" in comment_html("$\\nosuch$")


def test_an_empty_comment_is_nothing_and_a_long_one_is_plain() -> None:
    assert comment_html(" \n") == ""
    assert comment_html("*x*" * 10_000).startswith("<pre>*x*")


@pytest.mark.parametrize("html_of", [comment_html, task_html])
def test_a_long_text_is_not_kept_in_memory(html_of: Callable[[str], str]) -> None:
    text = "x" * 20_001
    assert html_of("x") is html_of("x")
    assert html_of(text) is not html_of(text)


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "[x](data:text/html;base64,xx)",
    "<https://evil.example>",
    "$</marimo-tex><script>1</script>$",
    "$\\href{javascript:alert(1)}{x}$",
    "<marimo-download data-data='\"x\"'></marimo-download>",
    '<a style="position:fixed" href="//evil.example">x</a>',
    "```html\n<iframe src=//evil.example></iframe>\n```",
    "&lt;script&gt;",
    "<!-- end of cells -->",
)
_OPENED = re.compile(r"<([a-z0-9]+)((?:\s[^>]*)?)>")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_it_runs_or_loads(text: str) -> None:
    check(comment_html(text))


@given(st.lists(st.sampled_from([*HOSTILE, "$", "`", "*", "\n", "[", "](", "|", "> ", "\u202e"])))
def test_nothing_made_of_such_parts_does_either(parts: list[str]) -> None:
    check(comment_html("".join(parts)))


def check(html: str) -> None:
    for name, attributes in _OPENED.findall(html):
        assert name not in {"script", "img", "iframe", "style", "object", "form", "svg"}
        assert not re.search(r"\s(on\w+|style|srcdoc)\s*=", attributes)
        for address in re.findall(r'href="([^"]*)"', attributes):
            assert address.startswith(("http://", "https://"))
    assert "<!--" not in html
    assert "\u202e" not in html


def test_a_text_whose_tables_would_grow_without_bound_is_shown_as_it_is() -> None:
    table = f"{'|a' * 1000}|\n{'|-' * 1000}|\n" + "|x\n" * 2000
    assert comment_html(table).startswith("<pre>")
    honest = "|a|b|\n|-|-|\n" + "|1|2|\n" * 40
    assert comment_html(honest).count("<tr>") == 41
