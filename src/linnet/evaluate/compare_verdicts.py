"""Which of two answers is better: by a model, by a person on a sheet, or by one at a terminal.

What was said is kept in the journal, or on the sheet, so that nobody is asked again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from linnet import output
from linnet.evaluate.compare_config import TERMINAL
from linnet.evaluate.compare_journal import Job, Journal, Row, Runner, key_of
from linnet.evaluate.compare_questions import Asked, bodies_of
from linnet.evaluate.compare_responders import Reply
from linnet.evaluate.judging import (
    EQUAL,
    Judge,
    Judged,
    Shown,
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
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation

Which: TypeAlias = tuple[int, str]
"""The number of the second model, and the question."""


@dataclass(frozen=True)
class Pair:
    """Both answers to a question: of the first model, and of another."""

    number: int
    """Of the other model."""
    asked: Asked
    first: Reply
    second: Reply

    @property
    def which(self) -> Which:
        return self.number, self.asked.id

    @property
    def is_same(self) -> bool:
        """Whether both are the same text."""
        return self.first.text == self.second.text


@dataclass(frozen=True)
class Verdicts:
    """What is said of pairs."""

    found: Mapping[Which, Verdict]
    waiting: int = 0
    """Pairs that nobody has said anything of yet."""
    warnings: tuple[str, ...] = ()


def by_judge(judge: Judge, pairs: Sequence[Pair], runner: Runner, *, is_measure: bool) -> Verdicts:
    """Every pair by a model, in both orders.

    The same text twice is equal without asking; ``is_measure``: unless quality is what the judge
    says, which is then asked whether that text solves the question.
    """
    found: dict[Which, Verdict] = {}
    texts: dict[str, Shown] = {}
    jobs: list[Job] = []
    keys: dict[Which, list[str]] = {}
    for pair in pairs:
        if pair.is_same and not is_measure:
            found[pair.which] = EQUAL
            continue
        answers = []
        for reply in (pair.first, pair.second):
            own = texts.setdefault(reply.text, shown(reply.text))
            answers.append(Judged(own.text, tuple(reply.sources)))
        orders = [answers] if pair.is_same else [answers, answers[::-1]]
        own_jobs = [_job(judge, pair.asked, one, two) for one, two in orders]
        keys[pair.which] = [job.key for job in own_jobs]
        jobs += own_jobs
    order = np.random.default_rng(judge.seed).permutation(len(jobs))
    runner.run([jobs[place] for place in order], "judging", "verdicts")
    withheld = failed = 0
    for which, own_keys in keys.items():
        rows = [runner.journal[key] for key in own_keys]
        if any(row["withheld"] for row in rows):
            withheld += 1
        elif any(row["error"] for row in rows):
            failed += 1
        else:
            found[which] = combined(*map(read_row, rows))
    warnings = _warnings(judge, texts.values(), withheld, failed)
    return Verdicts(found, warnings=tuple(warnings))


def _job(judge: Judge, asked: Asked, one: Judged, two: Judged) -> Job:
    """Asking it once, with the answers in this order."""
    conversation = judge.conversation(asked, one, two)
    key = key_of(
        "verdict", judge.model.identity, str(judge.max_tokens),
        json.dumps(bodies_of(conversation.messages)),
    )  # fmt: skip
    return Job(key, judge.model.name, partial(_ask, judge, conversation))


def _ask(judge: Judge, conversation: Conversation, context: Context) -> Row:
    opinion, reply = judge.ask(conversation, context)
    return {
        **opinion_row(opinion, reply), "by": judge.model.identity, "withheld": reply.withheld,
    }  # fmt: skip


def _warnings(judge: Judge, texts: Collection[Shown], withheld: int, failed: int) -> Iterator[str]:
    if left_out := sum(bool(text.left_out) for text in texts):
        yield (
            f"{left_out:,} answers have sentences that speak to the "
            "judge; these sentences were not shown to it"
        )
    if cut := sum(text.cut for text in texts):
        yield f"{cut:,} answers were too long, and judged by their beginning"
    if withheld:
        yield f"the policy kept {withheld:,} pairs of answers from the judge"
    if failed:
        yield f"the judge failed on {failed:,} pairs of answers"
    if not judge.held:
        yield "the judge could not be held to a schema, and wrote its verdicts freely"


def by_sheet(directory: Path, pairs: Sequence[Pair], seed: int) -> Verdicts:
    """Those of the sheet; it is written where there is none, or not of these pairs."""
    file = directory / SHEET
    found, pairings = _blind(pairs, seed)
    listed = list({pairing.key: pairing for pairing in pairings.values()}.values())
    said = read_sheet(file, listed) if file.is_file() else {}
    if not file.is_file() or keys_of(file) != {pairing.key for pairing in listed}:
        if said:  # there may be more on it than verdicts
            output.refuse_links(file)
            output.move(file, file.with_name(PREVIOUS))
        write_sheet(file, listed, said)
    for which, pairing in pairings.items():
        if pairing.key in said:
            found[which] = pairing.verdict(said[pairing.key])
    return Verdicts(found, waiting=sum(pairing.key not in said for pairing in pairings.values()))


def by_person(decide: Decide, pairs: Sequence[Pair], journal: Journal, seed: int) -> Verdicts:
    """Those of whoever sits at the terminal, until they have enough."""
    found, pairings = _blind(pairs, seed)
    entries = list(pairings.items())
    waiting = 0
    for place in np.random.default_rng(seed).permutation(len(entries)):
        which, pairing = entries[place]
        key = f"person {pairing.key}"
        if key not in journal:
            better = decide(pairing, *pairing.in_order())
            if better is None:
                waiting += 1
                continue
            journal.add(key, {"better": pairing.unblinded(better), "by": TERMINAL})
        if (better := read_row(journal[key]).better) is not None:
            found[which] = pairing.verdict(better)
    return Verdicts(found, waiting)


def _blind(pairs: Sequence[Pair], seed: int) -> tuple[dict[Which, Verdict], dict[Which, Pairing]]:
    """What is said without asking a person, as the texts are the same; and the other pairs."""
    same = {pair.which: EQUAL for pair in pairs if pair.is_same}
    others = {
        pair.which: Pairing(pair.asked, pair.first.text, pair.second.text, seed)
        for pair in pairs
        if not pair.is_same
    }
    return same, others
