"""A request as llama.cpp's ``/completion`` wants it asked.

Reference: ``tools/server/README.md`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from linnet.generate.sampling import FILTER_OPTIONS

if TYPE_CHECKING:
    from linnet.generate.engine import Request
    from linnet.generate.sampling import Sampling

_RANDOM_SEED = 0xFFFFFFFF  # its number for "another one each time"
_SEEDS = 0xFFFFFFFF  # so many it has, without that one

_FINAL_FIELDS = ["stop", "stop_type", "tokens", "content"]


def body(
    request: Request,
    prompt: Sequence[int],
    *,
    penalised: Sequence[int],
    limit: int,
    adapters: int,
    adapter: int | None,
    grammar: str | None,
) -> bytes:
    """The JSON of a request.

    ``penalised``: the prompt's own tokens; ``limit``: how many may be written; ``adapters``:
    how many there are, and which of them is used, if any.
    """
    asked: dict[str, Any] = {
        "prompt": list(prompt),
        "n_predict": limit,
        "stream": True,
        "cache_prompt": True,
        "return_tokens": True,
        "return_progress": True,
        "response_fields": _FINAL_FIELDS,
        **_sampling(request.sampling, penalised, limit),
    }
    if request.logprobs:
        asked["n_probs"] = max(1, request.top_logprobs)
    if grammar is not None:
        asked["grammar"] = grammar
    if adapters:
        asked["lora"] = [
            {"id": place, "scale": float(place == adapter)} for place in range(adapters)
        ]
    return json.dumps(asked, separators=(",", ":")).encode("ascii")


def _sampling(sampling: Sampling, penalised: Sequence[int], limit: int) -> dict[str, Any]:
    """Settings, in the order of ``linnet.generate.logits``; its own puts the temperature last."""
    penalties = (
        sampling.repetition_penalty != 1,
        sampling.frequency_penalty != 0,
        sampling.presence_penalty != 0,
    )
    bias = _bias(sampling, penalised)
    asked: dict[str, Any] = {
        "seed": _RANDOM_SEED if sampling.seed is None else sampling.seed % _SEEDS,
        "repeat_last_n": len(penalised) + limit + 1 if any(penalties) else 0,
        "repeat_penalty": sampling.repetition_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    if bias:
        asked["logit_bias"] = [[token, value] for token, value in bias.items()]
    if sampling.temperature == 0:
        # Sorting out the best one spares the probabilities of all.
        return asked | {"samplers": ["penalties"] * any(penalties) + ["top_k"], "top_k": 1}
    named = [FILTER_OPTIONS[name].llama_cpp for name in sampling.filters]
    samplers = ["penalties"] * any(penalties) + ["temperature"] * (sampling.temperature != 1)
    return asked | {
        "samplers": samplers + [sampler for sampler, _ in named],
        "temperature": sampling.temperature,
        **{option.llama_cpp[1]: getattr(sampling, name) for name, option in FILTER_OPTIONS.items()},
    }


def _bias(sampling: Sampling, penalised: Sequence[int]) -> dict[int, float]:
    """What is added to tokens' scores.

    llama.cpp's penalties see the prompt as well as what was written. What they take from a
    token for being in the prompt is given back here, where that is all they are for.
    """
    bias = dict(sampling.logit_bias)
    if sampling.frequency_penalty or sampling.presence_penalty:
        for token in penalised:
            bias[token] = bias.get(token, 0.0) + sampling.frequency_penalty
        for token in set(penalised):
            bias[token] += sampling.presence_penalty
    return bias
