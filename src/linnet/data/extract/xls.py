"""Workbooks of Excel 97 to 2003 ([MS-XLS]), read by xlrd: a sheet is a document."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from linnet.data.document import UnreadableError
from linnet.data.extract.cells import displayed
from linnet.data.extract.sheets import sheet_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.document import Dropped, Extracted
    from linnet.data.extract.context import Context

KIND = "xls"


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    found = list(_documents(path, context))
    if not found:
        raise UnreadableError("no text in it")
    yield from found


def _documents(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    import xlrd

    with open(os.devnull, "w") as silence:
        try:
            with xlrd.open_workbook(
                str(path), logfile=silence, on_demand=True, formatting_info=True, ragged_rows=True
            ) as book:
                for number, name in enumerate(book.sheet_names()):
                    rows = _rows(book, book.sheet_by_index(number))
                    if found := sheet_document(name, rows, kind=KIND, context=context):
                        yield found
                    book.unload_sheet(number)
        except Exception as error:  # xlrd fails on damaged files in every way there is
            if "encrypted" in str(error).lower():
                raise UnreadableError("encrypted") from None
            raise UnreadableError(f"damaged {KIND}", str(error)[:200]) from None


def _rows(book: Any, sheet: Any) -> Iterator[tuple[int, dict[int, str]]]:
    for number in range(sheet.nrows):
        cells = {}
        for column in range(sheet.row_len(number)):
            if text := _cell(book, sheet.cell(number, column)):
                cells[column] = text
        if cells:
            yield number + 1, cells


def _cell(book: Any, cell: Any) -> str:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_TEXT:
        return str(cell.value).strip()
    if cell.ctype in (xlrd.XL_CELL_NUMBER, xlrd.XL_CELL_DATE):
        style = book.xf_list[cell.xf_index] if cell.xf_index is not None else None
        code = book.format_map[style.format_key].format_str if style is not None else "General"
        return displayed(cell.value, code, epoch_1904=bool(book.datemode))
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return "TRUE" if cell.value else "FALSE"
    return ""
