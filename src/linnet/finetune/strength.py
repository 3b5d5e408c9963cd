"""How much of a change to apply: the trade between what was learned and what was forgotten.

Fine-tuning gives a direction in the space of weights, and nothing says that one
must go exactly as far along it as training went. An adapter is scaled; after full
fine-tuning the weights are taken between the base's and the tuned ones (WiSE-FT,
arXiv:2109.01903), or a little beyond. Each strength is measured on held-out examples
and on general text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from linnet.errors import ModelError
from linnet.model.lora import adapters_of, set_strength
from linnet.output import write_json
from linnet.progress import SILENT, Progress
from linnet.train.execution import at_rest
from linnet.train.metrics import (
    INK,
    TRAINING,
    VALIDATION,
    blank_figure,
    style_axes,
    write_figure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from linnet.model import Transformer

    Validator: TypeAlias = Callable[[Transformer], Mapping[str, float]]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""0 is the base, 1 what training made, more is further than it went."""

AS_GOOD = 0.98
"""Share of the largest gain that is taken for the same: the last of it costs most."""

SetStrength: TypeAlias = Callable[[float], None]


@dataclass(frozen=True)
class Trade:
    """What one strength gains and costs."""

    strength: float
    domain: float
    """On held-out examples: bits per byte, or nats per token where they have no bytes."""
    general: float
    """On general text: bits per byte."""
    forgetting: float
    """The rise of ``general`` over the base's."""


@dataclass(frozen=True)
class Sweep:
    """The trade at every strength, weakest first, and the one to take."""

    trades: tuple[Trade, ...]
    unit: str
    """Of the figures on held-out examples."""
    max_forgetting: float
    """The limit on forgetting that was set; 0: none."""

    @property
    def recommended(self) -> Trade:
        """The weakest that gains as good as the most of those that forget no more than the limit.

        Where none does, which only a sweep without strength 0 can find, the one that
        forgets least. One whose figures are not numbers is never taken.
        """
        limit = self.max_forgetting
        measured = [t for t in self.trades if math.isfinite(t.domain + t.forgetting)]
        within = [t for t in measured if not limit or t.forgetting <= limit]
        if not within:
            return min(measured or self.trades, key=lambda trade: trade.forgetting)
        best = min(trade.domain for trade in within)
        enough = best + (1 - AS_GOOD) * max(0.0, within[0].domain - best)
        return next(trade for trade in within if trade.domain <= enough)

    def to_mapping(self) -> dict[str, Any]:
        """As plain values, for ``strength.json``."""
        return {
            "recommended": self.recommended.strength,
            "max_forgetting": self.max_forgetting,
            "domain_unit": self.unit,
            "trades": [
                {k: v if math.isfinite(v) else None for k, v in asdict(trade).items()}
                for trade in self.trades
            ],
        }

    def sentence(self) -> str:
        """What came out, in a line."""
        best, base = self.recommended, self.trades[0]
        limit = f" within {self.max_forgetting:g} bits/byte" if self.max_forgetting else ""
        return (
            f"strength {best.strength:g} serves best{limit}: held-out {best.domain:.3f} "
            f"{self.unit} ({best.domain - base.domain:+.3f}), general text {best.general:.3f} "
            f"bits/byte ({best.forgetting:+.3f})"
        )


class Between:
    """Sets a model's weights between those of the base (0) and its own (1), or beyond.

    The model's own weights as they are now are kept, in memory, for as long as this is.
    At 0 and 1 the weights are those of the base and its own to the bit.
    """

    def __init__(self, model: Transformer, base: Mapping[str, torch.Tensor]) -> None:
        """``base``: its parameters by their names; mapped from a file they take no memory.

        Raises ModelError when one that differs in name or shape shows that it is another's.
        """
        self.own = {name: value.detach().clone() for name, value in model.named_parameters()}
        self.model, self.base = model, base
        for name, value in self.own.items():
            if name not in base or base[name].shape != value.shape:
                raise ModelError(
                    f"expected the weights that this model was tuned from, but '{name}' is "
                    f"{'of another shape' if name in base else 'missing'} there"
                )

    @torch.no_grad()
    def __call__(self, strength: float) -> None:
        for name, parameter in self.model.named_parameters():
            own, base = self.own[name], self.base[name].detach().to(parameter)
            if strength == 1:
                parameter.copy_(own)
            elif strength == 0:
                parameter.copy_(base)
            else:
                # Not lerp: it would take its second formula, with other roundings, above 1/2.
                parameter.copy_(base + strength * (own - base))


def sweep_strength(
    model: Transformer,
    set_strength: SetStrength,
    *,
    domain: Validator,
    general: Validator,
    strengths: Sequence[float] = STRENGTHS,
    max_forgetting: float = 0.0,
    progress: Progress = SILENT,
) -> Sweep:
    """Measure a model at each strength; afterwards it stands at 1 again.

    ``set_strength``: a :class:`Between`, or for an adapter
    ``partial(linnet.model.lora.set_strength, model, name)``. ``domain`` and ``general`` give
    ``loss`` or ``bits_per_byte`` of a model, as ``HeldOutLoss`` does.
    """
    order = sorted({0.0, *strengths})  # the base is what the rise is counted from
    found: list[tuple[float, float, float, str]] = []
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), progress.task("strengths", total=len(order)) as task:
            for strength in order:
                set_strength(strength)
                figures = domain(model)
                in_bits = "bits_per_byte" in figures
                learned = figures["bits_per_byte" if in_bits else "loss"]
                unit = "bits/byte" if in_bits else "nats/token"
                found.append((strength, learned, general(model)["bits_per_byte"], unit))
                task.advance()
    finally:
        set_strength(1.0)
        model.train(training)
    base = found[0][2]
    trades = tuple(Trade(s, learned, known, known - base) for s, learned, known, _ in found)
    return Sweep(trades, found[0][3], max_forgetting)


def sweep_run(
    model: Transformer,
    directory: Path,
    *,
    base: Mapping[str, torch.Tensor],
    domain: Validator,
    general: Validator,
    max_forgetting: float,
    compiled: bool,
    progress: Progress = SILENT,
) -> Sweep:
    """Try the strengths of what was trained, write and draw them; the model stays as it is.

    ``base``: after full fine-tuning, the weights that training began from.
    """
    adapters = adapters_of(model)
    name = None if adapters is None else adapters.active
    change = Between(model, base) if name is None else partial(set_strength, model, name)
    with at_rest(model, compiled=compiled):
        sweep = sweep_strength(
            model, change, domain=domain, general=general,
            max_forgetting=max_forgetting, progress=progress,
        )  # fmt: skip
    write_sweep(sweep, directory)
    progress.message(sweep.sentence())
    return sweep


def write_sweep(sweep: Sweep, out: Path) -> list[Path]:
    """Write ``strength.json``, and the trade as ``strength.svg`` and ``strength.png``."""
    write_json(out / "strength.json", sweep.to_mapping())
    figure = trade_figure(sweep)
    write_figure(figure, out, "strength")
    return [out / f"strength.{kind}" for kind in ("json", "svg", "png")]


def trade_figure(sweep: Sweep) -> Any:
    """Held-out loss over forgetting, a labelled point for each strength."""
    figure = blank_figure(height=3.6)
    axes = figure.add_subplot()
    best = sweep.recommended
    trades = [t for t in sweep.trades if math.isfinite(t.domain + t.forgetting)]
    rises, losses = [t.forgetting for t in trades], [t.domain for t in trades]
    axes.plot(rises, losses, color=TRAINING, linewidth=1.6, marker="o", markersize=4.5)
    axes.plot([best.forgetting], [best.domain], color=VALIDATION, marker="o", markersize=8)
    for trade in trades:
        chosen = trade is best
        axes.annotate(
            _label(trade, chosen=chosen), (trade.forgetting, trade.domain),
            textcoords="offset points", xytext=(6, 6), fontsize=9,
            color=VALIDATION if chosen else INK, fontweight="bold" if chosen else "normal",
        )  # fmt: skip
    if sweep.max_forgetting:
        axes.axvline(sweep.max_forgetting, color=VALIDATION, linewidth=1, linestyle="--")
        axes.annotate(
            "limit", (sweep.max_forgetting, 0.01), xycoords=("data", "axes fraction"),
            xytext=(3, 2), textcoords="offset points", color=VALIDATION, fontsize=8,
        )  # fmt: skip
    title = f"strength of the change: {sweep.unit} on held-out examples"
    style_axes(axes, title, grid="both")
    axes.set_xlabel("forgetting: rise on general text, bits per byte", color=INK)
    axes.margins(x=0.16, y=0.14)
    return figure


def _label(trade: Trade, *, chosen: bool) -> str:
    name = "0 (base)" if trade.strength == 0 else f"{trade.strength:g}"
    return f"{name}, recommended" if chosen else name
