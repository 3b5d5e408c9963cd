"""A model to call from Python: ``linnet.load(directory).generate("Once upon a time")``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack

from linnet import artifact, hub
from linnet.card.conversation import converses
from linnet.config import option, replace
from linnet.errors import ConfigError, LinnetError
from linnet.generate.engine import Chunk, Completion, Engine, Request, Score
from linnet.generate.sampling import Sampling, Settings
from linnet.progress import SILENT, Progress
from linnet.runtime import DeviceName, DtypeName, detect, torch_dtype

if TYPE_CHECKING:
    from linnet.generate.torch_engine import TorchEngine

TORCH_PRECISIONS: Mapping[str, DtypeName] = {
    "f32": "fp32", "f16": "fp16", "bf16": "bf16", "int8": "fp32",
}  # fmt: skip
"""Number formats by the names they have on both engines; int8 rounds large matrices only."""

EngineName: TypeAlias = Literal["auto", "llama.cpp", "torch"]


@dataclass(frozen=True)
class GenerateConfig(Sampling):
    """How to continue a text, and what to compute with."""

    engine: EngineName = option(
        "torch", "torch: the exact weights; llama.cpp: faster; auto: the best for this model"
    )
    precision: str = option(
        "auto",
        "number format of the weights: f32, f16, bf16; llama.cpp also q8_0, q4_0; torch also int8",
    )
    device: DeviceName = option("cpu", "torch: where to compute")
    dtype: DtypeName = option("fp32", "torch: number format to compute in")


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
        messages: Sequence[Mapping[str, Any]],
        *,
        sampling: Sampling | None = None,
        adapter: str | None = None,
        continue_final_message: bool = False,
        **settings: Unpack[Settings],
    ) -> Completion:
        """The answer to a conversation: ``[{"role": "user", "content": "..."}, ...]``.

        ``continue_final_message``: go on with the last message instead of answering it.
        Raises ModelError where the model has no chat template.
        """
        chosen = replace(sampling or Sampling(), settings, where="chat")
        if continue_final_message:
            prompt = self.engine.chat_prompt(messages, continue_final_message=True)
        else:
            prompt = self.engine.chat_prompt(messages)
        return self.engine.generate([Request(prompt, chosen, adapter=adapter)])[0]

    def score(self, text: str) -> Score:
        """The log-probability of every token of ``text``, as if it began a document."""
        return self.engine.score([text])[0]


def load(
    path: Path | str,
    *,
    engine: EngineName = GenerateConfig.engine,
    precision: str = GenerateConfig.precision,
    device: DeviceName = GenerateConfig.device,
    dtype: DtypeName = GenerateConfig.dtype,
    adapters: Mapping[str, Path | str] | None = None,
    progress: Progress = SILENT,
) -> LanguageModel:
    """Open a model: a directory, a project that holds one as ``model``, a hub name, a GGUF file.

    The directory of an adapter stands for its base with the adapter, which is then used where
    no other is asked for. ``adapters``: directories of adapters for this base, by the names
    that requests choose them by. Raises ModelError when there is none or it cannot be read.
    """
    is_file = Path(path).suffix == ".gguf"
    if engine == "torch" and is_file:
        engine = "auto"  # the only one that reads it
    if engine == "torch" and precision not in ("auto", *TORCH_PRECISIONS):
        raise ConfigError(
            f"precision on torch must be auto, {', '.join(TORCH_PRECISIONS)}. Got '{precision}'; "
            "others are for engine llama.cpp"
        )
    if engine != "torch" and (device, dtype) != (GenerateConfig.device, GenerateConfig.dtype):
        raise ConfigError(
            "device and dtype are for engine torch, which is to be named with them; llama.cpp "
            "computes on the CPU, in the format that precision names"
        )
    if engine != "torch":
        return _load_elsewhere(path, engine, precision, adapters, progress)
    source = model_directory(path) if Path(path).exists() else path
    written = open_exact(
        source, precision, device=device, dtype=dtype, adapters=adapters, progress=progress
    )
    return LanguageModel(written, converses(hub.find(source).path))


def open_exact(
    source: Path | str,
    precision: str = "auto",
    *,
    device: DeviceName = GenerateConfig.device,
    dtype: DtypeName = GenerateConfig.dtype,
    adapters: Mapping[str, Path | str] | None = None,
    rows: int = 0,
    progress: Progress = SILENT,
) -> TorchEngine:
    """The engine on torch; as :func:`load`. ``rows``: texts computed together; 0 chooses."""
    from linnet.generate.torch_engine import ROWS, TorchEngine
    from linnet.model.adapter import load_adapter
    from linnet.model.merging import open_checkpoint

    runtime = detect(device, TORCH_PRECISIONS.get(precision, dtype))
    checkpoint = open_checkpoint(
        source, device=runtime.device, dtype=torch_dtype(runtime.dtype), progress=progress
    )
    for name, directory in (adapters or {}).items():
        load_adapter(checkpoint.model, directory, name)
    return TorchEngine(checkpoint, rows=rows or ROWS, int8=precision == "int8")


def _load_elsewhere(
    path: Path | str,
    engine: EngineName,
    precision: str,
    adapters: Mapping[str, Path | str] | None,
    progress: Progress,
) -> LanguageModel:
    from linnet.generate.opening import open_engine

    is_file = Path(path).suffix == ".gguf"
    opened = open_engine(
        path, engine="auto" if is_file else engine, precision=precision, adapters=adapters,
        progress=progress,
    )  # fmt: skip
    if not is_file:
        source = model_directory(path) if Path(path).exists() else path
        return LanguageModel(opened, converses(hub.find(source).path))
    try:
        opened.chat_prompt([{"role": "user", "content": "?"}])
    except LinnetError:
        return LanguageModel(opened)
    return LanguageModel(opened, converses=True)


def model_directory(path: Path | str) -> Path:
    """The model (or adapter) in a directory, such as a project's; any other path as it is."""
    path = artifact.within(path, "model")
    signs = ("config.json", "adapter_config.json")
    if any((path / sign).exists() for sign in signs):
        return path
    inside = path / "model"
    return inside if any((inside / sign).is_file() for sign in signs) else path
