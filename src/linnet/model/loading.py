"""From a checkpoint's tensors to a model: names translated, shapes and formats checked.

A tensor is looked for under the name that its family publishes, with or without
the base model's name before it. What is missing, of another shape or left over
is named in the error; buffers that old releases stored are passed over.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from linnet.errors import ModelError
from linnet.model.config import ModelConfig
from linnet.model.config_file import CONFIG, read_config_file
from linnet.model.families import family
from linnet.model.families.apertus import RELU2_AS_XIELU
from linnet.model.families.record import Family, Tensor
from linnet.model.packed import packed_layers
from linnet.model.quantised import Codes, QuantisedFiles, read_scheme, split_codes
from linnet.model.transformer import Transformer
from linnet.model.weights import WeightFiles, open_weights, split_rows
from linnet.progress import SILENT, Progress
from linnet.runtime import detect, torch_dtype

# Buffers that old releases of transformers stored; they are computed from the configuration.
IGNORED = (
    r"\.attn\.(masked_)?bias$",
    r"rotary_emb\.inv_freq$",
    r"(^|\.)embeddings\.position_ids$",
)

SHARING_INPUT = (
    ("attention.q", "attention.k", "attention.v"), ("attention.o",), ("mlp.gate", "mlp.up"),
    ("mlp.down",),
)  # fmt: skip
"""The matrices of a block, by what they read."""

AnyDtype = torch.dtype | Literal["auto"]


def load_model(
    path: Path | str,
    *,
    device: str | torch.device = "cpu",
    dtype: AnyDtype = torch.float32,
    packed: bool = False,
    progress: Progress = SILENT,
) -> Transformer:
    """Load just the weights of a model directory, ready for inference.

    On the CPU, weights stored in the format asked for are mapped from the file and
    take no memory until they are changed. Of a model that reads pictures as well, what
    reads text is loaded, and the rest counted in a warning. Names, shapes and numbers of
    tensors are judged before anything is made.

    ``packed``: where matrices are stored as whole numbers of 4 or 8 bits, those of blocks stay
    so (``linnet.model.packed``), for inference alone; else they become plain numbers.
    """
    path = Path(path)
    values = read_config_file(path)
    table = family(values.get("model_type"))
    try:
        scheme = read_scheme(values)
        config = table.read(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    files = _for_text(open_weights(path), table, progress)
    if scheme is not None:
        files = QuantisedFiles(files, scheme)
    _refuse_absurd(config, table, files)
    if table.model_type == "apertus" and _is_relu2(files, config):
        config = dataclasses.replace(config, activation="relu2")
    config = _as_tied_as_the_weights(files, table, config)
    found = _find_tensors(files, table, config)
    with torch.device("meta"):
        model = Transformer(config)
    kept = _read_codes(files, found, device) if packed else {}
    rest = [each for each in found if not set(each.entry.own) <= kept.keys()]
    weights = _read_weights(files, rest, device, dtype)
    _put_packed(model, kept, weights)
    model.load_state_dict(weights, assign=True)
    return model.eval()


@dataclass(frozen=True)
class _Found:
    """A tensor of the family's table: where it is stored, and how many rows each part has."""

    entry: Tensor
    stored: str
    rows: list[int]


def _find_tensors(files: WeightFiles, table: Family, config: ModelConfig) -> list[_Found]:
    """Every tensor that the model needs; the names without a prefix are accepted too.

    Raises ModelError for one that is missing, of another shape, or left over.
    """
    shapes = _shapes_of(config, files.path)
    short = _shortened(files, table)
    known = {short(name) for name in table.constants(config)}
    known |= {short(name) for name in output_names(table, config)}
    plan = []
    for entry in table.tensors(config):
        name = short(entry.published)
        if config.tied and entry.own == ("embedding.weight",) and name not in files:
            name = next((n for n in map(short, output_names(table, config)) if n in files), name)
        aliases = [short(alias) for alias in entry.aliases]
        known.update((name, *aliases))
        if name not in files:
            name = next((alias for alias in aliases if alias in files), name)
        if name not in files:
            raise ModelError(f"{files.path}: the tensor '{name}' is missing")
        # All blocks have the shapes of the second, which is the first with all its parts.
        expected = [shapes[re.sub(r"^blocks\.[1-9]\d*", "blocks.1", own)] for own in entry.own]
        rows = [shape[0] if shape else 1 for shape in expected]
        fused = (sum(rows), *expected[0][1:]) if expected[0] else ()
        stored = files[name].shape
        if (stored[::-1] if entry.transposed else stored) != fused:
            raise ModelError(
                f"{files.path}: the tensor '{name}' must have shape "
                f"{fused[::-1] if entry.transposed else fused}. Got {stored}"
            )
        plan.append(_Found(entry, name, rows))
    ignored = re.compile("|".join((*IGNORED, *table.ignored)))
    extra = [
        name for name in files
        if name not in known and not ignored.search(name)
        and not (isinstance(files, QuantisedFiles) and files.is_no_bias(name))
    ]  # fmt: skip
    if extra:
        raise ModelError(
            f"{files.path}: the tensor '{extra[0]}' does not belong to this model type"
        )
    return plan


def _shapes_of(config: ModelConfig, path: Path) -> dict[str, torch.Size]:
    """The shapes of our parameters, of the second block for all after it."""
    first = config.with_depth(min(2, config.depth))
    try:
        with torch.device("meta"):
            model = Transformer(first)
    except (RuntimeError, OverflowError):
        raise ModelError(
            f"{path / CONFIG}: its sizes are larger than any model's; get a sound copy"
        ) from None
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _read_weights(
    files: WeightFiles, found: list[_Found], device: str | torch.device, dtype: AnyDtype
) -> dict[str, torch.Tensor]:
    """Our state dict."""
    wanted = _resolve(dtype, device)
    weights: dict[str, torch.Tensor] = {}
    for each in found:
        tensor = files.read(each.stored, device=device, dtype=wanted)
        tensor = tensor.T if each.entry.transposed else tensor
        parts = split_rows(tensor, each.rows, interleaved=each.entry.interleaved)
        for own, part in zip(each.entry.own, parts, strict=True):
            weights[own] = part.contiguous()
    return weights


def _read_codes(
    files: WeightFiles, found: list[_Found], device: str | torch.device
) -> dict[str, Codes]:
    """The matrices of blocks that are stored as whole numbers, by our names."""
    codes: dict[str, Codes] = {}
    for each in found:
        entry = each.entry
        in_blocks = all(re.search(r"\.(attention|mlp)\.\w+\.weight$", own) for own in entry.own)
        if isinstance(files, QuantisedFiles) and files.is_packed(each.stored) and in_blocks:
            if entry.transposed:
                raise ModelError(f"{files.path}: the tensor '{each.stored}' is stored in columns")
            whole = files.codes(each.stored, device=device)
            parts = split_codes(whole, each.rows, interleaved=entry.interleaved)
            codes.update(zip(entry.own, parts, strict=True))
    return codes


def _put_packed(
    model: Transformer, codes: dict[str, Codes], weights: dict[str, torch.Tensor]
) -> None:
    """Make layers of packed matrices, and take their biases out of ``weights``."""
    for block, module in enumerate(model.blocks):
        for group in SHARING_INPUT:
            names = [name for name in group if f"blocks.{block}.{name}.weight" in codes]
            if not names:
                continue
            own = [codes.pop(f"blocks.{block}.{name}.weight") for name in names]
            biases = [weights.pop(f"blocks.{block}.{name}.bias", None) for name in names]
            for name, layer in zip(names, packed_layers(own, biases), strict=True):
                parent, _, last = name.rpartition(".")
                setattr(module.get_submodule(parent), last, layer)


def _for_text(files: WeightFiles, table: Family, progress: Progress) -> WeightFiles:
    """The tensors that the family knows, under its names; those for other inputs are left out."""
    others = [name for name in files if table.reads_other_inputs(name)]
    if others:
        count = sum(math.prod(files[name].shape) for name in others)
        progress.warn(
            f"{files.path.name}: only the text part is read; {len(others)} tensors "
            f"({count:,} numbers) for other inputs are left out"
        )
    return files.selected({n: table.name_of(n) for n in files if not table.reads_other_inputs(n)})


def _resolve(dtype: AnyDtype, device: str | torch.device) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    kind = torch.device(device).type
    return torch_dtype(detect("cpu" if kind not in ("cuda", "mps") else kind).dtype)  # type: ignore[arg-type]


def _shortened(files: WeightFiles, table: Family) -> Any:
    """How this checkpoint calls what the family publishes: with or without the base's name."""
    if not any(name.startswith(table.prefix) for name in files):
        return lambda name: name.removeprefix(table.prefix)
    return lambda name: table.prefix + name if table.prefix + name in files else name


def output_names(table: Family, config: ModelConfig) -> list[str]:
    """What the family calls the output layer's weight."""
    if config.head not in ("output", "masked"):
        return []
    untied = dataclasses.replace(config, tied=False)
    return [e.published for e in table.tensors(untied) if e.own == ("output.weight",)]


def _as_tied_as_the_weights(files: WeightFiles, table: Family, config: ModelConfig) -> ModelConfig:
    """Where config.json says tied but the output layer is stored and another: not tied.

    So does transformers from release 5 on (``tie_weights``).
    """
    if not config.tied:
        return config
    short = _shortened(files, table)
    tables = [short(e.published) for e in table.tensors(config) if e.own == ("embedding.weight",)]
    outputs = [short(name) for name in output_names(table, config)]
    if not all(name in files for name in (*tables, *outputs)) or not outputs:
        return config
    if torch.equal(files.read(tables[0]), files.read(outputs[0])):
        return config
    return dataclasses.replace(config, tied=False)


def _is_relu2(files: WeightFiles, config: ModelConfig) -> bool:
    """Whether every xIELU of an Apertus checkpoint is set to be ReLU²."""
    for layer in range(config.depth):
        for part, value in RELU2_AS_XIELU.items():
            name = f"model.layers.{layer}.mlp.act_fn.{part}"
            if part == "eps":
                continue
            if name not in files or files.read(name).numel() != 1:
                return False
            found = files.read(name).float().item()
            below = part == "alpha_n" and found <= value
            if not below and abs(found - value) > 1e-6:
                return False
    return True


def _refuse_absurd(config: ModelConfig, table: Family, files: WeightFiles) -> None:
    """A config.json that asks for more layers than there are tensors must not cost memory."""
    one, two = (len(table.tensors(config.with_depth(depth))) for depth in (1, 2))
    if (two - one) * config.depth > len(files):
        raise ModelError(
            f"{files.path}: config.json asks for {config.depth} layers of {two - one} tensors, "
            f"but the weights hold only {len(files)} tensors"
        )
