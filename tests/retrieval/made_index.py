"""Indexes of texts that are made here, without reading files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from linnet.artifact import Artifact
from linnet.data.blocks import derived
from linnet.data.document import text_id
from linnet.data.kinds import Family
from linnet.data.locating import Listing, StoredText, Unread
from linnet.retrieval import IndexConfig
from linnet.retrieval.updating import index_texts

FAMILIES: dict[str, Family] = {"py": "code", "csv": "table", "eml": "mail"}


class Texts:
    """Texts by name, as a corpus would give them. ``languages`` and ``modified`` by name too."""

    def __init__(
        self,
        texts: Mapping[str, str],
        *,
        languages: Mapping[str, str] | None = None,
        modified: Mapping[str, int] | None = None,
        unread: Iterable[Unread] = (),
    ) -> None:
        self.texts, self._unread = texts, list(unread)
        self._languages, self._modified = languages or {}, modified or {}

    def listings(self) -> list[Listing]:
        """See ``CorpusTexts``."""
        found = []
        for number, (name, text) in enumerate(sorted(self.texts.items())):
            suffix = name.rpartition(".")[2]
            found.append(
                Listing(
                    number, name, name, text_id(text), suffix, FAMILIES.get(suffix, "prose"),
                    self._languages.get(name, "en"), self._modified.get(name, 0),
                )
            )  # fmt: skip
        return found

    def read(self, listing: Listing) -> StoredText:
        """See ``CorpusTexts``."""
        text = self.texts[listing.source]
        return StoredText(listing.source, listing.id, text, derived(text, listing.family))

    def unread(self) -> list[Unread]:
        """See ``CorpusTexts``."""
        return self._unread


def index(
    texts: Mapping[str, str] | Texts, out: Path, config: IndexConfig | None = None
) -> Artifact:
    """The index of these texts at ``out``."""
    found = texts if isinstance(texts, Texts) else Texts(texts)
    return index_texts(found, out, config, inputs={})
