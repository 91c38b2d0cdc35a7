"""The HTML of a board's lines, from the template that the page uses for them as well."""

from __future__ import annotations

from functools import partial

from mograder.web.hub.support.board.board_view import Line
from mograder.web.hub.support.board.live_board import Renderer, View, order_of
from mograder.web.templating import Pages


def line_renderer(pages: Pages) -> Renderer:
    """Return the function that makes lines; their links are relative to the board's page."""
    return partial(_line, pages)


def _line(pages: Pages, item: str, key: str, line: Line, view: View) -> str:
    return pages.render(
        "_board_line.html",
        "",
        item=item,
        key=key,
        line=line,
        order=order_of(line, key),
        view=view.value,
    )
