"""What a request for embeddings asks of an encoder, and what is answered.

Texts are computed in pieces, so that between two of them it can be seen whether anybody
still waits for the rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from linnet.serve.errors import ApiError, context_full
from linnet.serve.lengths import require_fitting

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder, Vectors

PIECE_TEXTS = 32
PIECE_TOKENS = 2048
"""A piece ends at so many texts or tokens, whichever comes first: some seconds at most."""


def count_tokens(encoder: Encoder, texts: Sequence[str], prompt: str | None) -> list[int]:
    """How many tokens each text has. Raises ApiError for one that is too long."""
    around = len(encoder.tokenizer.start) + len(encoder.tokenizer.finish)
    before = encoder.recipe.prompt(prompt)
    whole = [before + text for text in texts]
    if encoder.recipe.lowercase:
        whole = [text.lower() for text in whole]
    tokenizer, most = encoder.tokenizer, encoder.max_tokens
    for text in whole:
        require_fitting([text], most, lambda piece: len(tokenizer.encode(piece)), param="input")
    counts: list[int] = []
    for start in range(0, len(whole), PIECE_TEXTS):
        group = tokenizer.encode_arrays(whole[start : start + PIECE_TEXTS])
        counts += [len(ids) + around for ids in group]
    if max(counts) > most:
        raise context_full(max(counts), most, param="input")
    return counts


def pieces(counts: Sequence[int]) -> list[list[int]]:
    """The places of texts with so many tokens, those of like lengths together."""
    found: list[list[int]] = []
    tokens = 0
    for place in sorted(range(len(counts)), key=lambda place: -counts[place]):
        if not found or len(found[-1]) == PIECE_TEXTS or tokens + counts[place] > PIECE_TOKENS:
            found.append([])
            tokens = 0
        found[-1].append(place)
        tokens += counts[place]
    return found


def check_dimensions(given: int | None, encoder: Encoder) -> None:
    """Raise ApiError unless the vectors asked for are as long as the model's."""
    if given not in (None, encoder.width):
        raise ApiError(
            400, f"'dimensions' must be {encoder.width}, the model's own.", param="dimensions"
        )


def answered(vectors: Vectors, *, model: str, tokens: int, wide: bool) -> bytes:
    """The answer's body; ``wide``: vectors as numbers, otherwise base64.

    They are encoded one by one, since encoding a long list holds up every other thread.
    """
    data = ", ".join(json.dumps(_entry(*each, wide=wide)) for each in enumerate(vectors))
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    rest = json.dumps({"model": model, "usage": usage})
    return f'{{"object": "list", "data": [{data}], {rest[1:]}'.encode()


def _entry(place: int, vector: Any, *, wide: bool) -> dict[str, Any]:
    if wide:
        embedding = vector.tolist()
    else:
        embedding = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return {"object": "embedding", "index": place, "embedding": embedding}
