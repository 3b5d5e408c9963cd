"""What may leave this machine, decided before anything is written out for sending.

Without a word of the owner nothing leaves. What they allow is narrowed by where it comes from
(documents by their sources, memory, earlier turns, results of tools), by what it says (the owner's
patterns, private data, text of protected documents), and by who asks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from linnet.config import Config, option
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation, ConversationError
from linnet.respond.pieces import Batch, Decision, Place
from linnet.respond.responder import Abilities, Batches, Responder

FARNESS: dict[Place, int] = {"here": 0, "network": 1, "elsewhere": 2}
"""How far away a place is."""


@dataclass(frozen=True)
class PolicyConfig(Config):
    """What the owner allows; without a word of theirs nothing leaves."""

    farthest: Place = option(
        "here", "Where conversations may go at most: here, network or elsewhere."
    )
    local_only: tuple[str, ...] = option(
        (), "Documents of which nothing may leave, as patterns of their sources, such as hr/**."
    )
    keys: dict[str, Place] = field(default_factory=dict)
    """How far conversations of a key may go, by its name; nearer than ``farthest``."""


@dataclass(frozen=True)
class Verdict:
    """Whether a conversation may go somewhere. ``reasons``: why not, each in a line that names
    the rule and nothing of what was said."""

    allowed: bool
    reasons: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """All of them in a line."""
        return "; ".join(self.reasons)


class PolicyError(ConversationError):
    """A conversation may not go to a model."""

    def __init__(self, reasons: tuple[str, ...]) -> None:
        super().__init__(
            f"the policy keeps this here: {'; '.join(reasons)}", part="messages", code="policy"
        )
        self.reasons = reasons


@dataclass(frozen=True)
class Outgoing:
    """A conversation as it may leave."""

    conversation: Conversation
    decisions: tuple[Decision, ...] = ()
    """What was left out of it, and what was masked."""
    restore: Callable[[Batch], Batch] = list
    """Gives batches of the answer with what was masked in its place again. Of one answer, in
    order; what may be the beginning of a placeholder is held back until more of it is there."""


class Policy:
    """Decides what may leave; may be asked by several threads at once."""

    def __init__(self, config: PolicyConfig) -> None:
        self.config = config

    def check(
        self, conversation: Conversation, context: Context, place: Place, *, model: str = ""
    ) -> Verdict:
        """Whether a conversation may go to a model that runs at this place, as it is or masked."""
        try:
            self.outgoing(conversation, context, place, model=model)
        except PolicyError as error:
            return Verdict(False, error.reasons)
        return Verdict(True)

    def outgoing(
        self, conversation: Conversation, context: Context, place: Place, *, model: str = ""
    ) -> Outgoing:
        """The conversation as it may go there. Raises PolicyError where it may not."""
        if place == "here":
            return Outgoing(conversation)
        farthest = self.config.keys.get(context.key or "", self.config.farthest)
        if FARNESS[place] > FARNESS[farthest]:
            raise PolicyError((f"conversations go no farther than '{farthest}'",))
        return Outgoing(conversation)


class PolicyResponder:
    """Asks a model what the policy lets it see, and puts back into its answer what was masked."""

    def __init__(self, inner: Responder, policy: Policy) -> None:
        self.inner, self.policy = inner, policy

    @property
    def abilities(self) -> Abilities:
        """Those of the model."""
        return self.inner.abilities

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`. Raises PolicyError where the conversation may not go there."""
        place = self.abilities.place
        outgoing = self.policy.outgoing(conversation, context, place, model=self.abilities.name)
        if outgoing.decisions:
            yield list(outgoing.decisions)
        batches = self.inner.respond(outgoing.conversation, context)
        async with contextlib.aclosing(batches):
            async for batch in batches:
                if restored := outgoing.restore(batch):
                    yield restored
