"""The shape of a Transformer, as a set of enumerated choices.

One configuration covers the families Linnet knows; ``linnet.model.families``
translates it to and from each family's ``config.json``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from linnet.errors import ConfigError, ModelError

Positions = Literal["rope", "learned"]
Norm = Literal["rmsnorm", "rmsnorm_offset", "layernorm"]
NormPlace = Literal["pre", "post", "both", "after"]
QKNorm = Literal["shared", "each", "whole"]
Head = Literal["output", "masked", "sequence", "token", "none"]
ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]
PROBLEM_TYPES: tuple[ProblemType, ...] = get_args(ProblemType)

MOST_LAYERS = 512
"""More blocks than any published model has, and few enough to make them in seconds."""
MOST_TOKENS = 1 << 27
"""The longest context: a dozen times that of any published model."""
MOST_LABELS = 1 << 16
"""More labels than any classifier tells apart."""


@dataclass(frozen=True)
class RopeScaling:
    """How RoPE is stretched over texts longer than those it was first trained on.

    ``linear`` (arXiv:2306.15595), ``llama3`` (Llama 3.1), ``yarn``
    (arXiv:2309.00071) and ``longrope`` (arXiv:2402.13753); see ``linnet.model.rope``.
    """

    kind: Literal["linear", "llama3", "yarn", "longrope"]
    factor: float = 1.0
    """How many times longer the texts are."""
    original_context: int = 0
    """Tokens in the texts of the first training; not needed for ``linear``."""
    low_frequency: float = 1.0
    high_frequency: float = 4.0
    """llama3: between these numbers of rotations per original context the stretch sets in."""
    beta_slow: float = 1.0
    beta_fast: float = 32.0
    """yarn: likewise."""
    truncate: bool = True
    """yarn: whether that range is widened to whole pairs of coordinates."""
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()
    """longrope: the stretch of each frequency in texts up to the original context, and longer."""
    attention_factor: float | None = None
    """yarn, longrope: what queries and keys are multiplied by; None: what follows from factor."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and choices of one Transformer.

    Letters as in the code: ``D`` width, ``H`` heads, ``G`` key/value heads,
    ``K`` head width, ``V`` vocabulary.
    """

    family: str
    """A published ``model_type`` of ``linnet.model.families``."""
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
    rope_local_theta: float | None = None
    """The base of RoPE in windowed blocks, where it is another (and not scaled)."""
    rope_scaling: RopeScaling | None = None
    position_offset: int = 0
    """Where positions are learned: the row of the table that the first one has (RoBERTa: 2)."""
    distance_buckets: int = 0
    """Distances that add to scores, for each head and alike in all blocks (MPNet); 0: none."""
    rotary_width: int = 0
    """How many of a head's K coordinates RoPE rotates; 0: all."""
    norm: Norm = "rmsnorm"
    norm_eps: float = 1e-6
    norm_bias: bool = True
    """Of LayerNorms, and of the layer before a masked output."""
    embedding_norm: bool = False
    """A norm after the embeddings, instead of the first block's (ModernBERT)."""
    norm_place: NormPlace = "pre"
    """Before each part of a block; after each sum, and after the embeddings (BERT); before and
    after each part (Gemma); or after each part, before its sum (OLMo 2)."""
    activation: str = "swiglu"
    """A name in ``linnet.model.activations``."""
    attention_bias: bool = False
    """Biases on the query, key and value projections."""
    output_bias: bool = False
    """A bias on the attention output projection."""
    mlp_bias: bool = False
    qk_norm: bool = False
    """Normalise queries and keys before the rotation."""
    qk_norm_kind: QKNorm = "shared"
    """Per head, with one gain for all heads or one for each; or all heads as one vector."""
    attention_scale: float | None = None
    """What scores are multiplied by; None: 1 / sqrt(K)."""
    attention_softcap: float | None = None
    """Scores are capped softly: cap * tanh(score / cap)."""
    logit_softcap: float | None = None
    window: int | None = None
    """Windowed blocks see this many tokens back, the current one included; encoders as many
    ahead."""
    window_layers: tuple[bool, ...] = ()
    """Which blocks are windowed; empty: all, where there is a window."""
    rope_layers: tuple[bool, ...] = ()
    """Which blocks rotate queries and keys; empty: all (SmolLM3 leaves out every fourth)."""
    parallel: bool = False
    """Attention and MLP read the same stream, and what both made is added to it."""
    shared_norm: bool = False
    """Where parallel: the MLP reads what attention reads, and has no norm of its own."""
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    """What a part made is multiplied by before it is added to the stream."""
    logit_scale: float = 1.0
    logit_bias: bool = False
    """A bias on the output layer, which must have a matrix of its own."""
    token_types: int = 0
    """Kinds of token that the input tells apart (BERT's first and second sentence)."""
    head: Head = "output"
    """What stands on the body: an output layer; one behind a small network, which guesses
    masked tokens (BERT); a classifier of texts (with one label: a score) or of tokens; or
    nothing, where the states are the result."""
    labels: tuple[str, ...] = ()
    """What a classifier tells apart."""
    problem_type: ProblemType | None = None
    """Whether a text has one of the labels, several, or a number for each."""
    head_activation: str = ""
    """Of a layer before the classifier, a key of ``linnet.model.heads.FUNCTIONS``; empty: none."""
    head_bias: bool = False
    """A bias on the classifier."""
    head_dropout: float = 0.0
    head_norm: bool = False
    """A norm after the layer before the classifier, which then has no bias (ModernBERT)."""
    head_pooling: Literal["cls", "mean"] = "cls"
    """An encoder's state of a text that is classified: its first, or the mean of all."""
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
            found = getattr(self, name)
            if not isinstance(found, int) or isinstance(found, bool) or found < 1:
                raise ConfigError(f"model {name} must be a whole number above 0. Got {found!r}")
        for name, most in (("depth", MOST_LAYERS), ("context", MOST_TOKENS)):
            if getattr(self, name) > most:
                raise ConfigError(f"model {name} must be at most {most}. Got {getattr(self, name)}")
        if self.heads % self.kv_heads:
            raise ConfigError(
                f"model heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})"
            )
        rotated = self.rotary_width or self.head_width
        if self.positions == "rope" and (rotated % 2 or rotated > self.head_width):
            raise ConfigError(
                f"model head_width and rotary_width must be even for RoPE, and the second not "
                f"above the first. Got {self.head_width} and {rotated}"
            )
        if self.window is not None and self.window < 1:
            raise ConfigError(f"model window must be at least 1. Got {self.window}")
        for name in ("window_layers", "rope_layers"):
            if getattr(self, name) and len(getattr(self, name)) != self.depth:
                raise ConfigError(
                    f"model {name} must name each of {self.depth} blocks. "
                    f"Got {len(getattr(self, name))}"
                )
        if self.parallel and self.norm_place != "pre":
            raise ConfigError(
                f"model norm_place must be 'pre' where parallel. Got '{self.norm_place}'"
            )
        if self.shared_norm and not self.parallel:
            raise ConfigError("model shared_norm needs parallel")
        if self.logit_bias and self.tied:
            raise ConfigError("model logit_bias needs an output layer of its own (tied is true)")
        for name in ("dropout", "head_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"model {name} must be in [0, 1). Got {getattr(self, name)}")
        if (self.head in ("sequence", "token")) != bool(self.labels):
            raise ConfigError(
                f"a classifier must have labels, and no other head any. Got {len(self.labels)} "
                f"for head '{self.head}'"
            )

    def is_windowed(self, layer: int) -> bool:
        """Whether a block's attention reaches back only ``window`` tokens."""
        if self.window is None:
            return False
        return self.window_layers[layer] if self.window_layers else True

    def is_rotary(self, layer: int) -> bool:
        """Whether a block rotates queries and keys."""
        return self.positions == "rope" and (not self.rope_layers or self.rope_layers[layer])

    def with_depth(self, depth: int) -> ModelConfig:
        """The same with fewer blocks: the first ones."""
        return replace(
            self,
            depth=depth,
            window_layers=self.window_layers[:depth],
            rope_layers=self.rope_layers[:depth],
        )

    @property
    def gated(self) -> bool:
        """Whether the MLP has a third matrix, whose product gates the others'."""
        from linnet.model.activations import ACTIVATIONS  # loads torch

        return ACTIVATIONS[self.activation].gated

    @property
    def writes(self) -> bool:
        """Whether it continues text: it sees what came before and has an output layer."""
        return self.causal and self.head == "output"

    def require_writes(self) -> None:
        """Raise ModelError unless the model continues text."""
        if self.writes:
            return
        if self.causal:
            what = "has no output layer" if not self.labels else "is a classifier"
            hint = "expected one with an output layer (ForCausalLM)"
        else:
            what = "is an encoder"
            hint = "linnet embed and linnet.load_encoder give its embeddings"
        raise ModelError(f"this model of type '{self.family}' {what} and continues no text; {hint}")

    @property
    def parameters(self) -> int:
        """How many numbers training has to find (a tied table counts once)."""
        vectors = self.width * (2 if self.norm == "layernorm" and self.norm_bias else 1)
        query, keys = self.heads * self.head_width, self.kv_heads * self.head_width
        attention = self.width * (2 * query + 2 * keys)
        attention += (query + 2 * keys) * self.attention_bias + self.width * self.output_bias
        attention += self._qk_norm_numbers() * self.qk_norm
        matrices = 3 if self.gated else 2
        mlp = matrices * self.width * self.mlp_width
        mlp += ((matrices - 1) * self.mlp_width + self.width) * self.mlp_bias
        mlp += 2 * (self.activation == "xielu")
        tables = 2 if self.head in ("output", "masked") and not self.tied else 1
        table = self.vocab_size * self.width * tables
        positions = self.context + self.position_offset
        table += positions * self.width * (self.positions == "learned")
        table += self.distance_buckets * self.heads
        table += self.token_types * self.width
        if self.head == "masked":
            table += self.width * (self.width + self.norm_bias) + vectors + self.vocab_size
        table += len(self.labels) * (self.width + self.head_bias)
        before = self.width if not self.head_norm else vectors
        table += (self.width * self.width + before) * bool(self.head_activation)
        if self.logit_bias and self.head == "output":
            table += self.vocab_size
        norms = (4 if self.norm_place == "both" else 1 if self.shared_norm else 2) * vectors
        return table + self.depth * (attention + mlp + norms) + vectors

    def _qk_norm_numbers(self) -> int:
        if self.qk_norm_kind != "shared":  # each head has its own, and its LayerNorm no bias
            return (self.heads + self.kv_heads) * self.head_width
        return 2 * self.head_width * (2 if self.norm == "layernorm" else 1)
