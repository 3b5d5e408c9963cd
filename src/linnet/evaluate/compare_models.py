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

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from linnet import output
from linnet.errors import ConfigError, DamagedError
from linnet.evaluate import compare_questions
from linnet.evaluate.compare import RESULTS
from linnet.evaluate.compare_config import NOBODY, PERSON, TERMINAL, Measure, ModelsConfig
from linnet.evaluate.compare_journal import JOURNAL, Job, Journal, Limit, Row, Runner, open_journal
from linnet.evaluate.compare_page import write_page
from linnet.evaluate.compare_questions import Asked, Questions
from linnet.evaluate.compare_responders import ComparedModel, Reply, opened
from linnet.evaluate.compare_results import Answered, ModelsComparison
from linnet.evaluate.judging import (
    EQUAL,
    Judge,
    Judged,
    Verdict,
    combined,
    opinion_row,
    read_row,
    shown,
)
from linnet.evaluate.judging_people import (
    PREVIOUS,
    SHEET,
    Decide,
    Pairing,
    keys_of,
    read_sheet,
    write_sheet,
)
from linnet.progress import SILENT, Progress
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation
from linnet.respond.prices import money, readable, trillionths
from linnet.routing.opening import OpenRouting
from linnet.routing.outcomes import OUTCOMES, write_outcomes
from linnet.routing.settings import Routing

_REQUEST_BYTES = 1000
"""What a request has around its messages, at most."""
_BYTES_OF_A_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """What asking a model is going to cost, before it is asked."""

    model: str
    calls: int
    """Those that are not answered already."""
    about: float
    """A token for every four bytes, and every answer of full length."""
    most: float
    """A token for every byte."""


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
            directory=directory, judged_by=judge,
            judge=None if judging is None else Judge(judging, config.seed, config.judge_tokens),
        )  # fmt: skip
        comparing.check()
        comparing.ask()
        if comparing.judge is not None:
            comparing.have_judged()
        elif judge == PERSON:
            comparing.read_sheet()
        elif judge == TERMINAL:
            assert decide is not None
            comparing.have_decided(decide)
        result, outcomes = comparing.answered().results()
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
    limit: Limit = field(init=False)
    verdicts: dict[tuple[int, str], Verdict] = field(default_factory=dict)
    """By the number of the second model and the question."""
    waiting: int = 0
    left_out_sentences: set[str] = field(default_factory=set)
    cut_answers: set[str] = field(default_factory=set)
    kept_from_judge: int = 0
    judge_failed: int = 0
    """Pairs that it was not shown, and that it gave no answer to."""

    def __post_init__(self) -> None:
        cost = self.config.cost
        self.limit = Limit(self.journal, None if cost is None else trillionths(cost), self.currency)

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
        estimates = self.estimates()
        most = sum(each.most for each in estimates)
        for each in estimates:
            self.progress.message(
                f"{each.model}: {each.calls:,} calls, about "
                f"{readable(each.about, self.currency)}, {readable(each.most)} at most"
            )
        if not most:
            return
        if self.config.cost is None:
            raise ConfigError(
                f"asking these models may cost up to {readable(most, self.currency)}; allow it "
                f"with --cost, such as --cost {_rounded_up(most):g}"
            )
        if self.directory is None:
            raise ConfigError("name --out DIR: answers that are paid for are kept there")
        left = self.config.cost - float(money(self.journal.spent))
        if most > left:
            self.progress.warn(
                f"of --cost {self.config.cost:g} {self.currency} {readable(max(left, 0.0))} are "
                f"left, and it may cost up to {readable(most)}: where that is spent it stops, and "
                "goes on from there with a higher --cost"
            )

    def estimates(self) -> list[Estimate]:
        """Of every model that bills and has something to be asked."""
        found = []
        for model in self.models:
            waiting = [
                each for each in self.questions.asked if self._key(model, each) not in self.journal
            ]
            sizes = [(_bytes(each.bodies()), each.max_tokens) for each in waiting]
            found.append(_estimate(model, sizes))
        if self.judge is not None:
            # Of answers that are not there yet: as long as they may be.
            sizes = []
            for each in self.questions.asked:
                longest = Judged("x" * (each.max_tokens * _BYTES_OF_A_TOKEN))
                body = _bodies(self.judge.conversation(each, longest, longest))
                sizes += [(_bytes(body), self.judge.max_tokens)] * (2 * (len(self.models) - 1))
            known = [r for r in self.journal.rows.values() if r.get("by") == self._judges_identity]
            found.append(_estimate(self.judge.model, sizes[len(known) :]))
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
        Runner(self.journal, self.limit, self.progress).run(jobs, "asking", "answers")

    def _answer(self, model: ComparedModel, asked: Asked, context: Context) -> Row:
        reply = model.ask(asked, context, seed=self.config.seed)
        return {"answer": reply.to_json(), "error": reply.error, "withheld": reply.withheld}

    def _key(self, model: ComparedModel, asked: Asked) -> str:
        shown = json.dumps(_json(asked.bare)) if model.finds_passages else asked.content()
        return _digest(
            "answer", model.identity, shown, str(asked.max_tokens), str(self.config.seed)
        )

    def reply(self, place: int, asked: Asked) -> Reply:
        """What a model answered."""
        try:
            return Reply.from_json(self.journal[self._key(self.models[place], asked)]["answer"])
        except (KeyError, TypeError) as error:
            raise DamagedError(
                f"the journal has no answer of {self.models[place].name} to {asked.id} ({error})"
            ) from None

    # Verdicts.

    def have_judged(self) -> None:
        """Every pair by the judge, in both orders."""
        judge = self.judge
        assert judge is not None
        jobs: list[Job] = []
        keys: dict[tuple[int, str], list[str]] = {}
        for number, asked, first, second in self._pairs():
            same = first.text == second.text
            if same and self.measure != "judge":
                self.verdicts[number, asked.id] = EQUAL
                continue
            answers = [self._shown_to_judge(reply) for reply in (first, second)]
            own = []
            # Of the same text it is asked only whether that solves the question.
            for one, two in [answers] if same else [answers, answers[::-1]]:
                conversation = judge.conversation(asked, one, two)
                key = _digest(
                    "verdict", judge.model.identity, str(judge.max_tokens),
                    json.dumps(_bodies(conversation)),
                )  # fmt: skip
                jobs.append(Job(key, judge.model.name, partial(self._verdict, conversation)))
                own.append(key)
            keys[number, asked.id] = own
        order = np.random.default_rng(self.config.seed).permutation(len(jobs))
        runner = Runner(self.journal, self.limit, self.progress)
        runner.run([jobs[place] for place in order], "judging", "verdicts")
        for pair, own_keys in keys.items():
            rows = [self.journal[key] for key in own_keys]
            if any(row["withheld"] for row in rows):
                self.kept_from_judge += 1
            elif any(row["error"] for row in rows):
                self.judge_failed += 1
            else:
                self.verdicts[pair] = combined(*map(read_row, rows))

    def _verdict(self, conversation: Conversation, context: Context) -> Row:
        assert self.judge is not None
        opinion, reply = self.judge.ask(conversation, context)
        return {
            **opinion_row(opinion, reply), "by": self.judge.model.identity,
            "withheld": reply.withheld,
        }  # fmt: skip

    def _shown_to_judge(self, reply: Reply) -> Judged:
        own = shown(reply.text)
        if own.left_out:
            self.left_out_sentences.add(reply.text)
        if own.cut:
            self.cut_answers.add(reply.text)
        return Judged(own.text, tuple(reply.sources))

    def _pairs(self) -> list[tuple[int, Asked, Reply, Reply]]:
        """Both answers to each question: of the first model, and of each other one."""
        found = []
        for number in range(1, len(self.models)):
            for asked in self.questions.asked:
                first, second = self.reply(0, asked), self.reply(number, asked)
                if not (first.error or second.error):
                    found.append((number, asked, first, second))
        return found

    def _pairings(self) -> dict[tuple[int, str], Pairing]:
        found = {}
        for number, asked, first, second in self._pairs():
            if first.text == second.text:
                self.verdicts[number, asked.id] = EQUAL
            else:
                pairing = Pairing(asked, first.text, second.text, self.config.seed)
                found[number, asked.id] = pairing
        return found

    def read_sheet(self) -> None:
        """The verdicts of the sheet; it is written where there is none, or not of these pairs."""
        assert self.directory is not None
        file = self.directory / SHEET
        pairings = self._pairings()
        pairs = list({pair.key: pair for pair in pairings.values()}.values())
        found = read_sheet(file, pairs) if file.is_file() else {}
        if not file.is_file() or keys_of(file) != {pair.key for pair in pairs}:
            if found:  # there may be more on it than verdicts
                output.refuse_links(file)
                output.move(file, file.with_name(PREVIOUS))
            write_sheet(file, pairs, found)
        for pair, own in pairings.items():
            if own.key in found:
                self.verdicts[pair] = own.verdict(found[own.key])
            else:
                self.waiting += 1

    def have_decided(self, decide: Decide) -> None:
        """Every pair by whoever sits at the terminal, until they have enough."""
        pairings = self._pairings()
        order = np.random.default_rng(self.config.seed).permutation(len(pairings))
        entries = list(pairings.items())
        for place in order:
            pair, own = entries[place]
            key = f"person {own.key}"
            if key not in self.journal:
                better = decide(own, *own.in_order())
                if better is None:
                    self.waiting += 1
                    continue
                self.journal.add(key, {"better": own.unblinded(better), "by": TERMINAL})
            if (better := read_row(self.journal[key]).better) is not None:
                self.verdicts[pair] = own.verdict(better)

    # What came of it.

    def answered(self) -> Answered:
        """Everything, for the figures."""
        return Answered(
            config=self.config, questions=self.questions, measure=self.measure,
            currency=self.currency, models=self.models,
            replies=[
                {asked.id: self.reply(place, asked) for asked in self.questions.asked}
                for place in range(len(self.models))
            ],
            verdicts=self.verdicts, judge=self._judges_name(), judge_spent=self._judge_spent(),
            warnings=tuple(self._warnings()), waiting=self.waiting,
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

    def _warnings(self) -> Iterator[str]:
        if self.judge is not None:
            same = [each.name for each in self.models if each.identity == self._judges_identity]
            if same:
                yield (
                    f"the judge is one of the models ({', '.join(same)}): models prefer their own "
                    "answers, so take another one, or a person"
                )
            if self.left_out_sentences:
                yield (
                    f"{len(self.left_out_sentences):,} answers have sentences that speak to the "
                    "judge; these sentences were not shown to it"
                )
            if self.cut_answers:
                count = len(self.cut_answers)
                yield f"{count:,} answers were too long, and judged by their beginning"
            if self.kept_from_judge:
                yield f"the policy kept {self.kept_from_judge:,} pairs of answers from the judge"
            if self.judge_failed:
                yield f"the judge failed on {self.judge_failed:,} pairs of answers"
            if not self.judge.held:
                yield "the judge could not be held to a schema, and wrote its verdicts freely"
        if self.journal.lost:
            yield (
                f"calls that were cut off are counted as {money(self.journal.lost):.6f} "
                f"{self.currency}, the most that they may have cost"
            )


def _estimate(model: ComparedModel, sizes: Sequence[tuple[int, int]]) -> Estimate:
    price = model.price
    if price is None:
        return Estimate(model.name, len(sizes), 0.0, 0.0)
    about = sum(price.cost(size // _BYTES_OF_A_TOKEN, 0, longest) for size, longest in sizes)
    most = sum(price.cost(size, 0, longest) for size, longest in sizes)
    return Estimate(model.name, len(sizes), float(money(about)), float(money(most)))


def _bodies(conversation: Conversation) -> list[object]:
    return _json(conversation.messages)


def _json(messages: Sequence[Any]) -> list[object]:
    return [message.as_json() for message in messages]


def _bytes(bodies: list[object]) -> int:
    text = json.dumps(bodies, ensure_ascii=False)
    return len(text.encode("utf-8", "replace")) + _REQUEST_BYTES


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


def _rounded_up(amount: float) -> float:
    """Two digits, not less than the amount."""
    scale = 10 ** (math.floor(math.log10(amount)) - 1)
    return float(f"{math.ceil(amount / scale) * scale:.2g}")
