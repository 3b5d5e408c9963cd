"""``/v1/completions``: texts continued by the engine as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linnet.generate.engine import Request
from linnet.respond.conversation import ContextFullError
from linnet.respond.engine import EngineResponder, Requests, repeated, require_fitting
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.errors import ApiError
from linnet.serve.sampling import check_streaming, constraint_of, sampling_of, wants_usage
from linnet.serve.schemas import (
    FLAG,
    IGNORED,
    MODEL,
    MOST_CHOICES,
    RESPONSE_FORMAT,
    SAMPLING,
    STREAMING,
    TEXT,
    TOKENS,
    answer_schema,
    record,
    whole,
)  # fmt: skip
from linnet.serve.shapes import CompletionShape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from linnet.respond.context import Context
    from linnet.respond.responder import Batches
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

USUAL_TOKENS = 16
"""Of a completion that asks for no number of them, as OpenAI has it."""


async def answer(service: Service, call: Call) -> None:
    """POST /v1/completions."""
    body, responder = call.body, call.model.continuing
    prompts = _prompts(body["prompt"])
    choices = int(body.get("n") or 1)
    shape = CompletionShape(
        call.model, usage=wants_usage(body), logprobs=body.get("logprobs") is not None,
        choices=choices,
    )  # fmt: skip

    def prepare() -> Requests:
        requests = _requests(body, prompts, responder, longest=service.config.max_tokens)
        if body.get("echo"):
            shape.echoes = [
                prompt if isinstance(prompt, str) else responder.engine.detokenize(prompt)
                for prompt in prompts
            ]
        return Requests(repeated(requests, choices), choices, part="prompt")

    def write(context: Context) -> Batches:
        return responder.write(prepare, context)

    await service.generate(call, write, shape, texts=choices * len(prompts))


def _requests(
    body: Mapping[str, Any],
    prompts: list[str | tuple[int, ...]],
    responder: EngineResponder,
    *,
    longest: int,
) -> list[Request]:
    """What a body asks of the engine, for each prompt."""
    check_streaming(body)
    if body.get("best_of") not in (None, int(body.get("n") or 1)):
        raise ApiError(400, "'best_of' must be 'n': every text is given.", param="best_of")
    logprobs = body.get("logprobs")
    if body.get("echo") and logprobs is not None:
        raise ApiError(
            400, "'echo' gives no probabilities of the prompt; leave out 'logprobs'.", param="echo"
        )
    engine = responder.engine
    most = int(body.get("max_tokens") or USUAL_TOKENS)
    sampling = sampling_of(body, most=most, longest=longest, context=engine.context)
    constraint = constraint_of(body)
    ends: tuple[int, ...] = ()
    if body.get("suffix"):
        prompts, ends = _around(prompts, body["suffix"], responder)
    for prompt in prompts:
        if isinstance(prompt, str):
            require_fitting(
                [prompt], engine.context, lambda text: len(engine.tokenize(text)), part="prompt"
            )
        elif len(prompt) >= engine.context:
            raise ContextFullError(len(prompt), engine.context, part="prompt")
    return [
        Request(
            prompt,
            sampling,
            logprobs=logprobs is not None,
            adapter=responder.adapter,
            top_logprobs=int(logprobs or 0),
            constraint=constraint,
            stop_ids=ends,
        )
        for prompt in prompts
    ]


def _around(
    prompts: list[str | tuple[int, ...]], suffix: str, responder: EngineResponder
) -> tuple[list[str | tuple[int, ...]], tuple[int, ...]]:
    """The prompts with what follows, and the tokens that end what comes between."""
    infill, engine = responder.require_infill("suffix"), responder.engine
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise ApiError(400, "'suffix' needs a 'prompt' of text.", param="suffix")
    texts = [prompt for prompt in prompts if isinstance(prompt, str)]
    for text in texts:
        require_fitting(
            [text, suffix], engine.context, lambda part: len(engine.tokenize(part)), part="prompt"
        )
    return [infill.prompt(text, suffix) for text in texts], infill.ends


def _prompts(given: Any) -> list[str | tuple[int, ...]]:
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], str):
        return list(given)
    rows = given if isinstance(given[0], list) else [given]
    return [tuple(int(token) for token in row) for row in rows]


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
        "echo": {**FLAG, "description": "Put the prompt before the answer. Not with logprobs."},
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
    },
    required=("index", "text", "logprobs", "finish_reason"),
)

COMPLETIONS = Endpoint(
    "POST", "/v1/completions", answer, "Continue a text.",
    body=BODY, answer=answer_schema("text_completion", _CHOICE), streams=True,
)  # fmt: skip
