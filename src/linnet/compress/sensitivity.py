"""How much a model's answers suffer for each kind of tensor that is rounded.

The same error does more harm in some matrices than in others. So all tensors of a kind (all
``attn_q``, say) are rounded coarsely, nothing else, and it is measured how far what the model
expects next moves: the Kullback-Leibler divergence from the model itself, over text of the owner's.
Divided by the tensors' errors that is what an error costs in a tensor of this kind, to first order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from linnet.compress.mixing import Option
from linnet.export.config import ExportConfig
from linnet.export.gguf import export_gguf
from linnet.gguf.metadata import read_unchecked
from linnet.gguf.quantisation import Importance
from linnet.gguf.weights import dequantised, numbers_within
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model import Transformer

PROBE = ("q3_k", "iq4_nl", "q4_k")
"""Formats to round by, the first of which a tensor has among its options."""
MOST_TOKENS = 4096
_POSITIONS = 256
"""Whose expectations are compared at once."""


def role_of(name: str) -> str:
    """The kind of a tensor: ``attn_q`` of ``blk.3.attn_q.weight``."""
    return name.split(".")[-2]


def sensitivities(
    model: Transformer,
    source: Path,
    options: Mapping[str, Sequence[Option]],
    rows: Sequence[Tensor],
    work: Path,
    *,
    importance: Importance,
    progress: Progress = SILENT,
) -> dict[str, float]:
    """What an error costs in tensors of each kind, in nats per token.

    ``rows``: texts as tokens ``(1, T)``, of which the first ones count. A file of each kind is
    written in ``work`` and removed.
    """
    roles = sorted({role_of(name) for name in options})
    some, found = first_tokens(rows), {}
    with progress.task("what errors cost", total=len(roles), unit="kinds of tensors") as task:
        for role in roles:
            probes = {
                name: probe
                for name, each in options.items()
                if role_of(name) == role and (probe := _probe(each)) is not None
            }
            error = sum(probe.error for probe in probes.values())
            if error:
                formats = dict.fromkeys(options, "f32") | {
                    name: probe.format for name, probe in probes.items()
                }
                moved = _divergence(model, source, formats, some, work, importance)
                found[role] = moved / error
            task.advance()
    return found


def weighted(
    options: Mapping[str, Sequence[Option]], costs: Mapping[str, float]
) -> dict[str, list[Option]]:
    """The options with what their errors are expected to cost, in nats per token, as errors."""
    return {
        name: [
            Option(each.format, each.bytes, each.error * costs.get(role_of(name), 1.0))
            for each in own
        ]
        for name, own in options.items()
    }


def _probe(options: Sequence[Option]) -> Option | None:
    known = {each.format: each for each in options}
    return next((known[format] for format in PROBE if format in known), options[-1])


@torch.no_grad()
def divergence_from(model: Transformer, other: Transformer, rows: Sequence[Tensor]) -> float:
    """How far what ``other`` expects next is from what ``model`` does, in nats per token."""
    total, count = 0.0, 0
    for row in rows:
        before, after = model.hidden(row)[0], other.hidden(row)[0]
        for start in range(0, len(before), _POSITIONS):
            part = slice(start, start + _POSITIONS)
            known = model.logits(before[part]).log_softmax(-1)
            found = other.logits(after[part]).log_softmax(-1)
            total += float((known.exp() * (known - found)).sum())
        count += len(before)
    return total / count


def first_tokens(rows: Sequence[Tensor]) -> list[Tensor]:
    """The first :data:`MOST_TOKENS` tokens of texts ``(1, T)``."""
    some, count = [], 0
    for row in rows:
        if count >= MOST_TOKENS:
            break
        some.append(row[:, : MOST_TOKENS - count])
        count += row.shape[1]
    return some


def _divergence(
    model: Transformer,
    source: Path,
    formats: Mapping[str, str],
    rows: Sequence[Tensor],
    work: Path,
    importance: Importance,
) -> float:
    file = work / "probe.gguf"
    try:
        export_gguf(
            source, file, ExportConfig(type="f32"), formats=formats, importance=importance,
            open_once=False,
        )  # fmt: skip
        numbers = numbers_within(read_unchecked(file).values, model.config)
        return divergence_from(model, dequantised(file, model.config, numbers=numbers), rows)
    finally:
        file.unlink(missing_ok=True)
