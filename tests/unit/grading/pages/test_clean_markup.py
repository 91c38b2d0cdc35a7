"""Markup of students' outputs: what of it a page shows, and what no page does."""

from __future__ import annotations

import base64
import json
import time
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mograder.grading.pages.clean_markup import clean_markup
from mograder.grading.pages.marimo_elements import HeadingLevels
from tests.support.page_reader import Reader, element

HALF = "a\udc80b"
PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n and more").decode()


def clean(markup: str) -> str:
    return clean_markup(markup, HeadingLevels())


def words(markup: str) -> str:
    return Reader(clean(markup)).words


@pytest.mark.parametrize(
    "markup",
    [
        "<script>fetch('//x.example')</script>",
        "<img src=x onerror=alert(1)>",
        "<img src='https://x.example/pixel.png'>",
        "<img src='data:text/html,<script>1</script>'>",
        "<img src='data:image/png;base64,PHNjcmlwdD4='>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='data:text/html,x'>x</a>",
        "<a href=' \tjava\nscript:alert(1)'>x</a>",
        "<iframe srcdoc='<script>1</script>'></iframe>",
        "<svg><script>1</script><a href='javascript:1'>x</a></svg>",
        "<math><mi href='javascript:1' style='color:red' onclick=1>x</mi></math>",
        "<div style='position:fixed;inset:0' class='summary unseen'>x</div>",
        "<style>body{display:none}</style><link rel=stylesheet href='//x.example'>",
        "<form action='//x.example'><input name=q><button>send</button></form>",
        "<base href='//x.example'><meta http-equiv=refresh content='0;url=//x.example'>",
        "<template><img src=x onerror=1></template><object data='//x.example'></object>",
        "<marimo-tex>||(\\text{<img src=x onerror=alert(1)>}||)</marimo-tex>",
        "<marimo-tex>||(\\href{javascript:alert(1)}{x}||)</marimo-tex>",
        element("callout-output", html="<script>1</script><b onclick=1>x</b>", kind='"><script>'),
        element("table", data='[{"<script>1</script>": "<img src=x onerror=1>"}]'),
        element("mermaid", diagram="</pre><script>1</script>"),
        element("json-output", json_data={"</pre><script>": "<script>"}),
        element("slider", label="<img src=x onerror=1>", initial_value="<script>"),
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<!--><script>1</script>--><![CDATA[<script>1</script>]]>",
        "<svg></p><style><a id='</style><img src=1 onerror=alert(1)>'>",
    ],
)
def test_nothing_acts_loads_or_hides(markup: str) -> None:
    read = Reader(clean(markup))
    allowed = {"src", "alt", "href", "rel", "class", "tabindex", "role", "aria-label", "scope"}
    allowed |= {"display", "open", "stretchy"}
    assert not {"script", "style", "iframe", "form", "object", "base", "svg"} & set(read.elements)
    assert {name for name, _ in read.attributes} <= allowed
    for name, value in read.attributes:
        if name in ("src", "href"):
            assert value is not None
            assert value.startswith(("data:image/png;", "https://"))
        if name == "class":
            assert not {"summary", "unseen", "note"} & set((value or "").split())


@settings(max_examples=3 * settings().max_examples)
@given(
    st.lists(
        st.sampled_from(
            [
                "<",
                ">",
                "</",
                "<!--",
                "script",
                "marimo-table",
                "marimo-accordion",
                "div",
                "svg",
                "marimo-tex",
                "||(",
                "||)",
                "\\text{",
                "}",
                " data-labels='[\"<img>\"]'",
                " x='",
                "'",
                "<table>",
                "<td>",
                "</td>",
                "<h1>",
                "<math>",
                "<mtext>",
                "<a href=https://a.b>",
            ]
        ),
        max_size=30,
    ).map("".join)
)
def test_any_markup_is_read_and_cleaned_again_without_a_change_of_meaning(markup: str) -> None:
    read = Reader(clean(markup))
    assert "script" not in read.elements
    assert not [name for name, _ in read.attributes if name.startswith(("on", "data-", "style"))]


def test_an_image_of_the_notebook_is_shown_and_described() -> None:
    read = Reader(clean(f"<img src='{PNG}'><img src='{PNG}' alt='A wave' width=3>"))
    assert read.attributes.count(("src", PNG)) == 2
    assert [value for name, value in read.attributes if name == "alt"] == ["Image", "A wave"]


def test_an_image_from_elsewhere_is_told() -> None:
    assert words("<img src='https://x.example/a.png'>").startswith("An image is not shown here")


def test_a_link_says_where_it_leads() -> None:
    told = clean("<a href='https://x.example/a' target=_blank>your bank</a>")
    assert 'rel="noopener noreferrer"' in told
    assert "target" not in told
    assert words("<a href='https://x.example/a'>your bank</a>") == "your bank (x.example)"
    assert words("<a href='https://x.example/a'>https://x.example/a</a>") == "https://x.example/a"
    assert words("<a href='https://bank@x.example/'>bank</a>") == "bank (x.example)"


def test_headings_leave_no_level_out() -> None:
    levels = HeadingLevels()
    first = clean_markup("<h1>a</h1><h4>b</h4><h2>c</h2>", levels)
    then = clean_markup("<h3>d</h3><h1>e</h1>", levels)
    found = [each for each in Reader(first + then).elements if each.startswith("h")]
    assert found == ["h3", "h4", "h4", "h5", "h3"]


def test_a_callout_an_accordion_and_tabs_are_read_as_they_are() -> None:
    callout = element("callout-output", html="<b>Careful</b>", kind="warn")
    assert 'class="callout warn"' in clean(callout)
    assert words(callout) == "Careful"
    labels = escape(json.dumps(["<b>One</b>", "Two"]))
    parts = "<div>1<div>inner</div></div><div>2</div>"
    folded = f"<marimo-accordion data-labels='{labels}'>{parts}</marimo-accordion>after"
    assert words(folded) == "One1inner Two2 after".replace(" Two", "Two").replace(" after", "after")
    assert Reader(clean(folded)).elements.count("details") == 2
    tabs = f"<marimo-ui-element><marimo-tabs data-tabs='{labels}'>{parts}</marimo-tabs>"
    assert Reader(clean(tabs)).elements.count("summary") == 2


def test_a_frame_is_a_table_with_headers_and_says_how_many_rows_there_are() -> None:
    rows = [{"a": n, "b": f"<{n}>"} for n in range(3)]
    table = element("table", data=json.dumps(rows), total_rows=5000)
    read = Reader(clean(table))
    assert read.elements.count("th") == 2
    assert read.attributes.count(("scope", "col")) == 2
    assert "<2>" in read.words
    assert "3 of 5000 rows" in read.words
    csv = "data:text/csv;base64," + base64.b64encode(b"a,b\n1,2\n").decode()
    assert Reader(clean(element("table", data=csv))).elements.count("td") == 2


def test_a_header_without_words_is_no_header() -> None:
    table = clean("<table><tr><th></th><th>x</th></tr></table>")
    assert Reader(table).elements.count("th") == 1


def test_formulas_are_mathml_or_else_their_source() -> None:
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in clean("<marimo-tex>||(x^2||)</marimo-tex>")
    aligned = r"\begin{aligned} a &= b \\ c &= d\end{aligned}"
    assert "<mtable>" in clean(f"<marimo-tex>||[{escape(aligned)}||]</marimo-tex>")
    for odd in (r"\unknown{x}", r"\left( x", "{" * 3000, "x_a_b", "^" * 500):
        assert f'<code class="tex">{odd}</code>' in clean(f"<marimo-tex>||({odd}||)</marimo-tex>")


def test_what_cannot_be_shown_is_named() -> None:
    assert words(element("plotly", figure={})).startswith("An interactive element (plotly)")
    control = element("slider", label="<b>speed</b>", initial_value=3)
    assert words(control) == "speed: 3 (a control, as it was at the start)"
    assert words("<iframe src='//x'>inside</iframe>") == "A page within the page is not shown here."


def test_directions_and_control_characters_are_replaced() -> None:
    assert clean("<b>a&#x202e;b&#x1b;\x00</b>").count("\ufffd") >= 2


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("callout-output", {"html": HALF, "kind": "info"}),
        ("accordion", {"labels": [HALF]}),
        ("stat", {"value": HALF}),
        ("slider", {"label": HALF, "initial_value": HALF}),
        ("json-output", {"json_data": {HALF: HALF}}),
        ("table", {"data": [{HALF: HALF}]}),
    ],
)
def test_half_a_surrogate_pair_in_a_value_is_replaced(name: str, values: dict[str, object]) -> None:
    """It ended the grading of a class."""
    markup = element(name, **values).replace("></", "><p>x</p></")
    assert "a\ufffdb" in clean(markup)


def test_deeply_nested_markup_ends() -> None:
    inner = "<b>x</b>"
    for _ in range(12):
        inner = element("callout-output", html=inner, kind="info")
    assert "callout" in clean(inner)
    assert clean("<div>" * 3000) != ""
    assert clean("<b>" * 20000 + "x") != ""


@pytest.mark.parametrize(
    "markup",
    [
        "<marimo-tex>x" * 2500,
        f'<div style="{"display:flex" * 15_000}">x</div>',
        element("slider", label="<" * 150_000 + "x"),
        element("json-output", json_data={"a": "text/html:" + "<" * 150_000 + "x"}),
    ],
)
def test_markup_that_repeats_takes_no_more_time_for_each(markup: str) -> None:
    """Formulas within formulas took minutes, and the style of a row half a minute."""
    began = time.process_time()
    assert "x" in clean_markup(markup, HeadingLevels())
    assert time.process_time() - began < 5


FORMATS = "".join(f'<b data-x="{number}">' for number in range(400))


@pytest.mark.parametrize(
    "markup",
    [
        f"<p>{FORMATS}{'<p>x' * 800}",
        f"<p>{FORMATS}{'<span class=paragraph>x</span>' * 400}",
        f"<table>{FORMATS.replace('<b', '<FONT')}{'<tr><td>x' * 800}",
    ],
)
def test_what_formats_text_is_not_opened_again_in_every_paragraph(markup: str) -> None:
    """A text of 30 KB took gigabytes, and its page would have taken as much in a browser."""
    assert len(clean(markup)) < 10 * len(markup)


def test_formats_are_kept_and_end_with_their_paragraph() -> None:
    assert clean("<p><b>a <i>b</i></b><B>c</B><p><font>d</font>") == (
        "<p><b>a <i>b</i></b><b>c</b></p><p>d</p>"
    )
    assert clean("<x-b>a</x-b><x-font>b</x-font>") == "<b>a</b>b"


@pytest.mark.parametrize("depth", range(900, 1000))
def test_a_deep_value_in_a_table_is_no_fault(depth: int) -> None:
    rows = '[{"a":' + "[" * depth + "]" * depth + "}]"
    assert clean(f"<marimo-table data-data='{rows}'></marimo-table>") != ""
