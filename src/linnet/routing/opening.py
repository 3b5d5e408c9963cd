"""Opening everything that ``routing.toml`` names, once, for whoever serves or asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linnet.answers.assistant import Assistant
from linnet.answers.current import CurrentAssistant
from linnet.answers.opening import writer_of
from linnet.answers.responder import DocumentsResponder
from linnet.answers.writer import ModelWriter
from linnet.respond.context import Tokens
from linnet.respond.conversation import Conversation
from linnet.respond.counts import most_prompt_tokens
from linnet.respond.pieces import Place
from linnet.respond.responder import Responder
from linnet.retrieval import Found
from linnet.routing.beyond import BeyondDocuments
from linnet.routing.contents import Finding
from linnet.routing.ledger import Ledger, open_ledger
from linnet.routing.models import Models, open_models
from linnet.routing.policy import Policy, PolicyError, PolicyResponder
from linnet.routing.protected import FARNESS
from linnet.routing.responder import Fixed, RoutingResponder
from linnet.routing.router import open_router
from linnet.routing.settings import AUTO, Routing, read_routing

FINGERPRINTS = ".fingerprints"
"""Ends the name of the directory beside the settings that has those of documents that stay here."""


@dataclass
class OpenRouting:
    """Models beyond this machine, each behind policy and budget, and what chooses among them."""

    file: Path
    settings: Routing
    policy: Policy
    remote: Models
    """By their names in the settings."""
    ledger: Ledger

    @classmethod
    def open(cls, file: Path | str) -> OpenRouting:
        """Raises ConfigError for what is wrong in the file, and for a key that is missing."""
        file = Path(file)
        settings = read_routing(file)
        policy = Policy(settings.policy, keep=file.with_name(f"{file.stem}{FINGERPRINTS}"))
        ledger = open_ledger(file, settings.budget, currency=settings.currency)
        try:
            remote = open_models(
                settings, policy=lambda inner: PolicyResponder(inner, policy), ledger=ledger
            )
        except BaseException:
            ledger.close()
            raise
        return cls(file, settings, policy, remote, ledger)

    def auto(self, local: Responder, *, place: Path | str | None = None) -> RoutingResponder:
        """Whichever is right for each conversation: ``local``, or one beyond this machine; for one
        ``local`` alone.

        From documents all answer alike: passages are found here, and another model may write.
        ``place``: the directory of their index, for what was measured of models there.
        """
        remote: dict[str, Responder] = self.remote
        has_documents = isinstance(local, DocumentsResponder)
        if isinstance(local, DocumentsResponder):
            self.protect(local.assistant)
            remote = {name: self._from_documents(name, local, place) for name in self.remote}
        router = open_router(
            self.settings, base=self.file.parent,
            models={name: each.abilities for name, each in remote.items()},
            local=local.abilities,
        )  # fmt: skip
        return RoutingResponder(
            local, remote, router, name=AUTO, policy=self.policy, tells=has_documents,
            is_slow=router.learned is not None, currency=self.settings.currency,
        )  # fmt: skip

    def _from_documents(
        self, name: str, local: DocumentsResponder, place: Path | str | None
    ) -> DocumentsResponder:
        """A model beyond this machine that writes from the documents of this one."""
        settings: dict[str, Any] = {
            "name": local.name, "writer": self._writer(name, place), "watch": local.watch,
        }  # fmt: skip
        if not self.settings.router.beyond:
            return DocumentsResponder(local.assistant, **settings)
        return BeyondDocuments(local.assistant, beyond=self.remote[name], **settings)

    def protect(self, assistant: Assistant) -> None:
        """Have text of its documents known that stays here, wherever it turns up."""
        if self.settings.policy.farthest == "here":
            return  # so that nothing can leave anyway
        if isinstance(assistant, CurrentAssistant):
            assistant.on_renew = self.policy.protected.add
        if len(assistant.index):
            self.policy.protected.add(assistant.index)

    def named(self, name: str) -> RoutingResponder:
        """One model beyond this machine, for whoever asks for it by its name."""
        return RoutingResponder(
            None, {name: self.remote[name]}, Fixed(name), name=name, policy=self.policy,
            currency=self.settings.currency,
        )  # fmt: skip

    def most_cost(self, name: str, asked: Conversation) -> int | None:
        """What an answer to this could cost at most, in trillionths; None: no price is given."""
        config = self.settings.models[name]
        longest = asked.sampling.max_tokens
        if config.longest:
            longest = min(longest, config.longest)
        messages = [message.as_json() for message in asked.messages]
        body = json.dumps(messages, ensure_ascii=False).encode("utf-8", "replace")
        cost = config.price.cost(most_prompt_tokens(body), 0, longest * asked.choices)
        return cost if config.priced else None

    def would_cost(self, tokens: Tokens) -> int | None:
        """What the model that all are compared with would have asked, in trillionths: the first
        that has a price. None: none has."""
        priced = next((each for each in self.settings.models.values() if each.priced), None)
        return priced.price.cost(tokens.prompt, 0, tokens.written) if priced is not None else None

    def close(self) -> None:
        """Charge nothing any more."""
        self.ledger.close()
        self.policy.close()

    def _writer(self, name: str, place: Path | str | None) -> ModelWriter:
        """A model beyond this machine as what writes from documents."""
        config, remote = self.settings.models[name], self.remote[name]

        def admit(found: Sequence[Found]) -> Sequence[Found]:
            return self._admitted(found, remote.abilities.place)

        if place is None:
            return ModelWriter(remote, name=name, strict=True, admit=admit)
        return writer_of(
            remote, place, model=config.address, model_name=config.model, name=name, strict=True,
            admit=admit,
        )  # fmt: skip

    def _admitted(self, found: Sequence[Found], place: Place) -> Sequence[Found]:
        """The passages that may go so far. Raises PolicyError where there are some, and none may.

        The policy checks once more what is written of them.
        """
        farthest = self.policy.protected.farthest
        kept = [
            each
            for each in found
            if all(
                FARNESS[farthest(own.source)[0]] >= FARNESS[place] for own in each.passage.places
            )
        ]
        if found and not kept:
            _, rule = farthest(found[0].passage.place.source)
            raise PolicyError([Finding("documents", f"all that was found stays here ({rule})")])
        return kept
