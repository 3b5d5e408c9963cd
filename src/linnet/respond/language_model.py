"""A model to call from Python: ``linnet.load(directory).generate("Once upon a time")``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from linnet import hub
from linnet.card.conversation import converses
from linnet.config import replace
from linnet.errors import ConfigError, ModelError
from linnet.generate.engine import Chunk, Completion, Engine, Request, Score
from linnet.generate.engine_kind import DTYPES, model_directory
from linnet.generate.engines import EngineConfig, is_encoder, open_encoder, open_engine
from linnet.generate.sampling import Sampling, Settings
from linnet.progress import SILENT, Progress
from linnet.respond.conversation import Message, Tool, conversation
from linnet.respond.engine import EngineResponder
from linnet.respond.responder import Answer, run
from linnet.runtime import DeviceName, DtypeName, detect

if TYPE_CHECKING:
    from linnet.generate.constraint import Constraint
    from linnet.generate.embedding import Encoder


@dataclass(frozen=True)
class LanguageModel:
    """One model, ready to continue texts.

    ``generate`` and ``stream`` take the settings of :class:`Sampling` by name;
    those left out are as in ``sampling``, or at their defaults. For many texts
    at once call ``engine.generate`` with requests: that is faster.
    """

    engine: Engine
    converses: bool = False
    """Whether it was trained to answer in turns, by its chat template."""

    def generate(
        self,
        prompt: str,
        *,
        sampling: Sampling | None = None,
        logprobs: bool = False,
        adapter: str | None = None,
        **settings: Unpack[Settings],
    ) -> Completion:
        """Continue ``prompt``, computed with one of the adapters that were loaded, by its name.

        ``adapter="base"``: with none. Raises ModelError for a name that none has.
        """
        chosen = replace(sampling or Sampling(), settings, where="generate")
        return self.engine.generate([Request(prompt, chosen, logprobs, adapter)])[0]

    def stream(
        self,
        prompt: str,
        *,
        sampling: Sampling | None = None,
        logprobs: bool = False,
        adapter: str | None = None,
        **settings: Unpack[Settings],
    ) -> Iterator[Chunk]:
        """Continue ``prompt``, giving each piece as it comes."""
        chosen = replace(sampling or Sampling(), settings, where="stream")
        return self.engine.stream(Request(prompt, chosen, logprobs, adapter))

    def chat(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        *,
        tools: Sequence[Tool | Mapping[str, Any]] = (),
        tool_choice: str = "auto",
        constraint: Constraint | None = None,
        sampling: Sampling | None = None,
        adapter: str | None = None,
        continue_final_message: bool = False,
        **settings: Unpack[Settings],
    ) -> Answer:
        """The answer to a conversation: ``[{"role": "user", "content": "..."}, ...]``.

        ``tools``: what the model may call, in OpenAI's form; its calls are the answer's
        ``tool_calls``. ``tool_choice``, ``constraint``: see ``respond.Conversation``.
        ``continue_final_message``: go on with the last message instead of answering it.
        Raises ModelError where the model has no chat template.
        """
        asked = conversation(
            messages,
            tools,
            tool_choice=tool_choice,
            constraint=constraint,
            sampling=replace(sampling or Sampling(), settings, where="chat"),
            continue_final_message=continue_final_message,
        )
        return run(self.responder(adapter), asked)[0]

    def responder(self, adapter: str | None = None) -> EngineResponder:
        """What answers conversations with the model; see ``linnet.respond``."""
        if adapter not in self._responders:
            self._responders[adapter] = EngineResponder(self.engine, adapter=adapter)
        return self._responders[adapter]

    @cached_property
    def _responders(self) -> dict[str | None, EngineResponder]:
        return {}

    def score(self, text: str) -> Score:
        """The log-probability of every token of ``text``, as if it began a document."""
        return self.engine.score([text])[0]


def load(
    path: Path | str,
    *,
    engine: str = EngineConfig.engine,
    precision: str = EngineConfig.precision,
    device: DeviceName = EngineConfig.device,
    dtype: DtypeName | None = None,
    threads: int = EngineConfig.threads,
    slots: int = EngineConfig.slots,
    context: int = EngineConfig.context,
    adapters: Mapping[str, Path | str] | None = None,
    progress: Progress = SILENT,
) -> LanguageModel:
    """Open a model: a directory, a project that holds one as ``model``, a hub name, a GGUF file.

    As ``linnet generate``, ``linnet chat`` and ``linnet serve`` open it, by the same defaults, so
    that the same seed gives the same text; ``engine="torch"`` for the exact weights. A
    ``device`` other than the CPU and a ``dtype`` ask for torch. The directory of an adapter
    stands for its base with the adapter, which is then used where no other is asked for.
    ``adapters``: directories of adapters for this base, by the names that requests choose
    them by. Raises ModelError when there is none or it cannot be read.
    """
    config = EngineConfig(
        engine=engine, precision=precision, device=device, threads=threads, slots=slots,
        context=context,
    )  # fmt: skip
    config = with_dtype(config, dtype)
    return require_writer(open_model(path, config, adapters=adapters, progress=progress), path)


def require_writer(opened: LanguageModel | Encoder, source: Path | str) -> LanguageModel:
    """The model, if it writes text. Raises ModelError for an encoder."""
    if not isinstance(opened, LanguageModel):
        raise ModelError(
            f"{source}: this is an encoder and continues no text; linnet embed and "
            "linnet.load_encoder give its embeddings"
        )
    return opened


def with_dtype(config: EngineConfig, dtype: DtypeName | None) -> EngineConfig:
    """The settings with the number format that torch calls ``dtype``, which asks for torch."""
    if dtype is None:
        return config
    if config.engine not in ("auto", "torch"):
        raise ConfigError(
            "device and dtype are for engine torch; precision names the format for every engine"
        )
    if config.precision != "auto":
        return dataclasses.replace(config, engine="torch")
    if dtype == "auto":
        dtype = detect(config.device, dtype).dtype
    precision = next(name for name, torchs in DTYPES.items() if torchs == dtype)
    return dataclasses.replace(config, engine="torch", precision=precision)


def open_model(
    source: Path | str,
    config: EngineConfig | None = None,
    *,
    adapters: Mapping[str, Path | str] | None = None,
    progress: Progress = SILENT,
) -> LanguageModel | Encoder:
    """Open whatever can be opened: what continues texts, or what makes vectors of them.

    Python, commands and server open models by this. Raises ModelError when there is no model,
    ConfigError for settings that it cannot have.
    """
    if is_encoder(source):
        if adapters:
            raise ConfigError(f"{source}: an encoder is served without adapters")
        return open_encoder(source, config, progress=progress)
    engine = open_engine(source, config, adapters=adapters, progress=progress)
    if Path(source).suffix != ".gguf":
        found = model_directory(source) if Path(source).exists() else source
        return LanguageModel(engine, converses(hub.find(found).path))
    return LanguageModel(engine, converses=EngineResponder(engine).refusal is None)
