"""How good the answers from an index are: what is found, what is answered, and what is refused.

    linnet evaluate --answers INDEX QUESTIONS.jsonl

Questions are examples, or rows of people's that say where the answer stands
(``linnet.answers.cases``). They are put to the assistant as it answers (``answers``), and beside it

* ``answers_passages``: the same without the model that writes, where there is one;
* ``answers_bm25``: BM25 alone over the same passages, which answers whatever it is asked.

A target is found at the rank of the first passage that overlaps a gold span. Of a refused question
its draft is judged all the same where probabilities are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet import artifact
from linnet.answers.assistant import DO_NOT_KNOW, Assistant, is_good_enough
from linnet.answers.cases import (
    Case,
    Span,
    Without,
    is_right,
    read_cases,
    spans_of,
    spans_of_passage,
)
from linnet.answers.evidence import Draft, Evidence, Judgement
from linnet.answers.gate.gate import KIND as GATE
from linnet.answers.gate.gate import open_gate
from linnet.answers.opening import identity_of, open_writer
from linnet.config import to_mapping
from linnet.errors import DataError, LinnetError
from linnet.evaluate.config import EvaluateConfig, TasksConfig
from linnet.evaluate.suite import (
    FORMAT,
    KIND,
    content_of,
    read_results,
    tasks_config,
    write_results,
)
from linnet.evaluate.task import Item, TaskResult, figures_of
from linnet.grounding import check
from linnet.progress import SILENT, Progress
from linnet.retrieval import Found, PassagesInMemory, Searchable
from linnet.retrieval.index import Index
from linnet.scoring.matching import exact_match, token_f1

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.artifact import Draft as ArtifactDraft

NAME = "answers"
PASSAGES = "answers_passages"
BM25_ALONE = "answers_bm25"
DEPTH = 10
"""Passages that are looked at to say at which rank an answer is found."""
_BESIDE = ("model", "gate", "encoder", "reranker")

FIGURES = (
    "recall_at_1", "recall_at_5", "recall_at_10", "mrr", "ndcg_at_10",
    "answered", "wrong_of_answered", "drafts_right", "exact_match", "f1",
    "citation_precision", "citation_recall", "claims_supported", "answers_supported",
    "refused_answerable", "refused_unanswerable", "seconds", "seconds_p50", "seconds_p95",
)  # fmt: skip
GATED = ("auroc", "fpr_at_95_tpr", "auroc_in_scope", "auroc_of_confidence", "aurc", "ece", "brier")
"""What takes a gate, which gives probabilities."""


@dataclass(frozen=True)
class System:
    """Something that answers: an assistant over what is searched."""

    name: str
    about: str
    index: Searchable
    assistant: Callable[[Searchable], Assistant]


def evaluate_answers(
    index: Path | str,
    questions: Path | str,
    out: Path | str | None = None,
    config: EvaluateConfig | None = None,
    *,
    model: Path | str | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """How good the answers of an index to these questions are, as plain values with intervals.

    ``model`` writes the answers. With ``out`` all is written there as ``evaluate_tasks`` does, so
    that runs can be compared; what was made already from the same things is read instead.
    """
    index, questions, config = Path(index), Path(questions), tasks_config(config)
    indexed = artifact.read(index, kind="index")
    found = _cases(index, questions, config)
    left_out = _of_other_splits(found, config)
    cases = _limited([case for case in found if _is_of_split(case, config)], config)

    def measured() -> tuple[dict[str, Any], list[TaskResult]]:
        with opened(index, model, progress) as systems:
            results = [run_system(own, cases, config, progress=progress) for own in systems]
        if left_out:
            results[0].facts["left_out"] = left_out
        named = model if model is not None else index
        return {
            "model": Path(named).resolve().name, "data": questions.name,
            "tasks": {result.name: result.to_json() for result in results},
            "settings": to_mapping(config),
        }, results  # fmt: skip

    if out is None:
        return measured()[0]
    inputs: dict[str, Artifact | str] = {"index": indexed, "questions": content_of(questions)}
    for part in _BESIDE:
        if artifact.is_artifact(index / part):
            inputs[part] = artifact.read(index / part)
    if model is not None:
        inputs["writer"] = identity_of(str(model))

    def write(draft: ArtifactDraft) -> None:
        values, results = measured()
        write_results(draft, values, (row for result in results for row in result.rows()))

    made = artifact.make(
        out, write, kind=KIND, format=FORMAT, config=to_mapping(config), inputs=inputs
    )
    return read_results(made.path)


def run_system(
    system: System, cases: Sequence[Case], config: TasksConfig, *, progress: Progress = SILENT
) -> TaskResult:
    """Put questions to it, and what became of them."""
    items = []
    with progress.task(system.about, total=len(cases), unit="questions") as task:
        for case in cases:
            try:
                items.append(_item(system, case))
            except LinnetError as error:
                items.append(Item(case.id, {}, error=str(error)))
            task.advance()
    scored = [item for item in items if item.error is None]
    gated = any("confidence" in item.scores for item in scored)
    figures, undefined = figures_of((*FIGURES, *(GATED if gated else ())), scored, config)
    return TaskResult(system.name, tuple(items), figures, {"about": system.about}, undefined)


def _item(system: System, case: Case) -> Item:
    searched = Without(system.index, case.missing) if case.missing else system.index
    assistant = system.assistant(searched)
    began = time.perf_counter()
    evidence = assistant.gather(assistant.understand(case.question, case.turns))
    draft = assistant.draft(evidence)
    judged = assistant.gate.judge(evidence, draft) if assistant.gate is not None else None
    seconds = time.perf_counter() - began
    # BM25 alone answers whatever it is asked.
    alone = system.name == BM25_ALONE
    refused = not draft.text if alone else not is_good_enough(draft, judged)
    scores = {
        "seconds": seconds,
        "answered": float(not refused),
        "wrong": float(not refused and not is_right(case, draft.citations, evidence.passages)),
        **_retrieval(searched, case, evidence),
        **_answer(case, evidence, draft, refused),
        **_judged(case, evidence, draft, judged, refused),
    }
    return Item(case.id, scores, {
        "prompt": case.question, "kind": case.kind,
        "answer": DO_NOT_KNOW if refused else draft.text,
        "expected": [each for part in case.answers for each in part],
        "source": case.gold[0][0].source if case.answerable and case.gold else "",
        "passage": "" if refused else "\n".join(cited.text for cited in draft.citations),
    })  # fmt: skip


def _retrieval(searched: Searchable, case: Case, evidence: Evidence) -> dict[str, float]:
    if not case.answerable or not case.gold:
        return {}
    alone = evidence.question.alone
    found = searched.search(alone, DEPTH)
    ranks = [rank_of(found, part) for part in case.gold]
    return {
        **{f"recall_at_{k}": sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5, DEPTH)},
        "mrr": float(np.mean([1 / rank for rank in ranks])),
        "ndcg_at_10": ndcg(ranks),
    }


def rank_of(found: Sequence[Found], gold: Sequence[Span]) -> float:
    """At which place, from 1, the first passage that overlaps gold stands; infinite for none."""
    for place, one in enumerate(found, 1):
        if any(own.overlaps(span) for own in spans_of_passage(one.passage) for span in gold):
            return float(place)
    return float("inf")


def ndcg(ranks: Sequence[float]) -> float:
    """Of targets that are found at these ranks among the first ten (Järvelin and Kekäläinen, 2002).

    Each target counts once; at best they are the first ones. Those that share a passage share its
    rank, which counts for both.
    """
    gain = sum(1 / np.log2(1 + rank) for rank in ranks if rank <= DEPTH)
    best = sum(1 / np.log2(2 + place) for place in range(len(ranks)))
    return min(1.0, float(gain / best))


def _answer(case: Case, evidence: Evidence, draft: Draft, refused: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    expected = [each for part in case.answers for each in part]
    language = case.language or "en"
    if case.answerable:
        found["refused_answerable"] = float(refused)
        found["citation_recall"] = 0.0
        if expected:
            found["exact_match"] = 0.0 if refused else exact_match(draft.text, expected, language)
            found["f1"] = 0.0 if refused else token_f1(draft.text, expected, language)
    else:
        found["refused_unanswerable"] = float(refused)
    if refused:
        return found
    cited = [spans_of(citation, evidence.passages) for citation in draft.citations]
    on = [[any(s.overlaps(g) for s in own for g in part) for part in case.gold] for own in cited]
    if case.answerable and case.gold:
        if cited:
            found["citation_precision"] = sum(any(row) for row in on) / len(on)
        found["citation_recall"] = sum(
            any(row[part] for row in on) for part in range(len(case.gold))
        ) / len(case.gold)
    elif not case.answerable and cited:
        found["citation_precision"] = 0.0
    return found | _grounded(draft)


def _grounded(draft: Draft) -> dict[str, float]:
    """Each claim against what it cites; what makes no claims of its own is one."""
    if draft.claims:
        supported = [claim.support == "supported" for claim in draft.claims]
    else:
        cited = [citation.text for citation in draft.citations]
        supported = [bool(cited) and check(draft.text, cited).status == "supported"]
    return {
        "claims": float(len(supported)), "claims_supported": float(sum(supported)),
        "answer_supported": float(all(supported)),
    }  # fmt: skip


def _judged(
    case: Case, evidence: Evidence, draft: Draft, judged: Judgement | None, refused: bool
) -> dict[str, float]:
    right = float(is_right(case, draft.citations, evidence.passages))
    found = {"right": right} | ({"draft_right": right} if case.answerable else {})
    if judged is not None:
        found |= {
            "answerable": float(case.answerable), "answerability": judged.probability,
            "confidence": judged.probability,
        }  # fmt: skip
        if case.kind in ("answerable", "off_topic"):
            found |= {"about": float(case.answerable), "in_scope": judged.in_scope}
    return found


@contextmanager
def opened(
    index: Path, model: Path | str | None, progress: Progress = SILENT
) -> Iterator[list[System]]:
    """What is compared: the assistant, itself without a model where there is one, BM25 alone."""
    gate = open_gate(index) if artifact.is_artifact(artifact.within(index, GATE)) else None
    with ExitStack() as held:
        searched = held.enter_context(Index.open(index))
        systems = []
        if model is not None:
            writer = held.enter_context(
                closing(open_writer(str(model), place=index, progress=progress))
            )
            systems.append(
                System(NAME, f"{Path(model).name} writes", searched,
                       lambda own: Assistant(own, gate=gate, writer=writer))
            )  # fmt: skip
        systems.append(
            System(NAME if model is None else PASSAGES, "passages answer", searched,
                   lambda own: Assistant(own, gate=gate))
        )  # fmt: skip
        words = PassagesInMemory(searched.passages())
        systems.append(System(BM25_ALONE, "BM25 alone", words, Assistant))
        yield systems


def _cases(index: Path, questions: Path, config: TasksConfig) -> list[Case]:
    """The questions. Raises DataError where none is of the split of the settings."""
    found = read_cases(questions, corpus=index / "corpus")
    if not found:
        raise DataError(f"{questions}: expected questions, but there is none")
    if not any(_is_of_split(case, config) for case in found):
        raise DataError(
            f"{questions}: no question is of the {config.split} split; choose another --split"
        )
    return found


def _is_of_split(case: Case, config: TasksConfig) -> bool:
    return case.split in (None, config.split)


def _of_other_splits(cases: Sequence[Case], config: TasksConfig) -> dict[str, str]:
    """How many questions are of other splits, and how they are asked."""
    counts = Counter(str(case.split) for case in cases if not _is_of_split(case, config))
    return {
        f"{count:,} questions of the {split} split": f"--split {split} asks these"
        for split, count in sorted(counts.items())
    }


def _limited(cases: list[Case], config: TasksConfig) -> list[Case]:
    """As many as the limit allows, in their order; ids must differ, as items are known by them."""
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise DataError(f"two questions have the id {case.id}; ids must differ")
        seen.add(case.id)
    if config.limit is None or len(cases) <= config.limit:
        return cases
    drawn = np.random.default_rng(config.seed).permutation(len(cases))[: config.limit]
    return [cases[place] for place in sorted(drawn.tolist())]
