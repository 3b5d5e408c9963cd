"""``/v1/completions``: texts continued by the engine as they are, and scored."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from linnet.respond.engine_requests import Requests, repeated
from linnet.respond.pieces import Finish
from linnet.serve.asgi import Call
from linnet.serve.completions.reading import Asked, read
from linnet.serve.completions.shape import CompletionShape, Prompt, prompt_logprobs, scores_of
from linnet.serve.endpoint import Endpoint
from linnet.serve.sampling import wants_usage
from linnet.serve.schemas import (
    FLAG,
    IGNORED,
    MODEL,
    MOST_CHOICES,
    RESPONSE_FORMAT,
    SAMPLING,
    STREAMING,
    TEXT,
    TOKEN,
    TOKENS,
    answer_schema,
    listed,
    record,
    whole,
)  # fmt: skip
from linnet.serve.shapes import OPENAI_FRAMING

if TYPE_CHECKING:
    from linnet.respond.context import Context
    from linnet.respond.responder import Batches
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

MOST_STOP_TOKENS = 64


async def answer(service: Service, call: Call) -> None:
    """POST /v1/completions."""
    body = call.body
    asked = read(body, call.model.continuing, longest=service.config.max_tokens)
    shape = CompletionShape(
        call.model, usage=wants_usage(body), logprobs=asked.logprobs is not None,
        choices=asked.choices, token_ids=asked.token_ids,
    )  # fmt: skip

    def write(context: Context) -> Batches:
        return _write(service, asked, shape, context)

    await service.generate(call, write, shape, texts=asked.choices * len(asked.prompts))


async def _write(
    service: Service, asked: Asked, shape: CompletionShape, context: Context
) -> Batches:
    """What is told of the prompts, then the texts."""
    if asked.needs_tokens:
        shape.prompts = await _told(service, asked, context)
    if asked.most == 0:
        yield _nothing_written(asked, context)
        return

    def prepare() -> Requests:
        requests = asked.requests()
        if asked.echo and not shape.prompts:
            shape.prompts = [Prompt(asked.text(prompt)) for prompt in asked.prompts]
        return Requests(repeated(requests, asked.choices), asked.choices, part="prompt")

    async with contextlib.aclosing(asked.responder.write(prepare, context)) as batches:
        async for batch in batches:
            yield batch


async def _told(service: Service, asked: Asked, context: Context) -> list[Prompt]:
    """Tokens of the prompts, and their log-probabilities where these are asked for."""
    engine, adapter = asked.responder.engine, asked.responder.adapter
    top = max(asked.logprobs or 0, asked.prompt_logprobs or 0)

    def tokenized() -> list[tuple[int, ...]]:
        return [asked.tokens(prompt) for prompt in asked.prompts]

    every = await service.in_thread(tokenized, service.tokenizing)
    found = []
    for prompt, tokens in zip(asked.prompts, every, strict=True):
        echo = asked.text(prompt) if asked.echo else ""
        ids = tokens if asked.token_ids else None
        if not asked.scores_prompts:
            found.append(Prompt(echo, tokens=ids))
            continue
        async with service.embedding:  # one after another: each uses all cores
            chosen = await asyncio.to_thread(engine.score_prompt, tokens, top=top, adapter=adapter)
        count = asked.prompt_logprobs
        found.append(
            Prompt(
                echo,
                scores_of(engine, chosen) if asked.echo and asked.logprobs is not None else None,
                ids,
                None if count is None else prompt_logprobs(engine, chosen, count),
            )
        )
    if asked.most == 0:
        context.record.tokens.prompt += sum(map(len, every))
    return found


def _nothing_written(asked: Asked, context: Context) -> list[Finish]:
    """The ends of texts of no tokens."""
    count = asked.choices * len(asked.prompts)
    context.record.model = asked.responder.name
    context.record.choices += count
    return [Finish("length", choice=place) for place in range(count)]


BODY: Schema = record(
    {
        "model": MODEL,
        "prompt": {
            "anyOf": [
                TEXT,
                {"type": "array", "items": TEXT, "minItems": 1, "maxItems": MOST_CHOICES},
                TOKENS,
                {"type": "array", "items": TOKENS, "minItems": 1, "maxItems": MOST_CHOICES},
            ]
        },
        **SAMPLING,
        **STREAMING,
        "logprobs": whole(0, 20, "Tell each token's probability, and of so many likeliest."),
        "echo": {
            **FLAG, "description": "Put the prompt before the answer, with logprobs its own too.",
        },
        "prompt_logprobs": whole(0, 20, "Tell of the prompt's tokens, in vLLM's form."),
        "return_token_ids": {**FLAG, "description": "Tell the tokens by their ids."},
        "add_special_tokens": {
            **FLAG, "description": "Whether what begins every text stands before it (usual).",
        },
        "parse_special": {
            **FLAG, "description": "Whether names of special tokens in the prompt are these.",
        },
        "skip_special_tokens": {
            **FLAG, "description": "Whether special tokens have no text (usual), or their names.",
        },
        "stop_token_ids": {
            "type": ["array", "null"], "items": TOKEN, "maxItems": MOST_STOP_TOKENS,
            "description": "Tokens that end the text.",
        },
        "include_stop_str_in_output": {
            **FLAG, "description": "Whether what ended the text is part of it.",
        },
        "truncate_prompt_tokens": whole(
            -1, 2**31 - 1, "Read so many of the prompt's last tokens; -1: as many as fit."
        ),
        "best_of": whole(1, MOST_CHOICES, "Must be n, where it is given."),
        "suffix": {
            "type": ["string", "null"],
            "description": "What follows the text to be written, where the model can fill in.",
        },
        "response_format": RESPONSE_FORMAT,
        "user": IGNORED["user"],
    },
    required=("prompt",),
)  # fmt: skip
_CHOICE = record(
    {
        "index": {"type": "integer", "minimum": 0},
        "text": TEXT,
        "logprobs": {"type": ["object", "null"]},
        "finish_reason": {"enum": ["stop", "length"]},
        "token_ids": listed(TOKEN),
        "prompt_token_ids": listed(TOKEN),
        "prompt_logprobs": listed({"type": ["object", "null"]}),
    },
    required=("index", "text", "logprobs", "finish_reason"),
)

COMPLETIONS = Endpoint(
    "POST", "/v1/completions", answer, "Continue a text.",
    body=BODY, answer=answer_schema("text_completion", _CHOICE), streams=True,
    framing=OPENAI_FRAMING,
)  # fmt: skip
