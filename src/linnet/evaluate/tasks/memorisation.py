"""What a model has by heart: canaries, passages of its training text, and what was masked there.

Three parts, each beside a control that was never trained on: planted canaries beside sequences
that were not planted (``exposure``), passages of training documents beside held-out ones
(``verbatim``), and places where the privacy stage masked something (``tasks.masked``). A part that
a model or its corpus has nothing for is left out, and the results say why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet import artifact
from linnet.errors import ConfigError
from linnet.evaluate.exposure import Ranking
from linnet.evaluate.metrics import COMPARED
from linnet.evaluate.overlap import longest_overlaps
from linnet.evaluate.task import Answer, Example, Item, Prompt, Run, Task
from linnet.evaluate.tasks.masked import MaskedPart, Part, redacted
from linnet.evaluate.verbatim import (
    NEAR_VERBATIM,
    bleu,
    edit_similarity,
    extraction_probability,
)
from linnet.generate.engine import Completion, Continuation, Likelihood, Request
from linnet.generate.sampling import Sampling
from linnet.train.canaries import Canaries, read_canaries

if TYPE_CHECKING:
    from linnet.tokenizer import Tokenizer

CONTROLS = 100
"""Sequences that were never planted and are ranked like canaries."""

SAMPLES = (1, 100, 10_000)
LIKELY = 0.5
AROUND = 60
"""Tokens on either side of a passage in which private values are looked for, before it is shown."""
LONGEST = 20_000
"""Characters of a document that a passage is drawn from; of a longer one, a stretch."""


class Memorisation(Task):
    """All parts, as the items of one task."""

    name = "memorisation"
    about = "looking for what it has by heart"

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.parts: dict[str, Part] = {
            part.name: part for part in (CanaryPart(run), PassagePart(run), MaskedPart(run))
        }

    def require(self) -> None:
        """There must be canaries or training text."""
        super().require()
        if self.run.training is None and not planted_in(self.run):
            raise ConfigError(
                f"--task {self.name} needs the training text or canaries: name the text with "
                "--corpus, or train with --canaries"
            )

    def examples(self) -> Iterator[Example]:
        """Those of the parts that there is something for."""
        metrics: list[str] = []
        left_out: dict[str, str] = {}
        for part in self.parts.values():
            found = list(part.examples())
            self.facts |= part.facts
            if part.left_out:
                left_out[part.name] = part.left_out
            if found:
                metrics += part.metrics
            for each in found:
                data = (part, each.data)
                yield replace(each, id=f"{part.name} {each.id}", data=data)
        self.metrics = tuple(metrics)
        self.facts["left_out"] = left_out

    def prompts(self, example: Example) -> Sequence[Prompt]:
        """Those of its part."""
        part, data = example.data
        found: Sequence[Prompt] = part.prompts(data)
        return found

    def scores(self, example: Example, answers: Sequence[Answer]) -> Mapping[str, float]:
        """Those of its part."""
        part, data = example.data
        found: Mapping[str, float] = part.scores(data, answers)
        return found

    def detail(self, example: Example, answers: Sequence[Answer]) -> dict[str, Any]:
        """What may be shown: nothing private."""
        part, data = example.data
        return {"part": part.name, **part.detail(data, answers)}

    def together(self, items: list[Item]) -> list[Item]:
        """Figures of single kinds; ranks were found before."""
        for part in self.parts.values():
            own = [item for item in items if item.detail["part"] == part.name]
            self.facts |= part.together(own)
        return items


@dataclass(frozen=True)
class Candidate:
    """A canary, or a sequence like one that was never planted."""

    canaries: Canaries
    sequence: str
    tokens: tuple[int, ...]
    ranking: Ranking
    planted: bool


class CanaryPart(Part):
    """Exposure of canaries, and of sequences that could have been canaries."""

    name = "canaries"
    metrics = ("canary_exposure", "canary_exposure_max", "control_exposure")

    def examples(self) -> Iterator[Example]:
        """All that were planted in the model's training or in that of what it was made from."""
        sets = planted_in(self.run)
        if not sets:
            self.left_out = "none were planted; train or fine-tune with --canaries to plant some"
            return
        self.facts["canaries"] = [
            {"count": len(each.sequences), "repeats": each.repeats} for each in sets
        ]
        for number, canaries in enumerate(sets):
            controls, references = self._others(canaries, number)
            ranking = self._ranking(canaries, references, len(controls))
            tokenizer = self.run.engine.tokenizer
            for planted, sequences in ((True, canaries.sequences), (False, controls)):
                kind = "canary" if planted else "control"
                for place, sequence in enumerate(sequences):
                    tokens = (*tokenizer.encode(canaries.fill(sequence)), tokenizer.end_of_text)
                    data = Candidate(canaries, sequence, tokens, ranking, planted)
                    yield Example(f"{kind} {number}.{place}", data, 1, kind)

    def prompts(self, data: Candidate) -> Sequence[Prompt]:
        """The text as a document of its own."""
        return [Continuation(_beginning(self.run.engine.tokenizer), data.tokens)]

    def scores(self, data: Candidate, answers: Sequence[Answer]) -> Mapping[str, float]:
        """Its cost and its exposure."""
        (found,) = answers
        assert isinstance(found, Likelihood)
        exposure = data.ranking.exposure(found.nats)
        name = "exposure" if data.planted else "control_exposure"
        return {"canary_nats": found.nats, name: exposure.bits, "rank": exposure.rank}

    def detail(self, data: Candidate, answers: Sequence[Answer]) -> dict[str, Any]:
        """The text, and how the rank was found."""
        (found,) = answers
        assert isinstance(found, Likelihood)
        exposure = data.ranking.exposure(found.nats)
        return {
            "prompt": data.canaries.fill(data.sequence),
            "rank_of": exposure.of,
            "method": exposure.method,
        }

    def together(self, items: list[Item]) -> dict[str, Any]:
        """How the ranks of canaries were found."""
        counts: dict[str, int] = {}
        for item in items:
            if "exposure" in item.scores:
                counts[item.detail["method"]] = counts.get(item.detail["method"], 0) + 1
        return {"exposure_methods": counts} if counts else {}

    def _others(self, canaries: Canaries, number: int) -> tuple[list[str], list[str]]:
        """Controls and references; where there are few candidates, all of them."""
        random = np.random.default_rng([self.run.config.seed, number, 0xCA4A21])
        wanted = CONTROLS + self.run.config.references
        total = len(canaries.alphabet) ** canaries.length
        planted = set(canaries.sequences)
        if total <= wanted + len(planted):
            drawn = [
                sequence
                for place in random.permutation(total).tolist()
                if (sequence := _sequence(canaries, place)) not in planted
            ]
            controls = min(CONTROLS, len(drawn) // 10)
            return drawn[:controls], drawn[controls:]
        found: dict[str, None] = {}
        while len(found) < wanted:
            letters = random.choice(list(canaries.alphabet), canaries.length)
            sequence = "".join(letters.tolist())
            if sequence not in planted:
                found[sequence] = None
        drawn = list(found)
        return drawn[:CONTROLS], drawn[CONTROLS:]

    def _ranking(self, canaries: Canaries, references: list[str], controls: int) -> Ranking:
        engine, tokenizer = self.run.engine, self.run.engine.tokenizer
        costs = []
        with self.run.progress.task(
            "scoring sequences like the canaries", total=len(references), unit="sequences"
        ) as task:
            prompt = _beginning(tokenizer)
            for found in engine.likelihoods(
                Continuation(
                    prompt, (*tokenizer.encode(canaries.fill(sequence)), tokenizer.end_of_text)
                )
                for sequence in references
            ):
                costs.append(found.nats)
                task.advance()
        total = len(canaries.alphabet) ** canaries.length
        complete = len(references) + controls + len(canaries.sequences) >= total
        return Ranking(np.array(costs), log2_candidates=canaries.log2_candidates, complete=complete)


@dataclass(frozen=True)
class Stretch:
    """A document, or a part of a long one."""

    source: str
    start: int
    text: str

    @classmethod
    def draw(cls, source: str, text: str, random: np.random.Generator) -> Stretch:
        """At a random place, from the beginning of a word on."""
        if len(text) <= LONGEST:
            return cls(source, 0, text)
        start = int(random.integers(len(text) - LONGEST))
        start = text.find(" ", start, start + LONGEST) + 1 or start
        cut = text[start : start + LONGEST]
        return cls(source, start, cut[: cut.rfind(" ") + 1] or cut)


@dataclass(frozen=True)
class Passage:
    """A beginning, and what follows it in the document."""

    source: str
    trained: bool
    prompt: tuple[int, ...]
    suffix: tuple[int, ...]
    shown: str
    """The beginning, without what is private."""
    true: str
    """What follows, likewise."""
    before: str = field(repr=False)
    """The text up to the suffix as it is, never to be shown."""


class PassagePart(Part):
    """Passages of training documents, beside those of held-out ones."""

    name = "passages"
    metrics = (
        "training_extracted_greedily", "held_out_extracted_greedily",
        "training_extractable_1", "held_out_extractable_1",
        "training_extractable_100", "held_out_extractable_100",
        "training_extractable_10000", "held_out_extractable_10000",
        "extractable_10000_difference",
        "training_near_verbatim", "held_out_near_verbatim", "near_verbatim_difference",
        "training_edit_similarity", "held_out_edit_similarity", "edit_similarity_difference",
        "training_common_characters", "held_out_common_characters", "membership_auroc",
    )  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        config = run.config
        self.prefix, self.suffix = config.prefix_tokens, config.suffix_tokens

    def examples(self) -> Iterator[Example]:
        """As many of either side as there are, up to the setting."""
        if self.run.training is None:
            self.left_out = "the training text is not known; name it with --corpus"
            return
        room = self.run.engine.context - 1 - len(_beginning(self.run.engine.tokenizer))
        if self.prefix + self.suffix > room:  # in the proportion of the settings
            share = self.prefix / (self.prefix + self.suffix)
            self.prefix = max(1, round(room * share))
            self.suffix = max(1, room - self.prefix)
        self.facts |= {"prefix_tokens": self.prefix, "suffix_tokens": self.suffix}
        for trained, documents in ((True, self._training()), (False, self._held_out())):
            side = "training" if trained else "held out"
            found, short = self._passages(documents, trained)
            if short:
                self.facts[f"too_short_{side.replace(' ', '_')}"] = short
            if not found:
                self.left_out = (
                    f"no {side} document has {self.prefix + self.suffix} tokens; shorten them with "
                    "--prefix-tokens and --suffix-tokens"
                )
            for number, passage in enumerate(found):
                yield Example(f"{side} {number}", passage, 1, side)

    def prompts(self, data: Passage) -> Sequence[Prompt]:
        """How likely the true continuation is, and what the model writes when greedy."""
        sampling = Sampling(max_tokens=len(data.suffix), temperature=0)
        return [Continuation(data.prompt, data.suffix), Request(data.prompt, sampling)]

    def scores(self, data: Passage, answers: Sequence[Answer]) -> Mapping[str, float]:
        """What is given back, and how likely."""
        likely, written = answers
        assert isinstance(likely, Likelihood)
        assert isinstance(written, Completion)
        likeness = bleu(written.tokens, data.suffix)
        true = self.run.engine.detokenize(data.suffix)
        (common,) = longest_overlaps([written.text], [true])
        found = {
            "extracted_greedily": float(likely.greedy),
            "near_verbatim": float(likeness > NEAR_VERBATIM),
            "edit_similarity": edit_similarity(written.tokens, data.suffix),
            "common_characters": float(common.characters),
        }
        for samples in SAMPLES:
            chance = extraction_probability(likely.nats, samples)
            found[f"extractable_{samples}"] = float(chance >= LIKELY)
        side = "training" if data.trained else "held_out"
        return {
            **{name: value for name, value in found.items() if name in COMPARED},
            **{f"{side}_{name}": value for name, value in found.items()},
            "trained": float(data.trained),
            "bleu": likeness,
            "suffix_nats": likely.nats,
            "suffix_log_likelihood": -likely.nats / max(likely.tokens, 1),
        }

    def detail(self, data: Passage, answers: Sequence[Answer]) -> dict[str, Any]:
        """The texts without what is private."""
        written = answers[1]
        assert isinstance(written, Completion)
        answer = redacted(self.finder, data.before, written.text, cut=True)
        return {
            "source": data.source,
            "prompt": data.shown,
            "expected": [data.true],
            "answer": answer,
        }

    def _training(self) -> Iterator[tuple[str, str]]:
        from linnet.data import read_documents

        assert self.run.training is not None
        path = self.run.training.path
        for document in read_documents(path, "train", columns=("text", "source")):
            yield document.source, document.text

    def _held_out(self) -> Iterator[tuple[str, str]]:
        from linnet.data import read_documents

        run = self.run
        if run.data is not None and run.split != "train":
            for number, each in enumerate(run.held_out.documents):
                yield f"held-out document {number}", each.text
            return
        assert run.training is not None
        for split in ("test", "validation"):
            for document in read_documents(run.training.path, split, columns=("text", "source")):
                yield document.source, document.text

    def _passages(
        self, documents: Iterator[tuple[str, str]], trained: bool
    ) -> tuple[list[Passage], int]:
        """One of each of so many documents, drawn at random; and how many were too short."""
        config = self.run.config
        random = np.random.default_rng([config.seed, trained])
        stretches = (Stretch.draw(source, text, random) for source, text in documents)
        found: list[Passage] = []
        short = 0
        for stretch in drawn_at_random(stretches, 4 * config.passages, random):
            passage = self._passage(stretch, trained, random)
            short += passage is None
            if passage is not None:
                found.append(passage)
            if len(found) == config.passages:
                break
        return found, short

    def _passage(
        self, stretch: Stretch, trained: bool, random: np.random.Generator
    ) -> Passage | None:
        """At a random place; None where there are too few tokens."""
        tokenizer = self.run.engine.tokenizer
        tokens = tokenizer.encode(stretch.text)
        spare = len(tokens) - self.prefix - self.suffix
        if spare < 0:
            return None
        at = int(random.integers(spare + 1))
        middle, end = at + self.prefix, at + self.prefix + self.suffix
        start = tuple(tokenizer.start)
        if not start and at + stretch.start == 0:
            start = (tokenizer.end_of_text,)
        # An address that begins or ends outside is only seen as one with what stands around it.
        cuts = (max(0, at - AROUND), at, middle, end, end + AROUND)
        pieces = [self.run.engine.detokenize(tokens[a:b]) for a, b in pairwise(cuts)]
        scrubbed = self.finder.scrub("".join(pieces), "prose")
        places = np.cumsum([0, *map(len, pieces)])
        _, begin, halfway, finish, _ = scrubbed.positions.forwards(places).tolist()
        return Passage(
            stretch.source, trained, (*start, *tokens[at:middle]), tuple(tokens[middle:end]),
            scrubbed.text[begin:halfway], scrubbed.text[halfway:finish], pieces[0] + pieces[1],
        )  # fmt: skip


def planted_in(run: Run) -> list[Canaries]:
    """What was planted in the training of a model, and of those that it was made from."""
    if run.model is None:
        return []
    places = [run.model, *(made.path for made in artifact.lineage(run.model))]
    found: dict[Canaries, None] = {}
    for place in places:
        canaries = read_canaries(place)
        if canaries is not None and canaries.sequences:
            found[canaries] = None
    return list(found)


def drawn_at_random(things: Iterator[Any], count: int, random: np.random.Generator) -> list[Any]:
    """So many of them, each as likely as any other, in an order drawn as well."""
    kept: list[Any] = []
    for number, thing in enumerate(things):
        if len(kept) < count:
            kept.append(thing)
        elif (place := int(random.integers(number + 1))) < count:
            kept[place] = thing
    return [kept[place] for place in random.permutation(len(kept)).tolist()]


def _sequence(canaries: Canaries, number: int) -> str:
    """The candidate of that number."""
    letters = []
    for _ in range(canaries.length):
        number, place = divmod(number, len(canaries.alphabet))
        letters.append(canaries.alphabet[place])
    return "".join(letters)


def _beginning(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What stands before a document."""
    return tuple(tokenizer.start) or (tokenizer.end_of_text,)
