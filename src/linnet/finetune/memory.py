"""How much memory a run takes, by calculation, and how much there is.

It is weights, gradients and Adam's two moments, which follow from the shape; the
logits, which are made in chunks; and what the forward pass keeps for the backward
pass. The last depends on every line of a block, so it is counted, not guessed:
two small models of the same width are run once, and torch says what they keep.

What there is: of the machine, of the control groups of the process, within its limits.
"""

from __future__ import annotations

import dataclasses
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from linnet.config import from_mapping, read_json
from linnet.errors import BudgetError
from linnet.model import Transformer
from linnet.model.lora import add_adapter
from linnet.output import human_bytes, make_directory, write_json
from linnet.train.objectives import CHUNK_LOGITS

if TYPE_CHECKING:
    from linnet.model import ModelConfig
    from linnet.model.lora_config import LoRAConfig

USED_SHARE = 0.8  # of the memory that is free; the rest is for what cannot be foreseen
PROBE_TOKENS = 64  # in the rows of the small models: memory grows with them in a line
PROBE_VOCABULARY = 16
# Measured (tests/finetune/test_fitting.py): glibc keeps what the two threads of a step free.
WORKING_BLOCKS = 1.0
KEPT_BY_ALLOCATOR = 0.1  # of the activations
ADAPTED = 2.0  # times as much with an adapter, where every product is made twice


@dataclass(frozen=True)
class Memory:
    """Bytes that training takes, beside what the program has already."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    """What the forward pass of one micro-batch keeps."""
    logits: int
    working: int
    """What comes and goes within a block, and freed memory that the allocator keeps."""
    total: int
    """At the worst moment: not all of these exist at once."""

    def sentence(self) -> str:
        """In words: the total, and what it is made of."""
        parts = [
            f"{human_bytes(size)} {name}" for name, size in asdict(self).items() if name != "total"
        ]
        return f"{human_bytes(self.total)} of memory ({', '.join(parts)})"


@dataclass(frozen=True)
class Demand:
    """A run as far as its memory goes."""

    shape: ModelConfig
    adapter: LoRAConfig | None
    """None: all weights are trained."""
    rows: int
    """Computed at once."""
    length: int
    """Tokens in a row."""
    dtype: torch.dtype
    """What is computed in."""
    pieces: int = 1
    """Micro-batches per update: with several, gradients wait while activations are made."""
    recompute: bool = False
    """Whether blocks are computed again for the gradient."""
    trained_share: float = 1.0
    """Share of the tokens that the loss is taken over."""


def estimate(demand: Demand) -> Memory:
    """The memory that training takes; for families with bent scores, or compiled, at most."""
    shape, width = demand.shape, demand.shape.width
    size, tokens = demand.dtype.itemsize, demand.rows * demand.length
    kept = _kept_by_a_block(shape, demand.adapter, demand.dtype)
    full = demand.adapter is None
    trained = shape.parameters if full else shape.depth * kept.trained
    # Frozen weights are held in the format that is computed in; trained ones in fp32.
    held = 4 if full or demand.dtype == torch.float16 else size
    weights = held * shape.parameters + (0 if full else 4 * trained)
    per_token = kept.per_token + _scores_per_token(shape, demand.length, size)
    block = kept.fixed + per_token * tokens
    activations = shape.depth * block
    if demand.recompute:
        activations = shape.depth * width * size * tokens + block
    activations += (4 + size) * width * tokens * 3  # embedding, last norm, states
    table = shape.vocab_size * width
    logits = 3 * 4 * CHUNK_LOGITS + 2 * size * width * tokens * demand.trained_share
    # Its gradient, a chunk's share of that, and where it is computed in fewer bits, a copy.
    logits += (4 + size) * table if full else 0
    logits += size * table if held != size else 0
    gradients, optimizer = 4 * trained, 8 * trained
    working = WORKING_BLOCKS * block + KEPT_BY_ALLOCATOR * activations
    working *= 1.0 if full else ADAPTED
    waiting = 0
    if demand.pieces > 1:  # what the pieces before gave; tables are added to as a whole
        waiting = gradients + (8 * table if full else 0)
    total = weights + optimizer + max(activations + logits + working + waiting, gradients)
    parts = (weights, gradients, optimizer, activations, logits, working, total)
    return Memory(*(int(part) for part in parts))


@dataclass(frozen=True)
class Fit:
    """How a run is made to fit, and what it takes."""

    micro_rows: int
    recompute: bool
    memory: Memory
    available: int | None
    steps: int = 0
    """As many as the run is expected to make, once a step was timed."""

    def save(self, file: Path) -> None:
        """Keep the decision: a run that is resumed must not decide anew."""
        make_directory(file.parent)
        write_json(file, asdict(self))

    @classmethod
    def read(cls, file: Path) -> Fit:
        """What :meth:`save` kept."""
        from linnet.train.state import damage_named

        with damage_named(file):
            values = read_json(file)
            return from_mapping(cls, values, where="what was fitted")


def fit(
    demand: Demand,
    *,
    rows: int,
    limit: int,
    available: int | None,
    recompute: Literal["auto", "yes", "no"] = "auto",
) -> Fit:
    """The largest micro-batch of at most ``limit`` rows that divides ``rows`` and fits.

    Where not even one row does, blocks are computed again for the gradient, if
    ``recompute`` leaves it open. Raises BudgetError saying what would fit.
    """
    sizes = [n for n in range(min(rows, limit), 0, -1) if rows % n == 0]
    ways = {"auto": (False, True), "yes": (True,), "no": (False,)}[recompute]
    for again in ways:
        for size in sizes:
            wanted = dataclasses.replace(demand, rows=size, pieces=rows // size, recompute=again)
            memory = estimate(wanted)
            if fits(memory, available):
                return Fit(size, again, memory, available)
    least = dataclasses.replace(demand, rows=1, pieces=rows, recompute=ways[-1])
    raise BudgetError(_refusal(least, available or 0, recompute))


@dataclass(frozen=True)
class _Kept:
    """What one block keeps for the backward pass, in bytes."""

    fixed: float
    """Whatever the tokens: weights in the format that is computed in."""
    per_token: float
    trained: int
    """Parameters that an adapter has in it."""


_COUNTED: dict[str, _Kept] = {}  # it is asked for again with every size that is tried


def _kept_by_a_block(shape: ModelConfig, adapter: LoRAConfig | None, dtype: torch.dtype) -> _Kept:
    """Counted on models of one and two blocks, with one row and two."""
    asked = repr((shape, adapter, dtype))
    if asked not in _COUNTED:
        _COUNTED[asked] = _count(shape, adapter, dtype)
    return _COUNTED[asked]


def _count(shape: ModelConfig, adapter: LoRAConfig | None, dtype: torch.dtype) -> _Kept:
    small = dataclasses.replace(
        shape.with_depth(1), vocab_size=PROBE_VOCABULARY, context=PROBE_TOKENS, window_layers=(),
        rope_scaling=None, tied=True, logit_bias=False, bos_id=None, eos_id=None, pad_id=None,
    )  # fmt: skip
    kept, trained = {}, 0
    with torch.random.fork_rng(devices=()):
        for depth in (1, 2):
            model = Transformer(dataclasses.replace(small, depth=depth))
            if adapter is not None:
                held = torch.float32 if dtype == torch.float16 else dtype
                model.to(held)
                add_adapter(model, config=adapter)
                trained = sum(p.numel() for p in model.parameters() if p.requires_grad) - trained
            model.compute_dtype = dtype
            for rows in (1, 2):
                kept[depth, rows] = _kept_bytes(model.train(), rows)
    one, two = (kept[2, rows] - kept[1, rows] for rows in (1, 2))
    return _Kept(max(0.0, 2 * one - two), (two - one) / PROBE_TOKENS, trained)


def _kept_bytes(model: Transformer, rows: int) -> int:
    """Bytes of all that the forward pass of so many rows keeps, parameters apart."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    found: dict[int, int] = {}
    alive = []  # or a place in memory would be used, and counted, twice

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    tokens = torch.zeros(rows, PROBE_TOKENS, dtype=torch.long)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.hidden(tokens, segment_ids=torch.ones_like(tokens))
    return sum(found.values())


def _scores_per_token(shape: ModelConfig, length: int, size: int) -> float:
    """Attention that is written out keeps its scores: what a longer row than the probe's adds."""
    if shape.attention_softcap is None:
        return 0.0
    return shape.heads * max(0, length - PROBE_TOKENS) * (4 + 4 + size)


def fits(memory: Memory, available: int | None) -> bool:
    """Whether so much may be taken of what is available; None: nobody knows, so it may."""
    return available is None or memory.total <= USED_SHARE * available


def _refusal(least: Demand, available: int, recompute: str) -> str:
    """Why it does not fit, and what would."""
    from linnet.model.lora_config import LoRAConfig

    million = least.shape.parameters / 1e6
    size = f"{million / 1000:.1f} B" if million >= 1000 else f"{million:.0f} M"
    what = "full fine-tuning" if least.adapter is None else "LoRA"
    needed = estimate(least)
    adapter = least.adapter or LoRAConfig()
    offers = {
        "--checkpoint-activations yes": dataclasses.replace(least, recompute=True),
        "--context {length}": dataclasses.replace(least, length=max(64, least.length // 2)),
        "--method lora": dataclasses.replace(least, adapter=adapter),
        "--rank {rank}": dataclasses.replace(
            least, adapter=dataclasses.replace(adapter, rank=max(1, adapter.rank // 4))
        ),
    }
    if recompute != "no":
        del offers["--checkpoint-activations yes"]
    if least.adapter is not None:
        del offers["--method lora"]
    else:
        del offers["--rank {rank}"]
    helping = []
    for name, demand in offers.items():
        found = estimate(demand)
        if fits(found, available):
            rank = demand.adapter.rank if demand.adapter else 0
            option = name.format(length=demand.length, rank=rank)
            helping.append(f"{option} needs {human_bytes(found.total)}")
    advice = " and ".join(helping[:2]) or "use a smaller model"
    return (
        f"{what} of {size} parameters needs about {human_bytes(needed.total)}, but of "
        f"{human_bytes(available)} free memory {USED_SHARE:.0%} may be used; {advice}"
    )
