"""What a GGUF file of anyone's says of itself: its shape, its vocabulary, its chat templates.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from linnet.errors import ModelError
from linnet.gguf.header import read_header
from linnet.gguf.vocabulary import CONTROL, USER_DEFINED
from linnet.model.config import ModelConfig
from linnet.model.families import FAMILIES
from linnet.model.families.record import Family
from linnet.tokenizer.chat import DEFAULT
from linnet.tokenizer.pieces import Spelling, piece_bytes

_LONGEST_CONTEXT = 1 << 24
_MOST = 1 << 20
# Whole numbers that must be there, or may be, with the most that one can be.
_NEEDED = frozenset(("context_length", "embedding_length", "block_count"))
_WHOLE_SETTINGS = {
    "context_length": _LONGEST_CONTEXT, "embedding_length": _MOST, "block_count": 1 << 14,
    "attention.key_length": _MOST, "attention.value_length": _MOST,
}  # fmt: skip
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
        types = self._vocabulary("token_type", [])
        if not isinstance(types, list) or len(types) not in (0, self.rows):
            raise ModelError(
                f"{self.file}: expected a type for each of its {self.rows:,} tokens. "
                f"Got {len(types) if isinstance(types, list) else types!r}"
            )
        for key, kind in (("tokens", str), ("token_type", int), ("merges", str)):
            found = self._vocabulary(key, [])
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
        found = self.values.get(f"{self.architecture}.{key}", default)
        if found is None:
            raise ModelError(f"{self.file}: {self.architecture[:60]!r} must have the setting {key}")
        return found

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
        return list(self._vocabulary("tokens", []))

    @cached_property
    def types(self) -> list[int]:
        return list(self._vocabulary("token_type", [1] * len(self.tokens)))

    @property
    def spelling(self) -> Spelling:
        """How the vocabulary is spelt. Raises ModelError for a kind that is not known."""
        kind = self._vocabulary("model", "")
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
        named = [self._vocabulary(key, None) for key in _ENDS]
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
        token = self._vocabulary(f"{role}_token_id", None)
        return token if isinstance(token, int) and 0 <= token < self.rows else default

    @property
    def puts_space_first(self) -> bool:
        """Whether the first word of a text is cut as if a space stood before it."""
        usual = self.spelling == "sentencepiece"
        return bool(self._vocabulary("add_space_prefix", usual)) and usual

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

    def shape(self) -> ModelConfig:
        """The shape of the Transformer in it. Raises ModelError for one that is not known here."""
        for family in FAMILIES.values():
            if family.gguf is not None and family.gguf.name == self.architecture:
                try:
                    return family.read(self._published(family))
                except (TypeError, ValueError, OverflowError) as error:
                    raise ModelError(f"{self.file}: settings that make no model: {error}") from None
        raise ModelError(
            f"{self.file}: texts are scored by torch, which has no {self.architecture[:60]!r}"
        )

    def _published(self, family: Family) -> dict[str, Any]:
        """What a ``config.json`` would say."""
        if self.values.get(f"{self.architecture}.rope.scaling.type", "none") != "none" or any(
            tensor.startswith("rope_") for tensor in self.tensors
        ):
            raise ModelError(
                f"{self.file}: texts are scored by torch, for which a stretched RoPE cannot be "
                "read from a GGUF file; open the checkpoint that it was made from"
            )
        heads, width = int(self.own("attention.head_count")), int(self.own("embedding_length"))
        head_width = int(self.own("attention.key_length", width // heads))
        values: dict[str, Any] = {
            "model_type": family.model_type,
            "vocab_size": self.rows,
            "max_position_embeddings": self.context,
            "hidden_size": width,
            "num_hidden_layers": int(self.own("block_count")),
            "intermediate_size": int(self.own("feed_forward_length")),
            "num_attention_heads": heads,
            "num_key_value_heads": int(self.own("attention.head_count_kv", heads)),
            "head_dim": head_width,
            "tie_word_embeddings": "output.weight" not in self.tensors,
            "attention_bias": "blk.0.attn_q.bias" in self.tensors,
            "mlp_bias": "blk.0.ffn_up.bias" in self.tensors,
            "rope_theta": float(self.own("rope.freq_base", 10_000.0)),
            "rope_scaling": None,  # not as the family has it by default
        }
        assert family.gguf is not None
        return family.gguf.published(values, self)

    def _vocabulary(self, key: str, default: Any) -> Any:
        return self.values.get(f"tokenizer.ggml.{key}", default)


def read_metadata(file: Path) -> Metadata:
    """The settings of a GGUF file. Raises ModelError when it is none, or they cannot be right."""
    header = read_header(file)
    tokens = header.values.get("tokenizer.ggml.tokens") or []
    found = Metadata(file, header.values, frozenset(header.tensors), len(tokens))
    found.require_sound()
    return found
