"""Strings of symbols, one a line, each a document: molecules as SMILES (Daylight, OpenSMILES).

What follows the first blank of a line names the molecule: it is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.data.blocks import placed
from linnet.data.decoding import read_lines
from linnet.data.document import Dropped, Extracted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context

_HEADERS = {"smiles", "canonical_smiles", "isomeric_smiles", "selfies", "sequence"}


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    limit = context.config.max_document_bytes
    for number, line in enumerate(read_lines(path, limit=limit, changes=context.changes), 1):
        if line is None:
            yield Dropped("line larger than max_document_bytes", f"#{number}")
            continue
        text = line.split(maxsplit=1)[0] if line.strip() else ""
        if text and not (number == 1 and text.lower() in _HEADERS):
            text = placed(text, "symbols", "line", number)
            yield Extracted(text, None, "symbols", f"#{number}", "symbols")
