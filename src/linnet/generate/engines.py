"""The engines that there are, and the one way to open a model with one of them.

``auto`` takes what ``linnet bench`` found best for the model on this machine; before it was
asked, the first engine that can do what is asked for and computes what the model does.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.config import Config, option, read_json
from linnet.errors import ConfigError, MissingExtraError, ModelError, install_command
from linnet.generate.engine_kind import Capabilities, EngineKind, Opening, model_directory
from linnet.generate.llama_cpp.cache import cache_directory, content_hash
from linnet.generate.llama_cpp.kind import LLAMA_CPP
from linnet.generate.sampling import Sampling
from linnet.generate.torch_kind import TORCH
from linnet.llama_cpp.process import LlamaCppSettings
from linnet.model.lora_config import require_adapter_name
from linnet.output import write_text
from linnet.progress import SILENT, Progress
from linnet.runtime import MOST_THREADS, DeviceName, DtypeName

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder
    from linnet.generate.engine import Engine

ENGINES: dict[str, EngineKind] = {kind.name: kind for kind in (LLAMA_CPP, TORCH)}
"""The fastest first, which is the order in which ``auto`` tries them; the last computes all."""

FORMATS = tuple(dict.fromkeys(name for kind in ENGINES.values() for name in kind.can.formats))
"""All number formats."""


@dataclass(frozen=True)
class EngineConfig(Config):
    """What computes a model, and with how much of the machine."""

    engine: str = option(
        "auto",
        "what computes; auto: what linnet bench found best, or else llama.cpp (faster, rounded "
        "weights) where it computes what the model does; torch: the exact weights",
        choices=("auto", *ENGINES),
    )
    precision: str = option(
        "auto",
        "number format of the weights; q8_0 and q4_0 are llama.cpp's, int8 is torch's; auto: as "
        "linnet bench found best, or as the engine has it (llama.cpp q8_0, torch f32)",
        choices=("auto", *FORMATS),
    )
    device: DeviceName = option("cpu", "where to compute; any but cpu takes engine torch")
    threads: int = option(
        0, "threads to compute with; 0 chooses", least=0, most=MOST_THREADS, group="Machine"
    )
    slots: int = option(0, "texts computed together; 0 chooses", least=0, group="Machine")
    context: int = option(
        0,
        "the most tokens that a prompt and its answer may have; 0: as many as the model",
        least=0,
    )
    lookup: str = option(
        "auto",
        "draft what followed the same words before, in prompt and answer, and verify it in one "
        "pass, which makes answers that quote faster and changes none; auto: as linnet bench "
        "found best, or else on with torch only",
        choices=("auto", "on", "off"),
        group="Drafts",
    )
    draft: str = option(
        "",
        "a smaller model with the same vocabulary, which drafts what the model verifies in one "
        "pass: a directory or hub name; for a GGUF file another one",
        group="Drafts",
    )
    stall_seconds: float = option(
        LlamaCppSettings.stall_seconds,
        "seconds of computing without any progress after which llama.cpp counts as hung, and is "
        "started again; large models have more",
        least=0.1,
        most=86_400,
        group="Machine",
    )


@dataclass(frozen=True)
class GenerateConfig(Sampling, EngineConfig):
    """How to continue a text, and what to compute with."""

    dtype: DtypeName | None = option(
        None, "torch: number format to compute in; precision names it for every engine"
    )


def open_engine(
    source: Path | str,
    config: EngineConfig | None = None,
    *,
    adapters: Mapping[str, Path | str] | None = None,
    progress: Progress = SILENT,
) -> Engine:
    """What writes texts with a model: a directory, a project, a hub name, a GGUF file.

    The directory of an adapter stands for its base with the adapter. ``adapters``: directories
    of more, by the names that requests choose them by. Raises ModelError when there is no such
    model or no engine can compute it, ConfigError for what an engine cannot do,
    MissingExtraError where one is not installed.
    """
    config = config or EngineConfig()
    for name in adapters or {}:
        require_adapter_name(name)
    place = Path(source)
    if place.suffix == ".gguf" or place.is_file():
        return _open_file(Opening(place, config, adapters or {}, progress))
    found = model_directory(source) if place.exists() else source
    opening = Opening(found, config, adapters or {}, progress)
    if config.engine == "auto":
        kind, precision = _choose(opening)
    else:
        kind, precision = ENGINES[config.engine], config.precision
        _require_able(kind, config)
    return kind.open(_with_drafts(_settled(opening, kind, precision)))


def _with_drafts(opening: Opening) -> Opening:
    """With what was measured where nothing is asked for."""
    config = opening.config
    if config.lookup != "auto":
        return opening
    noted = noted_choice(opening.path)
    if noted is None or noted.lookup is None or noted.engine != config.engine:
        return opening  # as the engine has it
    draft = config.draft or (noted.draft if Path(noted.draft).exists() else "")
    lookup = "on" if noted.lookup else "off"
    return replace(opening, config=replace(config, lookup=lookup, draft=draft))


def open_encoder(
    source: Path | str, config: EngineConfig | None = None, *, progress: Progress = SILENT
) -> Encoder:
    """What makes vectors of texts: a directory, a project that holds an encoder, a hub name.

    Exact unless told otherwise: vectors are kept, and compared with later ones. Raises
    ModelError when it cannot be read, or is a model that continues texts.
    """
    config = config or EngineConfig()
    kinds = [kind for kind in ENGINES.values() if kind.open_encoder is not None]
    kind = ENGINES.get(config.engine) or next(kind for kind in kinds if kind.can.exact)
    _require_able(kind, config, context=False)
    if kind.open_encoder is None:
        names = " or ".join(each.name for each in kinds)
        raise ConfigError(f"engine {kind.name} makes no embeddings; take {names}")
    found = model_directory(source) if Path(source).exists() else source
    opening = Opening(found, config, {}, progress)
    precision = "f32" if config.precision == "auto" else config.precision
    return kind.open_encoder(_settled(opening, kind, precision))


def is_encoder(source: Path | str) -> bool:
    """Whether a directory holds an encoder; of anything else opening it says so."""
    from linnet.errors import LinnetError
    from linnet.generate.pooling import read_recipe
    from linnet.model.config_file import CONFIG, read_config_file
    from linnet.model.families import family

    if not Path(source).is_dir():
        return False
    place = model_directory(source)
    if (place / "modules.json").is_file():
        place, _ = read_recipe(place)
    if not (place / CONFIG).is_file():
        return False
    values = read_config_file(place)
    try:
        return not family(values.get("model_type")).read(values).causal
    except LinnetError:
        return False


def _settled(opening: Opening, kind: EngineKind, precision: str) -> Opening:
    """With the engine's own number format where none is asked for."""
    if precision == "auto":
        precision = kind.can.formats[0]
    return replace(opening, config=replace(opening.config, engine=kind.name, precision=precision))


def _inability(kind: EngineKind, config: EngineConfig, *, context: bool = True) -> str | None:
    """What these settings ask for that this engine cannot do."""
    can = kind.can
    if config.precision not in ("auto", *can.formats):
        return (
            f"precision must be one of auto, {', '.join(can.formats)} on engine {kind.name}. "
            f"Got '{config.precision}'"
        )
    if config.device != "cpu" and not can.any_device:
        others = _names(lambda each: each.any_device)
        return (
            f"device and dtype are for engine {others}; {kind.name} computes on the CPU, in the "
            "format that precision names"
        )
    if isinstance(config, Sampling) and config.beams > 1 and not can.beams:
        others = _names(lambda each: each.beams)
        return f"beams are for engine {others}; {kind.name} has no beam search"
    if context and config.context and not can.bounds_context:
        others = _names(lambda each: each.bounds_context)
        return f"context is for engine {others}; on {kind.name} it is as the model allows"
    return None


def _names(able: Callable[[Capabilities], bool]) -> str:
    return ", ".join(kind.name for kind in ENGINES.values() if able(kind.can))


def _require_able(kind: EngineKind, config: EngineConfig, *, context: bool = True) -> None:
    reason = _inability(kind, config, context=context)
    if reason is not None:
        raise ConfigError(reason)


def _choose(opening: Opening) -> tuple[EngineKind, str]:
    """The engine and number format that ``auto`` stands for."""
    config, progress = opening.config, opening.progress
    reasons = {kind.name: _inability(kind, config) for kind in ENGINES.values()}
    able = [kind for kind in ENGINES.values() if reasons[kind.name] is None]
    if not able:
        raise ConfigError("; ".join(reason for reason in reasons.values() if reason))
    able = _with_adapters(able, opening)
    if config.precision == "auto":
        noted = noted_choice(opening.path)
        for kind in able:
            if noted is not None and noted.engine == kind.name and not kind.missing:
                return kind, noted.precision
    for kind, other in pairwise(able):
        if kind.missing:
            package = kind.missing[0]
            reason: str | None = (
                f"{package} is not installed; {kind.name} is faster: {install_command(package)}"
            )
            _ = opening.shape  # there may be no such model, which is more to the point
        else:
            reason = kind.objection(_settled(opening, kind, config.precision))
        if reason is None:
            return kind, config.precision
        progress.warn(f"computing with {other.name}: {reason}")
    if able[-1].missing:
        raise MissingExtraError(able[-1].missing[0], f"computing with {config.precision}")
    return able[-1], config.precision


def _with_adapters(able: list[EngineKind], opening: Opening) -> list[EngineKind]:
    """Those of the engines that can put the adapters beside the base.

    One adapter alone goes into the weights, which any can.
    """
    if not opening.adapters or all(kind.can.any_adapter for kind in able):
        return able  # without loading torch
    from linnet.model.adapter import is_adapter
    from linnet.model.adapter_config import beyond_low_rank

    own = [opening.path] if is_adapter(opening.path) else []
    for directory in (*map(Path, opening.adapters.values()), *own):
        more = beyond_low_rank(directory)
        rest = [kind for kind in able if kind.can.any_adapter]
        if more is not None and rest and rest != able:
            opening.progress.warn(
                f"computing with {rest[0].name}, as {able[0].name} cannot put the adapter "
                f"{directory} beside its base ({more}); linnet merge makes a model of both, which "
                "it can compute"
            )
            return rest
    return able


def _open_file(opening: Opening) -> Engine:
    kind = engine_of_file(Path(opening.source), opening.config, adapters=opening.adapters)
    return kind.open(opening)


def engine_of_file(
    file: Path, config: EngineConfig, *, adapters: Collection[str] = ()
) -> EngineKind:
    """What computes a GGUF file. Raises LinnetError where nothing does by these settings."""
    from linnet.model.config_file import is_regular

    readers = [kind for kind in ENGINES.values() if kind.can.files]
    if not is_regular(file):
        raise ModelError(f"{file}: expected a GGUF file, but it does not exist")
    chosen = [kind for kind in readers if config.engine in ("auto", kind.name)]
    if not chosen:
        names = " or ".join(kind.name for kind in readers)
        raise ModelError(
            f"{file}: a GGUF file is computed by {names}; leave out engine {config.engine}"
        )
    if config.precision != "auto":
        raise ConfigError(f"{file}: a GGUF file has a precision of its own; leave it out")
    if adapters:
        raise ConfigError(
            f"{file}: adapters need the directory of their base; a GGUF file has none"
        )
    _require_able(chosen[0], config)
    return chosen[0]


@dataclass(frozen=True)
class Choice:
    """The engine and number format that measuring found best for a model on this machine.

    A note is about the weights (by hash) and stays valid for as long as they are the same.
    """

    engine: str
    precision: str
    lookup: bool | None = None
    """Whether drafts by look-up make it faster; None where that was not measured."""
    draft: str = ""
    """The model whose drafts make it faster, if one was measured that does."""


def note_choice(model: Path, choice: Choice) -> None:
    """Remember the choice for the model in this directory; without a place for it, nothing."""
    with contextlib.suppress(OSError):
        place = _note_of(model)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_text(place, json.dumps(asdict(choice)))


def noted_choice(model: Path) -> Choice | None:
    """What was noted for the model in this directory; None where nothing usable was."""
    try:
        values = read_json(_note_of(model))
        engine, precision = str(values["engine"]), str(values["precision"])
        known = engine in ENGINES and precision in ENGINES[engine].can.formats
        lookup = values.get("lookup")
        return (
            Choice(engine, precision, None if lookup is None else bool(lookup)) if known else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _note_of(model: Path) -> Path:
    return cache_directory().parent / "choices" / f"{content_hash(model)[:40]}.json"
