"""Files of training rows, read one row at a time, every row known by its file and line.

Read are JSON lines, a JSON array, CSV and TSV (RFC 4180, with any usual delimiter),
Parquet, and plain text (a document per file, or several, separated by a line
``<|endoftext|>``); directories of these; ``hf:NAME`` data sets; corpora that
``linnet data prepare`` made; and examples that ``linnet examples`` made, as people decided about
them. What a row may look like says :mod:`linnet.finetune.row_schema`.

Unlike documents, rows are checked strictly: one that cannot be used is an error
that names it. All files must be UTF-8.
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from linnet import artifact
from linnet.data.json_stream import JsonError, JsonStream, LongValueError
from linnet.errors import ArtifactError, DataError
from linnet.examples import prompts
from linnet.examples.decisions import decisions_file
from linnet.examples.record import Example, examples_file, is_examples, read_examples
from linnet.examples.texts import Context, contexts, corpus_of
from linnet.finetune.row_schema import PromptRow, Row, RowError, TextRow, parse_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Split = Literal["train", "validation"]

LONGEST_ROW = 64 << 20
"""Bytes, or characters, of one row at most."""
_MOST_COUNTED = 1000  # rows that are looked at after the first that cannot be used
_MOST_EXPANSION, _LEAST_EXPANDED = 100, 4 << 30  # of a Parquet file
_CHUNK = 1 << 20
_END_OF_DOCUMENT = "<|endoftext|>"

# Files beside rows that hold none.
_NO_ROWS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SPLIT_NAMES: Mapping[str, str] = {
    "train": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test",
}  # fmt: skip

_Read: TypeAlias = "Iterator[tuple[str, Any]]"
"""Where a row stands in its file, and what is there: a value, or a RowError in its place."""


@dataclass(frozen=True)
class Source:
    """What a path, or the name of a data set, stands for."""

    files: dict[Split, list[Path]]
    """Files of rows by split; of most sources everything is ``train``."""
    unused: tuple[Path | str, ...] = ()
    """Files of test splits, or what else there is for testing."""
    corpus: Path | None = None
    """The corpus that it is, if it is one; then there are no files."""
    examples: Path | None = None
    """The file of examples that it is, if it is one; it has its own splits."""
    name: str = ""
    """What its rows are said to come from, where the files' own paths say nothing."""

    def rows(
        self, split: Split, columns: Mapping[str, str], *, book: prompts.Book = "closed"
    ) -> Iterator[Row]:
        """The rows of a split, possibly none. Raises DataError, naming file and line.

        ``book``: whether the prompt of an example has the passage that the answer is to rest on.
        """
        if self.corpus is not None:
            yield from _corpus_rows(self.corpus, split)
        if self.examples is not None:
            yield from _example_rows(self.examples, split, book)
            return
        for file in self.files.get(split, []):
            yield from read_rows(file, columns=columns, name=self.name)


def open_source(source: str | Path) -> Source:
    """Find out what ``source`` is. Raises DataError when there is nothing to read."""
    if str(source).startswith("hf:"):
        from linnet.data.hub import fetch_dataset
        from linnet.hub.session import cache_directory, require_library

        require_library(f"reading {source}")
        files = fetch_dataset(str(source), cache_directory().parent / "linnet")
        return Source({"train": files}, name=str(source))
    if is_examples(source):
        file = examples_file(source)
        decisions = decisions_file(file)
        files = [file, decisions] if decisions.is_file() else [file]
        tested = next(read_examples(file, split="test"), None) is not None
        unused = (f"what {file} has for testing",) if tested else ()
        return Source({"train": files}, unused=unused, examples=file)
    path = artifact.within(source, "corpus")
    if artifact.is_artifact(path):
        kind = artifact.read(path).manifest.kind
        if kind != "corpus":
            raise DataError(f"{path}: expected rows or a corpus directory, but it is a {kind}")
        return Source({}, corpus=path)
    if path.is_dir():
        return _directory(path)
    if not path.exists():
        raise DataError(f"{path}: expected a file or directory of rows, but it does not exist")
    _reader(path)
    return Source({"train": [path]})


def read_values(path: Path) -> Iterator[tuple[str, Any]]:
    """What stands in each row of a file, with the row's name. Raises DataError.

    In the place of a row that cannot be read is a RowError.
    """
    try:
        for place, value in _reader(path)(path):
            yield f"{path}:{place}", value
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def read_rows(path: Path, *, columns: Mapping[str, str], name: str = "") -> Iterator[Row]:
    """The rows of one file. ``columns``: names in the file and what they are called here.

    Raises DataError about the first row that cannot be used, with a count of the others.
    """
    read = _reader(path)
    name = name or str(path)
    values = read(path)
    try:
        for place, value in values:
            try:
                if isinstance(value, RowError):
                    raise value
                row = parse_row(value, source=f"{name}:{place}", columns=columns)
            except RowError as error:
                others = _count_unusable(values, columns)
                more = f" (nor can {others} of the next rows be used)" if others else ""
                raise DataError(f"{name}:{place}: {error}{more}") from None
            yield row
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error})") from None


def _count_unusable(values: _Read, columns: Mapping[str, str]) -> int:
    count = 0
    for _, (place, value) in zip(range(_MOST_COUNTED), values, strict=False):
        try:
            if isinstance(value, RowError):
                raise value
            parse_row(value, source=place, columns=columns)
        except RowError:
            count += 1
    return count


def _corpus_rows(corpus: Path, split: Split) -> Iterator[Row]:
    from linnet.data import read_documents

    for document in read_documents(corpus, split, columns=("source", "text", "copies")):
        for _ in range(document.copies):
            yield TextRow(document.source, document.text)


def _example_rows(file: Path, split: Split, book: prompts.Book) -> Iterator[Row]:
    examples = list(read_examples(file, split=split))
    found: Mapping[str, Context] = {}
    if book == "open" and examples:
        corpus = corpus_of(file)
        if corpus is None:
            raise ArtifactError(
                f"{file}: open book needs the corpus that these examples were made from, and it "
                "is not where it was; make them again, or train closed book"
            )
        found = contexts(corpus, examples)
    for example in examples:
        if book == "closed":
            yield _example_row(file, example, None)
        elif example.id in found:
            yield _example_row(file, example, found[example.id].text)
        else:
            raise DataError(
                f"{file}: example {example.id} quotes a text that its corpus does not have (any "
                "more); make the examples again"
            )


def _example_row(file: Path, example: Example, passage: str | None) -> Row:
    return PromptRow(
        f"{file}:{example.id}",
        prompts.prompt_text(example, passage),
        prompts.answer_text(example),
        prompts.BETWEEN,
        history=tuple((turn.question, turn.answer) for turn in example.turns),
    )


def _directory(path: Path) -> Source:
    """The files of rows below a directory. Where some are named after splits, these count."""
    files = sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() in _READERS
        and file.name not in _NO_ROWS
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and file.is_file()
    )
    if not files:
        raise DataError(f"{path}: expected files of rows ({', '.join(_READERS)}). Found none")
    splits: dict[str, list[Path]] = {"train": [], "validation": [], "test": [], "": []}
    for file in files:
        splits[_split_of(file.relative_to(path))].append(file)
    if not splits["train"]:
        return Source({"train": files})
    train = sorted(splits["train"] + splits[""])
    return Source({"train": train, "validation": splits["validation"]}, tuple(splits["test"]))


def _split_of(path: Path) -> str:
    """The split that a file's name, or a folder's, begins with, as on the Hugging Face hub."""
    for name in (path.stem, *reversed(path.parts[:-1])):
        word = re.split(r"[-_.]", name.lower())[0]
        if word in _SPLIT_NAMES:
            return _SPLIT_NAMES[word]
    return ""


def _reader(path: Path) -> Callable[[Path], _Read]:
    found = _READERS.get(path.suffix.lower())
    if found is None:
        raise DataError(
            f"{path}: expected a file of rows ({', '.join(_READERS)}). Got '{path.suffix}'; "
            "for documents of other kinds use 'linnet data prepare' first"
        )
    return found


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines with their ends and numbers. Raises DataError where they are not UTF-8."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_ROW + 1):
            number += 1
            if len(line) > LONGEST_ROW:
                raise DataError(f"{path}:{number}: a line is longer than {LONGEST_ROW:,} bytes")
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}:{number}: not UTF-8 (byte {line[error.start]:#x} at place "
                    f"{error.start + 1}); save the file as UTF-8"
                ) from None


def _json_lines(path: Path) -> _Read:
    for number, line in _lines(path):
        if line.strip():
            try:
                yield str(number), json.loads(line)
            except RecursionError:
                yield str(number), RowError("not valid JSON: nested too deeply")
            except ValueError as error:
                yield str(number), RowError(f"not valid JSON: {error}")


def _cells(path: Path) -> _Read:
    """Rows by the names in the first one; each is known by the line on which it starts.

    Cells are divided as ``linnet data prepare`` divides them.
    """
    from linnet.data.records import cells_divided

    csv.field_size_limit(LONGEST_ROW)
    delimiter, lines, skipped = cells_divided(
        (line for _, line in _lines(path)), is_tsv=path.suffix.lower() == ".tsv"
    )
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] = []
    while True:
        number = skipped + reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}:{number}: not valid CSV ({error})") from None
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        if not names:
            names = [cell.strip() for cell in row]
        elif len(row) > len(names):
            yield str(number), RowError(f"{len(row)} cells, but the first row has {len(names)}")
        else:
            yield str(number), dict(zip(names, row, strict=False))


def _parquet(path: Path) -> _Read:
    from linnet.data.document import UnreadableError
    from linnet.data.records import read_parquet

    limit = _LEAST_EXPANDED + _MOST_EXPANSION * path.stat().st_size
    try:
        for number, row in enumerate(read_parquet(path, limit=limit), 1):
            yield f"row {number}", row
    except UnreadableError as error:
        raise DataError(f"{path}: {error.reason} {error.detail}".strip()) from None


def _text(path: Path) -> _Read:
    parts: list[str] = []
    first, size = 1, 0
    for number, line in _lines(path):
        if line.strip() == _END_OF_DOCUMENT:
            yield str(first), {"text": "".join(parts).strip("\r\n")}
            parts, first, size = [], number + 1, 0
            continue
        parts.append(line)
        size += len(line)
        if size > LONGEST_ROW:
            raise DataError(f"{path}:{first}: a document is longer than {LONGEST_ROW:,} characters")
    if first == 1 or any(line.strip() for line in parts):
        yield str(first), {"text": "".join(parts).strip("\r\n")}


def _json_array(path: Path) -> _Read:
    """The values of an array, or the only value of the file, holding one of them at a time."""
    values = JsonStream(_chunks(path), limit=LONGEST_ROW)
    try:
        if values.peek() == "[":
            for line, value in values.elements():
                yield str(line), value
            if values.peek():
                raise JsonError("more follows the array", values.line)
        elif values.peek():
            yield str(values.line), values.take()
            if values.peek():
                raise JsonError(
                    "more follows the value; name the file .jsonl if it is lines", values.line
                )
    except LongValueError as error:
        raise DataError(f"{path}:{error.line}: {error}") from None
    except JsonError as error:
        raise DataError(f"{path}:{error.line}: not valid JSON: {error}") from None


def _chunks(path: Path) -> Iterator[str]:
    """The text of a file, a part at a time. Raises DataError where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    with path.open("rb") as file:
        while True:
            data = file.read(_CHUNK)
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                raise DataError(
                    f"{path}:{line}: not UTF-8 (byte {error.object[error.start]:#x}); "
                    "save the file as UTF-8"
                ) from None
            line += data.count(b"\n")
            if text:
                yield text
            if not data:
                return


_READERS: Mapping[str, Callable[[Path], _Read]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": _cells,
    ".tsv": _cells,
    ".parquet": _parquet,
    ".txt": _text,
    ".md": _text,
}
