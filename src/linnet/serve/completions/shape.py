"""Completions as OpenAI's clients read them, with log-probabilities of prompts and texts.

Reference: https://platform.openai.com/docs/api-reference/completions/object
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from linnet.respond.pieces import Batch, Finish, Text, TokenScore
from linnet.serve.shapes import UNLIKELY, Envelope, OpenAIStream

if TYPE_CHECKING:
    from linnet.generate.engine import ChosenToken, Engine
    from linnet.respond.context import Tokens
    from linnet.respond.responder import Answer
    from linnet.serve.catalog import Served


@dataclass(frozen=True)
class Prompt:
    """What an answer has of a prompt."""

    echo: str = ""
    """Its text, where it is to come before the answer's."""
    scores: tuple[TokenScore, ...] | None = None
    """Of its tokens, where they are to come before those of the answer."""
    tokens: tuple[int, ...] | None = None
    """Its tokens by their ids, where they are to be told."""
    logprobs: list[dict[str, Any] | None] | None = None
    """As vLLM tells them (``prompt_logprobs``)."""


class CompletionShape(OpenAIStream):
    """Completions of plain text."""

    def __init__(
        self, model: Served, *, usage: bool, logprobs: bool, choices: int, token_ids: bool = False
    ) -> None:
        """``choices``: how many texts follow each prompt; ``token_ids``: whether tokens are told by
        their ids.
        """
        self.prompts: Sequence[Prompt] = ()
        """What is told of each prompt; known once they were read."""
        self._envelope = Envelope("text_completion", "cmpl-", model, usage=usage)
        self._choices = choices
        self._began: set[int] = set()
        self._logprobs = logprobs
        self._token_ids = token_ids
        self._lists: dict[int, _Logprobs] = {}

    def events(self, batch: Batch) -> Iterator[str]:
        """The events for these pieces: one for each text, with all that is new of it."""
        places = dict.fromkeys(piece.choice for piece in batch)
        for place in places:
            own = [piece for piece in batch if piece.choice == place]
            texts = [piece for piece in own if isinstance(piece, Text)]
            text = "".join([piece.text for piece in texts])
            finish = next((piece for piece in own if isinstance(piece, Finish)), None)
            prompt = None
            if place not in self._began:
                self._began.add(place)
                prompt = self._prompt(place)
                text = prompt.echo + text
            logprobs = "null"
            if self._logprobs:
                scores = [score for piece in texts for score in piece.scores]
                logprobs = json.dumps(self._scores(place, prompt, scores, finish))
            ids = self._ids(prompt, (token for piece in texts for token in piece.tokens), finish)
            if text or finish is not None or logprobs != "null":
                reason = "null" if finish is None else f'"{finish.reason}"'
                more = "".join([f',"{name}":{json.dumps(value)}' for name, value in ids.items()])
                yield self._envelope.event(
                    place,
                    f'"text":{quoted(text)},"logprobs":{logprobs},"finish_reason":{reason}{more}',
                )

    def whole(self, answers: Sequence[Answer], tokens: Tokens) -> Any:
        """The answer in one."""
        choices = []
        for place, answer in enumerate(answers):
            prompt = self._prompt(place)
            finish = next((p for p in reversed(answer.pieces) if isinstance(p, Finish)), None)
            logprobs = None
            if self._logprobs:
                logprobs = self._scores(place, prompt, answer.scores, finish)
            choice = {
                "index": place,
                "text": prompt.echo + answer.text,
                "logprobs": logprobs,
                "finish_reason": answer.finish_reason,
                **self._ids(prompt, answer.tokens, finish),
            }
            if prompt.logprobs is not None:
                choice["prompt_logprobs"] = prompt.logprobs
            choices.append(choice)
        return self._envelope.whole("text_completion", choices, tokens)

    def _prompt(self, place: int) -> Prompt:
        return self.prompts[place // self._choices] if self.prompts else Prompt()

    def _ids(
        self, prompt: Prompt | None, tokens: Iterable[int], finish: Finish | None
    ) -> dict[str, Any]:
        """Tokens by their ids, the one that ended the text included, as vLLM tells them."""
        if not self._token_ids:
            return {}
        ids = [*tokens, *([finish.token] if finish and finish.token is not None else ())]
        before = {} if prompt is None else {"prompt_token_ids": prompt.tokens}
        return {"token_ids": ids, **before}

    def _scores(
        self,
        place: int,
        prompt: Prompt | None,
        scores: Sequence[TokenScore],
        finish: Finish | None,
    ) -> dict[str, Any]:
        """Log-probabilities of a text, before its first one those of its prompt."""
        lists = self._lists.setdefault(place, _Logprobs())
        if prompt is not None and prompt.scores is not None:
            lists.add_prompt(prompt.scores, prompt.echo)
        lists.add(scores)
        if finish is not None and finish.score is not None:
            lists.add([finish.score])
        return lists.take()


class _Logprobs:
    """The lists that completions have, and where the next token's text begins."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = 0
        self._lists: dict[str, list[Any]] = self._empty()

    def add_prompt(self, scores: Sequence[TokenScore], text: str) -> None:
        """A prompt's tokens, of which the first has no probability."""
        self.add(scores)
        self._lists["token_logprobs"][:1] = self._lists["top_logprobs"][:1] = [None]
        # What the text does not show stands first: a token that begins every text, a space.
        hidden = self._text - len(text)
        self._lists["text_offset"] = [max(0, at - hidden) for at in self._lists["text_offset"]]
        self._text = len(text)

    def add(self, scores: Iterable[TokenScore]) -> None:
        """More tokens."""
        lists = self._lists
        for score in scores:
            token = score.spelling.decode("utf-8", "replace")
            # Beside the likeliest always the token itself, as OpenAI has it.
            top = {each.decode("utf-8", "replace"): value for each, value in reversed(score.top)}
            top.setdefault(token, score.logprob)
            lists["tokens"].append(token)
            lists["token_logprobs"].append(max(score.logprob, UNLIKELY))
            lists["top_logprobs"].append({name: max(top[name], UNLIKELY) for name in top})
            lists["text_offset"].append(self._text)
            self._text += len(self._decoder.decode(score.spelling))

    def take(self) -> dict[str, list[Any]]:
        """What is there, which is then gone from here."""
        found, self._lists = self._lists, self._empty()
        return found

    def _empty(self) -> dict[str, list[Any]]:
        return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def scores_of(engine: Engine, chosen: Iterable[ChosenToken]) -> tuple[TokenScore, ...]:
    """A prompt's tokens as a responder tells those of a text."""
    return tuple(
        TokenScore(
            engine.spelling(each.token),
            0.0 if each.logprob is None else each.logprob,
            tuple((engine.spelling(other), value) for other, value in each.top or ()),
        )
        for each in chosen
    )


def prompt_logprobs(
    engine: Engine, chosen: Sequence[ChosenToken], count: int
) -> list[dict[str, Any] | None]:
    """As vLLM tells them: of each token but the first, and of the ``count`` likeliest."""
    found: list[dict[str, Any] | None] = [None]
    for each in chosen[1:]:
        told: dict[int, tuple[float, int]] = {}
        for place, (token, value) in enumerate((each.top or ())[:count]):
            told[token] = (value, place + 1)
        told[each.token] = (each.logprob or 0.0, each.rank or 1)
        found.append(
            {
                str(token): {
                    "logprob": max(value, UNLIKELY),
                    "rank": rank,
                    "decoded_token": engine.spelling(token).decode("utf-8", "replace"),
                }
                for token, (value, rank) in told.items()
            }
        )
    return found
