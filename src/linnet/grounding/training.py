"""Training the checker's encoder on claims that are known to be supported or not.

The pairs are made of documents (``linnet.grounding.ladders``) and only those are used in which the
rules find no mistake. A fifth of the documents is kept back; precision and recall on their pairs
are in the manifest, with intervals. What comes out is a sequence classification checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, hub
from linnet.config import option, parse_json, to_mapping
from linnet.errors import DataError
from linnet.grounding.checker import LABELS, Checker, context
from linnet.grounding.ladders import Document, Pair, pairs
from linnet.grounding.passage import prepared
from linnet.grounding.rules import check
from linnet.progress import SILENT, Progress
from linnet.train.config import PairTrainingConfig

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.text_pairs import PairEncoding

KIND, FORMAT = "checker", 1
KEPT_BACK = 5
"""One document in so many is not trained on."""

FEWEST = 40
"""Pairs that training needs at least."""

LARGEST_FILE = 1 << 30


@dataclass(frozen=True)
class CheckerConfig(PairTrainingConfig):
    """How the encoder is trained."""

    pairs: int = option(3000, "Claims to train on, half of them supported.", least=FEWEST)


@dataclass(frozen=True)
class Share:
    """A share of held-out pairs, with its 95 % interval (Wilson, 1927)."""

    value: float
    low: float
    high: float
    pairs: int


def share(right: int, of: int) -> Share:
    """``right`` of so many; 0 to 1 where there are none."""
    if not of:
        return Share(0.0, 0.0, 1.0, 0)
    z, p = 1.96, right / of
    middle = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return Share(p, max(0.0, middle - half), min(1.0, middle + half), of)


def train_checker(
    source: Path | str | Sequence[Document],
    encoder: Path | str,
    out: Path | str,
    config: CheckerConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Train a checker out of ``encoder``, and write it as a checkpoint.

    ``source``: a corpus, a file of text or JSONL (rows with ``text``, ``answer`` or ``passage``),
    a folder of such files, or documents. Raises DataError where they give too few claims.
    """
    from linnet.train.metrics import METRICS
    from linnet.train.state import STATE
    from linnet.train.text_pairs import encoder_digest, pair_model

    started = time.monotonic()
    config = config or CheckerConfig()
    place = _encoder(encoder, progress)
    documents = list(documents_of(source))
    inputs: dict[str, Artifact | str] = {
        "documents": _digest(documents),
        "encoder": encoder_digest(place),
    }

    def write(draft: Draft) -> None:
        trained, held_out = split_pairs(documents, config)
        model = pair_model(place, labels=LABELS, seed=config.seed)
        _train(model, place, trained, held_out, draft, config, progress, started)
        _save(model, place, draft.path)
        checker = Checker.open(draft.path)
        draft.stats.update(pairs=len(trained), held_out=measured(checker, held_out))

    return artifact.make(
        out,
        write,
        kind=KIND,
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        volatile=(METRICS,),
        working=STATE,
    )


def split_pairs(
    documents: Sequence[Document], config: CheckerConfig
) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on, and pairs of other documents."""
    back = [document for document in documents if is_kept_back(document)]
    rest = [document for document in documents if not is_kept_back(document)]
    trained = pairs(rest, count=config.pairs, seed=config.seed)
    held_out = pairs(back, count=max(FEWEST, config.pairs // 4), seed=config.seed + 1)
    if len(trained) < FEWEST or not held_out:
        raise DataError(
            f"a checker needs at least {FEWEST} claims from several documents in English, German, "
            f"French or Spanish. Got {len(trained)} and {len(held_out)} held out, from "
            f"{len(documents)} documents"
        )
    return trained, held_out


def measured(checker: Checker, held_out: Sequence[Pair]) -> dict[str, Any]:
    """Precision, recall and F1 of the encoder by itself on pairs that it did not see."""
    found = checker.probabilities([_read(pair) for pair in held_out])
    said = [probability >= 0.5 for probability in found]
    both = sum(yes and pair.supported for yes, pair in zip(said, held_out, strict=True))
    precision = share(both, sum(said))
    recall = share(both, sum(pair.supported for pair in held_out))
    total = precision.value + recall.value
    kinds: dict[str, Any] = {}
    for kind in dict.fromkeys(pair.kind for pair in held_out):
        right = [yes == pair.supported for yes, pair in zip(said, held_out, strict=True)
                 if pair.kind == kind]  # fmt: skip
        kinds[kind] = to_mapping(share(sum(right), len(right)))
    return {
        "precision": to_mapping(precision),
        "recall": to_mapping(recall),
        "f1": 2 * precision.value * recall.value / total if total else 0.0,
        "documents": len({pair.source for pair in held_out}),
        "right_by_kind": kinds,
    }


def documents_of(source: Path | str | Sequence[Document]) -> Iterator[Document]:
    """The documents of a corpus, file or folder; of a corpus those it trains on."""
    if not isinstance(source, Path | str):
        yield from source
        return
    path = artifact.within(source, "corpus")
    if artifact.is_artifact(path):
        from linnet.data import read_documents

        for document in read_documents(path, "train", columns=("source", "text")):
            yield Document(document.source, document.text)
        return
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in (".txt", ".md", ".jsonl"))
    if not files or not all(file.is_file() for file in files):
        raise DataError(f"{path}: expected a corpus, a file of text or JSONL, or a folder of them")
    for file in files:
        if file.stat().st_size > LARGEST_FILE:
            raise DataError(f"{file} is larger than {LARGEST_FILE >> 20} MB; give a corpus of it")
        if file.suffix == ".jsonl":
            yield from _rows(file)
        else:
            yield Document(file.name, file.read_text(encoding="utf-8", errors="replace"))


def _rows(file: Path) -> Iterator[Document]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            where = f"{file}, line {number}"
            try:
                row = parse_json(line)
            except ValueError as error:
                raise DataError(f"{where}: expected a JSON object. {error}") from None
            text = next(
                (row[key] for key in ("text", "passage", "answer") if key in row), None
            ) if isinstance(row, dict) else None  # fmt: skip
            if not isinstance(text, str):
                raise DataError(f"{where}: expected an object with text, passage or answer")
            yield Document(str(row.get("id") or row.get("source") or number), text)


def _encoder(encoder: Path | str, progress: Progress) -> Path:
    return hub.find(encoder if Path(encoder).exists() else str(encoder), progress=progress).path


def _digest(documents: Sequence[Document]) -> str:
    digest = hashlib.sha256()
    for document in documents:
        digest.update(json.dumps([document.source, document.text]).encode())
    return digest.hexdigest()


def is_kept_back(document: Document) -> bool:
    """Whether a document is one that is not trained on, by its source alone."""
    return hashlib.sha256(document.source.encode()).digest()[0] % KEPT_BACK == 0


def _read(pair: Pair) -> tuple[str, str]:
    """What the encoder is given of a pair: as in a check."""
    passage = prepared(pair.passage)
    return pair.claim, context([passage], check(pair.claim, passage).evidence)


def _train(
    model: Transformer,
    encoder: Path,
    trained: Sequence[Pair],
    held_out: Sequence[Pair],
    draft: Draft,
    config: CheckerConfig,
    progress: Progress,
    started: float,
) -> None:
    import torch

    from linnet.tokenizer import load as load_tokenizer
    from linnet.train.supervised import label_loss
    from linnet.train.text_pairs import ShuffledBatches, batch_of, encode_pairs, train_on_pairs

    tokenizer = load_tokenizer(encoder)
    limit = min(config.max_tokens, model.config.context)
    kinds = model.config.token_types
    encoded, seen = (
        encode_pairs(tokenizer, [_read(pair) for pair in own], max_tokens=limit, token_types=kinds)
        for own in (trained, held_out)
    )

    def batch(
        pairs: Sequence[Pair], encoded: Sequence[PairEncoding], places: Sequence[int]
    ) -> Batch:
        labels = torch.tensor([int(pairs[place].supported) for place in places])
        return batch_of([encoded[place] for place in places], labels=labels)

    def held_out_loss(model: Transformer) -> dict[str, float]:
        device = str(model.embedding.weight.device)
        starts = range(0, len(seen), config.batch)
        found = [
            label_loss(
                model, batch(held_out, seen, range(len(seen))[s : s + config.batch]).to(device)
            )
            for s in starts
        ]
        return {"loss": sum(each.sum.item() for each in found) / sum(e.weight for e in found)}

    train_on_pairs(
        model,
        ShuffledBatches(
            [len(pair.tokens) for pair in encoded],
            lambda _, places: batch(trained, encoded, places),
            batch=config.batch,
            seed=config.seed,
        ),
        draft.path,
        config,
        objective=label_loss,
        validator=held_out_loss,
        validations=config.epochs,
        progress=progress,
        started=started,
    )


def _save(model: Transformer, encoder: Path, directory: Path) -> None:
    from linnet.model import save_checkpoint

    save_checkpoint(model, directory, tokenizer=encoder)
