"""Jupyter notebooks (nbformat 3 and 4): prose and code in the order of the cells.

Of outputs, short text stays: it is what a reader learns from. Pictures, tables
drawn as HTML and long listings go.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from linnet.data.blocks import Builder
from linnet.data.decoding import read_text
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.markup.markdown import markdown_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.kinds import Family

_LONGEST_OUTPUT = 40  # lines
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # colours of terminals, ECMA-48


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    try:
        notebook = json.loads(
            read_text(path, limit=context.config.max_document_bytes, changes=context.changes)
        )
        cells = _cells(notebook)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("damaged notebook", str(error)[:200]) from None
    left_out = Counter[str]()
    written = Builder("cell")
    code_length = 0
    for number, cell in enumerate(cells, 1):
        kind = cell.get("cell_type")
        source = _joined(cell.get("source", cell.get("input")))
        family: Family = "code" if kind == "code" else "prose"
        if kind == "code":
            pieces = [source.strip("\n"), *_outputs(cell.get("outputs"), left_out)]
            code_length += len(source)
        elif kind == "raw":  # for other programs: LaTeX, page breaks
            continue
        else:
            pieces = [markdown_text(source)]
        for piece in pieces:
            if piece.strip():
                written.include(piece, family, number=number)
    text = written.text()
    if not text:
        raise UnreadableError("no text in it")
    family = "code" if 2 * code_length >= len(text) else "prose"
    yield Extracted(text, context.group, "notebook", family=family, changes=dict(left_out))


def _cells(notebook: Any) -> list[dict[str, Any]]:
    """The cells. Raises ValueError for JSON that is no notebook."""
    if not isinstance(notebook, dict):
        raise ValueError("not an object")
    sheets = notebook.get("worksheets") or [notebook]  # of nbformat 3
    if not isinstance(sheets, list):
        raise ValueError("worksheets that are no list")
    lists = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
    if not lists or not all(isinstance(cells, list) for cells in lists):
        raise ValueError("no list of cells")
    return [cell for cells in lists for cell in cells or () if isinstance(cell, dict)]


def _outputs(outputs: Any, left_out: Counter[str]) -> Iterator[str]:
    for output in outputs if isinstance(outputs, list) else ():
        if not isinstance(output, dict):
            continue
        data = output.get("data", output)
        data = data if isinstance(data, dict) else {}
        if any(kind.startswith("image/") or kind in ("png", "jpeg", "svg") for kind in data):
            left_out["pictures"] += 1  # its text only names the object that drew it
            continue
        if output.get("output_type") in ("error", "pyerr"):
            text = f"{output.get('ename', '')}: {output.get('evalue', '')}"
        else:
            text = _joined(data.get("text/plain", data.get("text")))
        text = _ESCAPES.sub("", text).strip("\n")
        if text.count("\n") < _LONGEST_OUTPUT:
            yield text
        else:
            left_out["long outputs"] += 1


def _joined(source: Any) -> str:
    """A text as notebooks hold it: a string, or a list of its lines."""
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""
