"""The re-ranker of an index: trained on its own questions, where there are enough of them."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from linnet import artifact
from linnet.answers.cases import Case, Span, read_cases
from linnet.answers.ranking import LONGEST_READ
from linnet.answers.units import Unit, units
from linnet.artifact import Artifact
from linnet.errors import DataError
from linnet.progress import SILENT, Progress
from linnet.retrieval import Found, Passage, TextEncoder, choose_encoder, terms
from linnet.retrieval.index import Index
from linnet.retrieval.reranker import KIND
from linnet.retrieval.reranker_training import (
    Candidates,
    RerankerConfig,
    Target,
    mine,
    sampled,
    scratch_encoder,
    train_reranker,
)

EXAMPLES, CORPUS = "examples", "corpus"
_FOUND = 6  # passages whose sentences are read
_VALUE = 6  # terms; a longer answer is a sentence, of which a part may be cut off
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
        sentences = list(sentences_of(lists, cases, config.sentences))
        train = functools.partial(
            train_reranker, lists, out=place / KIND, config=config, sentences=sentences,
            questions=offered, progress=progress,
        )  # fmt: skip
        if chosen is not None:
            return train(encoder=chosen.path)
        with tempfile.TemporaryDirectory() as made:
            texts = (passage.text for passage in index.passages())
            scratch_encoder(texts, Path(made), config)
            return train(encoder=made)


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


def sentences_of(
    lists: Iterable[Candidates], cases: Iterable[Case], most: int
) -> Iterator[Candidates]:
    """For each question of which it is known where exactly the answer is said: that sentence, and
    the ``most`` other ones of what was found that share the most words with the question.

    A sentence that has all words of the answer and stands elsewhere may answer, too: it is left
    out.
    """
    known = {
        _key(case.question): case
        for case in cases
        if case.answerable and case.said and len(case.gold) == 1
    }
    for own in lists if most else ():
        case = known.get(_key(own.question))
        if case is None:
            continue
        asked = set(terms(own.question, case.language))
        right: list[Passage] = []
        wrong: list[tuple[int, Passage]] = []
        for found in own.found[:_FOUND]:
            for unit in units(found.passage):
                if len(unit.text) > LONGEST_READ:
                    continue
                words = set(terms(unit.text, found.passage.language))
                verdict = _says(case, unit, words)
                sentence = replace(found.passage, text=unit.text)
                if verdict:
                    right.append(sentence)
                elif verdict is False:
                    wrong.append((len(asked & words), sentence))
        if right and wrong:
            wrong.sort(key=lambda each: -each[0])
            yield _candidates(own, right, [sentence for _, sentence in wrong[:most]])


def _candidates(
    own: Candidates, right: Sequence[Passage], wrong: Sequence[Passage]
) -> Candidates:  # fmt: skip
    passages = [*right, *wrong]
    verdicts = (True,) * len(right) + (False,) * len(wrong)
    return Candidates(
        own.question, tuple(Found(passage, 0.0) for passage in passages), verdicts, own.group
    )


def _says(case: Case, unit: Unit, words: set[str]) -> bool | None:
    """Whether a unit says the answer; None where it may."""
    answers = [set(terms(text, case.language)) for part in case.answers for text in part]
    has = any(answer and answer <= words for answer in answers)
    there = any(
        span.overlaps(Span(place.source, place.start + unit.start, place.start + unit.end))
        for span in case.said
        for place in unit.passage.places
    )
    if there and (has or not answers or min(map(len, answers)) > _VALUE):
        return True
    return None if there or has else False


def _key(question: str) -> str:
    return " ".join(terms(question))


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
