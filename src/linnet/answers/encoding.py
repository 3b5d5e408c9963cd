"""The encoder of an index: tuned on its own questions, headings and neighbouring passages."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from linnet.answers.cases import Case, read_cases
from linnet.answers.reranking import CORPUS, own_examples
from linnet.artifact import Artifact
from linnet.errors import DataError
from linnet.progress import SILENT, Progress
from linnet.retrieval import Passage, TextEncoder, passage_text
from linnet.retrieval.encoder_training import (
    KIND,
    EncoderTrainingConfig,
    TrainingPair,
    train_encoder,
)
from linnet.retrieval.encoders import best_at_hand, choose_encoder
from linnet.retrieval.index import Index
from linnet.retrieval.reranker_training import RerankerConfig, scratch_encoder

SHARE = 0.25
"""Pairs of headings, and of neighbours, for each question: what questions teach comes first."""

_BEFORE = 300  # characters at the end of a passage that lead to the next one
_LEAST = 80  # characters of a passage that says something under its heading


def ensure_encoder(
    place: Path | str,
    *,
    questions: Iterable[Path | str] = (),
    base: str | None = None,
    config: EncoderTrainingConfig | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Tune an encoder on what an index holds, or give the one that is there where nothing changed.

    ``questions``: made examples or people's questions (:func:`linnet.answers.cases.read_cases`);
    by default those in the index, which are made where there are none. ``base``: as
    :func:`linnet.retrieval.choose_encoder` takes it; where there is none at hand, a small one of
    random weights. ``stats["kept"]`` says whether the encoder finds more than what was there.
    Raises DataError where there are too few questions.
    """
    place, config = Path(place), config or EncoderTrainingConfig()
    files = list(questions) or [own_examples(place, progress)]
    cases = [case for file in files for case in read_cases(file, corpus=place / CORPUS)]
    with Index.open(place) as index:
        passages = list(index.passages())
    pairs = list(pairs_of(cases, passages, seed=config.seed))
    chosen = best_at_hand(progress=progress) if base is None else choose_encoder(base)
    if chosen is not None:
        return train_encoder(pairs, chosen, place / KIND, config, progress=progress)
    with tempfile.TemporaryDirectory() as made:
        scratch_encoder((passage.text for passage in passages), Path(made), RerankerConfig())
        chosen = TextEncoder(Path(made), name="random weights", source=made)
        return train_encoder(pairs, chosen, place / KIND, config, untrained=True, progress=progress)


def pairs_of(
    cases: Iterable[Case], passages: Sequence[Passage], *, seed: int = 0
) -> Iterator[TrainingPair]:
    """Questions with the passage in which their answer begins, then headings with what stands
    under them and passages with the next one of their document."""
    by_source: dict[str, list[tuple[int, int, Passage]]] = defaultdict(list)
    for passage in passages:
        for at in passage.places:
            by_source[at.source].append((at.start, at.end, passage))
    for own in by_source.values():
        own.sort(key=lambda entry: entry[:2])
    count = 0
    for case in cases:
        if not case.answerable or case.turns:
            continue
        spans = {(span.source, span.start) for gold in case.gold for span in gold}
        for source, start in sorted(spans):
            for first, last, passage in by_source.get(source, ()):
                if first <= start < last:
                    count += 1
                    yield TrainingPair(case.question, passage_text(passage), case.document)
                    break
    if not count:
        raise DataError(
            "an encoder is tuned on questions whose answers stand in the documents. Got none"
        )
    drawn = random.Random(seed)
    for kind in (_headings, _neighbours):
        found = list(kind(by_source))
        yield from drawn.sample(found, min(len(found), int(SHARE * count)))


def _headings(
    by_source: dict[str, list[tuple[int, int, Passage]]],
) -> Iterator[TrainingPair]:
    for source, own in by_source.items():
        for _, _, passage in own:
            above = " ".join(dict.fromkeys((passage.title, *passage.headings))).strip()
            if above and len(passage.text) >= _LEAST:
                yield TrainingPair(above, passage.text, source, "heading")


def _neighbours(
    by_source: dict[str, list[tuple[int, int, Passage]]],
) -> Iterator[TrainingPair]:
    for source, own in by_source.items():
        for (_, _, one), (_, _, other) in itertools.pairwise(own):
            if min(len(one.text), len(other.text)) >= _LEAST and one.id != other.id:
                yield TrainingPair(one.text[-_BEFORE:], passage_text(other), source, "neighbour")
