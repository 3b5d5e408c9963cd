"""Rotary positions (RoPE, arXiv:2104.09864), and how they are stretched over longer texts.

RoPE rotates pairs of a head's coordinates by an angle proportional to the
position, so that a query and a key see only how far apart they are. Pair i of
R/2 rotates by ``theta ** (-2i / R)`` radians per token; a stretch slows that down.

``R`` is the number of coordinates rotated: all K of a head, or fewer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from linnet.model.config import ModelConfig, RopeScaling

Rope = tuple[Tensor, Tensor]
"""Cosine and sine for every position: ``(T, R)``, or ``(B, 1, T, R)`` where rows differ."""


def rope_angles(
    config: ModelConfig, positions: Tensor, *, length: int | Tensor, local: bool = False
) -> Rope:
    """Cosine and sine of the angle at each of ``positions`` ``(T)`` or ``(B, T)``, in fp32.

    ``length``: tokens in the whole text so far, on which LongRoPE depends; for texts
    that share a row, ``(B, T)``, that of the text at each position.
    ``local``: as in windowed blocks, which may have a base of their own.
    """
    own = config.rope_local_theta if local else None
    theta = config.rope_theta if own is None else own
    width = config.rotary_width or config.head_width
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    frequencies = 1.0 / theta ** (steps / width)  # (R/2,)
    magnitude = 1.0
    if config.rope_scaling is not None and own is None:
        frequencies = stretch(config.rope_scaling, frequencies, theta=theta, length=length)
        magnitude = attention_factor(config.rope_scaling)
    angles = positions.float()[..., None] * frequencies  # (..., T, R/2)
    angles = torch.cat((angles, angles), dim=-1)  # (..., T, R)
    if positions.dim() == 2:
        angles = angles[:, None]  # (B, 1, T, R)
    return angles.cos() * magnitude, angles.sin() * magnitude


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Turn pairs (i, i + R/2) of ``x`` ``(B, H, T, K)``: the "half" layout of Llama."""
    cos, sin = rope
    width = cos.shape[-1]
    if width < x.shape[-1]:
        rotated, kept = x.split((width, x.shape[-1] - width), dim=-1)
        return torch.cat((rotate(rotated, rope), kept), dim=-1)
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat((-second, first), dim=-1) * sin.to(x.dtype)


def stretch(
    scaling: RopeScaling, frequencies: Tensor, *, theta: float, length: int | Tensor
) -> Tensor:
    """The frequencies ``(R/2,)`` slowed down as ``scaling`` says.

    LongRoPE with a ``length`` ``(B, T)`` gives ``(B, T, R/2)``.
    """
    original = scaling.original_context
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    if scaling.kind == "longrope":
        short, long = (
            torch.tensor(factors, device=frequencies.device)
            for factors in (scaling.short_factors, scaling.long_factors)
        )
        if isinstance(length, int):
            return frequencies / (long if length > original else short)
        return frequencies / torch.where(length[..., None] > original, long, short)
    if scaling.kind == "llama3":
        # Fast rotations stay, slow ones take the whole factor, and between they mix.
        turns = original * frequencies / (2 * math.pi)
        span = scaling.high_frequency - scaling.low_frequency
        kept = ((turns - scaling.low_frequency) / span).clamp(0, 1)
    else:
        kept = 1 - _yarn_ramp(scaling, len(frequencies), theta, frequencies.device)
    return frequencies * kept + frequencies / scaling.factor * (1 - kept)


def attention_factor(scaling: RopeScaling) -> float:
    """What cosine and sine are multiplied by, so that attention stays as sharp."""
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.factor <= 1 or scaling.kind in ("linear", "llama3"):
        return 1.0
    if scaling.kind == "yarn":
        return 0.1 * math.log(scaling.factor) + 1
    return math.sqrt(1 + math.log(scaling.factor) / math.log(scaling.original_context))


def _yarn_ramp(scaling: RopeScaling, pairs: int, theta: float, device: torch.device) -> Tensor:
    """From 0 at pairs that turn often in the original context to 1 at those that hardly do."""

    def pair(turns: float) -> float:
        return pairs * math.log(scaling.original_context / (turns * 2 * math.pi)) / math.log(theta)

    low, high = pair(scaling.beta_fast), pair(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    steps = torch.arange(pairs, dtype=torch.float32, device=device)
    return ((steps - low) / (high - low or 0.001)).clamp(0, 1)
