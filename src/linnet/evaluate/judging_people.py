"""People who judge answers, without being told who wrote them: on a sheet, or one by one.

A sheet is a CSV file with a row for each pair of answers, in an order that says nothing; whoever
judges writes 1, 2 or tie into the last column, with any spreadsheet. Rows are known by a key of
what is judged, so that they may be sorted, taken out and handed in in parts.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from linnet import output
from linnet.config import read_bytes, show
from linnet.errors import DataError
from linnet.evaluate.compare_questions import Asked
from linnet.evaluate.judging import LONGEST_SHOWN, Better, Verdict

SHEET = "sheet.csv"
PREVIOUS = "sheet.previous.csv"
"""A sheet with verdicts that did not have all pairs, or others; its verdicts are on the new one."""
COLUMNS = ("row", "question", "expected", "answer 1", "answer 2", "better")
LARGEST_SHEET = 1 << 28
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_WORDS: Mapping[str, Better] = {
    "1": "first", "2": "second", "1.0": "first", "2.0": "second", "tie": "tie", "=": "tie",
    "0": "tie", "both": "tie", "neither": "tie",
}  # fmt: skip

Decide: TypeAlias = Callable[["Pairing", str, str], Better | None]
"""Shows someone a pair in the order of these texts, and gives what they say; None: nothing."""


@dataclass(frozen=True)
class Pairing:
    """Two answers to a question."""

    asked: Asked
    first: str
    second: str
    seed: int = 0

    @property
    def key(self) -> str:
        """Of the pair, whichever way it is shown."""
        parts = (str(self.seed), self.asked.id, self.asked.question, self.first, self.second)
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
        return f"r{digest[:15]}"  # with a letter before it no spreadsheet takes it for a number

    @property
    def is_swapped(self) -> bool:
        """Whether the second is shown first; as good as drawn, and always the same."""
        digest = hashlib.sha256(f"order {self.key}".encode()).digest()
        return bool(digest[0] & 1)

    def in_order(self) -> tuple[str, str]:
        """Both as they are shown."""
        return (self.second, self.first) if self.is_swapped else (self.first, self.second)

    def verdict(self, better: Better) -> Verdict:
        """What someone said of the pair, unblinded, as a verdict."""
        first_won = (better == "first") != self.is_swapped
        place = None if better == "tie" else 1 if first_won else 2
        return Verdict(better, liked_place=place, is_persons=True)

    def unblinded(self, better: Better) -> Better:
        """A verdict on the order that was shown as one on the pair."""
        if better == "tie" or not self.is_swapped:
            return better
        return "second" if better == "first" else "first"


def read_sheet(file: Path, pairs: Sequence[Pairing]) -> dict[str, Better]:
    """The verdicts that someone wrote, by the keys of the pairs, unblinded; of a pair without one
    there is none. Raises DataError, naming the line."""
    by_key = {pair.key: pair for pair in pairs}
    found: dict[str, Better] = {}
    for line, key, said in _rows(file):
        if not said:
            continue
        better = _WORDS.get(said.lower().strip(" .'\""))
        if better is None:
            raise DataError(f"{file}, line {line}: better must be 1, 2 or tie. Got {show(said)}")
        if key not in by_key:
            raise DataError(
                f"{file}, line {line}: no pair of answers has the row {show(key)}; the answers "
                "have changed since, so take the line out, or the file away"
            )
        unblinded = by_key[key].unblinded(better)
        if found.setdefault(key, unblinded) != unblinded:
            raise DataError(f"{file}, line {line}: row {key} stands here twice, judged otherwise")
    return found


def write_sheet(file: Path, pairs: Iterable[Pairing], verdicts: Mapping[str, Better]) -> None:
    """All pairs, with the verdicts that there are."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    for pair in sorted(pairs, key=lambda each: each.key):
        better = verdicts.get(pair.key)
        said = ""
        if better is not None:
            said = {"first": "1", "second": "2", "tie": "tie"}[pair.unblinded(better)]
        expected = " | ".join(pair.asked.expected)
        cells = (pair.asked.question, expected, *pair.in_order())
        rows.writerow([pair.key, *map(_cell, cells), said])
    # With a mark, by which spreadsheets know that it is UTF-8.
    output.write_text(file, "\ufeff" + text.getvalue().encode("utf-8", "replace").decode())


def keys_of(file: Path) -> set[str]:
    """The rows of a sheet."""
    return {key for _, key, _ in _rows(file)}


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    text = text.replace("\0", " ")[:LONGEST_SHOWN]
    return f"'{text}" if text.startswith(_FORMULA) else text


def _rows(file: Path) -> list[tuple[int, str, str]]:
    """Line, key and verdict of each row."""
    try:
        content = read_bytes(file, LARGEST_SHEET)
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: expected the sheet, but {error}") from None
    text = _decoded(content)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    found = []
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
        if not {"row", "better"} <= names.keys():
            expected = ", ".join(COLUMNS)
            raise DataError(f"{file}: expected the columns {expected}. Got {show(header)}")
        for row in reader:
            key, said = (str(row.get(names[name]) or "").strip() for name in ("row", "better"))
            if key or said:
                found.append((reader.line_num, key, said))
    except csv.Error as error:
        raise DataError(f"{file}: not a valid CSV file: {error}") from None
    return found


def _decoded(content: bytes) -> str:
    """As spreadsheets write text."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")
