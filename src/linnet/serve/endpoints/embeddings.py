"""``/v1/embeddings``: texts as vectors.

Texts are computed in batches, so that between two of them it can be seen whether anybody
still waits for the rest.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from linnet.errors import ConfigError, LinnetError
from linnet.respond.conversation import ContextFullError
from linnet.respond.fitting import require_fitting
from linnet.serve.asgi import Call, ClientLeftError
from linnet.serve.endpoint import Endpoint
from linnet.serve.errors import ApiError, context_full, failed, stopping
from linnet.serve.schemas import (
    COUNT,
    IGNORED,
    MODEL,
    MOST_TEXTS,
    TEXT,
    TOKENS,
    USAGE,
    listed,
    record,
    whole,
)  # fmt: skip

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder, Vectors
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

Text: TypeAlias = str | tuple[int, ...]
"""A text, or its tokens."""

_ODD_SHARE = 0.1
"""Of a model's own tokens, those that tokenizing what they spell may not give back."""
BATCH_TEXTS = 32
BATCH_TOKENS = 2048
"""A batch ends at so many texts or tokens, whichever comes first: some seconds at most."""


async def answer(service: Service, call: Call) -> None:
    """POST /v1/embeddings."""
    body = call.body
    vectors, tokens = await embedded(
        service,
        call,
        _texts(body["input"]),
        prompt=body.get("prompt"),
        dimensions=body.get("dimensions"),
    )
    wide = body.get("encoding_format") != "base64"
    made = partial(answered, vectors, model=call.model.name, tokens=tokens, wide=wide)
    await call.answer(200, await service.in_thread(made))


def _texts(given: Any) -> list[Text]:
    """The texts of a body, some of them as their tokens."""
    if isinstance(given, str) or not isinstance(given[0], str | list):
        given = [given]
    return [
        text if isinstance(text, str) else tuple(int(token) for token in text) for text in given
    ]


async def embedded(
    service: Service,
    call: Call,
    texts: Sequence[Text],
    *,
    prompt: str | None = None,
    dimensions: int | None = None,
    cut: bool = False,
) -> tuple[Vectors, int]:
    """The vectors of texts by the call's model, and the tokens that these have.

    ``prompt``: the name of one of the model's; ``cut``: whether a text that is too long counts as
    far as the model reads, instead of being refused. Raises ApiError and ClientLeftError.
    """
    model, encoder = call.model, call.model.encoder
    if encoder is None:
        raise ApiError(
            400, f"The model '{model.name}' writes text and makes no embeddings.",
            param="model",
        )  # fmt: skip
    check_dimensions(dimensions, encoder)
    service.doorkeeper.enter(1, call.account)
    facts = call.facts
    facts.update(prompt_tokens=0, texts=len(texts))
    metrics = service.model_metrics[model.name]
    try:
        async with service.embedding:  # one after another: each uses all cores
            vectors = await _vectors(service, call, encoder, texts, prompt, cut=cut)
    except ClientLeftError:
        metrics.cancelled.inc()
        raise
    finally:
        tokens = facts["prompt_tokens"]
        service.doorkeeper.leave(1, call.account, tokens=tokens)
        metrics.prompt_tokens.inc(tokens)
    return vectors, tokens


async def _vectors(
    service: Service,
    call: Call,
    encoder: Encoder,
    texts: Sequence[Text],
    prompt: str | None,
    *,
    cut: bool,
) -> Vectors:
    """The vectors; tokens are counted in the call's facts as they are computed.

    Raises ClientLeftError and ApiError as soon as nobody is to have the rest.
    """
    import numpy as np

    vectors = np.empty((len(texts), encoder.width), dtype=np.float32)
    gone = asyncio.ensure_future(call.gone())

    async def require_reader() -> None:
        await asyncio.sleep(0)  # ``gone`` has to run to be done
        if gone.done():
            raise ClientLeftError
        if service.aborted:
            raise stopping()

    try:
        await require_reader()
        counts = await service.in_thread(lambda: count_tokens(encoder, texts, prompt, cut=cut))
        for batch in batches(counts):
            await require_reader()
            own: Any = [texts[place] for place in batch]
            vectors[batch] = await asyncio.to_thread(encoder.embed, own, prompt=prompt)
            call.facts["prompt_tokens"] += sum(counts[place] for place in batch)
    except LinnetError as error:
        raise failed(error) from None
    finally:
        gone.cancel()
    return vectors


def count_tokens(
    encoder: Encoder, texts: Sequence[Text], prompt: str | None, *, cut: bool = False
) -> list[int]:
    """How many tokens each text has. Raises ApiError for one that is too long, unless it is cut,
    and for tokens of another model."""
    around = len(encoder.tokenizer.start) + len(encoder.tokenizer.finish)
    before = encoder.recipe.prompt(prompt)
    if rows := [text for text in texts if not isinstance(text, str)]:
        around += len(encoder.tokenizer.encode(before)) if before else 0
        counts = [len(row) + around for row in require_own_tokens(encoder, rows)]
        if max(counts) > encoder.max_tokens:
            raise context_full(ContextFullError(max(counts), encoder.max_tokens, part="input"))
        return counts
    whole = [before + text for text in texts if isinstance(text, str)]
    if encoder.recipe.lowercase:
        whole = [text.lower() for text in whole]
    tokenizer, most = encoder.tokenizer, encoder.max_tokens
    try:
        for text in () if cut else whole:
            require_fitting([text], most, lambda piece: len(tokenizer.encode(piece)), part="input")
    except ContextFullError as error:
        raise context_full(error) from None
    counts = []
    for start in range(0, len(whole), BATCH_TEXTS):
        group = tokenizer.encode_arrays(whole[start : start + BATCH_TEXTS])
        counts += [len(ids) + around for ids in group]
    if cut:
        return [min(count, most) for count in counts]
    if max(counts) > most:
        raise context_full(ContextFullError(max(counts), most, part="input"))
    return counts


def require_own_tokens(encoder: Encoder, rows: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The rows' own tokens. Raises ApiError where they are those of another model's vocabulary.

    LangChain's OpenAIEmbeddings sends tokens of OpenAI's models by default, whatever the address.
    Those beyond the vocabulary are seen at once. The others would become the vectors of texts that
    nobody sent: so what they spell is tokenized again, which gives back a model's own tokens, but
    for the words that a row begins and ends within.
    """
    try:
        own = [encoder.own_tokens(row) for row in rows]
    except ConfigError as error:
        raise _not_own(str(error)) from None
    tokenizer = encoder.tokenizer
    plain = [[token for token in row if token not in tokenizer.special_ids] for row in own]
    again = tokenizer.encode_batch([tokenizer.decode(row) for row in plain])
    total = sum(map(len, plain))
    same = sum(
        (Counter(row) & Counter(found)).total() for row, found in zip(plain, again, strict=True)
    )
    if total - same > len(rows) + _ODD_SHARE * total:
        raise _not_own(
            f"only {same} of {total} tokens come back when what they spell is tokenized again"
        )
    return own


def _not_own(reason: str) -> ApiError:
    return ApiError(
        400, f"'input' must be texts, or tokens of this model: {reason}. Send texts; LangChain's "
        "OpenAIEmbeddings does with check_embedding_ctx_length=False",
        param="input", code="unknown_tokens",
    )  # fmt: skip


def batches(counts: Sequence[int]) -> list[list[int]]:
    """The places of texts with so many tokens, those of like lengths together."""
    found: list[list[int]] = []
    tokens = 0
    for place in sorted(range(len(counts)), key=lambda place: -counts[place]):
        if not found or len(found[-1]) == BATCH_TEXTS or tokens + counts[place] > BATCH_TOKENS:
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


BODY: Schema = record(
    {
        "model": MODEL,
        "input": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array", "items": {"type": "string", "minLength": 1},
                    "minItems": 1, "maxItems": MOST_TEXTS,
                },
                TOKENS,
                {"type": "array", "items": TOKENS, "minItems": 1, "maxItems": MOST_TEXTS},
            ],
            "description": "Texts, or their tokens by the model's own tokenizer (/tokenize).",
        },
        "encoding_format": {"type": ["string", "null"], "enum": ["float", "base64", None]},
        "dimensions": whole(1, 2**16, "Must be the model's own, where it is given."),
        "prompt": {
            "type": ["string", "null"], "maxLength": 64,
            "description": "Name of a prompt of the model's, such as query. Not OpenAI's.",
        },
        "user": IGNORED["user"],
    },
    required=("input",),
)  # fmt: skip
_ANSWER = record(
    {
        "object": {"const": "list"},
        "data": listed(
            record(
                {
                    "object": {"const": "embedding"},
                    "index": COUNT,
                    "embedding": {"anyOf": [listed({"type": "number"}), TEXT]},
                },
                required=("object", "index", "embedding"),
            )
        ),
        "model": TEXT,
        "usage": USAGE,
    },
    required=("object", "data", "model", "usage"),
)

EMBEDDINGS = Endpoint(
    "POST", "/v1/embeddings", answer, "Texts as vectors.", body=BODY, answer=_ANSWER
)
