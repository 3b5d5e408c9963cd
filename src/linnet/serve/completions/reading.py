"""From the body of a completion to what an engine is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from linnet.generate.engine import Request
from linnet.respond.conversation import ContextFullError
from linnet.respond.fitting import require_fitting
from linnet.serve.errors import ApiError
from linnet.serve.sampling import check_streaming, constraint_of, most_tokens, sampling_of

if TYPE_CHECKING:
    from linnet.generate.engine import Engine
    from linnet.respond.engine import EngineResponder

USUAL_TOKENS = 16
"""Of a completion that asks for no number of them, as OpenAI has it."""
LONGEST_CUT = 2_000_000
"""Characters of a text that is tokenized whole, to have its end."""


@dataclass(frozen=True)
class Asked:
    """What a body asks. Made by :func:`read`."""

    body: Mapping[str, Any]
    responder: EngineResponder
    longest: int
    """The server's limit of tokens to write, 0 for none."""

    @cached_property
    def prompts(self) -> list[str | tuple[int, ...]]:
        """As they were given."""
        given = self.body["prompt"]
        if isinstance(given, str):
            return [given]
        if isinstance(given[0], str):
            return list(given)
        rows = given if isinstance(given[0], list) else [given]
        return [tuple(int(token) for token in row) for row in rows]

    @property
    def choices(self) -> int:
        """How many texts for each prompt."""
        return int(self.body.get("n") or 1)

    @property
    def most(self) -> int:
        """How many tokens a text may have: 0 for none, -1 for as many as the context holds."""
        most = most_tokens(self.body)
        return USUAL_TOKENS if most is None else most

    @property
    def logprobs(self) -> int | None:
        """How many of the likeliest tokens are told at each place; None: nothing is."""
        found = self.body.get("logprobs")
        return None if found is None else int(found)

    @property
    def prompt_logprobs(self) -> int | None:
        """The same of the prompt."""
        found = self.body.get("prompt_logprobs")
        return None if found is None else int(found)

    @property
    def echo(self) -> bool:
        """Whether the prompt comes before the text."""
        return bool(self.body.get("echo"))

    @property
    def token_ids(self) -> bool:
        """Whether tokens are told by their ids."""
        return bool(self.body.get("return_token_ids"))

    @property
    def scores_prompts(self) -> bool:
        """Whether log-probabilities of the prompts are told."""
        return self.prompt_logprobs is not None or (self.echo and self.logprobs is not None)

    @property
    def needs_tokens(self) -> bool:
        """Whether the prompts' tokens have to be known before anything is written."""
        return self.scores_prompts or self.token_ids or self.most == 0

    def tokens(self, prompt: str | tuple[int, ...]) -> tuple[int, ...]:
        """A prompt as tokens, as the engine will read it."""
        body, engine = self.body, self.responder.engine
        keep = self._kept(engine)
        if not isinstance(prompt, str):
            return prompt[-keep:] if keep else prompt
        if keep is None:
            _require_fitting(engine, prompt)
        elif len(prompt) > LONGEST_CUT:
            raise ApiError(
                400, f"A prompt that is to be cut has at most {LONGEST_CUT:,} characters.",
                param="prompt",
            )  # fmt: skip
        special = bool(body.get("parse_special"))
        start = body.get("add_special_tokens") is not False
        found = tuple(engine.prompt_tokens(prompt, special=special, start=start))
        if keep is not None and len(found) > keep:
            before = tuple(engine.prompt_tokens("")) if start else ()
            rest = max(0, keep - len(before))
            found = before[:keep] + (found[-rest:] if rest else ())
        return found or (engine.tokenization.beginning,)

    def requests(self) -> list[Request]:
        """What the engine is asked, for each prompt."""
        body, engine = self.body, self.responder.engine
        sampling = sampling_of(body, most=self.most, longest=self.longest, context=engine.context)
        constraint = constraint_of(body)
        as_tokens = (
            body.get("parse_special")
            or body.get("add_special_tokens") is False
            or body.get("truncate_prompt_tokens") is not None
        )
        ends = tuple(int(token) for token in body.get("stop_token_ids") or ())
        prompts = self.prompts
        if suffix := body.get("suffix"):
            if as_tokens:
                raise ApiError(
                    400, "'suffix' takes the prompt as it is: leave out 'parse_special', "
                    "'add_special_tokens' and 'truncate_prompt_tokens'.",
                    param="suffix",
                )  # fmt: skip
            prompts, closing = self._around(suffix)
            ends += closing
        requests = []
        for prompt in prompts:
            if as_tokens:
                prompt = self.tokens(prompt)
            if isinstance(prompt, str):
                _require_fitting(engine, prompt)
            elif len(prompt) >= engine.context:
                raise ContextFullError(len(prompt), engine.context, part="prompt")
            requests.append(
                Request(
                    prompt,
                    sampling,
                    logprobs=self.logprobs is not None,
                    adapter=self.responder.adapter,
                    top_logprobs=self.logprobs or 0,
                    constraint=constraint,
                    stop_ids=ends,
                    skip_special_tokens=body.get("skip_special_tokens") is not False,
                    include_stop=bool(body.get("include_stop_str_in_output")),
                )
            )
        return requests

    def text(self, prompt: str | tuple[int, ...]) -> str:
        """A prompt as it comes before the text."""
        if isinstance(prompt, str) and self._kept(self.responder.engine) is None:
            return prompt
        engine, tokens = self.responder.engine, self.tokens(prompt)
        if self.body.get("skip_special_tokens") is not False:
            return engine.detokenize(tokens)
        return b"".join(map(engine.spelling, tokens)).decode("utf-8", "replace")

    def _around(self, suffix: str) -> tuple[list[str | tuple[int, ...]], tuple[int, ...]]:
        """The prompts with what follows, and the tokens that end what comes between."""
        infill, engine = self.responder.require_infill("suffix"), self.responder.engine
        if not all(isinstance(prompt, str) for prompt in self.prompts):
            raise ApiError(400, "'suffix' needs a 'prompt' of text.", param="suffix")
        texts = [prompt for prompt in self.prompts if isinstance(prompt, str)]
        for text in texts:
            _require_fitting(engine, text, suffix)
        return [infill.prompt(text, suffix) for text in texts], infill.ends

    def _kept(self, engine: Engine) -> int | None:
        """How many of a prompt's last tokens are read; None: all."""
        given = self.body.get("truncate_prompt_tokens")
        if given is None:
            return None
        fitting = max(1, engine.context - max(1, min(self.most, engine.context - 1)))
        if int(given) > engine.context - 1:
            raise ApiError(
                400, f"'truncate_prompt_tokens' must be below the model's context of "
                f"{engine.context}, or -1 for what fits. Got {given}",
                param="truncate_prompt_tokens",
            )  # fmt: skip
        return fitting if given == -1 else int(given)


def read(body: Mapping[str, Any], responder: EngineResponder, *, longest: int) -> Asked:
    """What a body asks. Raises ApiError for what does not go together."""
    check_streaming(body)
    asked = Asked(body, responder, longest)
    if body.get("best_of") not in (None, asked.choices):
        raise ApiError(400, "'best_of' must be 'n': every text is given.", param="best_of")
    if body.get("stream") and asked.prompt_logprobs is not None:
        raise ApiError(
            400, "'prompt_logprobs' are not to be had in a stream; leave out 'stream', or use "
            "'echo' with 'logprobs'.",
            param="prompt_logprobs",
        )  # fmt: skip
    if body.get("truncate_prompt_tokens") == 0:
        raise ApiError(
            400, "'truncate_prompt_tokens' must be at least 1, or -1 for what fits. Got 0",
            param="truncate_prompt_tokens",
        )  # fmt: skip
    return asked


def _require_fitting(engine: Engine, *texts: str) -> None:
    require_fitting(texts, engine.context, lambda text: len(engine.tokenize(text)), part="prompt")
