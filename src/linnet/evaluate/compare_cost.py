"""What asking models is going to cost, and whether that was allowed, before any is asked."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from linnet.errors import ConfigError
from linnet.evaluate.compare_responders import ComparedModel
from linnet.progress import Progress
from linnet.respond.prices import money, readable

_REQUEST_BYTES = 1000
"""What a request has around its messages, at most."""
BYTES_OF_A_TOKEN = 4


@dataclass(frozen=True)
class Estimate:
    """What asking a model is going to cost, before it is asked."""

    model: str
    calls: int
    """Those that are not answered already."""
    about: float
    """A token for every four bytes, and every answer of full length."""
    most: float
    """A token for every byte."""


def estimate(model: ComparedModel, sizes: Sequence[tuple[int, int]]) -> Estimate:
    """Of calls with so many bytes each, and answers of so many tokens at most."""
    price = model.price
    if price is None:
        return Estimate(model.name, len(sizes), 0.0, 0.0)
    about = sum(price.cost(size // BYTES_OF_A_TOKEN, 0, longest) for size, longest in sizes)
    most = sum(price.cost(size, 0, longest) for size, longest in sizes)
    return Estimate(model.name, len(sizes), float(money(about)), float(money(most)))


def request_bytes(bodies: list[object]) -> int:
    """What a request with these messages takes."""
    text = json.dumps(bodies, ensure_ascii=False)
    return len(text.encode("utf-8", "replace")) + _REQUEST_BYTES


def require_allowed(
    estimates: Sequence[Estimate],
    cost: float | None,
    *,
    spent: float,
    currency: str,
    is_kept: bool,
    progress: Progress,
) -> None:
    """Tell what it may cost. Raises ConfigError where that was not allowed: by ``cost``, of which
    ``spent`` is gone; ``is_kept``: whether answers are kept that are paid for."""
    most = sum(each.most for each in estimates)
    for each in estimates:
        progress.message(
            f"{each.model}: {each.calls:,} calls, about "
            f"{readable(each.about, currency)}, {readable(each.most)} at most"
        )
    if not most:
        return
    if cost is None:
        raise ConfigError(
            f"asking these models may cost up to {readable(most, currency)}; allow it "
            f"with --cost, such as --cost {_rounded_up(most):g}"
        )
    if not is_kept:
        raise ConfigError("name --out DIR: answers that are paid for are kept there")
    left = cost - spent
    if most > left:
        progress.warn(
            f"of --cost {cost:g} {currency} {readable(max(left, 0.0))} are "
            f"left, and it may cost up to {readable(most)}: where that is spent it stops, and "
            "goes on from there with a higher --cost"
        )


def _rounded_up(amount: float) -> float:
    """Two digits, not less than the amount."""
    scale = 10 ** (math.floor(math.log10(amount)) - 1)
    return float(f"{math.ceil(amount / scale) * scale:.2g}")
