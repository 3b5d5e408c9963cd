"""What a GGUF file of anyone's says of itself: its shape, its vocabulary, its chat templates.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from linnet.errors import ModelError
from linnet.gguf.tensors import TensorFile
from linnet.gguf.vocabulary import CONTROL, USER_DEFINED
from linnet.model.config import ModelConfig
from linnet.model.families import FAMILIES
from linnet.model.families.record import Family
from linnet.tokenizer.chat import DEFAULT
from linnet.tokenizer.token_bytes import Spelling, piece_bytes

_LONGEST_CONTEXT = 1 << 24
_MOST = 1 << 20
# Whole numbers that must be there, or may be, with the most that one can be.
_NEEDED = frozenset(("context_length", "embedding_length", "block_count"))
_WHOLE_SETTINGS = {
    "context_length": _LONGEST_CONTEXT, "embedding_length": _MOST, "block_count": 1 << 14,
    "attention.key_length": _MOST, "attention.value_length": _MOST,
}  # fmt: skip
# What follows from other settings, is said of another task, or only tells where a file comes from.
_HARMLESS = frozenset({
    "vocab_size", "attention.causal", "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon", "attention.value_length", "pooling_type",
    "rope.scaling.finetuned", "rope.scaling.yarn_log_multiplier", "tensor_data_layout",
})  # fmt: skip
_MOST_SINGLE = 3e38
_QUERY_BIASES = ("blk.0.attn_q.bias", "blk.0.attn_qkv.bias")
_TEMPLATE = "tokenizer.chat_template"
_SPELLINGS: dict[str, Spelling] = {"gpt2": "byte-level", "llama": "sentencepiece"}
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")
# What else llama.cpp takes for the end of a text, by its name.
_END_NAMES = frozenset(
    {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>",
        "<EOT>", "_<EOT>", "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<eos>",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Metadata:
    """The settings of a GGUF file by key."""

    file: Path
    values: dict[str, Any]
    tensors: frozenset[str]
    rows: int
    """Tokens in its vocabulary."""
    weights: TensorFile
    _read: set[str] = field(default_factory=set)
    """Settings of the architecture that were asked for."""

    def require_sound(self) -> None:
        """Raise ModelError for settings that no model has."""
        if not self.architecture:
            raise ModelError(f"{self.file}: expected the setting general.architecture")
        for key, most in _WHOLE_SETTINGS.items():
            if key in _NEEDED or f"{self.architecture}.{key}" in self.values:
                self.whole(key, most)
        for key in ("attention.head_count", "attention.head_count_kv"):
            self.heads(key)
        if self.whole("block_count", _MOST) > len(self.tensors):
            raise self._refusal("block_count", "no more than it has tensors", len(self.tensors))
        types = self.vocabulary("token_type", [])
        if not isinstance(types, list) or len(types) not in (0, self.rows):
            raise ModelError(
                f"{self.file}: expected a type for each of its {self.rows:,} tokens. "
                f"Got {len(types) if isinstance(types, list) else types!r}"
            )
        for key, kind in (("tokens", str), ("token_type", int), ("merges", str)):
            found = self.vocabulary(key, [])
            if not isinstance(found, list) or not all(type(one) is kind for one in found):
                raise ModelError(
                    f"{self.file}: expected a list of "
                    f"{'texts' if kind is str else 'whole numbers'} as tokenizer.ggml.{key}"
                )

    def whole(self, key: str, most: int, default: Any = None) -> int:
        """A whole number of the architecture, 1 or more. Raises ModelError for anything else."""
        found = self.own(key, default)
        if type(found) is not int or not 1 <= found <= most:
            raise self._refusal(key, f"a whole number between 1 and {most:,}", found)
        return found

    def heads(self, key: str) -> int:
        """The most heads that a layer has: there may be a number for each."""
        usual = 0 if key == "attention.head_count" else self.heads("attention.head_count")
        found = self.own(key, usual or None)
        each = found if isinstance(found, list) else [found]
        good = each and all(type(one) is int and 0 <= one <= _MOST for one in each)
        if not good or max(each) == 0:
            raise self._refusal(key, f"whole numbers between 1 and {_MOST:,}", found)
        return int(max(each))

    def _refusal(self, key: str, expected: str, got: Any) -> ModelError:
        return ModelError(
            f"{self.file}: {self.architecture[:60]!r}: {key} must be {expected}. Got {got!r:.60}"
        )

    def own(self, key: str, default: Any = None) -> Any:
        """A setting of the architecture. Raises ModelError where it is needed and not there."""
        self._read.add(key)
        found = self.values.get(f"{self.architecture}.{key}", default)
        if found is None:
            raise ModelError(f"{self.file}: {self.architecture[:60]!r} must have the setting {key}")
        # 1e-05, which was written, and not what the nearest number in float32 is in float64.
        if not isinstance(found, float) or not abs(found) < _MOST_SINGLE:
            return found
        single = np.float32(found)
        return float(str(single)) if float(single) == found else found

    def rows_of(self, tensor: str) -> int:
        """The rows of a tensor; 0 where there is none."""
        return self.weights[tensor][0] if tensor in self.tensors else 0

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    @property
    def context(self) -> int:
        """The longest text that the model was made for, in tokens."""
        return self.whole("context_length", _LONGEST_CONTEXT)

    @property
    def token_bytes(self) -> int:
        """Bytes that the keys and values of one token take, in float16."""
        groups = self.heads("attention.head_count_kv")
        width = self.whole("embedding_length", _MOST) // self.heads("attention.head_count")
        keys = self.whole("attention.key_length", _MOST, max(1, width))
        values = self.whole("attention.value_length", _MOST, max(1, width))
        return self.whole("block_count", _MOST) * groups * (keys + values) * 2

    @cached_property
    def tokens(self) -> list[str]:
        return list(self.vocabulary("tokens", []))

    @cached_property
    def types(self) -> list[int]:
        return list(self.vocabulary("token_type", [1] * len(self.tokens)))

    @property
    def spelling(self) -> Spelling:
        """How the vocabulary is spelt. Raises ModelError for a kind that is not known."""
        kind = self.vocabulary("model", "")
        if kind not in _SPELLINGS:
            raise ModelError(
                f"{self.file}: expected a vocabulary of kind {' or '.join(_SPELLINGS)}. "
                f"Got {str(kind)[:60]!r}"
            )
        return _SPELLINGS[kind]

    def token_bytes_of(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a special one."""
        if not 0 <= token < len(self.tokens) or self.types[token] == CONTROL:
            return b""
        if self.types[token] == USER_DEFINED:
            return self.tokens[token].encode("utf-8", "replace")
        return piece_bytes(self.tokens[token], self.spelling)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a text or a turn."""
        named = [self.vocabulary(key, None) for key in _ENDS]
        others = [
            token
            for token, name in enumerate(self.tokens)
            if name in _END_NAMES and self.types[token] == CONTROL
        ]
        given = [t for t in named if isinstance(t, int) and 0 <= t < self.rows]
        return tuple(dict.fromkeys(given + others))

    def named_token(self, role: str) -> str | None:
        """The name of the token with a role, such as ``bos``."""
        token = self.token_of(role, -1)
        return self.tokens[token] if token >= 0 else None

    def token_of(self, role: str, default: int) -> int:
        """The token with a role, or ``default`` where none has it."""
        token = self.vocabulary(f"{role}_token_id", None)
        return token if isinstance(token, int) and 0 <= token < self.rows else default

    @property
    def puts_space_first(self) -> bool:
        """Whether the first word of a text is cut as if a space stood before it."""
        usual = self.spelling == "sentencepiece"
        return bool(self.vocabulary("add_space_prefix", usual)) and usual

    @property
    def templates(self) -> dict[str, str]:
        """Chat templates by name."""
        prefix = f"{_TEMPLATE}."
        named = {
            key.removeprefix(prefix): value
            for key, value in self.values.items()
            if key.startswith(prefix) and isinstance(value, str)
        }
        default = self.values.get(_TEMPLATE)
        return {**({DEFAULT: default} if isinstance(default, str) else {}), **named}

    @cached_property
    def family(self) -> Family:
        """The family that the file is of. Raises ModelError for one that is not known here."""
        for family in FAMILIES.values():
            found = family.gguf
            if found and found.name == self.architecture and found.holds(self.tensors):
                return family
        known = {family.gguf.name for family in FAMILIES.values() if family.gguf is not None}
        raise ModelError(
            f"{self.file}: the architecture {self.architecture[:60]!r} is not known here; "
            f"known: {', '.join(sorted(known))}"
        )

    def shape(self) -> ModelConfig:
        """The shape of the Transformer in it. Raises ModelError for one that is not known here."""
        try:
            return self.family.read(self.published())
        except ModelError as error:
            named = str(error).startswith(str(self.file))
            raise error if named else ModelError(f"{self.file}: {error}") from None
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ModelError(f"{self.file}: settings that make no model: {error}") from None

    def published(self) -> dict[str, Any]:
        """What a ``config.json`` would say.

        Raises ModelError for a setting of the architecture that nothing here computes with.
        """
        heads, width = int(self.own("attention.head_count")), int(self.own("embedding_length"))
        head_width = int(self.own("attention.key_length", width // heads))
        tied = "output.weight" not in self.tensors or self._has_output_twice
        values: dict[str, Any] = {
            "model_type": self.family.model_type,
            "vocab_size": self.rows,
            "max_position_embeddings": self.context,
            "hidden_size": width,
            "num_hidden_layers": int(self.own("block_count")),
            "intermediate_size": int(self.own("feed_forward_length")),
            "num_attention_heads": heads,
            "num_key_value_heads": int(self.own("attention.head_count_kv", heads)),
            "head_dim": head_width,
            "tie_word_embeddings": tied,
            "attention_bias": not self.tensors.isdisjoint(_QUERY_BIASES),
            "mlp_bias": "blk.0.ffn_up.bias" in self.tensors,
            "rope_theta": float(self.own("rope.freq_base", 10_000.0)),
            "rope_scaling": self._rope_scaling(head_width),  # not as the family has it by default
            **self._token_ids(),
        }
        rotated = int(self.own("rope.dimension_count", head_width))
        if rotated != head_width:
            values["partial_rotary_factor"] = rotated / head_width
        assert self.family.gguf is not None
        values = self.family.gguf.published(values, self)
        self._refuse_unread(head_width)
        return values

    @cached_property
    def _has_output_twice(self) -> bool:
        """Whether the output layer is the table of tokens, stored again."""
        assert self.family.gguf is not None
        may = self.family.gguf.output == "needed" and "tie_word_embeddings" not in self.family.fixed
        table = "token_embd.weight"
        if not may or table not in self.tensors:
            return False
        if self.weights[table] != self.weights["output.weight"]:
            return False
        one, other = (self.weights.stored(name) for name in (table, "output.weight"))
        return one.shape == other.shape and all(
            bool((one[row : row + 4096] == other[row : row + 4096]).all())
            for row in range(0, len(one), 4096)
        )

    def _token_ids(self) -> dict[str, int | None]:
        keys = {"bos": "bos", "eos": "eos", "padding": "pad"}
        found = {ours: self.token_of(theirs, -1) for theirs, ours in keys.items()}
        return {f"{name}_token_id": None if at < 0 else at for name, at in found.items()}

    def _rope_scaling(self, head_width: int) -> dict[str, Any] | None:
        """How RoPE is stretched, as ``config.json`` has it."""
        kind = self.own("rope.scaling.type", "none")
        factor = self.own("rope.scaling.factor", 0.0) or self.own("rope.scale_linear", 0.0)
        original = self.own("rope.scaling.original_context_length", 0)
        attention = float(self.own("rope.scaling.attn_factor", 1.0))
        beta = {key: self.own(f"rope.scaling.yarn_{key}", 0) for key in ("beta_fast", "beta_slow")}
        lists = {
            f"{name}_factor": self.weights.read(f"rope_factors_{name}.weight").ravel().tolist()
            for name in ("long", "short")
            if f"rope_factors_{name}.weight" in self.tensors
        }
        if lists:
            return {"type": "longrope", **lists, "attention_factor": attention}
        if "rope_freqs.weight" in self.tensors:
            width = int(self.own("rope.dimension_count", head_width))
            factors = self.weights.read("rope_freqs.weight").ravel().tolist()
            found = llama3_scaling(factors, float(self.own("rope.freq_base", 10_000.0)), width)
            if found is None:
                raise ModelError(
                    f"{self.file}: 'rope_freqs.weight' stretches RoPE by a rule that is not "
                    "Llama 3's, which cannot be read"
                )
            return found
        if kind == "none" or (kind == "linear" and not factor):
            return None
        if kind == "linear":
            return {"rope_type": "linear", "factor": float(factor)}
        if kind == "yarn":
            natural = 0.1 * math.log(max(float(factor), 1.0)) + 1
            return {
                "rope_type": "yarn",
                "factor": float(factor),
                "original_max_position_embeddings": int(original or self.context),
                "beta_fast": float(beta["beta_fast"] or 32.0),
                "beta_slow": float(beta["beta_slow"] or 1.0),
                **({} if attention == 1 else {"attention_factor": attention * natural}),
            }
        raise self._refusal("rope.scaling.type", "none, linear or yarn", kind)

    def _refuse_unread(self, head_width: int) -> None:
        """What llama.cpp may compute with, and nothing here does, must not pass in silence."""
        values = self.own("attention.value_length", head_width)
        if values != head_width:
            raise self._refusal("attention.value_length", f"{head_width}, as the keys'", values)
        beginning = f"{self.architecture}."
        for key, value in self.values.items():
            name = key.removeprefix(beginning)
            if not key.startswith(beginning) or name in self._read | _HARMLESS or not value:
                continue
            if name == "attention.sliding_window" and type(value) is int and value >= self.context:
                continue
            raise ModelError(
                f"{self.file}: the setting {key[:80]} is not known for this architecture, and may "
                f"change what is computed. Got {value!r:.60}"
            )

    def vocabulary(self, key: str, default: Any) -> Any:
        """A setting of the tokenizer, or ``default``."""
        return self.values.get(f"tokenizer.ggml.{key}", default)


def read_metadata(file: Path) -> Metadata:
    """The settings of a GGUF file. Raises ModelError when it is none, or they cannot be right."""
    found = read_unchecked(file)
    found.require_sound()
    return found


def read_unchecked(file: Path) -> Metadata:
    """As :func:`read_metadata`, of whatever the file holds: it need not be a model."""
    weights = TensorFile(file)
    values = weights.header.values
    tokens = values.get("tokenizer.ggml.tokens") or []
    return Metadata(file, values, frozenset(weights), len(tokens), weights)


def llama3_scaling(factors: list[float], theta: float, width: int) -> dict[str, Any] | None:
    """Llama 3's settings of RoPE from what it divides each frequency by; None: another rule.

    Frequencies above a bound stay, those below another are divided by ``factor``, and between
    them the share of each changes linearly. Only the bounds' ratios count, so that one of them can
    be chosen: what Llama 3 has, a lower bound of one rotation.
    """
    plain = [theta ** (-2 * place / width) for place in range(width // 2)]
    if len(factors) != len(plain) or not all(math.isfinite(f) and f >= 1 for f in factors):
        return None
    factor = max(factors)
    if factor == 1:
        return None
    rotations = [frequency / (2 * math.pi) for frequency in plain]
    # What a frequency keeps is share + (1 - share) / factor, and between the bounds
    # share = (original * rotations - low) / (high - low).
    kept = [(r, 1 / f) for r, f in zip(rotations, factors, strict=True)]
    between = [(r, k) for r, k in kept if 1 / factor + 1e-4 < k < 1 - 1e-4]
    tried = [(factor, 1.0, 4.0, float(1 << power)) for power in range(13, 20)]
    for r, k in between:
        share = (k - 1 / factor) / (1 - 1 / factor)
        tried.append((factor, 1.0, 4.0, (3 * share + 1) / r))
    if len(between) > 1:
        (r0, k0), (r1, k1) = between[0], between[-1]
        slope = (k0 - k1) / (r0 - r1)
        constant = k0 - slope * r0
        base = (1 / factor - constant) / (1 - 1 / factor)  # low / (high - low)
        if base > 0:
            tried.append((factor, 1.0, 1 + 1 / base, slope / (1 - 1 / factor) / base))
        if 3 * constant + 1 > 0:  # where no frequency takes the whole factor
            larger = 4 / (3 * constant + 1)
            tried.append((larger, 1.0, 4.0, 3 * slope / (1 - 1 / larger)))
    tried += [(factor, 1.0, 4.0, float(1 << power)) for power in range(3, 13)]
    for whole, low, high, original in tried:
        scaling = {
            "rope_type": "llama3",
            "factor": float(f"{whole:.5g}"),
            "original_max_position_embeddings": max(1, round(original)),
            "low_freq_factor": low,
            "high_freq_factor": float(f"{high:.5g}"),
        }
        if _stretches_by(scaling, plain, factors):
            return scaling
    return None


def _stretches_by(scaling: dict[str, Any], plain: list[float], factors: list[float]) -> bool:
    low, high, factor = (scaling[f"{k}factor"] for k in ("low_freq_", "high_freq_", ""))
    for frequency, wanted in zip(plain, factors, strict=True):
        rotations = scaling["original_max_position_embeddings"] * frequency / (2 * math.pi)
        share = min(1.0, max(0.0, (rotations - low) / (high - low)))
        if not math.isclose(1 / ((1 - share) / factor + share), wanted, rel_tol=1e-4):
            return False
    return True
