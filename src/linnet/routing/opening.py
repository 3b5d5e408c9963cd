"""Opening everything that ``routing.toml`` names, once, for whoever serves or asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from linnet.answers.opening import writer_of
from linnet.answers.responder import DocumentsResponder
from linnet.answers.writer import ModelWriter
from linnet.respond.context import Ledger, Tokens
from linnet.respond.responder import Responder
from linnet.routing.models import open_models
from linnet.routing.policy import Policy, PolicyResponder
from linnet.routing.responder import Fixed, RoutingResponder
from linnet.routing.router import open_router
from linnet.routing.settings import AUTO, Routing, read_routing

USAGE = "usage.sqlite"
"""Ends the name of the file beside the settings that knows what was used."""


@dataclass
class OpenRouting:
    """Models beyond this machine, each behind policy and budget, and what chooses among them."""

    file: Path
    settings: Routing
    policy: Policy
    remote: Mapping[str, Responder]
    """By their names in the settings."""
    ledger: Ledger | None = None

    @classmethod
    def open(cls, file: Path | str, *, usage: Path | None = None) -> OpenRouting:
        """``usage``: where it is kept what was used; otherwise beside the settings, if there is a
        budget. Raises ConfigError for what is wrong in the file, and for a key that is missing.
        """
        file = Path(file)
        settings = read_routing(file)
        policy = Policy(settings.policy)
        remote = open_models(settings, policy=lambda inner: PolicyResponder(inner, policy))
        return cls(file, settings, policy, remote)

    def auto(self, local: Responder, *, place: Path | str | None = None) -> RoutingResponder:
        """Whichever is right for each conversation: ``local``, or one beyond this machine.

        From documents all answer alike: passages are found here, and another model may write.
        ``place``: the directory of their index, for what was measured of models there.
        """
        remote = self.remote
        has_documents = isinstance(local, DocumentsResponder)
        if isinstance(local, DocumentsResponder):
            remote = {
                name: DocumentsResponder(
                    local.assistant, name=local.name, writer=self._writer(name, place)
                )
                for name in self.remote
            }
        router = open_router(
            self.settings, base=self.file.parent,
            models={name: each.abilities for name, each in remote.items()},
            local=local.abilities,
        )  # fmt: skip
        return RoutingResponder(
            local, remote, router, name=AUTO, policy=self.policy, tells=has_documents,
            currency=self.settings.currency,
        )  # fmt: skip

    def named(self, name: str) -> RoutingResponder:
        """One model beyond this machine, for whoever asks for it by its name."""
        return RoutingResponder(
            None, {name: self.remote[name]}, Fixed(name), name=name,
            currency=self.settings.currency,
        )  # fmt: skip

    def would_cost(self, tokens: Tokens) -> int | None:
        """What the model that all are compared with would have asked, in trillionths: the first
        that has a price. None: none has."""
        priced = next((each for each in self.settings.models.values() if each.priced), None)
        return priced.price.cost(tokens.prompt, 0, tokens.written) if priced is not None else None

    def close(self) -> None:
        """Write what waits, and end."""

    def _writer(self, name: str, place: Path | str | None) -> ModelWriter:
        """A model beyond this machine as what writes from documents."""
        config = self.settings.models[name]
        if place is None:
            return ModelWriter(self.remote[name], name=name, strict=True)
        return writer_of(
            self.remote[name], place, model=config.address, model_name=config.model, name=name,
            strict=True,
        )  # fmt: skip
