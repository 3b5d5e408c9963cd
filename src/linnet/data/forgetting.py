"""Finding what is to be forgotten in a corpus."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from linnet import artifact
from linnet.data import catalog
from linnet.data.storage import Texts
from linnet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    # Whether a document (file, part, id, text) is meant, and by what: "" if it is not.
    Test = Callable[[str, str, str, str], Literal["", "place", "text"]]

_LEAST_ID = 8  # characters that name a document by its id
TEXTS = "texts"


@dataclass(frozen=True)
class Match:
    """A document that is to be forgotten. ``whole_file``: it stands for its file."""

    file: str
    part: str
    id: str
    """Of its text as it was read."""
    split: str
    """Where it was; empty if it was dropped."""
    text: str
    by_place: bool
    """Forgotten where it stands, so that an equal text elsewhere may take its place."""

    @property
    def name(self) -> str:
        return f"{self.file}/{self.part}" if self.part else self.file


def find(corpus: Path, what: str, *, regex: bool = False) -> list[Match]:
    """The documents that ``what`` names.

    A path or the end of one names files, with all that is in them, or one part
    of a file; 8 or more characters of an id name a text wherever it stands; with
    ``regex``, so does what is found in a text, and what is found in a name names
    that file or part.
    Raises DataError when there is none, ConfigError for a bad expression.
    """
    found = artifact.read(corpus, kind="corpus")
    texts = Texts(found.path / TEXTS)
    try:
        with closing(catalog.open_to_read(found.path / catalog.NAME)) as connection:
            test = _test(what, regex=regex)
            matches = list(_matches(connection, texts, test, reads=regex))
            matches += _empty_files(connection, test, {match.file for match in matches})
    except sqlite3.Error as error:
        raise DataError(f"{found.path / catalog.NAME} cannot be read: {error}") from None
    finally:
        texts.close()
    if not matches:
        raise DataError(f"nothing in {corpus} matches '{what}'; see linnet data explain")
    return matches


def _test(what: str, *, regex: bool) -> Test:
    if regex:
        try:
            pattern = re.compile(what)
        except re.error as error:
            raise ConfigError(f"not a regular expression: {error}") from None

        def found(file: str, part: str, _: str, text: str) -> Literal["", "place", "text"]:
            if pattern.search(text):
                return "text"
            return "place" if pattern.search(f"{file}/{part}" if part else file) else ""

        return found
    if len(what) >= _LEAST_ID and set(what) <= set("0123456789abcdef"):
        return lambda file, part, identity, _: "text" if identity.startswith(what) else ""
    wanted = what.rstrip("/")

    def named(file: str, part: str, _: str, __: str) -> Literal["", "place"]:
        names = (file, f"{file}/{part}") if part else (file,)
        meant = any(
            name == wanted
            or name.endswith(f"/{wanted.lstrip('/')}")
            or name.startswith(f"{wanted}/")
            or (wanted.startswith("/") and wanted.endswith(f"/{name}"))
            for name in names
        )
        return "place" if meant else ""

    return named


def _empty_files(connection: sqlite3.Connection, test: Test, known: set[str]) -> list[Match]:
    """Files that are meant by their name and gave no document."""
    names = [name for (name,) in connection.execute("SELECT name FROM files")]
    return [
        Match(name, "", "", "", "", by_place=True)
        for name in names
        if name not in known and test(name, "", "", "")
    ]


def _matches(
    connection: sqlite3.Connection, texts: Texts, test: Test, *, reads: bool
) -> Iterator[Match]:
    """Documents that are meant. ``reads``: the test looks at their texts."""
    rows: Iterator[Any] = connection.execute(
        "SELECT f.name, d.part, d.id, v.id, CASE WHEN v.kept THEN v.side ELSE '' END, "
        "t.spool, t.offset, t.bytes FROM documents AS d JOIN files AS f ON f.number = d.file "
        "JOIN verdicts AS v USING (file, ordinal) JOIN texts AS t ON t.id = d.id "
        "ORDER BY d.file, d.ordinal"
    )
    for file, part, identity, final, split, *place in rows:
        text = texts.read((place[0], place[1], place[2])) if reads else ""
        if by := test(file, part, identity, text) or test(file, part, final, text):
            text = text or texts.read((place[0], place[1], place[2]))
            yield Match(file, part, identity, split, text, by_place=by == "place")
