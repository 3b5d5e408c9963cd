"""Texts that must follow a rule, whatever a random model would rather write."""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from tiny_models import MakeModel

from linnet.errors import ConfigError, MissingExtraError
from linnet.generate import Completion, Request, Sampling, constraining
from linnet.generate.constraining import Constrainer
from linnet.generate.constraint import Constraint
from linnet.generate.constraints.compiler import MOST_CHOICES
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint
from linnet.respond.tool_calls import ToolReader
from linnet.respond.tools import ToolFormat
from linnet.tokenizer import Tokenizer

pytest.importorskip("llguidance")

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "blue"]}, "maxItems": 3},
        "home": {"type": ["null", "boolean"]},
    },
    "required": ["name", "age", "tags", "home"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def engine(make_model: MakeModel) -> TorchEngine:
    return TorchEngine(load_checkpoint(make_model("llama", context=512)))


def written(
    engine: TorchEngine,
    kind: Any,
    value: str,
    *,
    seeds: int = 6,
    tokens: int = 300,
    temperature: float = 1.3,
) -> list[Completion]:
    constraint = Constraint(kind, value)
    settings = [
        Sampling(temperature=temperature, min_p=0, seed=seed, max_tokens=tokens)
        for seed in range(seeds)
    ]
    return engine.generate([Request("The fox", s, constraint=constraint) for s in settings])


def test_json_that_a_schema_describes(engine: TorchEngine) -> None:
    texts = written(engine, "json_schema", json.dumps(SCHEMA))
    for text in texts:
        assert text.finish_reason == "stop"
        value = json.loads(text.text)
        assert set(value) == set(SCHEMA["properties"])  # type: ignore[call-overload]
        assert isinstance(value["name"], str)
        assert len(value["name"]) <= 12
        assert type(value["age"]) is int
        assert 0 <= value["age"] <= 150
        assert set(value["tags"]) <= {"red", "blue"}
        assert value["home"] in (None, True, False)
        assert not re.search(r"\s{40}", text.text)
    assert len({text.text for text in texts}) > 1


def test_quotations(engine: TorchEngine) -> None:
    passage = 'L\'été, "naïve" — un chat.\nUn chat noir: 3.5 kg.'
    quote = {"type": "string", "x-substring-of": passage, "minLength": 4}
    wanted = {"type": "object", "properties": {"q": quote}, "required": ["q"]}
    alone = Constraint.substring(passage)
    for text in written(engine, alone.kind, alone.value):
        assert text.text in passage
        assert text.text == text.text.strip()
    for text in written(engine, "json_schema", json.dumps(wanted)):
        assert len(json.loads(text.text)["q"]) >= 4
        assert json.loads(text.text)["q"] in passage


def tools_or(otherwise: Any, *, most: int = 3) -> str:
    """Calls of one tool, or something else, as a constraint."""
    call = {
        "type": "object", "required": ["name", "arguments"], "additionalProperties": False,
        "properties": {"name": {"const": "f"}, "arguments": {"enum": [{"a": 1}, {"a": 2}]}},
    }  # fmt: skip
    return json.dumps({
        "calls": call, "opening": "<tool_call>", "closing": "</tool_call>", "most": most,
        "entered": otherwise is None, "otherwise": otherwise,
    })  # fmt: skip


@pytest.mark.parametrize("otherwise", [None, {"kind": "choice", "value": '["yes", "no"]'}])
def test_calls_or_a_form_are_read_as_what_they_are(engine: TorchEngine, otherwise: Any) -> None:
    counts = []
    for text in written(engine, "tools", tools_or(otherwise), seeds=12):
        reader = ToolReader(ToolFormat("tags", native=True), ["f"], demanded=otherwise is None)
        words, calls = reader.push(text.text)
        rest, more = reader.finish()
        counts.append(len(calls + more))
        assert words + rest in (("yes", "no") if not counts[-1] else ("",)), text.text
    assert max(counts) <= 3
    if otherwise is None:
        assert min(counts) > 0
        assert max(counts) > 1  # several are within reach


def test_any_json_object_parses_or_says_why_not(engine: TorchEngine) -> None:
    """A random model ends no string by itself; the bias makes it."""
    wanted = {'"': 30.0, "}": 20.0, ",": -50.0, "{": -50.0, "[": -50.0}
    ends = tuple((engine.tokenize(name)[0], bias) for name, bias in wanted.items())
    constraint = Constraint("json_schema", '{"type": "object"}')
    for bias, reason in ((ends, "stop"), ((), "length")):
        sampling = Sampling(temperature=1.3, seed=1, max_tokens=60, logit_bias=bias)
        text = engine.generate([Request("The fox", sampling, constraint=constraint)])[0]
        assert text.finish_reason == reason
        if reason == "stop":
            assert isinstance(json.loads(text.text), dict)


@pytest.mark.parametrize(
    "pattern", [r"(\d{3}-){2}\d{4}", r"[A-Z][a-z]{2,5} (yes|no)\.", r"ä+€?x", r"(ab|cd)*e"]
)
def test_texts_that_an_expression_matches(engine: TorchEngine, pattern: str) -> None:
    for text in written(engine, "regex", pattern):
        if text.finish_reason == "stop":
            assert re.fullmatch(pattern, text.text)
        else:
            assert len(text.tokens) == 300


def test_one_of_some_texts(engine: TorchEngine) -> None:
    choices = ["the fox", "the hen", 'a "quoted"\nline', "naïve", "</s>", "1", "12"]
    texts = written(engine, "choice", json.dumps(choices), seeds=30, temperature=5)
    assert {text.text for text in texts} <= set(choices)
    assert len({text.text for text in texts}) >= 3
    assert all(text.finish_reason == "stop" for text in texts)


def test_as_many_choices_as_are_allowed(engine: TorchEngine) -> None:
    choices = [f"the {number} foxes" for number in range(MOST_CHOICES)]
    text = written(engine, "choice", json.dumps(choices), seeds=1)[0]
    assert text.text in choices


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ('("a"?){2,5}', "a{0,5}"),
        ('("a"*)+ "b"', "a*b"),
        ('([a-c]+)? "d"', "[a-c]*d"),
        (r'"\u0041\U0000004a" "\u00e9"', "AJé"),
        (r"[\u0041-\u0043]{3}", "[A-C]{3}"),
        (r'"\\u0041"', r"\\u0041"),
    ],
)
def test_grammars_that_llguidance_spells_otherwise(
    engine: TorchEngine, grammar: str, text: str
) -> None:
    for found in written(engine, "grammar", f"root ::= {grammar}", seeds=2, tokens=100):
        assert re.fullmatch(text, found.text) or found.finish_reason == "length"


def test_a_grammar_of_llama_cpp(engine: TorchEngine) -> None:
    grammar = """
    # sums
    root ::= term (" + " term){1,3} "=" [0-9]{1,3}
    term ::= [0-9] | "(" root-less ")"
    root-less ::= [a-c]+ | "x"
    """
    for text in written(engine, "grammar", grammar):
        if text.finish_reason == "stop":
            term = r"([0-9]|\(([a-c]+|x)\))"
            assert re.fullmatch(rf"{term}( \+ {term}){{1,3}}=[0-9]{{1,3}}", text.text)


def test_a_constraint_with_other_wishes(engine: TorchEngine) -> None:
    """Log-probabilities are the model's own; stop strings and neighbours as always."""
    constraint = Constraint("regex", "[a-z]{20}")
    free = Request("The fox", Sampling(temperature=0, max_tokens=1), logprobs=True)
    bound = Request(
        "The fox", Sampling(temperature=0, max_tokens=30), logprobs=True, top_logprobs=4,
        constraint=constraint,
    )  # fmt: skip
    alone = engine.generate([bound])[0]
    first, beside = engine.generate([free, bound])
    assert (beside.text, beside.tokens) == (alone.text, alone.tokens)
    assert re.fullmatch("[a-z]{20}", alone.text)
    assert alone.top_logprobs is not None
    assert first.logprobs is not None
    assert alone.top_logprobs[0][0][1] == pytest.approx(first.logprobs[0], abs=1e-4)
    stopped = engine.generate(
        [
            Request(
                "The fox", Sampling(temperature=0, stop=(alone.text[5:8],)), constraint=constraint
            )
        ]
    )[0]
    assert stopped.text == alone.text[: alone.text.index(alone.text[5:8])]


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("regex", "(a{1000}){1000}{1000}", "times in all"),
        ("regex", "a{1000000}", "more than 100,000"),
        ("grammar", "root ::= root", "text that ends"),
        ("grammar", 'root ::= "a" root', "text that ends"),
        ("json_schema", '{"type": "string", "pattern": "^(b{1000}){1000}$", "minLength": 3}', ""),
    ],
)
def test_rules_that_cost_too_much_trouble_only_who_asks_for_them(
    engine: TorchEngine, kind: Any, value: str, message: str
) -> None:
    """They are refused before the thread that writes all texts sees them."""
    busy = time.thread_time()
    with pytest.raises(ConfigError, match=message) as caught:
        engine.submit(Request("The", constraint=Constraint(kind, value)), lambda _: None)
    assert time.thread_time() - busy < 0.5  # a tenth of that, on a machine with nothing else to do
    assert "<" not in str(caught.value)


def test_a_rule_that_costs_too_much_only_later(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constraining, "STEP_SECONDS", -1.0)  # the first token is not timed
    with pytest.raises(ConfigError, match="the regex cannot be followed: it takes too long"):
        engine.generate([Request("The", Sampling(), constraint=Constraint("regex", "[xy]{9}"))])
    assert engine.generate([Request("The", Sampling(max_tokens=4))])[0].tokens


def test_without_the_library(make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    engine = TorchEngine(load_checkpoint(Path(make_model("llama"))))
    assert engine.generate([Request("The", Sampling(max_tokens=2))])
    with pytest.raises(MissingExtraError, match=r"needs llguidance.*pip install .*llguidance$"):
        engine.stream(Request("The", constraint=Constraint("regex", "a")))


def byte_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=330, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(WORDS * 9, trainer)
    return backend


def sentencepiece_like() -> tokenizers.Tokenizer:
    pieces = ["<unk>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "▁the", "▁fox", "fox", "th", "e", "h", "t", "▁na", "ï", "ve", "▁the▁fox"]
    backend = tokenizers.Tokenizer(
        tokenizers.models.Unigram([(piece, -1.0) for piece in pieces], 0, byte_fallback=True)
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.decoder = tokenizers.decoders.Sequence(
        [
            tokenizers.decoders.Replace("▁", " "),
            tokenizers.decoders.ByteFallback(),
            tokenizers.decoders.Fuse(),
            tokenizers.decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens(["</s>"])
    return backend


def wordpiece() -> tokenizers.Tokenizer:
    pieces = [
        "[UNK]",
        "</s>",
        "the",
        "fox",
        "##es",
        "##f",
        "na",
        "##ïve",
        "f",
        "##ox",
        "##x",
        "t",
        "##he",
    ]
    vocabulary = {piece: place for place, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.decoder = tokenizers.decoders.WordPiece()
    backend.add_special_tokens(["</s>", "[UNK]"])
    return backend


WORDS = [" the fox", " foxes", " naïve", " the</s>", " the fox the fox"]


@pytest.mark.parametrize("make", [byte_level, sentencepiece_like, wordpiece])
def test_allowed_tokens_are_those_that_spell_on(make: Callable[[], tokenizers.Tokenizer]) -> None:
    """Against trying every token of the vocabulary, on every way through the choices."""
    tokenizer = Tokenizer(make(), {"eos_token": "</s>"})
    constrainer = Constrainer(tokenizer, [tokenizer.end_of_text])
    random = torch.Generator().manual_seed(6)
    words = [word.encode() for word in WORDS]
    ended = 0
    for _ in range(25):
        follower = constrainer.follow(Constraint("choice", json.dumps(WORDS)))
        text = b""
        while True:
            expected = {
                token
                for token in range(tokenizer.vocab_size)
                if token not in tokenizer.special_ids
                and (own := tokenizer.token_bytes(token))
                and any(word.startswith(text + own) for word in words)
            }
            if text in words:
                expected.add(tokenizer.end_of_text)
            if follower.complete or not expected:
                assert text in words
                ended += 1
                break
            logits = torch.zeros(tokenizer.vocab_size + 5)
            follower.mask(logits)
            allowed = logits.isfinite().nonzero()[:, 0].tolist()
            assert 0 < len(allowed) <= len(expected)
            assert set(allowed) <= expected
            following = {word[len(text) :][:1] for word in words if word.startswith(text)}
            if len(following) > 1:  # what has to come may be held to its usual spelling
                assert set(allowed) == expected
            token = allowed[int(torch.randint(len(allowed), (), generator=random))]
            if token == tokenizer.end_of_text:
                ended += 1
                break
            text += tokenizer.token_bytes(token)
            follower.advance(token)
            if all(not word.startswith(text) for word in words):
                break
    assert ended
