"""Notebooks of both formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linnet.data.config import DataConfig
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract import Context
from linnet.data.extract import notebook as reader

CODE = "def area(r):\n    return 3 * r * r\n\n\nprint(area(2))  # twelve"


def read(path: Path, notebook: Any) -> Extracted:
    path.write_text(json.dumps(notebook))
    context = Context.of_file(DataConfig(), "a.ipynb", path.parent)
    (found,) = reader.read(path, context)
    assert isinstance(found, Extracted)
    return found


def test_cells_in_order_with_short_outputs(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["\x1b[31m12\x1b[0m\n"]},
        {"output_type": "stream", "name": "stdout", "text": "line\n" * 41},
        {"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": "<Figure>"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["x"] * 50},
    ]
    found = read(
        tmp_path / "a.ipynb",
        {
            "nbformat": 4,
            "cells": [
                {"cell_type": "markdown", "source": ["# Circles\n", "\n", "Their *area*."]},
                {"cell_type": "raw", "source": "\\newpage"},
                {"cell_type": "code", "source": CODE.splitlines(keepends=True), "outputs": outputs},
                {"cell_type": "code", "source": "", "outputs": []},
            ],
        },
    )
    assert found.text == f"Circles\n\nTheir area.\n\n{CODE}\n\n12\n\nValueError: bad"
    assert found.changes == {"pictures": 1, "long outputs": 1}
    assert found.family == "code"


def test_the_older_format(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "heading", "level": 1, "source": "Circles"},
        {"cell_type": "markdown", "source": "They are round, and this is said at some length."},
        {
            "cell_type": "code",
            "input": "1 + 1",
            "outputs": [{"output_type": "pyout", "text": ["2"]}, {"output_type": "x", "png": "a"}],
        },
    ]
    found = read(tmp_path / "a.ipynb", {"nbformat": 3, "worksheets": [{"cells": cells}]})
    assert found.text.endswith("length.\n\n1 + 1\n\n2")
    assert found.text.startswith("Circles\n\nThey")
    assert found.family == "prose"


@pytest.mark.parametrize(
    ("notebook", "reason"),
    [([], "damaged notebook"), ({"a": 1}, "damaged notebook"), ({"cells": []}, "no text in it")],
)
def test_what_is_no_notebook_is_refused(tmp_path: Path, notebook: Any, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read(tmp_path / "a.ipynb", notebook)
