"""A number format for each tensor, so that all fit into a size with the least error.

The error of a tensor in a format is measured on the tensor itself: how far what it computes would
be off, as a share of what it computes, each column weighted by how much its input matters. To first
order the loss of a model rises with the sum of these (arXiv:2411.17525). Formats are lowered one
tensor at a time, where a byte saved costs least.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.errors import ConfigError
from linnet.gguf.architectures import tensors
from linnet.gguf.quantisation import (
    Floats,
    Importance,
    decoded,
    encoded,
    possible_format,
    stored_bytes,
)
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

    from linnet.model import Transformer

LADDER = ("q8_0", "q6_k", "q5_k", "q4_k", "iq4_xs", "iq4_nl", "q3_k", "iq3_s", "q2_k")
"""Formats that a tensor may have, from the finest to the coarsest."""
MOST_ROWS = 512
"""Rows of a tensor on which its error is measured."""


@dataclass(frozen=True)
class Option:
    """One tensor in one format."""

    format: str
    bytes: int
    error: float
    """What it computes is off by this share, squared."""


def options_of(
    model: Transformer,
    importance: Importance,
    *,
    ladder: Sequence[str] = LADDER,
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[str, list[Option]]:
    """The formats that each matrix may have, with size and error, largest first. Vectors have no
    choice."""
    found: dict[str, list[Option]] = {}
    every = list(tensors(model))
    with progress.task("rounding errors", total=len(every), unit="tensors") as task:
        for name, values in every:
            shape = tuple(values.shape)
            formats = dict.fromkeys(possible_format(name, shape, each) for each in ladder)
            if formats.keys() - {"f32", "f16"}:
                rows = sample_rows(values, seed)
                own = [
                    Option(each, stored_bytes(shape, each),
                           rounding_error(name, rows, each, importance.get(name)))
                    for each in formats
                ]  # fmt: skip
                found[name] = sorted(own, key=lambda option: (-option.bytes, option.error))
            task.advance()
    return found


def rounding_error(name: str, rows: Tensor, format: str, importance: Floats | None) -> float:
    """How far rows are off in a format, as a share of what they compute, squared."""
    coded = np.concatenate(list(encoded(name, rows, format, importance)))
    return share_off(rows, decoded(coded, format, rows.shape[1]), importance)


def share_off(rows: Tensor, stored: npt.NDArray[Any], importance: Floats | None) -> float:
    """How far what is stored of rows is off, as a share of what they compute, squared."""
    values = rows.float().numpy()
    weight = np.ones(values.shape[1]) if importance is None else importance.astype(np.float64)
    off = ((stored - values) ** 2).astype(np.float64)
    whole = float((values.astype(np.float64) ** 2 @ weight).sum())
    return float((off @ weight).sum()) / whole if whole else 0.0


def mix(options: Mapping[str, Sequence[Option]], most_bytes: int) -> dict[str, str]:
    """A format for each tensor, so that together they have at most so many bytes.

    Raises ConfigError, naming the smallest that is possible, where they cannot.
    """
    options = {name: _front(own) for name, own in options.items()}
    place = dict.fromkeys(options, 0)
    total = sum(each[0].bytes for each in options.values())
    least = sum(min(option.bytes for option in each) for each in options.values())
    if most_bytes < least:
        raise ConfigError(
            f"no mixture of formats is so small: the matrices take at least {least:,} bytes"
        )
    queue: list[tuple[float, str, int, int]] = []

    def offer(name: str) -> None:
        steps = options[name]
        here = steps[place[name]]
        for target in range(place[name] + 1, len(steps)):
            saved = here.bytes - steps[target].bytes
            if saved > 0:
                cost = (steps[target].error - here.error) / saved
                heapq.heappush(queue, (cost, name, place[name], target))

    for name in options:
        offer(name)
    while total > most_bytes and queue:
        _, name, origin, target = heapq.heappop(queue)
        if origin != place[name]:
            continue  # an offer from before the tensor had another format
        here = options[name][place[name]]
        total -= here.bytes - options[name][target].bytes
        place[name] = target
        offer(name)
    return {name: options[name][at].format for name, at in place.items()}


def sample_rows(values: Tensor, seed: int = 0) -> Tensor:
    """Rows of a matrix, at most :data:`MOST_ROWS`."""
    rows = values.detach().reshape(-1, values.shape[-1])
    if len(rows) <= MOST_ROWS:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False)
    return rows[np.sort(chosen).tolist()]


def _front(options: Sequence[Option]) -> list[Option]:
    """Those that are not larger and worse than another; finest first."""
    ordered = sorted(options, key=lambda option: (-option.bytes, option.error))
    kept: list[Option] = []
    for option in reversed(ordered):  # smallest first
        if not kept or option.error < kept[-1].error:
            kept.append(option)
    return kept[::-1]
