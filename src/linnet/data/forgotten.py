"""Which documents must not come back, without saying what they are.

``CORPUS.forgotten.json`` lies beside a corpus, so that it outlives it. It holds
salted hashes only: of the texts; and of each file that was forgotten whole its
name, its path and its bytes, so that it stays away where it is moved, changed or
reached by another source. A hash tells who has the document that it is meant,
and nobody else what it said.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import output
from linnet.config import read_json
from linnet.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from linnet.data.sources.scan import SourceFile

_HASH_BYTES = 16
_OPTIONAL = ("paths", "contents", "readings")  # older lists have none


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
