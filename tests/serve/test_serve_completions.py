"""Completions in the meaning that other servers of open models give their fields."""

from collections.abc import Iterator, Sequence
from typing import Any

import openai
import pytest
from scripted import Running, ScriptedEngine, serving

from linnet.generate.engine import ChosenToken


class ScoringEngine(ScriptedEngine):
    """Tells of each token of a prompt that its log-probability is minus its place; ``^`` begins
    every text and is special."""

    def prompt_tokens(self, text: str, *, special: bool = False, start: bool = True) -> list[int]:
        return [ord("^")] * start + self.tokenize(text)

    def spelling(self, token: int) -> bytes:
        return chr(token).encode()

    def detokenize(self, tokens: Sequence[int]) -> str:
        return super().detokenize([token for token in tokens if token != ord("^")])

    def score_prompt(
        self, prompt: Sequence[int], *, top: int = 0, adapter: str | None = None
    ) -> list[ChosenToken]:
        rest = [
            ChosenToken(token, -float(place), ((token + 1, -0.5),)[:top], place + 1)
            for place, token in enumerate(prompt[1:], 1)
        ]
        return [ChosenToken(prompt[0]), *rest]


@pytest.fixture(scope="module")
def engine() -> ScoringEngine:
    return ScoringEngine(lambda prompt, request: "xyz")


@pytest.fixture(scope="module")
def running(engine: ScoringEngine) -> Iterator[Running]:
    with serving(engine) as found:
        yield found


@pytest.fixture(scope="module")
def client(running: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)


def completed(client: openai.OpenAI, prompt: Any = "ab", **fields: Any) -> Any:
    known = {name: fields.pop(name) for name in ("max_tokens", "echo", "logprobs", "stream", "n")
             if name in fields}  # fmt: skip
    return client.completions.create(model="tiny", prompt=prompt, extra_body=fields, **known)


def test_a_prompt_is_scored_and_nothing_written(client: openai.OpenAI) -> None:
    answer = completed(client, max_tokens=0, echo=True, logprobs=1)
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == ("ab", "length")
    told = choice.logprobs
    assert told.tokens == ["^", "a", "b"]
    assert told.token_logprobs == [None, -1.0, -2.0]
    assert told.top_logprobs == [None, {"b": -0.5, "a": -1.0}, {"c": -0.5, "b": -2.0}]
    assert told.text_offset == [0, 0, 1]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 0)
    assert completed(client, max_tokens=0).choices[0].text == ""


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_written_follows_the_prompt(client: openai.OpenAI, stream: bool) -> None:
    found = completed(client, [[97], [98, 99]], echo=True, logprobs=0, max_tokens=2, stream=stream)
    texts: dict[int, str] = {}
    lists: dict[int, list[Any]] = {}
    for answer in found if stream else [found]:
        for choice in answer.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            told = choice.logprobs
            lists.setdefault(choice.index, []).extend(
                zip(told.tokens, told.token_logprobs, told.top_logprobs, told.text_offset,
                    strict=True)
            )  # fmt: skip
    assert texts == {0: "axy", 1: "bcxy"}
    assert lists[1] == [
        ("b", None, None, 0), ("c", -1.0, {"c": -1.0}, 1),
        ("x", -0.5, {"x": -0.5}, 2), ("y", -0.5, {"y": -0.5}, 3),
    ]  # fmt: skip


def test_vllm_s_own_forms(client: openai.OpenAI) -> None:
    answer = completed(client, prompt_logprobs=1, return_token_ids=True, max_tokens=1)
    choice = answer.choices[0].model_extra
    assert choice["prompt_token_ids"] == [94, 97, 98]
    assert choice["token_ids"] == [120]
    assert choice["prompt_logprobs"][:2] == [
        None,
        {"98": {"logprob": -0.5, "rank": 1, "decoded_token": "b"},
         "97": {"logprob": -1.0, "rank": 2, "decoded_token": "a"}},
    ]  # fmt: skip
    with pytest.raises(openai.BadRequestError, match="not to be had in a stream"):
        completed(client, prompt_logprobs=1, stream=True)


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"add_special_tokens": False}, "abc"),
        ({"parse_special": True}, "^abc"),
        ({"truncate_prompt_tokens": 2}, "^c"),
        ({"truncate_prompt_tokens": 2, "add_special_tokens": False}, "bc"),
        ({"truncate_prompt_tokens": -1}, "^abc"),
    ],
)
def test_how_a_prompt_is_read(
    client: openai.OpenAI, engine: ScoringEngine, fields: dict[str, Any], prompt: str
) -> None:
    completed(client, "abc", **fields)
    assert engine.requests[-1].prompt == tuple(map(ord, prompt))


def test_settings_by_the_names_of_other_servers(
    client: openai.OpenAI, engine: ScoringEngine
) -> None:
    completed(
        client, max_tokens=-1, top_k=-1, repeat_penalty=1.5, min_tokens=2, ignore_eos=True,
        stop_token_ids=[7], skip_special_tokens=False, include_stop_str_in_output=True,
    )  # fmt: skip
    request, sampling = engine.requests[-1], engine.requests[-1].sampling
    assert (sampling.max_tokens, sampling.top_k, sampling.repetition_penalty) == (4000, 0, 1.5)
    assert (sampling.min_tokens, sampling.ignore_eos, request.stop_ids) == (2, True, (7,))
    assert (request.skip_special_tokens, request.include_stop) == (False, True)
    completed(client, n_predict=5)
    assert engine.requests[-1].sampling.max_tokens == 5
    client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "a"}], max_tokens=-1
    )
    assert engine.requests[-1].sampling.max_tokens == 4000
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    for form in ({"type": "json_object", "schema": schema},
                 {"type": "json_schema", "schema": schema}):  # fmt: skip
        completed(client, response_format=form)
        constraint = engine.requests[-1].constraint
        assert constraint is not None
        assert '"integer"' in constraint.value


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"repeat_penalty": 1.5, "repetition_penalty": 1.2}, "are one setting"),
        ({"min_tokens": 20, "max_tokens": 10}, "min_tokens must be 0 to max_tokens"),
        ({"truncate_prompt_tokens": 4000}, "below the model's context"),
        ({"truncate_prompt_tokens": 0}, "at least 1, or -1"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"ignore_eos": True, "response_format": {"type": "json_object"}}, "with a constraint"),
        ({"return_tokens_as_token_ids": True}, "Unrecognized request argument"),
        ({"top_k": -2}, "must be at least -1"),
    ],
)
def test_what_cannot_be_done_is_named(
    client: openai.OpenAI, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        completed(client, **fields)


def test_an_engine_that_cannot_score_says_which_can(tiny_server: Running) -> None:
    client = openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="x", max_retries=0)
    with pytest.raises(openai.BadRequestError, match="--engine torch"):
        completed(client, [97, 98], echo=True, logprobs=1)
    with pytest.raises(openai.BadRequestError, match="-1 for as many as the context holds"):
        client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "a"}], max_tokens=0
        )
