"""Models side by side: the same questions to each, and what their answers are worth.

    questions -> every model, in an order drawn by the seed -> scores -> figures with intervals

A model is one of this machine, an index of documents, or one of ``routing.toml``, which is asked
within its owner's policy and budgets, and within the limit of this comparison. An answer's quality
is how far it is the expected one, how far its passage supports it, or what a judge says of it
beside that of the first model; a judge is a model (``judging``) or a person (``judging_people``).

What was asked is kept (``compare_journal``): the same command goes on where it was stopped, and
computes the rest anew. ``outcomes.jsonl`` is what a router learns from (``linnet route train``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from linnet import output
from linnet.errors import ConfigError, DamagedError
from linnet.evaluate import compare_questions
from linnet.evaluate.compare import RESULTS
from linnet.evaluate.compare_config import NOBODY, PERSON, TERMINAL, Measure, ModelsConfig
from linnet.evaluate.compare_cost import (
    BYTES_OF_A_TOKEN,
    Estimate,
    estimate,
    request_bytes,
    require_allowed,
)
from linnet.evaluate.compare_journal import (
    JOURNAL,
    Job,
    Journal,
    Limit,
    Row,
    Runner,
    key_of,
    open_journal,
)
from linnet.evaluate.compare_page import write_page
from linnet.evaluate.compare_questions import Asked, Questions, bodies_of
from linnet.evaluate.compare_responders import ComparedModel, Reply, opened
from linnet.evaluate.compare_results import Answered, ModelsComparison
from linnet.evaluate.compare_verdicts import Pair, Verdicts, by_judge, by_person, by_sheet
from linnet.evaluate.judging import Judge, Judged
from linnet.evaluate.judging_people import Decide
from linnet.progress import SILENT, Progress
from linnet.respond.context import Context
from linnet.respond.prices import money, trillionths
from linnet.routing.opening import OpenRouting
from linnet.routing.outcomes import OUTCOMES, write_outcomes
from linnet.routing.settings import Routing


def compare_models(
    models: Sequence[str],
    questions: Path | str,
    out: Path | str | None = None,
    config: ModelsConfig | None = None,
    *,
    routing: Path | str | None = None,
    judge: str = NOBODY,
    writer: str = "",
    corpus: Path | str | None = None,
    decide: Decide | None = None,
    progress: Progress = SILENT,
) -> ModelsComparison:
    """Put the same questions to several models; the others are compared with the first.

    ``models``: directories, projects, hub names, GGUF files, indexes, or names of the file
    ``routing``; ``judge``: one of these, ``person`` (a sheet in ``out``), ``terminal`` (``decide``
    asks someone) or ``none``. ``writer``: what writes the answers of an index. With ``out``, what
    was asked is kept there, and the results: ``comparison.json``, ``comparison.html``,
    ``outcomes.jsonl``.

    Raises ConfigError for what does not go together, before anything is asked; StoppedError where
    the user stops it, and LimitReachedError where it would cost more than ``config.cost``: both can
    be gone on from.
    """
    config = config or ModelsConfig()
    if len(models) < 2:
        raise ConfigError(f"expected at least two models to compare. Got {len(models)}")
    asked = compare_questions.read(
        Path(questions), split=config.split, limit=config.limit, seed=config.seed,
        passages=config.passages, instruction=config.instruction, max_tokens=config.answer_tokens,
        corpus=None if corpus is None else Path(corpus),
    )  # fmt: skip
    measure = _measure(config, asked, judge)
    directory = None if out is None else Path(out)
    if directory is None and judge == PERSON:
        raise ConfigError("--judge person writes a sheet: name --out DIR, where it is to be")
    if judge == TERMINAL and decide is None:
        raise ConfigError("--judge terminal needs someone at a terminal; --judge person is a sheet")
    if directory is not None:
        output.check_output_directory(directory, allowed=(RESULTS, JOURNAL))
    with ExitStack() as held:
        within = None
        if routing is not None:
            within = OpenRouting.open(routing)
            held.callback(within.close)
        journal = held.enter_context(open_journal(directory))
        found, judging = held.enter_context(
            opened(
                models, within, writer=writer, progress=progress,
                judge="" if judge in (PERSON, TERMINAL, NOBODY) else judge,
            )
        )  # fmt: skip
        comparing = _Comparing(
            config=config, questions=asked, measure=measure, journal=journal, progress=progress,
            currency=(Routing() if within is None else within.settings).currency, models=found,
            directory=directory, judged_by=judge, decide=decide,
            judge=None if judging is None else Judge(judging, config.seed, config.judge_tokens),
        )  # fmt: skip
        comparing.check()
        comparing.ask()
        result, outcomes = comparing.answered(comparing.verdicts()).results()
        if directory is not None:
            write_outcomes(directory / OUTCOMES, outcomes)
            output.write_json(directory / RESULTS, result.to_json())
            write_page(result, directory)
        return result


def _measure(config: ModelsConfig, questions: Questions, judge: str) -> Measure:
    """What quality is. Raises ConfigError where these questions have nothing of the kind."""
    wanted = config.metric
    if wanted == "auto":
        if questions.expecting:
            return questions.usual
        if judge != NOBODY:
            return "judge"
        wanted = "grounded"
    if wanted in compare_questions.GOLD_SCORES:
        if not questions.expecting:
            raise ConfigError(
                f"{questions.place} has no expected answers to compare by {wanted}: give its rows "
                "an 'answer', or name a --judge"
            )
        if wanted not in questions.scores:
            raise ConfigError(
                f"{questions.place} is scored by {', '.join(questions.scores)}, not by {wanted}"
            )
    if wanted == "judge" and judge == NOBODY:
        raise ConfigError("--metric judge needs a --judge: a model, person or terminal")
    if wanted == "grounded" and not questions.grounded:
        raise ConfigError(
            f"nothing says how good answers to {questions.place} are: give its rows an 'answer' or "
            "a 'context', or name a --judge (a model, person or terminal)"
        )
    return wanted


@dataclass
class _Comparing:
    """A comparison under way."""

    config: ModelsConfig
    questions: Questions
    measure: Measure
    journal: Journal
    progress: Progress
    currency: str
    models: list[ComparedModel]
    directory: Path | None
    judge: Judge | None
    judged_by: str
    decide: Decide | None
    runner: Runner = field(init=False)

    def __post_init__(self) -> None:
        cost = self.config.cost
        limit = Limit(self.journal, None if cost is None else trillionths(cost), self.currency)
        self.runner = Runner(self.journal, limit, self.progress)

    # Before anything is asked.

    def check(self) -> None:
        """Raise ConfigError for what would fail or cost more than was allowed."""
        everyone = [*self.models, *([self.judge.model] if self.judge is not None else [])]
        for model in everyone:
            if model.price is None and model.place != "here":
                raise ConfigError(
                    f"{model.name} has no price, so that its cost cannot be bounded; give input "
                    "and output in routing.toml, 0 where it is free"
                )
        if self.config.given and not any(model.bills for model in self.models):
            raise ConfigError(
                "no model of these bills, so that none can pay for itself; leave out "
                f"--{next(iter(self.config.given)).replace('_', '-')}"
            )
        require_allowed(
            self._estimates(), self.config.cost, spent=float(money(self.journal.spent)),
            currency=self.currency, is_kept=self.directory is not None, progress=self.progress,
        )  # fmt: skip

    def _estimates(self) -> list[Estimate]:
        """Of every model that bills and has something to be asked."""
        found = []
        for model in self.models:
            waiting = [
                each for each in self.questions.asked if self._key(model, each) not in self.journal
            ]
            sizes = [(request_bytes(bodies_of(each.messages)), each.max_tokens) for each in waiting]
            found.append(estimate(model, sizes))
        if self.judge is not None:
            # Of answers that are not there yet: as long as they may be.
            sizes = []
            times = 2 * (len(self.models) - 1)  # in both orders
            for each in self.questions.asked:
                longest = Judged("x" * (each.max_tokens * BYTES_OF_A_TOKEN))
                body = bodies_of(self.judge.conversation(each, longest, longest).messages)
                sizes += times * [(request_bytes(body), self.judge.max_tokens)]
            known = [r for r in self.journal.rows.values() if r.get("by") == self._judges_identity]
            found.append(estimate(self.judge.model, sizes[len(known) :]))
        return [each for each in found if each.calls and each.most]

    # Answers.

    def ask(self) -> None:
        """Every question to every model, in an order drawn by the seed."""
        draw = np.random.default_rng(self.config.seed)
        jobs = []
        for asked in self.questions.asked:
            for place in draw.permutation(len(self.models)):
                model = self.models[place]
                work = partial(self._answer, model, asked)
                jobs.append(Job(self._key(model, asked), model.name, work))
        waiting = {job.who for job in jobs if job.key not in self.journal}
        for model in self.models:
            if model.writer is not None and model.name in waiting:
                # Its first answer takes longer, which says nothing about the others.
                model.ask(replace(self.questions.asked[0], max_tokens=1), Context())
        self.runner.run(jobs, "asking", "answers")

    def _answer(self, model: ComparedModel, asked: Asked, context: Context) -> Row:
        reply = model.ask(asked, context, seed=self.config.seed)
        return {"answer": reply.to_json(), "error": reply.error, "withheld": reply.withheld}

    def _key(self, model: ComparedModel, asked: Asked) -> str:
        shown = json.dumps(bodies_of(asked.bare)) if model.finds_passages else asked.content()
        return key_of("answer", model.identity, shown, str(asked.max_tokens), str(self.config.seed))

    def reply(self, place: int, asked: Asked) -> Reply:
        """What a model answered."""
        try:
            return Reply.from_json(self.journal[self._key(self.models[place], asked)]["answer"])
        except (KeyError, TypeError) as error:
            raise DamagedError(
                f"the journal has no answer of {self.models[place].name} to {asked.id} ({error})"
            ) from None

    # Verdicts.

    def verdicts(self) -> Verdicts:
        """Which of two answers is better, by whoever says so here."""
        seed = self.config.seed
        if self.judge is not None:
            is_measure = self.measure == "judge"
            return by_judge(self.judge, self._pairs(), self.runner, is_measure=is_measure)
        if self.judged_by == PERSON:
            assert self.directory is not None
            return by_sheet(self.directory, self._pairs(), seed)
        if self.judged_by == TERMINAL:
            assert self.decide is not None
            return by_person(self.decide, self._pairs(), self.journal, seed)
        return Verdicts({})

    def _pairs(self) -> list[Pair]:
        """Both answers to each question: of the first model, and of each other one."""
        found = []
        for number in range(1, len(self.models)):
            for asked in self.questions.asked:
                first, second = self.reply(0, asked), self.reply(number, asked)
                if not (first.error or second.error):
                    found.append(Pair(number, asked, first, second))
        return found

    # What came of it.

    def answered(self, verdicts: Verdicts) -> Answered:
        """Everything, for the figures."""
        return Answered(
            config=self.config, questions=self.questions, measure=self.measure,
            currency=self.currency, models=self.models,
            replies=[
                {asked.id: self.reply(place, asked) for asked in self.questions.asked}
                for place in range(len(self.models))
            ],
            verdicts=verdicts.found, judge=self._judges_name(), judge_spent=self._judge_spent(),
            warnings=tuple(self._warnings(verdicts)), waiting=verdicts.waiting,
        )  # fmt: skip

    def _judges_name(self) -> str:
        if self.judge is not None:
            return self.judge.model.name
        return "" if self.judged_by == NOBODY else "a person"

    def _judge_spent(self) -> float:
        if self.judge is None:
            return 0.0
        own = [row for row in self.journal.rows.values() if row.get("by") == self._judges_identity]
        return float(money(sum(row.get("cost") or 0 for row in own)))

    @property
    def _judges_identity(self) -> str:
        return "" if self.judge is None else self.judge.model.identity

    def _warnings(self, verdicts: Verdicts) -> Iterator[str]:
        same = [each.name for each in self.models if each.identity == self._judges_identity]
        if self.judge is not None and same:
            yield (
                f"the judge is one of the models ({', '.join(same)}): models prefer their own "
                "answers, so take another one, or a person"
            )
        yield from verdicts.warnings
        if self.journal.lost:
            yield (
                f"calls that were cut off are counted as {money(self.journal.lost):.6f} "
                f"{self.currency}, the most that they may have cost"
            )
