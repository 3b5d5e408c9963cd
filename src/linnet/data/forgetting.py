"""What is to be forgotten: finding it in a corpus, and the list of what must not come back.

``CORPUS.forgotten.json`` lies beside a corpus, so that it outlives it. It holds
salted hashes only: of the texts; and of each file that was forgotten whole its
name, its path and its bytes, so that it stays away where it is moved, changed or
reached by another source. A hash tells who has the document that it is meant,
and nobody else what it said.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from linnet import artifact, output
from linnet.config import read_json
from linnet.data import catalog, shingles
from linnet.data.kinds import printable
from linnet.data.storage import TEXTS, Texts
from linnet.errors import ConfigError, DamagedError, DataError, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from linnet.data.sources.scan import SourceFile
    from linnet.progress import Progress

    # Whether a document (file, part, id, text) is meant, and by what: "" if it is not.
    Test = Callable[[str, str, str, str], Literal["", "place", "text"]]

_HASH_BYTES = 16
_OPTIONAL = ("paths", "contents", "readings")  # older lists have none
_RESEMBLING = 0.5  # share of a forgotten document's runs of words that is much of it


@dataclass
class Forgotten:
    """The list of one corpus."""

    path: Path
    salt: str = ""
    names: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    contents: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    readings: set[str] = field(default_factory=set)
    """The ways of reading (hashes of settings) for which parts of files were noted."""
    unfinished: bool = False
    """Noted, but perhaps not yet gone from all that was made from it."""

    @classmethod
    def beside(cls, corpus: Path | str) -> Forgotten:
        """The list beside a corpus; empty if there is none. Raises DamagedError."""
        corpus = Path(corpus)
        path = corpus.parent / f"{corpus.name}.forgotten.json"
        if not path.is_file():
            return cls(path, secrets.token_hex(_HASH_BYTES))
        try:
            raw = read_json(path)
            sets = {name: set(raw.get(name, ())) for name in _OPTIONAL}
            sets |= {name: set(raw[name]) for name in ("names", "texts")}
            return cls(path, str(raw["salt"]), unfinished=bool(raw.get("unfinished")), **sets)
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError(
                f"{path} is damaged ({error}): it lists what was forgotten; put it back from a "
                "copy, or forget those documents again after deleting it"
            ) from None

    def __bool__(self) -> bool:
        return bool(self.names or self.texts)

    def has_name(self, name: str) -> bool:
        return bool(self.names) and self._hash(name) in self.names

    def has_file(self, file: SourceFile, content: str) -> bool:
        """Whether a file is not to be read; ``content`` is the hash of its bytes."""
        return (
            self.has_name(file.name)
            or (bool(self.contents) and self._hash(content) in self.contents)
            or (bool(self.paths) and self._hash(os.path.realpath(file.path)) in self.paths)
        )

    def has_text(self, identity: str) -> bool:
        return bool(self.texts) and self._hash(identity) in self.texts

    def add(
        self,
        *,
        names: Iterable[str] = (),
        paths: Iterable[str] = (),
        contents: Iterable[str] = (),
        texts: Iterable[str] = (),
    ) -> None:
        self.names.update(map(self._hash, names))
        self.paths.update(self._hash(os.path.realpath(path)) for path in paths)
        self.contents.update(map(self._hash, contents))
        self.texts.update(map(self._hash, texts))

    def save(self) -> None:
        """Write the list, whole or not at all."""
        content = {
            "salt": self.salt,
            "names": sorted(self.names),
            "paths": sorted(self.paths),
            "contents": sorted(self.contents),
            "texts": sorted(self.texts),
            "readings": sorted(self.readings),
            "unfinished": self.unfinished,
        }
        output.write_json(self.path, content)

    def fingerprint(self) -> str:
        """The content hash of the list, an input of the corpus."""
        sets = (self.names, self.paths, self.contents, self.texts)
        lines = "\n".join([self.salt, *(value for found in sets for value in sorted(found))])
        return hashlib.sha256(lines.encode()).hexdigest()

    def _hash(self, value: str) -> str:
        digest = hashlib.blake2b(
            value.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES, key=self.salt.encode()
        )
        return digest.hexdigest()


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
    """Meant by its name, and not by what it says."""
    copy: bool = False
    """Meant for being the same as one that is."""

    @property
    def name(self) -> str:
        return f"{self.file}/{self.part}" if self.part else self.file


class Quotations:
    """Finds in what was asked, answered or noted what stands in texts, whatever their spaces."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = [text for text in map(_spaced, texts) if text]

    def quotes(self, said: str) -> bool:
        """Whether 60 characters of a text stand in it, or all of it, of 20 or more, in a text."""
        said = _spaced(said)
        least = min(len(said), _WINDOW)
        if least < _SHORTEST_QUOTATION:
            return False
        starts = range(0, len(said) - least + 1, _QUOTATION - _WINDOW)
        return any(said[start : start + least] in text for start in starts for text in self._texts)


_QUOTATION = 60
_WINDOW = 40  # characters that are looked for at every place where 60 have such a run
_SHORTEST_QUOTATION = 20


def _spaced(text: str) -> str:
    return " ".join(text.split())


def find(corpus: Path, what: str, *, regex: bool = False) -> list[Match]:
    """The documents that ``what`` names.

    A path or the end of one names files, with all that is in them, or one part
    of a file; 8 or more characters of an id name a text wherever it stands; with
    ``regex``, so does what is found in a text, and what is found in a name names
    that file or part. What says the same elsewhere is meant too.
    Raises DataError when there is none, ConfigError for a bad expression.
    """
    found = artifact.read(corpus, kind="corpus")
    texts = Texts(found.path / TEXTS)
    try:
        with closing(catalog.open_to_read(found.path / catalog.NAME)) as connection:
            test = _test(what, regex=regex)
            matches = list(_matches(connection, texts, test, reads=regex))
            matches += _empty_files(connection, test, {match.file for match in matches})
            matches += _copies(connection, texts, matches)
    except sqlite3.Error as error:
        raise DataError(f"{found.path / catalog.NAME} cannot be read: {error}") from None
    finally:
        texts.close()
    if not matches:
        listing = f"linnet data list {typed(str(corpus))}"
        raise DataError(f"nothing in {corpus} matches '{printable(what)}'; see {listing}")
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
    if catalog.is_id(what):
        return lambda file, part, identity, _: "text" if identity.startswith(what) else ""
    wanted = printable(what).rstrip("/")

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
    for file, part, identity, final, split, *place in connection.execute(_DOCUMENTS):
        text = texts.read((place[0], place[1], place[2])) if reads else ""
        if by := test(file, part, identity, text) or test(file, part, final, text):
            text = text or texts.read((place[0], place[1], place[2]))
            yield Match(file, part, identity, split, text, by_place=by == "place")


def _copies(connection: sqlite3.Connection, texts: Texts, matches: list[Match]) -> Iterator[Match]:
    """Documents elsewhere with the same text as one that is meant."""
    meant = {match.id for match in matches if match.id}
    named = {(match.file, match.part) for match in matches}
    for file, part, identity, _, split, *place in connection.execute(_DOCUMENTS):
        if identity in meant and (file, part) not in named:
            text = texts.read((place[0], place[1], place[2]))
            yield Match(file, part, identity, split, text, by_place=False, copy=True)


@dataclass(frozen=True)
class Remaining:
    """A document that stays and has much of one that was forgotten: ``share`` of its runs of
    five words."""

    name: str
    split: str
    """Empty if it is not kept now; it may take the place of another later."""
    of: str
    share: float


def resembling(corpus: Path, forgotten: list[Match], progress: Progress) -> list[Remaining]:
    """The documents of a corpus in which much of a forgotten text stands, the fullest first."""
    names = [match.name for match in forgotten if match.text]
    if not names:
        return []
    each = [shingles.shingles(match.text) for match in forgotten if match.text]
    sizes = np.array([len(found) for found in each])
    hashes = np.concatenate(each)
    order = np.argsort(hashes)
    hashes, owners = hashes[order], np.repeat(np.arange(len(each)), sizes)[order]
    found = []
    texts = Texts(corpus / TEXTS)
    try:
        with closing(catalog.open_to_read(corpus / catalog.NAME)) as connection:
            total = connection.execute("SELECT count(*) FROM documents").fetchone()[0]
            with progress.task("looking for what is similar", total=total) as task:
                for file, part, _, _, split, *place in connection.execute(_DOCUMENTS):
                    mine = shingles.shingles(texts.read((place[0], place[1], place[2])))
                    mine = mine[shingles.contained(mine, hashes)]
                    first, last = (np.searchsorted(hashes, mine, side) for side in _SIDES)
                    met = [owners[a:b] for a, b in zip(first, last, strict=True)]
                    if met:
                        shares = np.bincount(np.concatenate(met), minlength=len(each)) / sizes
                        best = int(shares.argmax())
                        if shares[best] >= _RESEMBLING:
                            name = f"{file}/{part}" if part else file
                            found.append(Remaining(name, split, names[best], float(shares[best])))
                    task.advance()
    finally:
        texts.close()
    return sorted(found, key=lambda one: (-one.share, one.name))


_SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")
_DOCUMENTS = (
    "SELECT f.name, d.part, d.id, v.id, CASE WHEN v.kept THEN v.side ELSE '' END, "
    "t.spool, t.offset, t.bytes FROM documents AS d JOIN files AS f ON f.number = d.file "
    "JOIN verdicts AS v USING (file, ordinal) JOIN texts AS t ON t.id = d.id "
    "ORDER BY d.file, d.ordinal"
)
