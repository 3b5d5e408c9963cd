"""A model with weights of 4 or 8 bits: an ordinary checkpoint, for torch here and elsewhere.

The matrices of blocks become whole numbers (``linnet.model.quantised``): rounded, or fitted to the
owner's text by GPTQ and scaled columns (``linnet.compress.blockwise``). The table of tokens, the
output layer and norms stay plain numbers. transformers and vLLM read the directory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnet import artifact
from linnet.card import CARD, write_card
from linnet.compress.blockwise import HELD_OUT, Choice, GroupFormat, make_smaller
from linnet.compress.mixing import sample_rows, share_off
from linnet.config import to_mapping
from linnet.errors import ConfigError, DataError, ModelError
from linnet.export.config import PackedConfig
from linnet.finetune.base import base_input, data_inputs, find_base
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.replay import read_text
from linnet.gguf.architectures import tensors
from linnet.model import load_model
from linnet.model.checkpoint import save_checkpoint
from linnet.model.families import family
from linnet.model.quantised import COMPRESSED_TENSORS, Codes, Scheme, packed_size
from linnet.model.weights import all_finite
from linnet.progress import SILENT, Progress
from linnet.runtime import torch_dtype
from linnet.tokenizer import load as load_tokenizer

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.artifact import Artifact, Draft
    from linnet.gguf.quantisation import Importance
    from linnet.model import Transformer

KIND, FORMAT = "model", 1


def export_packed(
    model: Path | str,
    out: Path | str,
    config: PackedConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Write a model directory with weights of 4 or 8 bits.

    Raises ConfigError for an adapter, and where no matrix has rows that divide into groups;
    ModelError for a family whose matrices others could not read so, and for a matrix that is
    damaged; DataError for too little text.
    """
    config, out = config or PackedConfig(), Path(out)
    found = find_base(model, "export", plain=True, progress=progress)
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **(data_inputs([], "", config.text, progress=progress) if config.text else {}),
    }

    def write(draft: Draft) -> None:
        loaded = load_model(found.path, dtype=torch.float32, progress=progress).eval()
        rows = _rows(found.path, loaded, config, progress) if config.text else []
        choices = write_packed(loaded, found.path, draft.path, config, rows, progress=progress)
        draft.stats["parameters"] = loaded.config.parameters
        draft.stats["ways"] = dict(
            Counter(each.way + (" scaled" if each.strength else "") for each in choices)
        )
        write_card(draft, base=found.path)

    return artifact.make(
        out, write, kind=KIND, format=FORMAT, config=to_mapping(config), inputs=inputs,
        volatile=(CARD,), sources=[found.path],
    )  # fmt: skip


@torch.no_grad()
def write_packed(
    model: Transformer,
    source: Path,
    directory: Path,
    config: PackedConfig,
    rows: Sequence[Tensor] = (),
    *,
    progress: Progress = SILENT,
) -> Sequence[Choice]:
    """Write a model that was loaded from ``source`` in fp32 into an existing directory.

    ``rows``: texts as tokens ``(1, T)``, which rounding is fitted to; none: nothing is fitted.
    The parameters of ``model`` become what is stored. Gives how each matrix was made, where it
    was fitted.
    """
    formats = group_formats(model, config, progress)
    codes: dict[str, Codes] = {}
    choices: Sequence[Choice] = ()
    if rows:
        made = make_smaller(model, rows, formats, scale=config.scale, progress=progress)
        codes, choices = dict(made.stored), list(made.choices.values())
    else:
        parameters = dict(model.named_parameters())
        for name, format in formats.items():
            values = parameters[name].data
            codes[name], parameters[name].data = format.rounded(
                name, values, torch.ones(values.shape[1])
            )
    scheme = Scheme(COMPRESSED_TENSORS, config.bits, config.columns, symmetric=not config.zero)
    save_checkpoint(
        model, directory, tokenizer=source, base=source, dtype=torch_dtype(config.dtype),
        codes=codes, scheme=scheme, progress=progress,
    )  # fmt: skip
    return choices


def group_formats(
    model: Transformer, config: PackedConfig, progress: Progress = SILENT
) -> dict[str, GroupFormat]:
    """The matrices that become whole numbers, by our names. Raises ConfigError where none can,
    ModelError for one that is damaged."""
    shape = model.config
    shape.require_writes()
    format = GroupFormat(config.bits, config.columns, config.zero)
    parameters = dict(model.named_parameters())
    formats, left = {}, []
    for entry in family(shape.family).tensors(shape):
        values = parameters[entry.own[0]]
        if not all(all_finite(parameters[own]) for own in entry.own):
            raise ModelError(
                f"{entry.published} has numbers that are infinite or none; "
                "get a sound copy of the model"
            )
        if values.dim() != 2 or not entry.own[0].startswith("blocks."):
            continue
        if entry.transposed:
            raise ModelError(
                f"{shape.family} stores its matrices in columns, which no program reads as whole "
                "numbers; take linnet export gguf"
            )
        if config.columns and values.shape[1] % config.columns:
            left.append(entry.published)
        else:
            formats.update(dict.fromkeys(entry.own, format))
    if not formats:
        raise ConfigError(
            f"no matrix of this model has rows that divide into groups of {config.columns}; take "
            "another --group"
        )
    if left:
        progress.warn(
            f"{len(left)} matrices have rows that do not divide into groups of {config.columns}, "
            f"and stay in {config.dtype}: {left[0]} is the first"
        )
    return formats


def packed_bytes(model: Transformer, config: PackedConfig) -> int:
    """What the tensors of such a checkpoint take in its file. Raises as :func:`group_formats`."""
    formats = group_formats(model, config)
    parameters, plain = dict(model.named_parameters()), torch_dtype(config.dtype).itemsize
    table, total = family(model.config.family), 0
    for entry in table.tensors(model.config):
        shapes = [parameters[name].shape for name in entry.own]
        if set(entry.own) <= formats.keys():
            rows, width = sum(shape[0] for shape in shapes), shapes[0][1]
            total += packed_size(rows, width, config.bits, config.columns, zero=config.zero)
        else:
            total += plain * sum(shape.numel() for shape in shapes)
    return total + plain * len(list(table.constants(model.config)))


def packed_errors(
    model: Transformer, config: PackedConfig, importance: Importance
) -> dict[str, float]:
    """How far each matrix that becomes whole numbers is off, rounded, as a share of what it
    computes, squared; by GGUF's names. All else is hardly off."""
    format = GroupFormat(config.bits, config.columns, config.zero)
    found = {}
    for name, values in tensors(model):
        is_matrix = name.startswith("blk.") and values.dim() == 2
        if not is_matrix or (config.columns and values.shape[1] % config.columns):
            continue
        rows = sample_rows(values).float()
        _, stored = format.rounded(name, rows, torch.ones(rows.shape[1]))
        found[name] = share_off(rows, stored.numpy(), importance.get(name))
    return found


def _rows(path: Path, model: Any, config: PackedConfig, progress: Progress) -> list[Tensor]:
    """The text to fit by, as tokens."""
    examples = ExamplesConfig(context=min(config.context, model.config.context), template="none")
    found = read_text(
        Path(config.text), load_tokenizer(path), examples, tokens=config.tokens,
        held_out_tokens=0, progress=progress,
    )  # fmt: skip
    if len(found.replay) < HELD_OUT:
        raise DataError(
            f"{config.text}: expected at least {HELD_OUT} rows of up to {examples.context} tokens, "
            f"one of them to judge by. Got {len(found.replay)}; give more text and --tokens, a "
            "smaller --context, or leave --text out"
        )
    return [torch.from_numpy(each.tokens.astype(np.int64))[None] for each in found.replay]
