"""What an engine declares of itself, and what it is given to open.

An engine is one file, which ends with its :class:`EngineKind`, and one line in
``linnet.generate.engines``. The file loads nothing large until something is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact, hub
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder
    from linnet.generate.engine import Engine
    from linnet.generate.engines import EngineConfig
    from linnet.model import ModelConfig, Transformer
    from linnet.runtime import DtypeName


DTYPES: dict[str, DtypeName] = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "int8": "fp32"}
"""What torch calls the number formats; int8 rounds large matrices only."""


def format_of(model: Transformer) -> str:
    """The number format that a model computes in, as :data:`DTYPES` names it; of packed weights
    theirs: int4 or int8."""
    from linnet.model.packed import PackedLinear

    for module in model.modules():
        if isinstance(module, PackedLinear):
            return f"int{module.matrix.bits}"
    dtype = model.compute_dtype or model.embedding.weight.dtype
    return {"torch.float32": "f32", "torch.float16": "f16", "torch.bfloat16": "bf16"}[str(dtype)]


def weight_bytes(model: Transformer) -> int:
    """Memory that a model's weights take; those that are mapped from a file count as well."""
    from linnet.model.packed import PackedLinear

    packed = sum(
        module.matrix.nbytes for module in model.modules() if isinstance(module, PackedLinear)
    )
    return packed + sum(parameter.nbytes for parameter in model.parameters())


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do; ``auto`` takes none that cannot do what is asked of it."""

    formats: tuple[str, ...]
    """Number formats of the weights; the first is the one that it takes by itself."""
    measured: tuple[str, ...]
    """Those that ``linnet bench`` measures."""
    any_device: bool = False
    """Whether it computes elsewhere than on the CPU."""
    files: bool = False
    """Whether it opens GGUF files."""
    bounds_context: bool = False
    """Whether it can be given less context than the model has."""
    any_adapter: bool = False
    """Whether adapters that requests choose from may do more than add low-rank products."""
    beams: bool = False
    """Whether it searches with beams."""
    exact: bool = False
    """Whether it computes with the weights as they are, unless told otherwise."""


@dataclass(frozen=True)
class EngineKind:
    """One way to compute."""

    name: str
    about: str
    """When to take it, in a few words."""
    can: Capabilities
    open: Callable[[Opening], Engine]
    open_encoder: Callable[[Opening], Encoder] | None = None
    packages: tuple[str, ...] = ()
    """What must be installed for it."""
    objection: Callable[[Opening], str | None] = lambda opening: None
    """Why ``auto`` should rather take another for this model, if it should."""

    @property
    def missing(self) -> list[str]:
        """Of its packages, those that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


@dataclass(frozen=True)
class Opening:
    """A model to open, and how."""

    source: Path | str
    """A directory, a GGUF file, or a hub name."""
    config: EngineConfig
    adapters: Mapping[str, Path | str]
    """Directories by the names that requests choose them by."""
    progress: Progress = SILENT

    @cached_property
    def path(self) -> Path:
        """Where its files are. Raises ModelError where there are none."""
        return hub.find(self.source, progress=self.progress).path

    @cached_property
    def is_packed(self) -> bool:
        """Whether a directory's weights are stored as whole numbers."""
        from linnet.model.config_file import CONFIG, read_config_file

        path = self.path
        return (path / CONFIG).is_file() and bool(read_config_file(path).get("quantization_config"))

    @cached_property
    def shape(self) -> ModelConfig:
        """What the model is, or an adapter's base. Raises ModelError where there is none."""
        from linnet.model.adapter import adapter_base, is_adapter
        from linnet.model.config_file import read_config_file
        from linnet.model.families import family

        path = self.path
        if is_adapter(path):
            path = hub.find(adapter_base(path), progress=self.progress).path
        values = read_config_file(path)
        return family(values.get("model_type")).read(values)


def model_directory(path: Path | str) -> Path:
    """The model (or adapter) in a directory, such as a project's; any other path as it is."""
    path = artifact.within(path, "model")
    signs = ("config.json", "adapter_config.json")
    if any((path / sign).exists() for sign in signs):
        return path
    inside = path / "model"
    return inside if any((inside / sign).is_file() for sign in signs) else path
