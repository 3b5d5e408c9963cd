"""What is compared: models of this machine, an index of documents, models of ``routing.toml``.

Each is opened once and asked by one method. A model beyond this machine is reached through
``routing.models`` only, so within its owner's policy and budgets.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from linnet import artifact
from linnet.answers.gate.gate import KIND as GATE
from linnet.answers.opening import has_documents, identity_of, open_assistant
from linnet.answers.responder import DocumentsResponder
from linnet.answers.writer import ModelWriter
from linnet.errors import ConfigError, LinnetError, ModelError
from linnet.evaluate.compare_questions import Asked, refuses
from linnet.examples.writer import is_address
from linnet.generate.engine import Request
from linnet.generate.sampling import Sampling
from linnet.progress import SILENT, Progress
from linnet.respond import pieces
from linnet.respond.context import BudgetExceededError, CancelledCallError, Context
from linnet.respond.conversation import Conversation
from linnet.respond.language_model import LanguageModel, open_model, require_writer
from linnet.respond.pieces import Place
from linnet.respond.prices import Price
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Responder, stream
from linnet.retrieval.index import Index
from linnet.routing.opening import OpenRouting
from linnet.routing.policy import PolicyError

MOST_PASSAGES = 20
LONGEST_ANSWER = 200_000
"""Characters of an answer that are kept."""


@dataclass
class Reply:
    """What came of asking a model once."""

    text: str = ""
    refused: bool = False
    seconds: float = 0.0
    first_seconds: float | None = None
    """Until the first piece of text."""
    prompt: int = 0
    """Tokens."""
    cached: int = 0
    written: int = 0
    cost: int | None = 0
    """In trillionths of the unit of money; None: the model's price is not known."""
    cut: bool = False
    """Whether it ended at its longest, not by itself."""
    signals: dict[str, float] = field(default_factory=dict)
    passages: list[str] = field(default_factory=list)
    """What an answer from documents rests on."""
    sources: list[str] = field(default_factory=list)
    """The documents of these."""
    notes: list[str] = field(default_factory=list)
    """What was decided and what failed on the way."""
    error: str = ""
    """Why there is no answer."""
    withheld: bool = False
    """Whether it was the policy that allowed none."""
    status: int | None = None
    """What an address answered instead, as HTTP has it."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Reply:
        """What :meth:`to_json` gave. Raises TypeError for anything else."""
        return cls(**row)


@dataclass
class ComparedModel:
    """One of those that are compared, or a judge."""

    name: str
    identity: str
    """Which one it is, by its content, or by its address and name there."""
    place: Place = "here"
    responder: Responder | None = None
    """None for a model that continues text and cannot converse."""
    writer: LanguageModel | None = None
    """The model itself, where it is one of this machine."""
    price: Price | None = Price()
    """None: it is not known."""
    finds_passages: bool = False

    @property
    def bills(self) -> bool:
        """Whether asking it may cost money."""
        return self.price is not None and self.price != Price()

    def ask(self, asked: Asked, context: Context, *, seed: int = 0) -> Reply:
        """Its answer to a question; what fails is in the reply, but for a cancelled call."""
        sampling = Sampling(temperature=0.0, max_tokens=asked.max_tokens, seed=seed)
        if self.responder is None:
            assert self.writer is not None
            return self._continued(asked, sampling, context)
        messages = asked.bare if self.finds_passages else asked.messages
        conversation = Conversation(
            messages,
            sampling=sampling,
            logprobs=self.writer is not None and not self.finds_passages,
        )
        reply = self.reply(conversation, context)
        reply.refused = reply.refused or refuses(reply.text, asked.language)
        return reply

    def reply(self, conversation: Conversation, context: Context) -> Reply:
        """The answer to a conversation; what fails is in it, but for a cancelled call and a budget
        that has ended."""
        assert self.responder is not None
        own = Context(key=context.key, budget=context.budget)  # a call that fails is cancelled
        undo = context.on_cancel(lambda: own.cancel(context.cancelled))
        reply, began = Reply(), time.monotonic()
        given = stream(self.responder, conversation, own)
        scores: list[float] = []
        try:
            with closing(given):
                for piece in given:
                    self._take(reply, piece, began, scores)
        except (BudgetExceededError, CancelledCallError):  # nothing more can be asked
            raise
        except LinnetError as error:
            reply.error = str(error)
            reply.withheld = isinstance(error, PolicyError)
            reply.status = error.status if isinstance(error, RemoteError) else None
        finally:
            undo()
        reply.seconds = time.monotonic() - began
        tokens = own.record.tokens
        reply.prompt, reply.cached, reply.written = tokens.prompt, tokens.cached, tokens.written
        reply.cost = None if self.price is None else own.record.cost
        return _ended(reply, scores)

    def _take(self, reply: Reply, piece: pieces.Piece, began: float, scores: list[float]) -> None:
        match piece:
            case pieces.Text():
                if reply.first_seconds is None and piece.text:
                    reply.first_seconds = time.monotonic() - began
                reply.text += piece.text
                scores += [score.logprob for score in piece.scores]
            case pieces.Refusal():
                reply.refused = True
                reply.text += piece.text
            case pieces.Passage() | pieces.Citation():
                if piece.source not in reply.sources:
                    reply.sources.append(piece.source)
                if isinstance(piece, pieces.Passage) and len(reply.passages) < MOST_PASSAGES:
                    reply.passages.append(piece.text)
            case pieces.Outcome():
                for name in ("probability", "in_scope"):
                    if (value := getattr(piece, name)) is not None:
                        reply.signals[name] = value
            case pieces.Decision() if piece.subject != "messages":
                reply.notes.append(f"{piece.subject}: {piece.outcome} ({piece.reason})")
            case pieces.Failure():
                reply.notes.append(piece.text)
            case pieces.Finish():
                reply.cut = piece.reason == "length"

    def _continued(self, asked: Asked, sampling: Sampling, context: Context) -> Reply:
        """Of a model that has no chat template: what follows the question as plain text."""
        assert self.writer is not None
        request = Request(asked.plain, replace(sampling, stop=asked.stop), logprobs=True)
        scores: list[float] = []
        reply, began = Reply(), time.monotonic()
        try:
            for chunk in self.writer.engine.stream(request):
                if context.cancelled is not None:
                    raise context.cancelled
                if reply.first_seconds is None and chunk.text:
                    reply.first_seconds = time.monotonic() - began
                if chunk.start is not None:
                    reply.prompt = chunk.start.prompt_tokens
                    reply.cached = chunk.start.cached_tokens
                reply.text += chunk.text
                reply.written += len(chunk.tokens)
                scores += list(chunk.logprobs or ())
                reply.cut = chunk.finish_reason == "length"
        except CancelledCallError:
            raise
        except LinnetError as error:
            reply.error = str(error)
        reply.seconds = time.monotonic() - began
        reply = _ended(reply, scores)
        reply.refused = refuses(reply.text, asked.language)
        return reply


def _ended(reply: Reply, scores: Sequence[float]) -> Reply:
    reply.text = reply.text.strip()[:LONGEST_ANSWER]
    known = [score for score in scores if math.isfinite(score)]
    if known:
        reply.signals["logprob"] = sum(known) / len(known)
    return reply


@contextmanager
def opened(
    names: Sequence[str],
    routing: OpenRouting | None = None,
    *,
    judge: str = "",
    writer: str = "",
    progress: Progress = SILENT,
) -> Iterator[tuple[list[ComparedModel], ComparedModel | None]]:
    """Models by their names in ``routing.toml`` or by where they are, each ``NAME=PLACE`` or just
    ``PLACE``; and the judge, which may be one of them. ``writer``: what writes the answers of an
    index.

    Raises ConfigError or ModelError for what is no such thing, before any is opened.
    """
    wanted = [_named(each, routing) for each in names]
    _tell_apart([name for name, _ in wanted])
    judging = _named(judge, routing) if judge else None
    if writer and is_address(writer):
        raise ConfigError(
            f"--model {writer}: what writes from documents here is a model of this machine; one at "
            "an address is compared by its name in routing.toml"
        )
    if writer and not any(has_documents_at(place) for _, place in wanted):
        raise ConfigError("--model writes the answers of an index, but none is compared")
    with ExitStack() as held:

        def open_one(name: str, place: str) -> ComparedModel:
            if routing is not None and place in routing.remote and not Path(place).exists():
                return _of_routing(name, place, routing)
            if has_documents_at(place):
                return _documents(name, place, writer, routing, held, progress)
            return _of_this_machine(name, place, held, progress)

        found = {place: open_one(name, place) for name, place in wanted}
        models = [replace(found[place], name=name) for name, place in wanted]
        judge_model = None
        if judging is not None:
            name, place = judging
            judge_model = replace(found[place], name=name) if place in found else open_one(*judging)
        yield models, judge_model


def has_documents_at(place: str) -> bool:
    """Whether an index lies there."""
    try:
        return Path(place).is_dir() and has_documents(place)
    except LinnetError:
        return False


def _named(given: str, routing: OpenRouting | None) -> tuple[str, str]:
    """The name of what is compared, and where it is or what ``routing.toml`` calls it."""
    name, equals, place = given.partition("=")
    if not equals or not name or "/" in name:
        name, place = "", given
    known = () if routing is None else tuple(routing.remote)
    if is_address(place):
        raise ConfigError(
            f"{place}: a model at an address is asked within a policy and a budget; write it into "
            "routing.toml, and give its name there with --routing routing.toml"
        )
    if place in known and Path(place).exists():
        raise ConfigError(
            f"{place} is a model of routing.toml and a file here; write ./{place} for the file"
        )
    if (Path(place) / "results.json").is_file():
        raise ConfigError(
            f"{place} is a run of 'linnet evaluate', which has its questions; leave out --questions"
        )
    if place not in known and not Path(place).exists() and "/" not in place:
        there = f"routing.toml has {', '.join(known)}" if known else "--routing names no file"
        raise ModelError(f"{place}: there is no such model here, and {there}")
    return name or (place if place in known else Path(place).resolve().name), place


def _tell_apart(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two models are called {name}; tell them apart: first={name} second={name}"
            )


def _of_routing(name: str, place: str, routing: OpenRouting) -> ComparedModel:
    config, responder = routing.settings.models[place], routing.remote[place]
    return ComparedModel(
        name, f"{config.address}#{config.model}", responder.abilities.place, responder,
        price=config.price if config.priced else None,
    )  # fmt: skip


def _documents(
    name: str,
    place: str,
    writer: str,
    routing: OpenRouting | None,
    held: ExitStack,
    progress: Progress,
) -> ComparedModel:
    assistant = open_assistant(place, model=writer or None, progress=progress)
    if routing is not None and routing.settings.policy.farthest != "here":
        # What it quotes may be shown to a judge.
        routing.policy.protected.add(assistant.index)
    responder = DocumentsResponder(assistant, name=name)
    if isinstance(assistant.index, Index):
        held.callback(assistant.index.close)
    if isinstance(assistant.writer, ModelWriter):
        held.callback(assistant.writer.close)
    held.callback(responder.close)
    parts = [artifact.read(artifact.within(Path(place), "index")).content]
    gate = artifact.within(Path(place), GATE)
    if artifact.is_artifact(gate):
        parts.append(artifact.read(gate).content)
    parts += [identity_of(writer)] if writer else []
    identity = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return ComparedModel(name, identity, responder=responder, finds_passages=True)


def _of_this_machine(name: str, place: str, held: ExitStack, progress: Progress) -> ComparedModel:
    model = require_writer(open_model(place, progress=progress), place)
    held.callback(model.engine.close)
    responder = model.responder() if model.converses else None
    if responder is not None and responder.refusal is not None:
        raise ModelError(f"{place} cannot be asked: {responder.refusal}")
    return ComparedModel(name, identity_of(place), responder=responder, writer=model)
