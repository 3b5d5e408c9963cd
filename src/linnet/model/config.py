"""The shape of a Transformer, as a set of enumerated choices.

One configuration covers the families Linnet knows; ``linnet.model.families``
translates it to and from each family's ``config.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from linnet.errors import ConfigError

Family = Literal["gpt2", "llama", "qwen3", "arcee", "apertus"]
Positions = Literal["rope", "learned"]
Norm = Literal["rmsnorm", "layernorm"]
Activation = Literal["swiglu", "relu2", "gelu_tanh", "xielu"]


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and choices of one Transformer.

    Letters as in the code: ``D`` width, ``H`` heads, ``G`` key/value heads,
    ``K`` head width, ``V`` vocabulary.
    """

    family: Family
    vocab_size: int
    """V: rows of the embedding table."""
    context: int
    """The longest sequence the model was made for, in tokens."""
    width: int
    """D: the width of the residual stream."""
    depth: int
    """The number of blocks."""
    heads: int
    """H: query heads."""
    kv_heads: int
    """G: key and value heads; each serves H / G query heads."""
    head_width: int
    """K: the width of one head."""
    mlp_width: int
    """The hidden width of the MLP."""
    positions: Positions = "rope"
    rope_theta: float = 10_000.0
    norm: Norm = "rmsnorm"
    norm_eps: float = 1e-6
    activation: Activation = "swiglu"
    attention_bias: bool = False
    """Biases on the query, key and value projections."""
    output_bias: bool = False
    """A bias on the attention output projection."""
    mlp_bias: bool = False
    qk_norm: bool = False
    """Normalise queries and keys per head before the rotation."""
    tied: bool = True
    """The output layer shares the embedding table."""
    causal: bool = True
    dropout: float = 0.0
    """Probability with which activations are dropped in training."""
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "context", "width", "depth", "heads", "kv_heads", "head_width")
        for name in (*sizes, "mlp_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model {name} must be at least 1. Got {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise ConfigError(
                f"model heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})"
            )
        if self.positions == "rope" and self.head_width % 2:
            raise ConfigError(f"model head_width must be even for RoPE. Got {self.head_width}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model dropout must be in [0, 1). Got {self.dropout}")

    @property
    def parameters(self) -> int:
        """How many numbers training has to find (a tied table counts once)."""
        vectors = self.width * (2 if self.norm == "layernorm" else 1)
        query, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        attention = self.width * (2 * query + 2 * keys)
        attention += (query + 2 * keys) * self.attention_bias + self.width * self.output_bias
        attention += 2 * self.head_width * self.qk_norm
        matrices = 3 if self.activation == "swiglu" else 2
        mlp = matrices * self.width * self.mlp_width
        mlp += ((matrices - 1) * self.mlp_width + self.width) * self.mlp_bias
        mlp += 2 * (self.activation == "xielu")
        table = self.vocab_size * self.width * (1 if self.tied else 2)
        table += self.context * self.width * (self.positions == "learned")
        return table + self.depth * (attention + mlp + 2 * vectors) + vectors
