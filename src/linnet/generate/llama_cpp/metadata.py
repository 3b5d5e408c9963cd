"""What a GGUF file of anyone's says of itself: its shape, its vocabulary, its chat templates.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from linnet.errors import ModelError
from linnet.export.architectures import ARCHITECTURES
from linnet.export.quantisation import gguf_package
from linnet.export.vocabulary import CONTROL, USER_DEFINED
from linnet.model.config import Family, ModelConfig
from linnet.model.families import family
from linnet.tokenizer.chat import DEFAULT
from linnet.tokenizer.pieces import Spelling, piece_bytes

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

    def own(self, key: str, default: Any = None) -> Any:
        """A setting of the architecture. Raises ModelError where it is needed and not there."""
        found = self.values.get(f"{self.architecture}.{key}", default)
        if found is None:
            raise ModelError(f"{self.file}: expected the setting {self.architecture}.{key}")
        return found

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture", ""))

    @property
    def context(self) -> int:
        """The longest text that the model was made for, in tokens."""
        return int(self.own("context_length"))

    @property
    def token_bytes(self) -> int:
        """Bytes that the keys and values of one token take, in float16."""
        heads = self.own("attention.head_count")
        groups = self.own("attention.head_count_kv", heads)
        most = max(groups) if isinstance(groups, list) else int(groups)
        queries = max(heads) if isinstance(heads, list) else int(heads)
        width = int(self.own("embedding_length")) // queries
        keys = int(self.own("attention.key_length", width))
        values = int(self.own("attention.value_length", width))
        return int(self.own("block_count")) * most * (keys + values) * 2

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
                f"Got '{kind}'"
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
        return tuple(dict.fromkeys([t for t in named if isinstance(t, int)] + others))

    def named_token(self, role: str) -> str | None:
        """The name of the token with a role, such as ``bos``."""
        token = self._vocabulary(f"{role}_token_id", None)
        return self.tokens[token] if isinstance(token, int) and token < self.rows else None

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
        for name, found in ARCHITECTURES.items():
            if found.name == self.architecture and name != "mistral":
                return family(name).read(self._published(name))
        raise ModelError(
            f"{self.file}: texts are scored by torch, which has no '{self.architecture}'"
        )

    def _published(self, name: Family) -> dict[str, Any]:
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
            "model_type": name,
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
        if name == "gpt2":
            return {
                "model_type": name,
                "vocab_size": self.rows,
                "tie_word_embeddings": values["tie_word_embeddings"],
                "n_embd": width,
                "n_layer": values["num_hidden_layers"],
                "n_head": heads,
                "n_positions": self.context,
                "n_inner": values["intermediate_size"],
                "layer_norm_epsilon": float(self.own("attention.layer_norm_epsilon")),
            }
        values["rms_norm_eps"] = float(self.own("attention.layer_norm_rms_epsilon"))
        if name in ("gemma2", "gemma3_text"):
            values["sliding_window"] = int(self.own("attention.sliding_window", self.context))
            values["query_pre_attn_scalar"] = head_width
            local = self.values.get(f"{self.architecture}.rope.freq_base_swa")
            values |= {"rope_local_base_freq": float(local)} if local else {}
            for key in ("attn_logit_softcapping", "final_logit_softcapping"):
                values[key] = self.values.get(f"{self.architecture}.{key}")
        return values

    def _vocabulary(self, key: str, default: Any) -> Any:
        return self.values.get(f"tokenizer.ggml.{key}", default)


def read_metadata(file: Path) -> Metadata:
    """The settings of a GGUF file. Raises ModelError when it is none."""
    gguf = gguf_package()
    try:
        reader = gguf.GGUFReader(file)
        values = {key: field.contents() for key, field in reader.fields.items()}
        tensors = frozenset(str(tensor.name) for tensor in reader.tensors)
    except (ValueError, IndexError, KeyError, OSError, MemoryError, OverflowError) as error:
        raise ModelError(f"{file}: expected a GGUF file, but it cannot be read: {error}") from None
    return Metadata(file, values, tensors, len(values.get("tokenizer.ggml.tokens") or ()))
