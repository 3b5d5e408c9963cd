"""One way to open whatever can be served: a model's directory, an adapter's, a GGUF file.

``auto`` takes what ``linnet bench`` found best; before it was asked, llama.cpp where it computes
what the model does, which is faster, and torch for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from linnet import hub
from linnet.errors import ConfigError, MissingExtraError, ModelError, install_command
from linnet.generate.choice import noted_choice
from linnet.generate.llama_cpp.config import ServingConfig
from linnet.model.lora_config import require_adapter_name
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.generate.engine import Engine
    from linnet.generate.language_model import EngineName

_LLAMA_FORMATS = ("f32", "f16", "bf16", "q8_0", "q4_0")
_ENOUGH_CONTEXT = 2048
"""Where llama.cpp computes only shorter texts as the model does, ``auto`` takes torch instead."""


def open_engine(
    source: Path | str,
    *,
    engine: EngineName = "auto",
    precision: str = "auto",
    adapters: Mapping[str, Path | str] | None = None,
    threads: int = 0,
    slots: int = 0,
    context: int = 0,
    stall_seconds: float = ServingConfig.stall_seconds,
    progress: Progress = SILENT,
) -> Engine:
    """What writes texts with a model: a directory, a project, a hub name, a GGUF file.

    ``precision``: number format of the weights: f32, f16, bf16, and on llama.cpp q8_0 (which
    it takes by itself) and q4_0; on torch f32 (by itself), f16, bf16 and int8. ``adapters``:
    directories of adapters by name.
    ``threads``, ``slots`` (texts computed together) and ``context``: 0 chooses.
    ``stall_seconds``: when llama.cpp counts as hung; see ``ServingConfig``. Raises
    ModelError when there is no such model or the engine cannot compute it, MissingExtraError
    without ``xllamacpp``.
    """
    from linnet.generate.language_model import TORCH_PRECISIONS, model_directory

    if engine not in ("auto", "llama.cpp", "torch"):
        raise ConfigError(f"engine must be auto, llama.cpp or torch. Got '{engine}'")
    known = {"auto", *_LLAMA_FORMATS} if engine != "torch" else {"auto", *TORCH_PRECISIONS}
    if precision not in known:
        raise ConfigError(f"precision must be one of {', '.join(sorted(known))}. Got '{precision}'")
    for name in adapters or {}:
        require_adapter_name(name)
    place = Path(source)
    if place.suffix == ".gguf" or place.is_file():
        return _open_file(
            place,
            engine,
            precision,
            adapters or {},
            threads,
            slots,
            context,
            stall_seconds,
            progress,
        )
    found = model_directory(source) if place.exists() else source
    if engine == "auto":
        beside = _beside(found, adapters or {}, progress)
        engine, precision = _choose(found, precision, beside, progress, any_context=not context)
    if engine == "torch":
        if context:
            raise ConfigError("context is for engine llama.cpp; on torch it is as the model allows")
        return _open_torch(found, precision, adapters or {}, threads, slots, progress)
    from linnet.generate.llama_cpp.known import open_checkpoint

    config = ServingConfig(
        precision="q8_0" if precision == "auto" else precision,  # type: ignore[arg-type]
        threads=threads,
        slots=slots,
        context=context,
        stall_seconds=stall_seconds,
    )
    return open_checkpoint(found, config, adapters=adapters, progress=progress)


def _choose(
    source: Path | str,
    precision: str,
    beside: Sequence[Path],
    progress: Progress,
    *,
    any_context: bool,
) -> tuple[EngineName, str]:
    """What ``linnet bench`` found best; else llama.cpp where it computes what the model does.

    ``beside``: adapters that are not merged. ``any_context``: torch, which has the context that
    the model allows, may be chosen too.
    """
    if precision not in ("q8_0", "q4_0") and _needs_torch(beside, progress):
        return "torch", precision
    if precision == "auto":
        noted = noted_choice(hub.find(source, progress=progress).path)
        if noted is not None and (any_context if noted.engine == "torch" else not _missing()):
            return noted.engine, noted.precision
    if not _missing() and _is_known(source, precision, progress):
        return "llama.cpp", precision
    return _choose_unmeasured(source, precision, progress), precision


def _beside(
    source: Path | str, adapters: Mapping[str, Path | str], progress: Progress
) -> list[Path]:
    """The adapters that requests choose from; one alone goes into the weights of its base."""
    if not adapters:
        return []  # without loading torch
    from linnet.model.adapter import is_adapter

    own = hub.find(source, progress=progress).path
    return [*map(Path, adapters.values()), *([own] if is_adapter(own) else [])]


def _needs_torch(beside: Sequence[Path], progress: Progress) -> bool:
    """Whether one of these adapters does more than llama.cpp can beside a base."""
    if not beside:
        return False
    from linnet.model.adapter_config import beyond_low_rank

    for directory in beside:
        if (more := beyond_low_rank(directory)) is not None:
            progress.warn(
                f"computing with torch, as llama.cpp cannot put the adapter {directory} beside "
                f"its base ({more}); linnet merge makes a model of both, which it can compute"
            )
            return True
    return False


def _is_known(source: Path | str, precision: str, progress: Progress) -> bool:
    """Whether llama.cpp's file was made before, which it is not where torch must compute."""
    from linnet.generate.llama_cpp.known import recall

    path = hub.find(source, progress=progress).path
    return recall(path, "q8_0" if precision == "auto" else precision) is not None


def _missing() -> list[str]:
    """What llama.cpp needs and is not installed."""
    return [name for name in ("xllamacpp", "gguf") if find_spec(name) is None]


def _choose_unmeasured(
    source: Path | str, precision: str, progress: Progress
) -> Literal["llama.cpp", "torch"]:
    from linnet.export.architectures import architecture
    from linnet.generate.llama_cpp.making import exact_context
    from linnet.model.adapter import adapter_base, is_adapter
    from linnet.model.config_file import read_config_file
    from linnet.model.families import family

    path = hub.find(source, progress=progress).path
    if is_adapter(path):
        path = hub.find(adapter_base(path), progress=progress).path
    values = read_config_file(path)  # first: there may be no such model
    config = family(values.get("model_type")).read(values)
    missing = _missing()
    if missing and precision in ("q8_0", "q4_0"):
        raise MissingExtraError(missing[0], f"computing with {precision}")
    if missing:
        progress.warn(
            f"computing with torch, as {missing[0]} is not installed; llama.cpp is faster: "
            f"{install_command(missing[0])}"
        )
        return "torch"
    try:
        architecture(config)
        exact = exact_context(config)
    except ModelError as error:
        if precision in ("q8_0", "q4_0"):
            raise
        progress.warn(f"computing with torch: {error}")
        return "torch"
    if exact < min(config.context, _ENOUGH_CONTEXT) and precision not in ("q8_0", "q4_0"):
        progress.warn(
            f"computing with torch, as llama.cpp computes texts over {exact} tokens otherwise"
        )
        return "torch"
    if exact < config.context:
        progress.warn(
            f"texts have at most {exact:,} tokens, as llama.cpp computes longer ones otherwise; "
            f"engine torch has {config.context:,}"
        )
    return "llama.cpp"


def _open_torch(
    source: Path | str,
    precision: str,
    adapters: Mapping[str, Path | str],
    threads: int,
    slots: int,
    progress: Progress,
) -> Engine:
    from linnet.generate.language_model import open_exact

    if threads:
        import torch

        torch.set_num_threads(threads)
    return open_exact(source, precision, adapters=adapters, rows=slots, progress=progress)


def _open_file(
    file: Path,
    engine: str,
    precision: str,
    adapters: Mapping[str, Path | str],
    threads: int,
    slots: int,
    context: int,
    stall_seconds: float,
    progress: Progress,
) -> Engine:
    from linnet.generate.llama_cpp.foreign import open_gguf
    from linnet.model.config_file import is_regular

    if not is_regular(file):
        raise ModelError(f"{file}: expected a GGUF file, but it does not exist")
    if engine == "torch":
        raise ModelError(f"{file}: a GGUF file is computed by llama.cpp; leave out engine torch")
    if precision != "auto":
        raise ConfigError(f"{file}: a GGUF file has a precision of its own; leave it out")
    if adapters:
        raise ConfigError(
            f"{file}: adapters need the directory of their base; a GGUF file has none"
        )
    config = ServingConfig(
        threads=threads, slots=slots, context=context, stall_seconds=stall_seconds
    )
    return open_gguf(file, config, progress=progress)
