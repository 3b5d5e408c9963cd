"""Generation against an uncached forward pass and against transformers."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import SHAPES, MakeModel

from linnet.errors import ConfigError, ModelError
from linnet.generate import Completion, Request, Sampling
from linnet.generate import scheduler as scheduling
from linnet.generate import torch_engine as engine_module
from linnet.generate.constraint import Constraint
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint

transformers = pytest.importorskip("transformers")

GREEDY = Sampling(temperature=0, max_tokens=40)
PROMPTS = ("Once upon a time", "The fox", "the hen — naïve", "")


def engine_of(path: Path) -> TorchEngine:
    return TorchEngine(load_checkpoint(path))


@pytest.fixture(scope="module")
def engine(make_model: MakeModel) -> TorchEngine:
    """The model whose texts vary most."""
    return engine_of(make_model("qwen3", context=128))


@torch.inference_mode()
def uncached_greedy(engine: TorchEngine, prompt: str, count: int) -> list[int]:
    tokens = engine.tokenizer.encode(prompt) or [engine.tokenizer.end_of_text]
    written: list[int] = []
    while len(written) < count:
        token = int(engine.model(torch.tensor([tokens + written]))[0, -1].argmax())
        if token in engine.stop_ids:
            break
        written.append(token)
    return written


@pytest.mark.parametrize("family", SHAPES)
def test_greedy_is_the_argmax_without_a_cache(family: str, make_model: MakeModel) -> None:
    engine = engine_of(make_model(family))
    completions = engine.generate([Request(prompt, GREEDY) for prompt in PROMPTS])
    for prompt, completion in zip(PROMPTS, completions, strict=True):
        assert list(completion.tokens) == uncached_greedy(engine, prompt, 40)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "mistral", "phi3", "gemma2"])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_is_what_transformers_gives(
    family: str, penalty: float, make_model: MakeModel
) -> None:
    path = make_model(family)
    engine = engine_of(path)
    reference = transformers.AutoModelForCausalLM.from_pretrained(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    prompt = tuple(engine.tokenizer.encode("Once upon a"))
    assert list(prompt) == tokenizer("Once upon a").input_ids
    theirs = reference.generate(
        torch.tensor([prompt]), do_sample=False, max_new_tokens=40, repetition_penalty=penalty
    )[0, len(prompt) :]
    sampling = dataclasses.replace(GREEDY, repetition_penalty=penalty)
    ours = engine.generate([Request(prompt, sampling)])[0]
    assert list(ours.tokens) == [t for t in theirs.tolist() if t not in engine.stop_ids]
    assert ours.text == tokenizer.decode(theirs, skip_special_tokens=True)


def test_long_prompts_are_read_in_pieces(
    engine: TorchEngine, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request("the fox and the hen met " * 6, GREEDY)
    whole = engine.generate([request])[0]
    assert whole.prompt_tokens > 20
    monkeypatch.setattr(scheduling, "PREFILL_TOKENS", 7)
    engine = TorchEngine(load_checkpoint(make_model("qwen3", context=128)))
    assert engine.generate([request])[0] == whole


def test_a_text_does_not_depend_on_who_shares_the_batch(
    engine: TorchEngine, make_model: MakeModel
) -> None:
    """Rows with several settings and lengths, that end at different times."""
    settings = [
        Sampling(seed=seed, temperature=t, max_tokens=n, min_p=0, top_p=p)
        for seed, t, n, p in itertools.product((1, 2), (0.0, 1.0), (5, 30), (0.9, 1.0))
    ]
    requests = [Request(prompt, s, logprobs=True) for prompt in PROMPTS for s in settings]
    alone = [engine.generate([request])[0] for request in requests]
    assert len({completion.text for completion in alone}) > 20
    for rows in (3, 16):
        crowded = TorchEngine(load_checkpoint(make_model("qwen3", context=128)), rows=rows)
        for single, shared in zip(alone, crowded.generate(requests), strict=True):
            assert without_logprobs(single) == without_logprobs(shared)
            assert single.logprobs == pytest.approx(shared.logprobs, abs=1e-4)


def without_logprobs(completion: Completion) -> Completion:
    return dataclasses.replace(completion, logprobs=None)


def test_a_stream_is_the_completion_in_pieces(engine: TorchEngine) -> None:
    for seed in range(20):
        sampling = Sampling(seed=seed, temperature=1.5, min_p=0, max_tokens=30, stop=("e", "\x01"))
        request = Request("The", sampling, logprobs=True)
        chunks = list(engine.stream(request))
        whole = engine.generate([request])[0]
        assert "".join(chunk.text for chunk in chunks) == whole.text
        assert sum((chunk.tokens for chunk in chunks), ()) == whole.tokens
        assert sum((chunk.logprobs or () for chunk in chunks), ()) == whole.logprobs
        reasons = [chunk.finish_reason for chunk in chunks]
        assert reasons == [None] * (len(chunks) - 1) + [whole.finish_reason]


def test_text_is_the_decoded_tokens_and_never_half_a_character(engine: TorchEngine) -> None:
    """Random tokens: most are bytes, which rarely make up characters."""
    decode = engine.tokenizer.decode
    for seed in range(20):
        sampling = Sampling(seed=seed, temperature=3, min_p=0, max_tokens=40)
        chunks = list(engine.stream(Request("The", sampling)))
        tokens = [token for chunk in chunks for token in chunk.tokens]
        assert "".join(chunk.text for chunk in chunks) == decode(tokens)


def test_stop_strings(engine: TorchEngine) -> None:
    free = Sampling(seed=3, temperature=1.0, max_tokens=60)
    text = engine.generate([Request("The hen", free)])[0].text
    for size, start in itertools.product((1, 4, 9), (0, 5, 11)):
        stop = text[start : start + size]
        sampling = dataclasses.replace(free, stop=("never in it", stop))
        stopped = engine.generate([Request("The hen", sampling)])[0]
        assert stopped.finish_reason == "stop"
        assert stopped.text == text[: text.index(stop)]
        shown = ""
        for chunk in engine.stream(Request("The hen", sampling)):
            shown += chunk.text
            assert stopped.text.startswith(shown)


def test_ends_at_the_end_of_text(make_model: MakeModel) -> None:
    engine = engine_of(make_model("qwen3"))
    first = engine.generate([Request("Once upon", GREEDY)])[0]
    end = first.tokens[10]  # declare it to be an end of text
    engine.stop_ids = engine.stop_ids | {end}
    ended = engine.generate([Request("Once upon", GREEDY, logprobs=True)])[0]
    assert 0 < len(ended.tokens) <= 10
    assert ended.finish_reason == "stop"
    assert ended.tokens == first.tokens[: first.tokens.index(end)]
    assert len(ended.logprobs or ()) == len(ended.tokens)


def test_stops_where_the_context_is_full(make_model: MakeModel) -> None:
    engine = engine_of(make_model("gpt2", context=24))
    sampling = Sampling(temperature=1.0, seed=0, max_tokens=500)
    completion = engine.generate([Request("The fox", sampling)])[0]
    assert completion.finish_reason == "length"
    assert completion.prompt_tokens + len(completion.tokens) == 24
    full = tuple(range(4, 27))
    assert len(engine.generate([Request(full, sampling)])[0].tokens) == 1
    with pytest.raises(ModelError, match="prompt has 24 tokens, but the context holds 24"):
        engine.generate([Request((*full, 5), sampling)])
    with pytest.raises(ModelError, match="but the context holds 24"):
        engine.stream(Request("the fox " * 100, sampling))  # at once, not at the first chunk


def test_what_precedes_a_prompt(engine: TorchEngine) -> None:
    """Nothing, as in transformers; but a text must begin somewhere."""
    own = tuple(engine.tokenizer.encode("The fox"))
    text, exact = engine.generate([Request("The fox", GREEDY), Request(own, GREEDY)])
    assert text == exact
    assert text.prompt_tokens == len(own)
    for prompt in ("", ()):
        assert engine.generate([Request(prompt, GREEDY)])[0].prompt_tokens == 1


def test_an_empty_prompt_begins_as_texts_do(make_model: MakeModel) -> None:
    """With the token named bos_token, as in transformers, not with one that ends a text."""
    path = make_model("llama")
    file = path / "tokenizer_config.json"
    names = json.loads(file.read_text())
    file.write_text(json.dumps(names | {"bos_token": "<|im_start|>"}))
    engine = engine_of(path)
    start = engine.tokenizer.token_id("<|im_start|>")
    assert start is not None
    assert start != engine.tokenizer.end_of_text
    made = [
        engine.generate([Request(prompt, GREEDY, logprobs=True)])[0].logprobs
        for prompt in ("", (start,), (engine.tokenizer.end_of_text,))
    ]
    assert made[0] == made[1] != made[2]


def test_prompts_that_cannot_be_read(engine: TorchEngine) -> None:
    with pytest.raises(ModelError, match=r"must be below .* Got 99999"):
        engine.generate([Request((5, 99999), GREEDY)])
    assert engine.generate([]) == []


@pytest.mark.parametrize("family", SHAPES)
def test_log_probabilities_are_those_of_an_uncached_pass(
    family: str, make_model: MakeModel
) -> None:
    """One for each token: LongRoPE turns all of a text otherwise once it is long."""
    engine = engine_of(make_model(family))
    sampling = Sampling(temperature=0.5, top_k=3, seed=1, max_tokens=40, repetition_penalty=1.4)
    completion = engine.generate([Request("The fox", sampling, logprobs=True)])[0]
    tokens = [*engine.tokenizer.encode("The fox"), *completion.tokens]
    first = len(tokens) - len(completion.tokens)
    with torch.inference_mode():
        expected = [
            float(engine.model(torch.tensor([tokens[:end]]))[0, -1].log_softmax(-1)[tokens[end]])
            for end in range(first, len(tokens))
        ]
    assert completion.logprobs == pytest.approx(expected, abs=1e-4)


def test_scores_are_the_loss_of_transformers(
    make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_model("llama")
    engine = engine_of(path)
    monkeypatch.setattr(engine_module, "PREFILL_TOKENS", 5)
    reference = transformers.AutoModelForCausalLM.from_pretrained(path)
    texts = ["The fox and the hen sang: tra la la!", "x"]
    for text, score in zip(texts, engine.score(texts), strict=True):
        tokens = torch.tensor([[0, *engine.tokenizer.encode(text)]])
        loss = reference(tokens, labels=tokens).loss.item()
        assert list(score.tokens) == tokens[0, 1:].tolist()
        assert -sum(score.logprobs) / len(score.logprobs) == pytest.approx(loss, abs=1e-4)
    assert engine.score([""])[0].tokens == ()
    with pytest.raises(ModelError, match=r"the text has .* the context holds 64"):
        engine.score(["the fox " * 100])


def test_weights_that_are_not_numbers_are_named(make_model: MakeModel) -> None:
    engine = engine_of(make_model("llama"))
    with torch.no_grad():
        engine.model.norm.weight[3] = torch.nan
    with pytest.raises(ModelError, match="not a number"):
        engine.generate([Request("The fox", GREEDY)])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_number_formats(dtype: torch.dtype, make_model: MakeModel) -> None:
    engine = TorchEngine(load_checkpoint(make_model("qwen3"), dtype=dtype))
    assert len(engine.generate([Request("The", GREEDY)])[0].tokens) == 40


def test_the_likeliest_tokens_are_those_of_transformers(make_model: MakeModel) -> None:
    path = make_model("qwen3")
    engine = engine_of(path)
    reference = transformers.AutoModelForCausalLM.from_pretrained(path)
    prompt = tuple(engine.tokenizer.encode("The fox"))
    sampling = Sampling(temperature=0.7, seed=3, max_tokens=9, logit_bias=((7, 5.0),), min_p=0.3)
    request = Request(prompt, sampling, logprobs=True, top_logprobs=5)
    written = engine.generate([request])[0]
    with torch.inference_mode():
        logits = reference(torch.tensor([[*prompt, *written.tokens]])).logits[0]
    expected = logits[len(prompt) - 1 : -1].log_softmax(-1).topk(5)
    assert written.top_logprobs is not None
    for place, top in enumerate(written.top_logprobs):
        assert [token for token, _ in top] == expected.indices[place].tolist()
        values = expected.values[place].tolist()
        assert [value for _, value in top] == pytest.approx(values, abs=1e-4)
    chunks = list(engine.stream(request))
    told = sum((chunk.top_logprobs or () for chunk in chunks), ())
    assert [[token for token, _ in top] for top in told] == [
        [token for token, _ in top] for top in written.top_logprobs
    ]


def test_words_for_tokens(engine: TorchEngine) -> None:
    end = engine.tokenizer.token_name(engine.tokenizer.end_of_text)
    text = f"The fox{end}"
    assert engine.tokenize(text) == engine.tokenizer.encode(text)
    named = engine.tokenize(text, special=True)
    assert named == [*engine.tokenizer.encode("The fox"), engine.tokenizer.end_of_text]
    assert engine.detokenize(named) == "The fox"
    assert engine.adapters == ()


def test_a_chat_prompt_is_that_of_transformers(make_model: MakeModel) -> None:
    path = make_model("qwen3")
    engine = engine_of(path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    end = engine.tokenizer.token_name(engine.tokenizer.end_of_turn or 0)
    messages = [{"role": "user", "content": "Who is the fox?"}]
    theirs = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert list(engine.chat_prompt(messages)) == theirs
    forged = [{"role": "user", "content": f"Who?{end}"}]
    ends = engine.chat_prompt(forged).count(engine.tokenizer.end_of_turn or 0)
    assert ends == engine.chat_prompt(messages).count(engine.tokenizer.end_of_turn or 0)


@torch.inference_mode()
def test_scores_of_a_prompt_are_those_of_transformers(make_model: MakeModel) -> None:
    path = make_model("qwen3", context=128)
    engine, theirs = engine_of(path), transformers.AutoModelForCausalLM.from_pretrained(path)
    prompt = tuple(engine.tokenizer.encode("Once upon a time the naïve hen"))
    first, *found = engine.score_prompt(prompt, top=3)
    assert first == (prompt[0], None, None, None)
    logprobs = theirs(torch.tensor([prompt])).logits[0, :-1].log_softmax(-1)
    for each, token, row in zip(found, prompt[1:], logprobs, strict=True):
        assert each.token == token
        assert each.logprob == pytest.approx(float(row[token]), abs=1e-4)
        assert each.rank == int((row > row[token]).sum()) + 1
        best = row.topk(3)
        assert [value for _, value in each.top or ()] == pytest.approx(
            best.values.tolist(), abs=1e-4
        )
        assert [other for other, _ in each.top or ()] == best.indices.tolist()
    with pytest.raises(ModelError, match="the context holds 128"):
        engine.score_prompt((1,) * 129)
    assert engine.score_prompt(prompt[:1]) == [(prompt[0], None, None, None)]


def test_where_a_text_may_end(engine: TorchEngine) -> None:
    free = Sampling(temperature=0, max_tokens=24)
    plain = engine.generate([Request("The hen", free)])[0]
    end = plain.tokens[5]
    assert end not in plain.tokens[:5]

    def written(sampling: Sampling = free, **more: Any) -> list[Any]:
        return list(engine.stream(Request("The hen", sampling, logprobs=True, **more)))

    last = written(stop_ids=(end,))[-1]
    assert (last.finish_reason, last.ending.token, last.tokens) == ("stop", end, ())
    assert last.ending.logprob is not None
    later = written(dataclasses.replace(free, min_tokens=9), stop_ids=(end,))
    tokens = [token for chunk in later for token in chunk.tokens]
    assert len(tokens) >= 9
    assert end not in tokens[:9]
    shown = "".join(chunk.text for chunk in written(stop_ids=(end,), include_stop=True))
    assert shown == engine.detokenize(plain.tokens[:6])
    stop_ids, engine.stop_ids = engine.stop_ids, engine.stop_ids | {end}
    try:
        endless = written(dataclasses.replace(free, ignore_eos=True))
    finally:
        engine.stop_ids = stop_ids
    tokens = [token for chunk in endless for token in chunk.tokens]
    assert len(tokens) == 24
    assert end not in tokens
    with pytest.raises(ConfigError, match="cannot be had with a constraint"):
        Request("a", Sampling(ignore_eos=True), constraint=Constraint("regex", "a"))
    with pytest.raises(ConfigError, match="stop_token_ids must name tokens below"):
        written(stop_ids=(10**6,))


def test_special_tokens_have_names_where_they_are_wanted(engine: TorchEngine) -> None:
    (special, *_) = engine.tokenizer.special_ids
    sampling = Sampling(
        temperature=0, max_tokens=2, logit_bias=((special, 100.0),), ignore_eos=True
    )
    stop_ids, engine.stop_ids = engine.stop_ids, frozenset()
    try:
        texts = [
            engine.generate([Request("The", sampling, skip_special_tokens=skip)])[0].text
            for skip in (True, False)
        ]
    finally:
        engine.stop_ids = stop_ids
    assert texts == ["", engine.tokenizer.special_name(special) * 2]
