"""A family as one record: its ``config.json``, its tensors, its heads, its place in llama.cpp."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeAlias

from linnet.errors import ConfigError, ModelError
from linnet.model.config import MOST_LABELS, MOST_LAYERS, PROBLEM_TYPES, Head, ModelConfig
from linnet.model.families.section import FIXED, HARMLESS, Section, shown

Published = Mapping[str, Any]
"""A ``config.json``, as plain values."""

SLIDING, FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True)
class Tensor:
    """One tensor of a published checkpoint, and which of ours it holds.

    Several of ours are joined along the output dimension (fused projections);
    ``transposed`` says that it is stored (in, out).
    """

    published: str
    own: tuple[str, ...]
    transposed: bool = False
    interleaved: int = 0
    """Of several, head by head: so many heads, each with the rows of all parts (GPT-NeoX)."""
    aliases: tuple[str, ...] = ()
    """Other published names under which it may lie."""


@dataclass(frozen=True)
class PublishedHead:
    """One of the heads (``ModelConfig.head``) as a family stores it."""

    architectures: tuple[str, ...]
    """Classes of transformers with this head; the first is written."""
    tensors: Callable[[ModelConfig], list[Tensor]] = lambda config: []
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``ModelConfig`` that this head fixes."""


Bias: TypeAlias = Literal["attention_bias", "output_bias", "mlp_bias"]
"""A setting of :class:`ModelConfig`."""
ALL_BIASES: tuple[Bias, ...] = ("attention_bias", "output_bias", "mlp_bias")
QKV = ("attn_qkv", ("attn_q", "attn_k", "attn_v"))
GATE_UP = ("ffn_up", ("ffn_gate", "ffn_up"))


class Settings(Protocol):
    """What a GGUF file says of its model."""

    @property
    def tensors(self) -> frozenset[str]:
        """The names of its tensors."""

    def own(self, key: str, default: Any = None) -> Any:
        """A setting of its architecture, or ``default``. Raises ModelError without either."""

    def rows_of(self, tensor: str) -> int:
        """The rows of a tensor; 0 where there is none."""


def _llama_like(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    return common | {"rms_norm_eps": float(file.own("attention.layer_norm_rms_epsilon"))}


@dataclass(frozen=True)
class GGUF:
    """The architecture that llama.cpp computes a family with, and how it differs from ours.

    Every one is compiled into llama.cpp, with names of its own for settings and tensors (its
    ``gguf`` package lists them); what follows from :class:`ModelConfig` is not repeated here.
    Reference: ``conversion/`` in https://github.com/ggml-org/llama.cpp.
    """

    name: str
    activations: tuple[str, ...] = ("swiglu",)
    pairs: bool = False
    """It rotates neighbouring coordinates of a head where Hugging Face's layout rotates
    (i, i + R/2), so the rows of queries and keys change places."""
    fused: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """GGUF's name of a fused tensor, and the names it joins along the output dimension."""
    windows: Callable[[int], bool] | None = None
    """Which blocks it windows, where it windows any; elsewhere attention reaches all the way."""
    biases: tuple[Bias, ...] = ()
    """Which of the projections may have biases; more tensors than it knows it refuses."""
    output: Literal["either", "needed", "tied"] = "either"
    """Whether the file needs an output layer, or may have none beside the table of tokens."""
    wide_scale_depth: int = 0
    """Models of this many blocks have scores scaled by 1 / sqrt(D / H), all others by K."""
    reads_scale: bool = False
    """Whether a setting says how scores are scaled."""
    rotary: Callable[[int], bool] = lambda layer: True
    """Which blocks it rotates."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """Fields of ``ModelConfig`` that it cannot have, in words."""
    settings: Callable[[ModelConfig, Mapping[str, Any]], dict[str, Any]] = lambda config, state: {}
    """More settings, under their full keys, of a model with this state."""
    holds: Callable[[frozenset[str]], bool] = lambda tensors: True
    """Whether a file with these tensors is read as this family, where others share ``name``."""
    published: Callable[[dict[str, Any], Settings], dict[str, Any]] = _llama_like
    """The ``config.json`` of a file, from what all families have (by Llama's names)."""


@dataclass(frozen=True)
class Family:
    """A two-way translation between a published model type and :class:`ModelConfig`."""

    model_type: str
    reader: Callable[[Section], ModelConfig]
    """Reads the settings of the body; those that it does not read must be harmless."""
    write: Callable[[ModelConfig], dict[str, Any]]
    body: Callable[[ModelConfig], list[Tensor]]
    """The tensors of all but the head."""
    heads: Mapping[Head, PublishedHead]
    prefix: str
    """What a published name may lack, or have besides: some checkpoints hold the base model
    alone, under its own names, and some the whole."""
    head: Head = "output"
    """The head of a checkpoint that names none."""
    gguf: GGUF | None = None
    """Its architecture in llama.cpp; None: there is none."""
    scratch: Mapping[str, Any] | None = None
    """Fields of ``ModelConfig`` for a model made from scratch; None: it can only be adapted."""
    constants: Callable[[ModelConfig], dict[str, float]] = lambda config: {}
    """Tensors that the family stores but that are fixed by the configuration."""
    ignored: tuple[str, ...] = ()
    """Regular expressions, found anywhere in a published name, of tensors that may lie in a
    checkpoint and are left out: buffers of old releases, heads for other tasks."""
    other_inputs: str | None = None
    """A regular expression for names of the parts that read something else than text."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Beginnings of names as they are stored, and as ``tensors`` has them."""
    harmless: frozenset[str] = frozenset()
    """Settings besides ``HARMLESS`` that change nothing about what a trained model computes."""
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Settings with the values that they may have."""

    def read(self, values: Published) -> ModelConfig:
        """The shape in a ``config.json``.

        Raises ModelError for a setting that is missing, cannot be, or is not known.
        """
        harmless = HARMLESS | self.harmless
        settings = Section(values, model_type=self.model_type, harmless=harmless)
        for key, allowed in {**FIXED, **self.fixed}.items():
            settings.require(key, allowed)
        try:
            config = self.reader(settings)
            head = self._head_of(values, config)
            config = self.with_head(config, head, **_labels(settings, head))
        except ConfigError as error:
            raise ModelError(f"config.json: {error}") from None
        settings.refuse_unread()
        return config

    def with_head(self, config: ModelConfig, head: Head, **fields: Any) -> ModelConfig:
        """The same body with another head. Raises ModelError where transformers has none such."""
        published = self.heads.get(head)
        if published is None:
            raise ModelError(
                f"a {self.model_type} model has no {HEAD_NAMES[head]}; "
                f"it has: {', '.join(HEAD_NAMES[known] for known in self.heads)}"
            )
        return replace(config, head=head, **{**_NO_LABELS, **published.fields, **fields})

    def written(self, config: ModelConfig) -> dict[str, Any]:
        """The ``config.json`` of a model, without what transformers notes of every file."""
        head = self.heads[config.head]
        values = {"architectures": [head.architectures[0]], "model_type": self.model_type}
        return {**values, **self.write(config), **_written_labels(config)}

    def tensors(self, config: ModelConfig) -> list[Tensor]:
        """Every published tensor of a model."""
        body = self.body(config)
        if config.head == "none":  # stored under the base model's own names
            body = [replace(t, published=t.published.removeprefix(self.prefix)) for t in body]
        return [*body, *self.heads[config.head].tensors(config)]

    def name_of(self, stored: str) -> str:
        """The name in ``tensors`` of a tensor as it is stored."""
        for beginning, name in self.renamed.items():
            if stored.startswith(beginning):
                return name + stored.removeprefix(beginning)
        return stored

    def reads_other_inputs(self, stored: str) -> bool:
        """Whether a stored tensor belongs to a part that reads pictures or sound."""
        return self.other_inputs is not None and bool(re.match(self.other_inputs, stored))

    def _head_of(self, values: Published, config: ModelConfig) -> Head:
        """The head that a ``config.json`` names."""
        named = values.get("architectures")
        name = named[0] if isinstance(named, list) and named else None
        found = (head for head, known in self.heads.items() if name in known.architectures)
        head = next(found, self.head)
        # A base model's table serves as output layer where the two are one, as in transformers.
        return self.head if head == "none" and config.tied and config.causal else head


HEAD_NAMES: Mapping[Head, str] = {
    "output": "output layer",
    "masked": "masked-token head",
    "sequence": "sequence classification",
    "token": "token classification",
    "none": "plain states",
}
LABELLED: tuple[Head, ...] = ("sequence", "token")
_NO_LABELS: Mapping[str, Any] = {
    "labels": (), "problem_type": None, "head_activation": "", "head_bias": False,
    "head_dropout": 0.0, "head_norm": False,
}  # fmt: skip


def _labels(settings: Section, head: Head) -> dict[str, Any]:
    """The fields that say what a classifier tells apart; none for another head."""
    if head not in LABELLED:
        return {}
    listed = settings.get("id2label")
    if listed is None:
        count = settings.integer("num_labels", 2, most=MOST_LABELS)
        labels = tuple(f"LABEL_{index}" for index in range(count))
    else:
        labels = _listed_labels(settings, listed)
    problem = settings.require("problem_type", PROBLEM_TYPES)
    fields: dict[str, Any] = {"labels": labels, "problem_type": problem}
    if settings.get("classifier_dropout") is not None:
        fields["head_dropout"] = settings.number("classifier_dropout")
    return fields


def _listed_labels(settings: Section, listed: Any) -> tuple[str, ...]:
    count = len(listed) if isinstance(listed, dict) else 0
    names = (
        [listed.get(str(index)) for index in range(min(count, MOST_LABELS + 1))] if count else []
    )
    if not names or len(names) > MOST_LABELS or not all(isinstance(name, str) for name in names):
        raise settings.error(
            "id2label",
            f"must name 1 to {MOST_LABELS} labels by their numbers from 0. Got {shown(listed)}",
        )
    return tuple(names)


def _written_labels(config: ModelConfig) -> dict[str, Any]:
    if config.head not in LABELLED:
        return {}
    problem = {} if config.problem_type is None else {"problem_type": config.problem_type}
    return problem | {
        "id2label": {str(index): label for index, label in enumerate(config.labels)},
        "label2id": {label: index for index, label in enumerate(config.labels)},
        "classifier_dropout": config.head_dropout,
    }


def one(published: str, own: str) -> Tensor:
    """The common case: one published tensor holds one of ours, as it is."""
    return Tensor(published, (own,))


def both(published: str, own: str) -> list[Tensor]:
    """A layer's weight and its bias."""
    return [one(f"{published}.{kind}", f"{own}.{kind}") for kind in ("weight", "bias")]


def read_activation(settings: Section, key: str, default: str) -> str:
    """The activation that a setting names: any that is gated, or not, as the default is."""
    from linnet.model.activations import ACTIVATIONS  # loads torch

    usual = ACTIVATIONS[default]
    found = [usual]
    if not usual.numbers:
        found += [a for a in ACTIVATIONS.values() if a.gated == usual.gated and not a.numbers]
    names = {name: own.name for own in found for name in own.published}
    return names[settings.require(key, tuple(names), default=usual.published[0])]


def written_activation(config: ModelConfig) -> str:
    """Its published name."""
    from linnet.model.activations import ACTIVATIONS  # loads torch

    return ACTIVATIONS[config.activation].published[0]


def read_layer_types(
    settings: Section, windowed: Callable[[int], bool], *, window: int | None
) -> dict[str, Any]:
    """The fields of ``ModelConfig`` that say which blocks are windowed.

    ``windowed``: what the family does where ``layer_types`` does not say. ``window``:
    its default.
    """
    depth = settings.integer("num_hidden_layers", most=MOST_LAYERS)
    kinds = settings.get("layer_types")
    if kinds is None:
        layers = [windowed(layer) for layer in range(depth)]
    elif not isinstance(kinds, list) or len(kinds) != depth:
        raise settings.error("layer_types", f"must name each of {depth} layers. Got {shown(kinds)}")
    else:
        unknown = [kind for kind in kinds if kind not in (SLIDING, FULL)]
        if unknown:
            raise settings.error(
                "layer_types", f"must be '{SLIDING}' or '{FULL}' for each. Got {shown(unknown[0])}"
            )
        layers = [kind == SLIDING for kind in kinds]
    found = settings.integer_or_none("sliding_window", window)
    if found is None or not any(layers):
        return {}
    return {"window": found, "window_layers": tuple(layers)}


def written_layer_types(config: ModelConfig) -> dict[str, Any]:
    """The same as published."""
    layers = [config.is_windowed(layer) for layer in range(config.depth)]
    return {
        "sliding_window": config.window,
        "layer_types": [SLIDING if windowed else FULL for windowed in layers],
    }


def written_token_ids(config: ModelConfig) -> dict[str, int | None]:
    """The special token ids under their published names."""
    return {
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "pad_token_id": config.pad_id,
    }
