"""The re-ranker of an index: trained on its own questions, where there are enough of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from linnet import artifact
from linnet.answers.cases import Case, read_cases
from linnet.artifact import Artifact
from linnet.errors import DataError
from linnet.progress import SILENT, Progress
from linnet.retrieval import TextEncoder, choose_encoder
from linnet.retrieval.index import Index
from linnet.retrieval.reranker import KIND
from linnet.retrieval.reranker_training import (
    RerankerConfig,
    Target,
    mine,
    sampled,
    scratch_encoder,
    train_reranker,
)

EXAMPLES, CORPUS = "examples", "corpus"
TOLERATED = 0.25
"""By which share the number of questions may change before it is trained again."""


def ensure_reranker(
    place: Path | str,
    *,
    questions: Iterable[Path | str] = (),
    encoder: str | None = None,
    config: RerankerConfig | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Train the re-ranker of an index, or give the one that is there where little has changed.

    A document more or less makes no other re-ranker: one is trained again when the settings, the
    encoder, or the number of questions by more than a quarter have changed.

    ``questions``: made examples or people's questions (:func:`linnet.answers.cases.read_cases`);
    by default those in the index, which are made where there are none. ``encoder``: as
    :func:`linnet.retrieval.choose_encoder` takes it; where there is none at hand, a small one of
    random weights. Raises DataError where there are too few questions.
    """
    place, config = Path(place), config or RerankerConfig()
    files = list(questions)
    if not files:
        files = [own_examples(place, progress)]
    cases = [case for file in files for case in read_cases(file, corpus=place / CORPUS)]
    targets = list(targets_of(cases))
    chosen = choose_encoder(encoder, index=place, progress=progress)
    if chosen is None:
        config = replace(config, words=True)
    offered = len({target.question for target in targets})
    there = _current(place / KIND, config, chosen, offered)
    if there is not None:
        return there
    with Index.open(place) as index:
        lists = mine(
            sampled(targets, config),
            lambda question, count: index.search(question, count, rerank=False),
            count=config.candidates,
            progress=progress,
        )
        if chosen is not None:
            return train_reranker(
                lists, chosen.path, place / KIND, config, questions=offered, progress=progress
            )
        with tempfile.TemporaryDirectory() as made:
            texts = (passage.text for passage in index.passages())
            scratch_encoder(texts, Path(made), config)
            return train_reranker(
                lists, made, place / KIND, config, questions=offered, progress=progress
            )


def targets_of(cases: Iterable[Case]) -> Iterator[Target]:
    """Where questions are answered.

    Left out are those that go on a conversation, those that nothing answers, and those about
    documents that are held out: by these a gate is fitted and answers are measured.
    """
    for case in cases:
        if not case.answerable or case.turns or case.split in ("validation", "test"):
            continue
        for number, gold in enumerate(case.gold):
            answers = case.answers[number] if number < len(case.answers) else ("",)
            for span in gold:
                for answer in answers:
                    yield Target(
                        case.question, span.source, span.start, span.end, answer, case.document
                    )


def _current(
    place: Path, config: RerankerConfig, encoder: TextEncoder | None, questions: int
) -> Artifact | None:
    """The re-ranker that is there, if it is of these settings and of about as many questions."""
    from linnet.train.text_pairs import encoder_digest

    if not artifact.is_artifact(place):
        return None
    made = artifact.read(place, kind=KIND)
    weights = made.manifest.inputs["encoder"].content
    same_encoder = encoder is None or encoder_digest(encoder.path) == weights
    change = abs(questions - made.stats["questions"]) / made.stats["questions"]
    same = made.manifest.config == config.recipe() and same_encoder
    return made if same and change <= TOLERATED else None


def own_examples(place: Path, progress: Progress) -> Path:
    """The questions of an index, which are made where there are none. Raises DataError where there
    is no corpus to make them of."""
    from linnet.examples import make_examples

    examples = place / EXAMPLES
    if not artifact.is_artifact(examples):
        if not artifact.is_artifact(place / CORPUS):
            raise DataError(f"{place} has no corpus to make questions of; give questions")
        make_examples(place / CORPUS, examples, progress=progress)
    return examples
