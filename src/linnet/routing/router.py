"""Which model a question goes to: what was asked for, then rules, then what was learned.

A question that no rule is about may be answered on this machine first: ``choose`` then gives a
route that judges the attempt, and ``judge`` decides with the answer in sight. Nothing here is
random, and each route says in words why it was taken.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.config import Config, option
from linnet.errors import ConfigError, ContradictionError
from linnet.respond.conversation import Conversation, ConversationError
from linnet.respond.responder import Abilities
from linnet.routing.config import LOCAL
from linnet.routing.features import ANY, TASKS, Attempt, language_of, question_of, task_of, turns_of
from linnet.routing.targets import Target

__all__ = [
    "LOCAL",
    "Route",
    "Router",
    "RouterConfig",
    "Rule",
    "check_rules",
    "open_router",
]

if TYPE_CHECKING:
    from linnet.routing.learned import LearnedRouter
    from linnet.routing.settings import Routing


@dataclass(frozen=True)
class RouterConfig(Config):
    """How questions are judged that no rule is about."""

    file: Path | None = option(None, "The router that 'linnet route train' made.")
    quality: float | None = option(
        None, "Answers right at least so often, as a share of the best.", least=0, most=1
    )
    cost: float | None = option(None, "Money that a question costs on average at most.", least=0)
    share: float | None = option(
        None, "Share of questions that leave this machine at most.", least=0, most=1
    )
    confidence: float = option(0.95, "How sure it is that the target is kept.", least=0.5, below=1)
    attempt: bool = option(
        True, "Whether this machine answers first and its answer is judged, where that was learned."
    )
    refused: bool = option(
        True,
        "Without a router: whether what this machine refuses to answer goes to a larger model.",
    )
    beyond: bool = option(
        True,
        "From documents: whether what they do not answer is answered by a larger model from what "
        "it knows, and so marked; otherwise it stays unanswered.",
    )
    probability: float | None = option(
        None,
        "Without a router: answers that are right with less probability than this, as the gate of "
        "an index says, go to a larger model.",
        least=0,
        most=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        targets = [name for name in TARGETS if getattr(self, name) is not None]
        if self.file is None and targets:
            raise ContradictionError(
                f"router: {targets[0]} is a target for a router, but no file is given; make one "
                "with 'linnet route train', or set probability",
                "router", f"router.{targets[0]}",
            )  # fmt: skip
        if self.file is not None and not targets:
            raise ContradictionError(
                "router: a router in a file needs a target: quality, cost or share; "
                "'linnet route train' shows what can be reached",
                "router.file",
            )
        if self.file is not None and self.probability is not None:
            raise ContradictionError(
                "router: probability is for routing without a router; remove it, or file",
                "router.file", "router.probability",
            )  # fmt: skip

    @property
    def target(self) -> Target:
        """What it is to reach."""
        return Target(self.quality, self.cost, self.share, self.confidence)


TARGETS = ("quality", "cost", "share")


@dataclass(frozen=True)
class Rule(Config):
    """Questions of a kind go to a model, whatever a router thinks; the first that fits counts.

    A rule without a condition fits everything. What is compared is the last message of the user.
    """

    model: str = option(LOCAL, "Where they go; 'local' for this machine.")
    name: str = option("", "What it is called in decisions.")
    matches: str = option("", "A regular expression that the question has in it.")
    longer: int | None = option(None, "Questions of more characters.", least=0)
    shorter: int | None = option(None, "Questions of fewer characters.", least=0)
    tools: bool | None = option(None, "Conversations with tools, or without.")
    task: str = option(ANY, "Questions of a kind, told by their words.", choices=(ANY, *TASKS))
    languages: tuple[str, ...] = option((), "Questions in one of these, such as de.")
    turns: int | None = option(None, "Conversations with more messages of the user.", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            re.compile(self.matches)
        except re.error as error:
            raise ConfigError(
                f"rules: {self.matches!r} is no regular expression ({error})"
            ) from None
        for code in self.languages:
            if not re.fullmatch("[a-z]{2}", code):
                raise ConfigError(f"rules: languages are such as de, in two letters. Got {code!r}")
        if self.longer is not None and self.shorter is not None and self.longer + 1 >= self.shorter:
            raise ConfigError(
                f"rules: no question has more than {self.longer} and fewer than {self.shorter} "
                "characters"
            )

    @property
    def conditions(self) -> tuple[str, ...]:
        """The names of those that it has."""
        return tuple(
            each.name
            for each in fields(self)
            if each.name not in ("model", "name") and getattr(self, each.name) != each.default
        )

    def fits(self, conversation: Conversation) -> bool:
        """Whether it is about this conversation."""
        question = question_of(conversation)
        return (
            (not self.matches or re.search(self.matches, question) is not None)
            and (self.longer is None or len(question) > self.longer)
            and (self.shorter is None or len(question) < self.shorter)
            and (self.tools is None or bool(conversation.callable) == self.tools)
            and (self.turns is None or len(turns_of(conversation)) > self.turns)
            and (self.task == ANY or task_of(question) == self.task)
            and (not self.languages or language_of(question) in self.languages)
        )

    def covers(self, other: Rule) -> bool:
        """Whether it surely fits whatever the other one fits."""
        return (
            (not self.matches or self.matches == other.matches)
            and (self.longer is None or (other.longer is not None and other.longer >= self.longer))
            and (
                self.shorter is None
                or (other.shorter is not None and other.shorter <= self.shorter)
            )
            and (self.tools is None or self.tools == other.tools)
            and (self.turns is None or (other.turns is not None and other.turns >= self.turns))
            and self.task in (ANY, other.task)
            and (
                not self.languages
                or bool(other.languages and set(other.languages) <= set(self.languages))
            )
        )


def check_rules(rules: Sequence[Rule]) -> None:
    """Raises ContradictionError for a rule that never counts, as an earlier one fits all that it
    fits."""

    def named(number: int) -> str:
        name = f" ('{rules[number].name}')" if rules[number].name else ""
        return f"rule {number + 1}{name}"

    for later, rule in enumerate(rules):
        for earlier in range(later):
            if not rules[earlier].covers(rule):
                continue
            names = f"rules.{earlier}", f"rules.{later}"
            if rule.covers(rules[earlier]) and rule.model != rules[earlier].model:
                raise ContradictionError(
                    f"{named(later)} sends to '{rule.model}' just what {named(earlier)} sends to "
                    f"'{rules[earlier].model}'; remove one of them",
                    *names,
                )
            raise ContradictionError(
                f"{named(later)} never counts: {named(earlier)} comes first and fits all that it "
                "fits; put it before, or remove it",
                *names,
            )


@dataclass(frozen=True)
class Route:
    """Where a question goes, and why."""

    model: str
    reason: str
    """For people, in a line."""
    decided_by: str = "default"
    """``request``, ``rule``, ``ability``, ``router``, ``attempt``, ``policy``, ``budget``,
    ``failure`` or ``default``."""
    score: float | None = None
    """How much better the larger model is expected to do, where a router said so."""
    threshold: float | None = None
    judges_attempt: bool = False
    """Whether it is decided again when there is a local answer."""


@dataclass(frozen=True)
class Router:
    """Chooses a model for each conversation; may be used by several threads at once."""

    config: RouterConfig = RouterConfig()
    rules: tuple[Rule, ...] = ()
    models: Mapping[str, Abilities] = field(default_factory=dict)
    """Those beyond this machine that may be chosen, the preferred one first."""
    local: Abilities | None = None
    """What this machine's can do; None: anything."""
    learned: LearnedRouter | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """Of the stages of what was learned."""

    @property
    def judges(self) -> bool:
        """Whether it was learned how good a local answer is, whatever that says of itself."""
        return self.config.attempt and self.learned is not None and (
            "attempt" in self.learned.stages
        )  # fmt: skip

    @property
    def needs_scores(self) -> bool:
        """Whether local answers should come with the log-probabilities of their tokens."""
        return self.judges and self.learned is not None and self.learned.needs_scores

    def choose(self, conversation: Conversation, *, requested: str | None = None) -> Route:
        """Where a conversation goes. ``requested``: the model that the user wants this time.

        Raises ConversationError for a model that there is not.
        """
        if requested is not None:
            return self._requested(requested)
        for number, rule in enumerate(self.rules, 1):
            if rule.fits(conversation):
                return self._ruled(rule, number, conversation)
        able = tuple(self._able(conversation))
        if lacking := _lacking(self.local, conversation):
            if able:
                return Route(able[0], f"the local model {lacking}", "ability")
            return Route(LOCAL, f"the local model {lacking}, and so does every other")
        if not able:
            return Route(LOCAL, "no larger model can take this conversation")
        if self.judges:
            return Route(
                LOCAL, "the local model answers first, and its answer is judged", "router",
                judges_attempt=True,
            )  # fmt: skip
        if self.learned is not None:
            return self._estimated("question", question_of(conversation), None, able)
        if not self.config.refused and self.config.probability is None:
            return Route(LOCAL, "nothing says that a larger model would do better")
        return Route(LOCAL, "the local model answers first", judges_attempt=True)

    def judge(self, conversation: Conversation, attempt: Attempt) -> Route:
        """Whether a local answer stands, or which model is to answer instead."""
        able = tuple(self._able(conversation))
        if not able:
            return Route(LOCAL, "no larger model can take this conversation")
        if self.judges:
            return self._estimated("attempt", question_of(conversation), attempt, able)
        if attempt.refused and self.config.refused:
            return Route(able[0], "the local answer is a refusal", "attempt")
        least, probability = self.config.probability, attempt.probability
        if least is not None and probability is not None:
            low = probability < least
            said = "under" if low else "at least"
            return Route(
                able[0] if low else LOCAL,
                f"the local answer is right with a probability of {probability:.2f}, {said} the "
                f"{least:.2f} that is wanted",
                "attempt", 1 - probability, 1 - least,
            )  # fmt: skip
        return Route(LOCAL, "the local answer stands", "attempt")

    def _requested(self, model: str) -> Route:
        if model not in (LOCAL, *self.models):
            known = ", ".join((LOCAL, *self.models))
            raise ConversationError(
                f"there is no model '{model}' to route to; there are: {known}",
                part="route",
                code="model_not_found",
            )
        return Route(model, f"{model} was asked for", "request")

    def _ruled(self, rule: Rule, number: int, conversation: Conversation) -> Route:
        """Where a rule that fits sends it; elsewhere if that model cannot take it at all."""
        said = _said(rule, number)
        abilities = self.local if rule.model == LOCAL else self.models.get(rule.model)
        lacking = _lacking(abilities, conversation)
        if not lacking:
            return Route(rule.model, said, "rule")
        if rule.model != LOCAL and not _lacking(self.local, conversation):
            # What an owner keeps on this machine stays; the other way nothing is kept.
            return Route(LOCAL, f"{said}; but {rule.model} {lacking}", "ability")
        return Route(rule.model, f"{said}; it may fail, as {rule.model} {lacking}", "rule")

    def _estimated(
        self, stage: str, question: str, attempt: Attempt | None, able: Sequence[str]
    ) -> Route:
        """What was learned about it, among the models that can take it."""
        assert self.learned is not None
        estimate = self.learned.estimate(stage, question, attempt)
        threshold = self.thresholds[stage]
        larger = self.learned.models[1:]
        decided_by = "attempt" if stage == "attempt" else "router"
        kept = [name for name in larger if name in able] if larger else list(able[:1])
        if not kept:
            return Route(LOCAL, "no larger model that was learned of can take it", decided_by)
        places = [larger.index(name) + 1 for name in kept] if larger else [1]
        score, chosen = self.learned.decide(stage, estimate, threshold, places)
        local = estimate.qualities[0]
        best = chosen or max(places, key=lambda place: estimate.qualities[place])
        name = kept[places.index(best)]
        if not larger:
            said = f"the local model is expected to be right with {local:.2f}"
        else:
            said = f"{name} is expected to do {estimate.qualities[best]:.2f}, the local "
            said += f"{'answer' if stage == 'attempt' else 'model'} {local:.2f}"
        compared = "at least" if chosen else "under"
        return Route(
            name if chosen else LOCAL,
            f"{said}: a gain of {score:.2f}, {compared} the threshold {threshold:.2f}",
            decided_by, score, threshold if math.isfinite(threshold) else None,
        )  # fmt: skip

    def _able(self, conversation: Conversation) -> Iterator[str]:
        """The models beyond this machine that can take it."""
        for name, abilities in self.models.items():
            if not _lacking(abilities, conversation):
                yield name


def open_router(
    routing: Routing, *, base: Path, models: Mapping[str, Abilities], local: Abilities | None = None
) -> Router:
    """The router of settings, whose files lie in ``base`` where they are relative.

    Raises ArtifactError, DamagedError, and ConfigError where its target cannot be reached.
    """
    config = routing.router
    if any(rule.languages for rule in routing.rules):
        language_of(WARMING)  # what tells languages is read now, not at the first question
    if config.file is None:
        return Router(config, routing.rules, models, local)
    from linnet.routing.learned import open_learned
    from linnet.routing.targets import threshold_for

    learned = open_learned(base / config.file)
    learned = replace(
        learned,
        models=(LOCAL, *(_named(name, routing, config.file) for name in learned.models[1:])),
    )
    stages = ["question", *(["attempt"] if "attempt" in learned.stages and config.attempt else [])]
    thresholds = {}
    for stage in stages[-1:]:
        held_out = learned.stages[stage].held_out
        if len(learned.models) == 1 and (config.quality is not None or config.cost is not None):
            raise ConfigError(
                "router: a target of quality or cost needs the answers of both models to the same "
                "questions, but the router was made of one model's; run 'linnet compare' and train "
                "on its outcomes, or set share"
            )
        thresholds[stage] = threshold_for(held_out, config.target)
    learned.estimate("question", WARMING)  # which opens its encoder
    return Router(config, routing.rules, models, local, learned, thresholds)


WARMING = "Hvornår slutter lejemålet?"
"""A question in a language that is not told by small words here."""


def _named(model: str, routing: Routing, file: Path) -> str:
    """What a model that a router learned of is called here: by its name, or its name there."""
    if model in routing.models:
        return model
    found = [name for name, config in routing.models.items() if config.model == model]
    if len(found) == 1:
        return found[0]
    known = ", ".join(routing.models) or "none"
    raise ConfigError(
        f"router: {file} was learned for the model '{model}', which is not one of those here "
        f"({known}), neither by name nor by 'model'; name one so, or train with --models"
    )


def _lacking(abilities: Abilities | None, conversation: Conversation) -> str:
    """What a model cannot do that a conversation needs, as the rest of a sentence."""
    if abilities is None:
        return ""
    if conversation.callable and not abilities.tools:
        return "cannot call tools"
    if conversation.constraint is not None and not abilities.constraints:
        return "cannot write in a given form"
    least = sum(len(message.text) for message in conversation.messages) // MOST_CHARACTERS
    if abilities.context and least > abilities.context:
        return f"takes {abilities.context:,} tokens, and this is longer"
    return ""


MOST_CHARACTERS = 8
"""Of a token on average, in any text; only what surely is too long is taken as such."""


def _said(rule: Rule, number: int) -> str:
    """Why a rule fits."""
    name = f" ('{rule.name}')" if rule.name else ""
    said = {
        "matches": f"matches {rule.matches}",
        "longer": f"has more than {rule.longer} characters",
        "shorter": f"has fewer than {rule.shorter} characters",
        "tools": "comes with tools" if rule.tools else "comes without tools",
        "task": f"is about {rule.task}",
        "languages": f"is in {' or '.join(rule.languages)}",
        "turns": f"follows {rule.turns} others",
    }
    reasons = " and ".join(said[each] for each in rule.conditions)
    return f"rule {number}{name}: the question {reasons or 'is like any other'}"
