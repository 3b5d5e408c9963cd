"""Beam search against transformers' own, token by token, with scores."""

from pathlib import Path

import pytest
import torch
from tiny_models import MakeModel

from linnet.errors import ConfigError
from linnet.generate import Completion, Request, Sampling
from linnet.generate.constraint import Constraint
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint

transformers = pytest.importorskip("transformers")

PROMPTS = ("Once upon a", "the hen met the fox; the hen met")
WAYS = (
    {"beams": 3},
    {"beams": 4, "length_penalty": -1.0, "early_stopping": "true"},
    {"beams": 2, "length_penalty": 2.0, "early_stopping": "never"},
    {"beams": 5, "length_penalty": 0.0, "early_stopping": "never", "repetition_penalty": 1.3},
)
Way = dict[str, object]
EARLY = {"true": True, "false": False, "never": "never"}


def theirs(path: Path, prompt: tuple[int, ...], way: Way) -> list[tuple[list[int], float]]:
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    width = way["beams"]
    found = model.generate(
        torch.tensor([prompt]),
        do_sample=False,
        num_beams=width,
        num_return_sequences=width,
        max_new_tokens=20,
        length_penalty=way.get("length_penalty", 1.0),
        early_stopping=EARLY[str(way.get("early_stopping", "false"))],
        repetition_penalty=way.get("repetition_penalty", 1.0),
        return_dict_in_generate=True,
        output_scores=True,
        pad_token_id=1,
    )
    tokens = found.sequences[:, len(prompt) :].tolist()
    return list(zip(tokens, found.sequences_scores.tolist(), strict=True))


def ours(engine: TorchEngine, prompt: object, way: dict[str, object]) -> Completion:
    (found,) = engine.generate([Request(prompt, Sampling(max_tokens=20, **way), logprobs=True)])  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_it_finds_what_transformers_finds(family: str, make_model: MakeModel) -> None:
    path = make_model(family)
    engine = TorchEngine(load_checkpoint(path))
    # Texts end at different lengths where what they are made of ends them.
    usual = ours(engine, "Once upon a", {"beams": 5})
    ends = {beam.tokens[4 + 2 * place] for place, beam in enumerate(usual.beams)} | engine.stop_ids
    reference = transformers.GenerationConfig.from_pretrained(path)
    reference.eos_token_id = sorted(ends)
    reference.save_pretrained(path)
    engine.stop_ids = frozenset(ends)
    lengths = set()
    for text, way in zip(PROMPTS * 2, WAYS, strict=True):
        prompt = tuple(engine.tokenizer.encode(text))
        found = ours(engine, prompt, way)
        expected = theirs(path, prompt, way)
        assert [list(beam.tokens) for beam in found.beams] == [
            [token for token in tokens if token not in ends and token != 1]
            for tokens, _ in expected
        ]
        assert [beam.score for beam in found.beams] == pytest.approx(
            [score for _, score in expected], rel=1e-4, abs=1e-5
        )
        assert (found.tokens, found.text) == (found.beams[0].tokens, found.beams[0].text)
        assert found.logprobs == found.beams[0].logprobs
        lengths |= {len(beam.tokens) for beam in found.beams}
    assert len(lengths) > 1


def test_beams_beside_other_texts_with_stops_and_constraints(make_model: MakeModel) -> None:
    engine = TorchEngine(load_checkpoint(make_model("qwen3")))
    wide = Sampling(max_tokens=12, beams=4)
    rule = Constraint("regex", "(fox|hen)( and (fox|hen)){1,3}")
    requests = [
        Request("Once upon a", wide),
        Request("Once upon a", Sampling(max_tokens=12, temperature=0)),
        Request("The", wide, constraint=rule),
        Request("The", Sampling(max_tokens=12, beams=4, stop=("a",))),
    ]
    together = engine.generate(requests)
    for request, found in zip(requests, together, strict=True):
        assert engine.generate([request])[0].tokens == found.tokens
    for beam in together[2].beams:
        words = beam.text.split(" and ")
        assert set(words) <= {"fox", "hen"}
        assert 2 <= len(words) <= 4
    for beam in together[3].beams:
        assert "a" not in beam.text
    assert sum(beam.finish_reason == "stop" for beam in together[3].beams) > 0
    with pytest.raises(ConfigError, match="no top_logprobs"):
        engine.generate([Request("The", wide, logprobs=True, top_logprobs=2)])
    engine._memory = 10_000
    with pytest.raises(ConfigError, match="take fewer beams"):
        engine.generate([Request("The", wide)])
