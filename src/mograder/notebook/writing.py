"""The only wrapper of marimo's code generation, for cells that come from students' browsers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marimo._ast.app_config import _AppConfig
from marimo._ast.cell import CellConfig
from marimo._ast.codegen import generate_filecontents

from mograder.core.errors import InvalidInput
from mograder.notebook.parsing import MARIMO_FAILS, quiet_parser


@dataclass(frozen=True, slots=True)
class CellToWrite:
    """A cell as marimo's page holds it; ``options`` are the arguments of its decorator."""

    code: str
    name: str
    options: Mapping[str, object]


def write_marimo(
    cells: Sequence[CellToWrite], header: str, options: Mapping[str, object], filename: str
) -> str:
    """Return a notebook's text as marimo writes it; ``options`` are the arguments of ``App``.

    Raises:
        InvalidInput: marimo cannot write these cells.
    """
    try:
        with quiet_parser():
            return generate_filecontents(
                codes=[cell.code for cell in cells],
                names=[cell.name for cell in cells],
                cell_configs=[CellConfig.from_dict(dict(cell.options)) for cell in cells],
                config=_AppConfig.from_untrusted_dict(dict(options), silent=True),
                header_comments=header or None,
            )
    except MARIMO_FAILS as error:
        raise InvalidInput(f"{filename}:1: {str(error) or 'marimo cannot write it.'}") from error
