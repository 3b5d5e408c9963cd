"""Which documents must not come back, without saying what they are.

``CORPUS.forgotten.json`` lies beside a corpus, so that it outlives it. It holds
salted hashes only: of file names, for documents forgotten by their place, and
of text ids, for texts forgotten wherever they stand. A hash tells who has the
document that it is meant, and nobody else what it said.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact
from linnet.config import read_json
from linnet.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterable

_HASH_BYTES = 16


@dataclass
class Forgotten:
    """The list of one corpus."""

    path: Path
    salt: str = ""
    names: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
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
            names, texts = set(raw["names"]), set(raw["texts"])
            return cls(path, str(raw["salt"]), names, texts, bool(raw.get("unfinished")))
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError(
                f"{path} is damaged ({error}): it lists what was forgotten; put it back from a "
                "copy, or forget those documents again after deleting it"
            ) from None

    def __bool__(self) -> bool:
        return bool(self.names or self.texts)

    def has_name(self, name: str) -> bool:
        return bool(self.names) and self._hash(name) in self.names

    def has_text(self, identity: str) -> bool:
        return bool(self.texts) and self._hash(identity) in self.texts

    def add(self, *, names: Iterable[str] = (), texts: Iterable[str] = ()) -> None:
        self.names.update(map(self._hash, names))
        self.texts.update(map(self._hash, texts))

    def save(self) -> None:
        """Write the list, whole or not at all."""
        content = {
            "salt": self.salt,
            "names": sorted(self.names),
            "texts": sorted(self.texts),
            "unfinished": self.unfinished,
        }
        artifact.write_json(self.path, content)

    def fingerprint(self) -> str:
        """The content hash of the list, an input of the corpus."""
        lines = "\n".join([self.salt, *sorted(self.names), *sorted(self.texts)])
        return hashlib.sha256(lines.encode()).hexdigest()

    def _hash(self, value: str) -> str:
        digest = hashlib.blake2b(
            value.encode("utf-8"), digest_size=_HASH_BYTES, key=self.salt.encode()
        )
        return digest.hexdigest()
