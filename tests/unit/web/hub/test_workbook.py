"""Workbooks: what a spreadsheet program reads in them."""

from __future__ import annotations

import io
import zipfile
from xml.etree import ElementTree

from mograder.web.hub.gradebook import write_workbook

_S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def _cells(data: bytes) -> list[list[str]]:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        sheet = ElementTree.fromstring(packed.read("xl/worksheets/sheet1.xml"))
    return [["".join(cell.itertext()) for cell in row] for row in sheet.iter(f"{_S}row")]


def test_texts_and_numbers_are_read_back_and_nothing_is_empty() -> None:
    data = write_workbook(["student", "mark"], [["älice <&>", 12.5], ["bob", None]])
    assert _cells(data) == [["student", "mark"], ["älice <&>", "12.5"], ["bob", ""]]


def test_a_text_is_no_formula_and_holds_no_character_that_xml_cannot() -> None:
    data = write_workbook(["=1+1"], [["\x00bad"]])
    sheet = zipfile.ZipFile(io.BytesIO(data)).read("xl/worksheets/sheet1.xml").decode()
    assert "<f" not in sheet
    assert _cells(data) == [["=1+1"], ["\N{REPLACEMENT CHARACTER}bad"]]


def test_every_part_is_named_and_the_same_table_is_the_same_file() -> None:
    data = write_workbook(["a"], [])
    packed = zipfile.ZipFile(io.BytesIO(data))
    for name in packed.namelist():
        ElementTree.fromstring(packed.read(name))
    types = packed.read("[Content_Types].xml").decode()
    assert 'PartName="/xl/workbook.xml"' in types
    assert 'PartName="/xl/worksheets/sheet1.xml"' in types
    assert data == write_workbook(["a"], [])
