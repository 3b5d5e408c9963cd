"""A model that writes questions: one of this machine, or one at an address that its owner named.

What it writes is held to a JSON Schema: on this machine by a grammar, so that nothing else can
come; at an address where the server takes schemas. Whatever was written is kept in a file, so that
a run that was killed asks nothing twice; the same seed gives the same texts.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet import artifact, output
from linnet.config import parse_json
from linnet.errors import ConfigError, ModelError
from linnet.generate.constraint import Constraint
from linnet.generate.engine import Continuation
from linnet.generate.engines import EngineConfig
from linnet.generate.sampling import Sampling
from linnet.progress import SILENT, Progress
from linnet.respond import RemoteError, RemoteResponder, read_key
from linnet.respond.address import sent_away
from linnet.respond.conversation import Conversation, conversation
from linnet.respond.engine import EngineResponder
from linnet.respond.language_model import open_model, require_writer
from linnet.respond.responder import run

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.examples.config import ExamplesConfig
    from linnet.generate.engine import Engine

BATCH = 16
"""Texts that are asked for together; an engine gives them, to be kept, once all are there."""
_AT_ONCE = 4  # requests to an address
_NO_SCHEMA = (400, 404, 415, 422, 501)
"""Statuses by which servers refuse what they do not know of a request."""


@dataclass(frozen=True)
class Prompt:
    """What is to be written: an answer to a conversation, as JSON of a schema."""

    messages: Sequence[dict[str, str]]
    schema: dict[str, Any]
    seed: int
    temperature: float = 0.6
    max_tokens: int = 1024
    """More than the longest text of the schema, so that none is cut off within its JSON."""

    def conversation(self, *, constrained: bool) -> Conversation:
        """The conversation; ``constrained``: held to the schema."""
        schema = Constraint("json_schema", json.dumps(self.schema, ensure_ascii=False))
        return conversation(
            self.messages,
            constraint=schema if constrained else None,
            sampling=Sampling(
                temperature=self.temperature, max_tokens=self.max_tokens, seed=self.seed
            ),
        )

    def key(self, model: str) -> str:
        """Under which its text is kept."""
        values = [model, *vars(self).values()]
        text = json.dumps(values, sort_keys=True, default=list)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Writer:
    """A model with the texts that it wrote."""

    def __init__(
        self,
        answering: EngineResponder | RemoteResponder,
        identity: str,
        *,
        file: Path | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """``identity``: which model it is, by its content. ``file``: where texts are kept."""
        self._answering, self._identity, self._file = answering, identity, file
        self._progress = progress
        self._kept = dict(_read_kept(file)) if file is not None else {}
        self.constrained = True
        """Whether what it writes is held to the schema."""

    @property
    def engine(self) -> Engine | None:
        """What computes likelihoods; None for a model at an address."""
        return self._answering.engine if isinstance(self._answering, EngineResponder) else None

    def write(self, prompts: Sequence[Prompt]) -> list[str]:
        """The texts, in order; those that were written before are not asked for again.

        Raises ModelError where the model or its address fails.
        """
        keys = [prompt.key(self._identity) for prompt in prompts]
        missing = [place for place, key in enumerate(keys) if key not in self._kept]
        if missing:
            with self._progress.task("the model writes", total=len(missing), unit="texts") as task:
                for first in range(0, len(missing), BATCH):
                    places = missing[first : first + BATCH]
                    for place, text in self._written([prompts[place] for place in places]):
                        self._keep(keys[places[place]], text)
                        task.advance()
        return [self._kept[key] for key in keys]

    def likelihoods(self, prompts: Sequence[str], text: str) -> list[float] | None:
        """How likely the text is as the answer to each prompt: nats per token.

        None for a model at an address, which does not say. Computed anew, never kept.
        """
        engine = self.engine
        if engine is None:
            return None
        continuations = [
            Continuation(
                tuple(engine.chat_prompt([{"role": "user", "content": prompt}])),
                tuple(engine.tokenize(text)),
            )
            for prompt in prompts
        ]
        found = engine.likelihoods(continuations)
        return [-likelihood.nats / max(1, likelihood.tokens) for likelihood in found]

    def _written(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, str]]:
        """The texts as they are there, each with its place."""
        if isinstance(self._answering, EngineResponder):
            requests = [
                self._answering.requests(prompt.conversation(constrained=True)).texts[0]
                for prompt in prompts
            ]
            made = self._answering.engine.generate(requests)
            yield from enumerate(completion.text for completion in made)
            return
        with ThreadPoolExecutor(_AT_ONCE, "linnet-examples") as pool:
            work = {
                pool.submit(self._at_address, prompt): place for place, prompt in enumerate(prompts)
            }
            failure: BaseException | None = None
            for done in as_completed(work):
                if done.cancelled():
                    continue
                if (error := done.exception()) is None:
                    yield work[done], done.result()
                elif failure is None:  # what is under way may still come
                    failure = error
                    for waiting in work:
                        waiting.cancel()
            if failure is not None:
                raise failure

    def _at_address(self, prompt: Prompt) -> str:
        if self.constrained:
            try:
                return run(self._answering, prompt.conversation(constrained=True))[0].text
            except RemoteError as error:
                if error.status not in _NO_SCHEMA:
                    raise
                refused = str(error)
        text = run(self._answering, prompt.conversation(constrained=False))[0].text
        if self.constrained:  # it was the schema that the server did not take
            self.constrained = False
            self._progress.warn(
                f"the address takes no JSON Schema ({refused}); what it writes in another form is "
                "counted and rejected"
            )
        return text

    def _keep(self, key: str, text: str) -> None:
        self._kept[key] = text
        if self._file is not None:
            line = json.dumps({"key": key, "text": text}) + "\n"
            with output.open_to_append(self._file) as file:
                file.write(line.encode("ascii"))


def _read_kept(file: Path) -> Iterator[tuple[str, str]]:
    """What was written before; a line that a killed process left unfinished is not."""
    output.refuse_links(file)
    if not file.is_file():
        return
    with file.open("rb+") as opened:
        end = 0
        for line in opened:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = parse_json(line.decode("ascii"))
                if line.endswith(b"\n"):
                    yield row["key"], row["text"]
            end += len(line) if line.endswith(b"\n") else 0
        opened.truncate(end)


def is_address(model: str) -> bool:
    """Whether a model is named by an address."""
    return model.startswith(("http://", "https://"))


def model_input(config: ExamplesConfig) -> Artifact | str | None:
    """The model as what examples are made from: its content, or its address and name.

    None where none is named. Raises ConfigError for an address without the model's name, ModelError
    for a place without a model.
    """
    if not config.model:
        return None
    if is_address(config.model):
        if not config.model_name:
            raise ConfigError(
                f"{config.model}: say which model is meant there with --model-name; the server "
                f"lists them at {config.model.rstrip('/')}/models"
            )
        return f"{config.model}#{config.model_name}"
    from linnet import hub
    from linnet.generate.engine_kind import model_directory

    path = Path(config.model).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return artifact.hash_file(path)
    found = hub.find(model_directory(path) if path.exists() else config.model)
    if found.pin is not None:
        return found.pin
    if artifact.is_artifact(found.path):
        return artifact.read(found.path)
    files = sorted(
        file for file in found.path.iterdir() if file.suffix in (".json", ".safetensors", ".jinja")
    )
    if not files:
        raise ModelError(f"{config.model}: expected a model. The directory has none")
    hashes = "".join(f"{file.name} {artifact.hash_file(file)}\n" for file in files)
    return hashlib.sha256(hashes.encode()).hexdigest()


@contextlib.contextmanager
def open_writer(
    config: ExamplesConfig, file: Path, *, progress: Progress = SILENT
) -> Iterator[Writer | None]:
    """The model that the settings name, ready to write; None where they name none.

    Raises ModelError for one that cannot be asked, such as one without a chat template.
    """
    made_from = model_input(config)
    if made_from is None:
        yield None
        return
    identity = made_from if isinstance(made_from, str) else made_from.content
    if is_address(config.model):
        if (said := sent_away(config.model, "passages of your documents")) is not None:
            progress.warn(said)
        key = read_key(variable=config.model_key or None)
        remote = RemoteResponder(config.model, config.model_name, key=key)
        yield Writer(remote, identity, file=file, progress=progress)
        return
    with progress.task("opening the model"):
        opened = open_model(config.model, EngineConfig(), progress=progress)
    engine = require_writer(opened, config.model).engine
    try:
        responder = EngineResponder(engine)
        if responder.refusal is not None:
            raise ModelError(
                f"{config.model} cannot be asked for questions: {responder.refusal}; name a model "
                "that was trained to answer"
            )
        yield Writer(responder, identity, file=file, progress=progress)
    finally:
        engine.close()
