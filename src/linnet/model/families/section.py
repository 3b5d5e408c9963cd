"""One object of a ``config.json``, read key by key; what nobody read is refused by name.

A setting that is passed over would be computed wrong in silence. So a family reads its
settings through a :class:`Section`, which checks their types and notes their names, and
everything that remains must be known to change nothing (``HARMLESS``, and a family's own list).
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from linnet.errors import ModelError

_REQUIRED: Final[Any] = object()
MOST = (1 << 31) - 1
"""No size of a model is larger."""

# What transformers keeps in every configuration and no family computes with.
HARMLESS = frozenset({
    "model_type", "architectures", "auto_map", "transformers_version", "torch_dtype", "dtype",
    "tokenizer_class", "_name_or_path", "name_or_path", "_model_name_or_path", "_commit_hash",
    "_num_labels",
    "model_name", "license", "attn_implementation", "_attn_implementation",
    "_attn_implementation_autoset", "_attn_implementation_internal", "experts_implementation",
    "_experts_implementation", "_flash_attn_2_enabled", "use_cache", "cache_implementation",
    "initializer_range", "gradient_checkpointing", "torchscript", "use_bfloat16", "tf_legacy_loss",
    "chunk_size_feed_forward", "return_dict", "return_dict_in_generate", "use_return_dict",
    "output_attentions", "output_hidden_states", "output_scores", "tie_last_hidden_states",
    "tie_encoder_decoder", "cross_attention_hidden_size", "decoder_start_token_id", "sep_token_id",
    "cls_token_id", "mask_token_id", "unk_token_id", "neftune_noise_alpha", "model_max_length",
    "is_decoder", "output_past", "finetuning_task", "id2label", "label2id", "num_labels",
    "problem_type", "task_specific_params", "prefix", "classifier_dropout",
    "transformers.js_config", "quantization_config", "max_length", "max_new_tokens", "min_length",
    "min_new_tokens", "do_sample", "early_stopping", "max_time", "num_beams", "num_beam_groups",
    "diversity_penalty", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff",
    "eta_cutoff", "penalty_alpha", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "bad_words_ids",
    "force_words_ids", "num_return_sequences", "forced_bos_token_id", "forced_eos_token_id",
    "remove_invalid_values", "renormalize_logits", "exponential_decay_length_penalty",
    "suppress_tokens", "begin_suppress_tokens", "guidance_scale", "stop_strings", "constraints",
    "unsloth_fixed", "unsloth_version", "unsloth_training_max_seq_length",
})  # fmt: skip

# Settings of every family that must be off.
FIXED: Mapping[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "pruned_heads": ({}, [], None),
}


def shown(value: object) -> str:
    """A stranger's value for a message: however large or deep, short."""
    return reprlib.repr(value)


class Section:
    """A ``config.json``, or an object within it. Every method raises ModelError naming the key."""

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        model_type: str,
        place: str = "",
        harmless: frozenset[str] = frozenset(),
    ) -> None:
        """``harmless``: settings that may stay unread."""
        self.values = values
        self.model_type = model_type
        self.place = place
        self.harmless = harmless
        self._read: set[str] = set()
        self._within: list[Section] = []

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def error(self, key: str, message: str) -> ModelError:
        """The error to raise for a key: ``config.json: rope_scaling.factor MESSAGE``."""
        name = f"{self.place}.{key}" if self.place else key
        return ModelError(f"config.json: {name} {message}")

    def get(self, key: str) -> Any:
        """The value as it is; None where there is none."""
        self._read.add(key)
        return self.values.get(key)

    def assume(self, defaults: Mapping[str, Any]) -> None:
        """Take these where the file says nothing."""
        self.values = {**defaults, **self.values}

    def skip(self, *keys: str) -> None:
        """Note these as known: nothing is computed with them here."""
        self._read.update(keys)

    def integer(
        self, key: str, default: Any = _REQUIRED, *, least: int = 1, most: int = MOST
    ) -> int:
        """A whole number from ``least`` to ``most``."""
        found = self._given(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
            raise self.error(
                key, f"must be a whole number from {least} to {most}. Got {shown(found)}"
            )
        return found

    def number(self, key: str, default: Any = _REQUIRED, *, above: float | None = None) -> float:
        """A finite number, and larger than ``above`` where that is given."""
        found = self._given(key, default)
        if isinstance(found, int | float) and not isinstance(found, bool):
            try:
                value = float(found)
            except OverflowError:
                value = math.inf
            if math.isfinite(value) and (above is None or value > above):
                return value
        bound = "" if above is None else f" above {above:g}"
        raise self.error(key, f"must be a finite number{bound}. Got {shown(found)}")

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        found = self._given(key, default)
        if not isinstance(found, bool):
            raise self.error(key, f"must be true or false. Got {shown(found)}")
        return found

    def integer_or_none(self, key: str, default: int | None) -> int | None:
        """A whole number above 0, or null, which says that there is none; ``default``: absent."""
        return None if self._is_none(key, default) else self.integer(key, default)

    def number_or_none(self, key: str, default: float | None) -> float | None:
        """A finite number above 0, or null, which says that there is none; ``default``: absent."""
        return None if self._is_none(key, default) else self.number(key, default, above=0)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of ``count`` finite numbers above 0."""
        found = self._given(key, _REQUIRED)
        if not isinstance(found, list) or len(found) != count:
            raise self.error(key, f"must be a list of {count} numbers. Got {shown(found)}")
        entries = Section(dict(enumerate(found)), model_type=self.model_type, place=key)  # type: ignore[arg-type]
        return tuple(entries.number(index, above=0) for index in range(count))  # type: ignore[arg-type]

    def require(self, key: str, allowed: tuple[Any, ...], *, default: Any = None) -> Any:
        """The value, which must be something that the Transformer here can do."""
        self._read.add(key)
        found = self.values.get(key, default)
        if not any(type(found) is type(item) and found == item for item in (default, *allowed)):
            choices = " or ".join(repr(item) for item in allowed)
            raise self.error(
                key, f"must be {choices} for model type '{self.model_type}'. Got {shown(found)}"
            )
        return found

    def section(
        self, key: str, *, model_type: str | None = None, harmless: frozenset[str] = frozenset()
    ) -> Section | None:
        """An object within this one; None where there is none, or an empty one."""
        found = self.get(key)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise self.error(key, f"must be an object. Got {shown(found)}")
        place = f"{self.place}.{key}" if self.place else key
        named = model_type or self.model_type
        inner = Section(found, model_type=named, place=place, harmless=harmless)
        self._within.append(inner)
        return inner if found else None

    def token_id(self, key: str, default: int | None = None) -> int | None:
        """A special token's id; of several the first. Where there is none, some say -1."""
        found = self.get(key) if key in self.values else default
        found = (found[0] if found else None) if isinstance(found, list) else found
        if found is None or found == -1:
            return None
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MOST:
            raise self.error(key, f"must be a token's number. Got {shown(found)}")
        return found

    def refuse_unread(self) -> None:
        """Raise ModelError for the first setting, here or within, that was not read."""
        for section, key in self._unread():
            raise section.error(
                key,
                f"is not known for model type '{section.model_type}', and may change what is "
                f"computed; take it out if it does not. Got {shown(section.values[key])}",
            )

    def _unread(self) -> Iterator[tuple[Section, str]]:
        for key, value in self.values.items():
            if value is not None and key not in self._read and key not in self.harmless:
                yield self, key
        for inner in self._within:
            yield from inner._unread()

    def _is_none(self, key: str, default: object) -> bool:
        self._read.add(key)
        return self.values.get(key, default) is None

    def _given(self, key: str, default: Any) -> Any:
        self._read.add(key)
        found = self.values.get(key)
        if found is None:
            if default is _REQUIRED:
                raise self.error(key, "is missing")
            return default
        return found
