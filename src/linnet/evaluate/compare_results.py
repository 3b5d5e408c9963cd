"""From answers and verdicts to what a comparison says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from linnet.config import to_mapping
from linnet.evaluate import compare_figures, compare_return
from linnet.evaluate.compare import Difference, shortened
from linnet.evaluate.compare_config import Measure, ModelsConfig
from linnet.evaluate.compare_figures import Wins
from linnet.evaluate.compare_questions import Asked, Questions, grounded_share
from linnet.evaluate.compare_responders import ComparedModel, Reply
from linnet.evaluate.compare_return import Return
from linnet.evaluate.figures import Figure
from linnet.evaluate.judging import Reliability, Verdict, reliability
from linnet.grounding import Checker
from linnet.respond.prices import money
from linnet.routing.outcomes import ModelOutcome

Scored = Mapping[str, Mapping[str, float]]
"""The scores of a model's answers, by question."""


@dataclass(frozen=True)
class ModelResult:
    """What came of one model."""

    name: str
    place: str
    bills: bool
    answered: int
    figures: Mapping[str, Figure]
    undefined: Mapping[str, str]
    failed: Mapping[str, str]
    """Why there is no answer, by question."""
    withheld: Mapping[str, str]
    """The same of those that the policy kept here."""
    spent: float
    """What all its answers cost, in the unit of money."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """What was decided or failed on the way, and how often."""


@dataclass(frozen=True)
class PairResult:
    """A model beside the first one."""

    first: str
    second: str
    questions: int
    """That both answered, and that were scored."""
    differences: tuple[Difference, ...]
    wins: Wins | None
    """By quality."""
    judged: Wins | None = None
    """By the judge, where quality is something else."""
    reliability: Reliability | None = None

    def difference(self, name: str) -> Difference | None:
        """Of a figure; None where there is none."""
        return next((each for each in self.differences if each.metric == name), None)


@dataclass(frozen=True)
class Shown:
    """A question with the answers, for people to look at."""

    id: str
    question: str
    expected: tuple[str, ...]
    answers: tuple[tuple[str, str, float | None], ...]
    """Model, answer, quality."""
    verdict: str = ""


@dataclass(frozen=True)
class ModelsComparison:
    """Several models on the same questions."""

    models: tuple[ModelResult, ...]
    pairs: tuple[PairResult, ...]
    questions: int
    measure: Measure
    unscored: int
    """Questions that the measure says nothing of."""
    judge: str
    judge_spent: float
    left_out: Mapping[str, int]
    warnings: tuple[str, ...]
    returns: tuple[Return, ...]
    currency: str
    examples: tuple[Shown, ...]
    settings: Mapping[str, Any]
    waiting: int = 0
    """Pairs that no person has judged yet."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        models = [
            {**asdict(model), "figures": {n: f.to_json() for n, f in model.figures.items()}}
            for model in self.models
        ]
        return {"kind": "models", **asdict(self), "models": models}


@dataclass
class Answered:
    """Every question, answered by every model, and judged."""

    config: ModelsConfig
    questions: Questions
    measure: Measure
    currency: str
    models: Sequence[ComparedModel]
    replies: Sequence[Mapping[str, Reply]]
    """Of each model, by question."""
    verdicts: Mapping[tuple[int, str], Verdict]
    """By the number of the second model and the question."""
    judge: str = ""
    judge_spent: float = 0.0
    warnings: Sequence[str] = ()
    """About the judge, and what was lost."""
    waiting: int = 0

    def results(self) -> tuple[ModelsComparison, list[ModelOutcome]]:
        """All figures, and a row for every answer that was scored."""
        scores = [self._scores(place) for place in range(len(self.models))]
        models = tuple(self._model(place, own) for place, own in enumerate(scores))
        pairs = tuple(
            self._pair(number, scores[0], scores[number]) for number in range(1, len(self.models))
        )
        scored = {id for own in scores for id, each in own.items() if "quality" in each}
        found = ModelsComparison(
            models=models, pairs=pairs, questions=len(self.questions.asked), measure=self.measure,
            unscored=len(self.questions.asked) - len(scored), judge=self.judge,
            judge_spent=self.judge_spent, left_out=self.questions.left_out,
            warnings=(*self.warnings, *_missing(models)), returns=self._returns(models, scores),
            currency=self.currency, examples=self._examples(scores),
            settings={**to_mapping(self.config), "questions": self.questions.place},
            waiting=self.waiting,
        )  # fmt: skip
        return found, list(self._outcomes(scores))

    # Scores.

    def _scores(self, place: int) -> dict[str, dict[str, float]]:
        """Of each question that the model answered."""
        return {
            asked.id: self._of_answer(place, asked, reply)
            for asked in self.questions.asked
            if not (reply := self.replies[place][asked.id]).error
        }

    def _of_answer(self, place: int, asked: Asked, reply: Reply) -> dict[str, float]:
        own = {
            "seconds": reply.seconds, "refused": float(reply.refused), "cut": float(reply.cut),
            "tokens_read": float(reply.prompt), "tokens_written": float(reply.written),
        }  # fmt: skip
        if reply.first_seconds is not None:
            own["first_seconds"] = reply.first_seconds
        if reply.cost is not None:
            own["cost"] = float(money(reply.cost))
        if asked.score is not None:
            own |= asked.score(reply.text, refused=reply.refused)
        passages = [asked.passage] if asked.passage else reply.passages
        if passages and asked.answerable:  # a refusal rests on nothing
            share = None
            if not reply.refused:
                share = grounded_share(reply.text, passages, self._checker)
            own["grounded"] = share or 0.0
        return own | self._quality(place, asked, own)

    @cached_property
    def _checker(self) -> Checker | None:
        return Checker.open(Path(self.config.checker)) if self.config.checker else None

    def _quality(self, place: int, asked: Asked, own: Mapping[str, float]) -> dict[str, float]:
        if self.measure != "judge":
            quality = own.get(self.measure)
            if quality is None:
                return {}
            return {"quality": quality, "solved": float(quality >= self.config.solved)}
        numbers = range(1, len(self.models)) if place == 0 else [place]
        verdicts = [self.verdicts.get((number, asked.id)) for number in numbers]
        known = [each for each in verdicts if each is not None]
        points = [each.points for each in known if each.points is not None]
        if not points:
            return {}
        quality = sum(points) / len(points)
        found = {"quality": quality if place else 1 - quality}
        solves = [each.solves[bool(place)] for each in known if each.solves is not None]
        return found | ({"solved": float(all(solves))} if solves else {})

    # Figures.

    def _model(self, place: int, scores: Scored) -> ModelResult:
        model, replies = self.models[place], self.replies[place]
        figures, undefined = compare_figures.figures(list(scores.values()), self.config)
        notes = dict(Counter(note for reply in replies.values() for note in reply.notes))
        return ModelResult(
            name=model.name, place=model.place, bills=model.bills, answered=len(scores),
            figures=figures, undefined=undefined,
            failed={i: r.error for i, r in replies.items() if r.error and not r.withheld},
            withheld={i: r.error for i, r in replies.items() if r.withheld},
            spent=float(money(sum(reply.cost or 0 for reply in replies.values()))), notes=notes,
        )  # fmt: skip

    def _pair(self, number: int, first: Scored, second: Scored) -> PairResult:
        both = [id for id in first if id in second]
        qualities = [
            (first[id]["quality"], second[id]["quality"])
            for id in both
            if "quality" in first[id] and "quality" in second[id]
        ]
        verdicts = {id: own for (at, id), own in self.verdicts.items() if at == number}
        judged = [own.points for own in verdicts.values() if own.points is not None]
        level, by_judge = self.config.level, self.measure == "judge"
        points = judged if by_judge else [_points(*each) for each in qualities]
        return PairResult(
            first=self.models[0].name, second=self.models[number].name, questions=len(points),
            differences=compare_figures.differences(
                [first[id] for id in both], [second[id] for id in both], self.config
            ),
            wins=compare_figures.wins(points, level) if points else None,
            judged=compare_figures.wins(judged, level) if judged and not by_judge else None,
            reliability=self._reliability(number, verdicts, first, second) if verdicts else None,
        )  # fmt: skip

    def _reliability(
        self, number: int, verdicts: Mapping[str, Verdict], first: Scored, second: Scored
    ) -> Reliability:
        name = self.questions.usual
        return reliability(
            list(verdicts.values()),
            [(self.replies[0][id].text, self.replies[number][id].text) for id in verdicts],
            [
                (first[id][name], second[id][name])
                if name in first[id] and name in second[id]
                else None
                for id in verdicts
            ],
        )

    def _returns(
        self, models: Sequence[ModelResult], scores: Sequence[Scored]
    ) -> tuple[Return, ...]:
        """Of every model that bills none in the place of every one that does."""
        if not self.config.given:
            return ()
        found = []
        for replaced, of_replaced in zip(models, scores, strict=True):
            cost = replaced.figures.get("cost")
            interval = None if cost is None else cost.interval
            for own, of_own in zip(models, scores, strict=True):
                if replaced.bills and not own.bills:
                    found.append(compare_return.compute(
                        replaced.name, own.name, self.config,
                        cost=None if cost is None else cost.value,
                        low=None if interval is None else interval.low,
                        high=None if interval is None else interval.high,
                        solved_more=_solved_more(of_replaced, of_own),
                    ))  # fmt: skip
        return tuple(found)

    def _examples(self, scores: Sequence[Scored]) -> tuple[Shown, ...]:
        """Where the models differ most."""

        def gap(asked: Asked) -> float:
            known = [
                own[asked.id]["quality"] for own in scores if "quality" in own.get(asked.id, {})
            ]
            return max(known) - min(known) if len(known) == len(scores) else -1.0

        ranked = sorted(self.questions.asked, key=gap, reverse=True)
        return tuple(self._shown(asked, scores) for asked in ranked[: 2 * self.config.worst])

    def _shown(self, asked: Asked, scores: Sequence[Scored]) -> Shown:
        answers = []
        for model, replies, own in zip(self.models, self.replies, scores, strict=True):
            reply = replies[asked.id]
            quality = own.get(asked.id, {}).get("quality")
            said = f"({reply.error})" if reply.error else reply.text
            answers.append((model.name, shortened(said), quality))
        verdict = self.verdicts.get((1, asked.id))
        return Shown(
            asked.id, shortened(asked.question), tuple(map(shortened, asked.expected)),
            tuple(answers), _said(verdict, self.models),
        )  # fmt: skip

    def _outcomes(self, scores: Sequence[Scored]) -> Iterator[ModelOutcome]:
        for asked in self.questions.asked:
            for model, replies, scored in zip(self.models, self.replies, scores, strict=True):
                own, reply = scored.get(asked.id, {}), replies[asked.id]
                if "quality" not in own:
                    continue
                signals = {
                    **reply.signals, "tokens": float(reply.written),
                    "refused": float(reply.refused),
                }  # fmt: skip
                if "grounded" in own:
                    signals["grounded"] = own["grounded"]
                yield ModelOutcome(
                    asked.id, asked.question, model.name, own["quality"], own.get("cost"),
                    reply.seconds, reply.text, signals,
                    {"measure": self.measure, "prompt_tokens": reply.prompt},
                )  # fmt: skip


def _missing(models: Sequence[ModelResult]) -> Iterator[str]:
    """What has no answer, for people."""
    for model in models:
        if model.failed:
            yield f"{model.name} failed on {_questions(model.failed)}, in no figure of it"
        if model.withheld:
            kept = _questions(model.withheld)
            yield f"the policy kept {kept} from {model.name}, in no figure of it"


def _questions(some: Mapping[str, str]) -> str:
    return f"{len(some):,} question{'' if len(some) == 1 else 's'}"


def _points(first: float, second: float) -> float:
    return 0.5 if first == second else float(second > first)


def _solved_more(replaced: Scored, own: Scored) -> float | None:
    """Of the questions that both answered, the share that the first solved more."""
    pairs = [
        (replaced[id]["solved"], own[id]["solved"])
        for id in replaced
        if "solved" in replaced[id] and "solved" in own.get(id, {})
    ]
    return sum(one - other for one, other in pairs) / len(pairs) if pairs else None


def _said(verdict: Verdict | None, models: Sequence[ComparedModel]) -> str:
    """A verdict of the first two models, for people."""
    if verdict is None:
        return ""
    if verdict.better is None:
        return "the judge wrote no verdict"
    if verdict.equal:
        return "both say the same"
    if verdict.by_place:
        return "a tie, as the verdict changed with the order"
    if verdict.better == "tie":
        return "a tie"
    return f"{models[verdict.better == 'second'].name} is better"
