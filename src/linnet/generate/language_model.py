"""A model to call from Python: ``linnet.load(directory).generate("Once upon a time")``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from linnet.config import option, replace
from linnet.generate.engine import Chunk, Completion, Engine, Request, Score
from linnet.generate.sampling import Sampling
from linnet.runtime import DeviceName, DtypeName, detect, torch_dtype


@dataclass(frozen=True)
class GenerateConfig(Sampling):
    """How to continue a text, and what to compute with."""

    device: DeviceName = option("cpu", "where to compute")
    dtype: DtypeName = option("fp32", "number format to compute in")


@dataclass(frozen=True)
class LanguageModel:
    """One model, ready to continue texts.

    ``generate`` and ``stream`` take the settings of :class:`Sampling` by name;
    those left out are as in ``sampling``, or at their defaults. For many texts
    at once call ``engine.generate`` with requests: that is faster.
    """

    engine: Engine

    def generate(
        self,
        prompt: str,
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: tuple[str, ...] | None = None,
        seed: int | None = None,
        logprobs: bool = False,
    ) -> Completion:
        """Continue ``prompt``."""
        changes = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "stop": stop,
            "seed": seed,
        }
        settings = replace(sampling or Sampling(), changes, where="generate")
        return self.engine.generate([Request(prompt, settings, logprobs)])[0]

    def stream(
        self,
        prompt: str,
        *,
        sampling: Sampling | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        stop: tuple[str, ...] | None = None,
        seed: int | None = None,
        logprobs: bool = False,
    ) -> Iterator[Chunk]:
        """Continue ``prompt``, giving each piece as it comes."""
        changes = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
            "repetition_penalty": repetition_penalty,
            "stop": stop,
            "seed": seed,
        }
        settings = replace(sampling or Sampling(), changes, where="stream")
        return self.engine.stream(Request(prompt, settings, logprobs))

    def score(self, text: str) -> Score:
        """The log-probability of every token of ``text``, as if it began a document."""
        return self.engine.score([text])[0]


def load(
    path: Path | str,
    *,
    device: DeviceName = GenerateConfig.device,
    dtype: DtypeName = GenerateConfig.dtype,
) -> LanguageModel:
    """Open a model directory, or a project directory that holds one as ``model``.

    Raises ModelError when there is none or it cannot be read.
    """
    from linnet.generate.torch_engine import TorchEngine
    from linnet.model import load_checkpoint

    runtime = detect(device, dtype)
    checkpoint = load_checkpoint(
        model_directory(path), device=runtime.device, dtype=torch_dtype(runtime.dtype)
    )
    return LanguageModel(TorchEngine(checkpoint))


def model_directory(path: Path | str) -> Path:
    """The model of a project directory; any other path as it is."""
    path = Path(path)
    inside = path / "model"
    is_project = not (path / "config.json").exists() and (inside / "config.json").is_file()
    return inside if is_project else path
