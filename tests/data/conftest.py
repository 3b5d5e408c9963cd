"""What the tests of the data stage share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Long enough, and enough like prose, for the rules that web pages have to pass.
PAGE = (
    "A page about ferns and mosses. They have grown in these woods for longer than anyone can "
    "remember, and the people of the valley know each of them by name. In the spring the young "
    "fronds unroll beside the stream. Later in the year, when the trees have closed above them, "
    "only the mosses are still bright, and with the first frost they are all that is green."
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder of documents of several kinds."""
    root = tmp_path / "docs"
    (root / "sub").mkdir(parents=True)
    for number in range(60):
        text = f"Note number {number}.\n\nIt has a second paragraph about topic {number % 7}.\n"
        (root / f"note-{number:02d}.txt").write_text(text)
    (root / "sub" / "page.html").write_text(f"<p>{PAGE}</p>")
    (root / "sub" / "read.md").write_text("# Title\n\nSome *markdown* text here.\n")
    (root / "rows.jsonl").write_text(
        "".join(f'{{"id": {n}, "text": "Row {n} holds some words."}}\n' for n in range(30))
    )
    (root / "code.py").write_text("def double(x):\n    return 2 * x\n")
    (root / "copy.txt").write_text((root / "note-07.txt").read_text())
    (root / "tiny.txt").write_text("tiny")
    (root / "scan.pdf").write_bytes(b"%PDF-1.4")
    (root / "blob.txt").write_bytes(bytes(range(256)) * 20)
    (root / ".hidden").write_text("a hidden file")
    return root


@pytest.fixture
def test_data() -> Path:
    """Public material outside the repository; tests that need it skip without it."""
    default = Path(__file__).parents[3] / "shared" / "data"
    place = Path(os.environ.get("LINNET_TEST_DATA", default))
    if not place.is_dir():
        pytest.skip("the test data is not here")
    return place
