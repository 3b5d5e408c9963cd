"""Compression: formats as llama.cpp reads them, mixtures, and a choice that the questions bear."""

import csv
import dataclasses
import itertools
import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linnet.align.encoding import Completion
from linnet.bench.worker import Measurement
from linnet.compress import candidates, choice, measurements, report
from linnet.compress.blockwise import make_smaller
from linnet.compress.candidates import Candidate, packed_plans, plans
from linnet.compress.choice import Loss, choose, is_above_chance, loss_of, pareto
from linnet.compress.compress import NoCandidateError, candidates_of, compress
from linnet.compress.config import CompressConfig
from linnet.compress.importance import measure_importance
from linnet.compress.mixing import Option, mix, options_of, rounding_error
from linnet.compress.quality import Questions, nats, read_questions
from linnet.compress.report import read_results
from linnet.compress.sensitivity import sensitivities, weighted
from linnet.errors import ConfigError, DataError, ModelError, OutputError
from linnet.export.config import ExportConfig
from linnet.export.gguf import export_gguf
from linnet.gguf.architectures import tensors
from linnet.gguf.quantisation import (
    FINE,
    MADE_BY_LIBGGUF,
    decoded,
    encoded,
    format_of,
    ggml_type,
    possible_format,
    stored_bytes,
)
from linnet.gguf.weights import dequantised
from linnet.model import load_model
from linnet.progress import Progress
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer

libgguf = pytest.importorskip("libgguf", reason="the extra compress is not installed")


class Listening(Progress):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


FIRST, LAST = ("ba", "di", "ko", "lu", "me", "po"), ("fat", "rim", "sun", "ton", "vex")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama whose rows divide into blocks, trained to know a few sums, with questions."""
    transformers = pytest.importorskip("transformers")
    directory = tmp_path_factory.mktemp("base")
    rows = [
        {"prompt": f"Say {word}.", "completion": f" {word} {word}!"}
        for word in (first + last for first, last in itertools.product(FIRST, LAST))
    ]
    random.Random(1).shuffle(rows)
    (directory / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [row["prompt"] + row["completion"] for row in rows]
    train_tokenizer(
        texts, directory / "tokenizer", TokenizerConfig(kind="bpe", vocab_size=300), inputs={}
    )
    tokenizer = load(directory / "tokenizer")
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        vocab_size=tokenizer.vocab_size, hidden_size=256, intermediate_size=256,
        num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, tie_word_embeddings=False,
        bos_token_id=tokenizer.end_of_text, eos_token_id=tokenizer.end_of_text,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(shape)
    ids = [[*tokenizer.encode(text), tokenizer.end_of_text] for text in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(60):
        some = [ids[place % len(ids)] for place in range(step * 8, step * 8 + 8)]
        longest = max(map(len, some))
        batch = torch.tensor([row + [tokenizer.end_of_text] * (longest - len(row)) for row in some])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(directory / "model")
    tokenizer.save(directory / "model")
    return directory


def settings(**changes: Any) -> CompressConfig:
    return CompressConfig(**({"measure_speed": False, "keep": "90%"} | changes))


# --- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", [*MADE_BY_LIBGGUF, "q4_0"])
def test_formats_are_what_llama_cpp_reads(format: str) -> None:
    """gguf reads what libgguf writes, number for number, and the size is what was foretold."""
    generator = np.random.default_rng(1)
    values = generator.normal(size=(6, 512)).astype(np.float32)
    importance = (generator.random(512) ** 3).astype(np.float32)
    coded = np.concatenate(list(encoded("x", torch.from_numpy(values), format, importance)))
    assert coded.nbytes == stored_bytes(values.shape, format)
    ours = decoded(coded, format, 512)
    theirs = libgguf.dequantize_rows(coded, int(ggml_type(format)), 512)
    assert np.array_equal(ours, theirs)
    assert ((ours - values) ** 2).mean() < 0.1


@pytest.mark.parametrize("format", ["q3_k", "q4_k", "iq4_xs", "iq4_nl", "q5_0", "q4_0"])
def test_an_importance_matrix_puts_errors_where_they_do_not_matter(format: str) -> None:
    generator = np.random.default_rng(2)
    values = torch.from_numpy(generator.normal(size=(64, 256)).astype(np.float32))
    importance = (generator.random(256) ** 4 + 1e-3).astype(np.float32)

    def error(used: Any) -> float:
        coded = np.concatenate(list(encoded("x", values, format, used)))
        return float(((decoded(coded, format, 256) - values.numpy()) ** 2 * importance).mean())

    assert error(importance) < error(None)


@pytest.mark.parametrize(("format", "instead"), FINE.items())
def test_rows_that_do_not_divide_fall_back_as_in_llama_cpp(format: str, instead: str) -> None:
    assert possible_format("blk.0.attn_q.weight", (8, 512), format) == format
    assert possible_format("blk.0.attn_q.weight", (8, 576), format) == instead
    assert possible_format("blk.0.attn_q.weight", (8, 100), format) == "f16"
    assert possible_format("blk.0.attn_norm.weight", (512,), format) == "f32"
    assert format_of("token_embd.weight", (8, 512), format) == "q6_k"


# --- what matters ---------------------------------------------------------------------------------


def test_importance_is_the_mean_square_of_what_a_matrix_reads(base: Path) -> None:
    model = load_model(base / "model")
    rows = [torch.tensor([[5, 9, 11, 7]]), torch.tensor([[3, 4]])]
    found = measure_importance(model, rows)
    seen: list[Any] = []
    hook = model.blocks[0].mlp.down.register_forward_pre_hook(
        lambda module, given: seen.append(given[0].detach()[0])
    )
    with torch.no_grad():
        states = torch.cat([model.hidden(row)[0] for row in rows])
    hook.remove()
    down = torch.cat(seen).square().mean(0)
    np.testing.assert_allclose(found["blk.0.ffn_down.weight"], down, rtol=1e-5)
    np.testing.assert_allclose(found["output.weight"], states.square().mean(0), rtol=1e-5)
    assert np.array_equal(found["blk.0.attn_q.weight"], found["blk.0.attn_v.weight"])


def test_rounding_errors_are_shares_of_what_is_computed() -> None:
    values = torch.randn(16, 256, generator=torch.Generator().manual_seed(1))
    weight = np.linspace(0.1, 2, 256, dtype=np.float32)
    found = rounding_error("x", values, "q8_0", weight)
    coded = np.concatenate(list(encoded("x", values, "q8_0", weight)))
    off = decoded(coded, "q8_0", 256) - values.numpy()
    inputs = np.random.default_rng(1).normal(size=(4000, 256)) * np.sqrt(weight)
    measured = ((inputs @ off.T) ** 2).mean() / ((inputs @ values.numpy().T) ** 2).mean()
    assert found == pytest.approx(measured, rel=0.1)
    assert rounding_error("x", values, "f32", weight) == 0


def test_a_mixture_is_the_best_of_its_size() -> None:
    generator = random.Random(3)
    options = {}
    for name in "abcde":
        errors = sorted(generator.random() for _ in range(4))
        options[name] = [
            Option(f"{name}{place}", size, error)
            for place, (size, error) in enumerate(zip((40, 30, 20, 10), errors, strict=True))
        ]

    def best(most: int) -> float:
        return min(
            sum(option.error for option in each)
            for each in itertools.product(*options.values())
            if sum(option.bytes for option in each) <= most
        )

    for budget in range(50, 201, 10):
        chosen = mix(options, budget)
        found = [next(o for o in options[n] if o.format == f) for n, f in chosen.items()]
        size = sum(option.bytes for option in found)
        assert budget - 30 < size <= budget  # a step saves at most so much
        assert sum(option.error for option in found) == pytest.approx(best(size))
    with pytest.raises(ConfigError, match="at least 50 bytes"):
        mix(options, 49)


def test_what_an_error_costs_is_measured_and_nothing_for_a_copy(base: Path, tmp_path: Path) -> None:
    model = load_model(base / "model")
    rows = [torch.tensor([[5, 9, 11, 7, 30, 31]])]
    exact = {"blk.0.attn_q.weight": [Option("f32", 100, 1.0)]}
    found = sensitivities(model, base / "model", exact, rows, tmp_path, importance={})
    assert found["attn_q"] == pytest.approx(0, abs=1e-6)  # the divergence from a copy
    options = options_of(model, {})
    costs = sensitivities(model, base / "model", options, rows, tmp_path, importance={})
    assert all(cost > 0 for cost in costs.values())
    name, own = next(iter(options.items()))
    assert weighted(options, costs)[name][1].error == own[1].error * costs[name.split(".")[-2]]
    assert not list(tmp_path.iterdir())


# --- the choice -----------------------------------------------------------------------------------


def loss(kept: float, low: float, verdict: Any = "keeps", needed: int | None = None) -> Loss:
    return Loss(kept, low, 1.0, verdict, needed)


def candidate(name: str, size: int, found: Loss) -> Candidate:
    return Candidate(name, size, 4.0, found, None)


def test_a_loss_is_that_of_each_token_with_its_interval() -> None:
    generator = np.random.default_rng(1)
    tokens = generator.integers(2, 20, 400).astype(float)
    before = tokens * generator.gamma(2, 1, 400)
    rise = tokens * generator.normal(0.005, 0.02, 400)
    found = loss_of(before, before + rise, tokens, keep=0.99, confidence=0.95, seed=1)
    mean = rise.sum() / tokens.sum()
    assert found.kept == pytest.approx(math.exp(-mean))
    spread = np.sqrt(((rise - mean * tokens) ** 2).sum()) / tokens.sum()  # of a ratio estimate
    assert found.low == pytest.approx(math.exp(-(mean + 1.645 * spread)), abs=2e-4)
    assert found.verdict == "keeps"
    same = loss_of(before, before, tokens, keep=0.99, confidence=0.95, seed=1)
    assert (same.kept, same.low, same.verdict) == (1.0, 1.0, "keeps")
    much = loss_of(before, before + 0.1 * tokens, tokens, keep=0.99, confidence=0.95, seed=1)
    assert much.verdict == "loses"


def test_what_is_at_the_margin_is_rarely_said_to_be_kept() -> None:
    """The promise: at a loss of just the margin, at most about one run in twenty."""
    said = 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        tokens = generator.integers(2, 20, 120).astype(float)
        rise = tokens * generator.normal(-math.log(0.99), 0.05, 120)
        before = np.zeros(120)
        found = loss_of(before, rise, tokens, keep=0.99, confidence=0.95, seed=seed)
        said += found.verdict == "keeps"
    assert said <= 27  # 15 expected; 27 is beyond the 99.8 % quantile of a twentieth


def test_with_too_few_questions_it_says_how_many_would_tell() -> None:
    generator = np.random.default_rng(4)
    rises = 10 * generator.normal(0.008, 0.05, 4000)
    tokens = np.full(4000, 10.0)

    def found(count: int) -> Loss:
        return loss_of(
            np.zeros(count), rises[:count], tokens[:count], keep=0.99, confidence=0.95, seed=1
        )

    few = found(60)
    assert few.verdict == "not clear"
    assert few.needed is not None
    assert few.needed > 60
    assert found(4000).verdict == "keeps"


def test_what_is_taken() -> None:
    kept = [
        candidate("q8_0", 100, loss(0.999, 0.998)),
        candidate("q4_k", 60, loss(0.995, 0.991)),
        candidate("q2_k", 30, loss(0.93, 0.92, "loses")),
    ]
    assert choose(kept, settings(keep="99%")).name == "q4_k"
    assert choose(kept, CompressConfig(size="0.08KB")).name == "q4_k"
    with pytest.raises(ConfigError, match=r"at most 0\.02KB; the smallest, q2_k"):
        choose(kept, CompressConfig(size="0.02KB"))
    # One that only by chance does better than one that was expected to is not taken.
    lucky = Candidate("q2_k", 30, 4.0, loss(1.01, 0.999), None, expected=0.3)
    doubtful = Candidate("q3_k", 40, 4.0, loss(0.98, 0.97, "not clear"), None, expected=0.2)
    assert choose([*kept[:2], lucky, doubtful], settings(keep="99%")).name == "q4_k"
    assert choose([*kept[:2], lucky], settings(keep="99%")).name == "q2_k"
    unsure = [candidate("q8_0", 100, loss(0.995, 0.985, "not clear", 470))]
    with pytest.raises(ConfigError, match=r"0\.50 points too few; about 470 questions would tell"):
        choose(unsure, settings(keep="99%"))
    with pytest.raises(ConfigError, match=r"surely keeps 99\.9999% of"):
        choose(unsure, settings(keep="99.9999%"))
    with pytest.raises(ConfigError, match=r"that q4_k does better may be chance"):
        choose([*unsure, candidate("q4_k", 60, loss(0.999, 0.995))], settings(keep="99%"))
    with pytest.raises(ConfigError, match="no speed could be measured"):
        choose(kept, CompressConfig(speed=True))
    # What is not taken though it keeps as much, and what a size costs, are said.
    behind = [*kept[:2], candidate("q3_k", 50, loss(0.989, 0.98, "not clear")), lucky]
    behind[2] = dataclasses.replace(behind[2], expected=0.2)
    taken = choose(behind, settings(keep="99%"))
    assert taken.name == "q4_k"
    assert "q2_k is smaller and keeps it too, but that may be chance" in taken.reason
    assert "expected to be lost from q3_k" in taken.reason
    for most, said in (("0.08KB", "surely 99%"), ("0.05KB", "less than 99%")):
        assert choose(kept, CompressConfig(size=most)).reason.endswith(f"; that is {said}")
    worse = candidate("q5_0", 70, loss(0.99, 0.98))
    assert [each.name for each in pareto([*kept, worse])] == ["q2_k", "q4_k", "q8_0"]
    assert CompressConfig(prune="0.5,0.500001,.75", calibration="x").shares == (0.75, 0.5)
    for wrong in (
        {"prune": "0.00001", "calibration": "x"},
        {"keep": "99"},
        {"keep": "100%"},
        {"size": "60"},
        {"size": "1MB", "speed": True},
        {"speed": True, "measure_speed": False},
        {"prune": "0.5"},
        {"prune": "1.5", "calibration": "notes"},
        {"prune": "half", "calibration": "notes"},
        {"prune_seconds": 60},
        {"prune_steps": 5},
    ):
        with pytest.raises(ConfigError):
            CompressConfig(**wrong)


def test_a_model_at_chance_has_nothing_to_lose() -> None:
    generator = np.random.default_rng(1)
    right, other = generator.normal(10, 1, 50), generator.normal(10, 1, 50)
    assert not is_above_chance(right, other)
    assert is_above_chance(right - 2, other)
    for count in (20, 200, 20_000):  # exact binomial tails
        least = {20: 15, 200: 113, 20_000: 10_117}[count]
        for wins, said in ((least - 1, False), (least, True)):
            costs = np.where(np.arange(count) < wins, 0.0, 2.0)
            assert is_above_chance(costs, np.ones(count)) == said


def test_many_questions_take_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    tokens = generator.integers(2, 20, 300).astype(float)
    rise = tokens * generator.normal(0.005, 0.02, 300)

    def found() -> Loss:
        return loss_of(np.zeros(300), rise, tokens, keep=0.99, confidence=0.95, seed=1)

    whole = found()
    monkeypatch.setattr(choice, "_DRAWN_AT_ONCE", 1000)
    parts = found()
    assert parts.low == pytest.approx(whole.low, abs=1e-6)


# --- all of it ------------------------------------------------------------------------------------


def test_files_have_the_size_that_was_foretold_and_answer_as_measured(
    base: Path, tmp_path: Path
) -> None:
    model = load_model(base / "model")
    found = list(plans(model, options_of(model, {})))
    assert [plan.bytes for plan in found] == sorted((p.bytes for p in found), reverse=True)
    heads = set()
    for plan in (found[0], found[-1]):
        file = tmp_path / "x.gguf"
        export_gguf(
            base / "model", file, ExportConfig(type=plan.type), formats=plan.formats,
            open_once=False,
        )  # fmt: skip
        heads.add(file.stat().st_size - plan.bytes)
    assert len(heads) == 1  # what the file says of the model is the same in all


def test_a_file_holds_what_gptq_made(base: Path, tmp_path: Path) -> None:
    model = load_model(base / "model", dtype=torch.float32)
    formats = {name: format_of(name, tuple(values.shape), "q4_0")
               for name, values in tensors(model)}  # fmt: skip
    rows = [torch.tensor([[5, 9, 11, 7, 30, 31, n]]) for n in range(10)]
    made = make_smaller(model, rows, formats, scale=False)
    file = tmp_path / "x.gguf"
    export_gguf(base / "model", file, ExportConfig(type="q4_0"), stored=made.stored)
    read = dict(dequantised(file, model.config).named_parameters())
    for name, values in model.named_parameters():
        if name.startswith("blocks."):
            assert torch.equal(read[name], values), name
    short = dict(made.stored) | {"blk.0.attn_q.weight": made.stored["blk.0.attn_q.weight"][1:]}
    with pytest.raises(
        ModelError, match=r"'blk\.0\.attn_q\.weight' must have 36,864 bytes in q4_0"
    ):
        export_gguf(base / "model", tmp_path / "y.gguf", ExportConfig(type="q4_0"), stored=short)
    assert not (tmp_path / "y.gguf").exists()


@pytest.fixture(scope="module")
def compressed(
    base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, list[str], Any]]:
    """What comes of a run that was interrupted once, and the files that were made, in order."""
    out, made = tmp_path_factory.mktemp("compressed") / "small", []
    make_file = candidates.make_file

    def stopped(plan: Any, *args: Any, **kwargs: Any) -> None:
        made.append(plan.name)
        if made == ["q8_0", "q4_k"]:
            raise KeyboardInterrupt
        make_file(plan, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "make_file", stopped)
        patch.setattr(candidates, "LADDER", ("q8_0", "q4_k", "q2_k"))
        patch.setattr(candidates, "MIXED_BITS", (3.5,))
        patch.setattr(candidates, "BY_GPTQ", ("q4_k",))
        with pytest.raises(KeyboardInterrupt):
            compress(base / "model", base / "rows.jsonl", out, settings())
        stats = compress(base / "model", base / "rows.jsonl", out, settings()).stats
        yield out, made, stats


def test_a_model_is_compressed_and_a_run_goes_on(
    base: Path, compressed: tuple[Path, list[str], Any]
) -> None:
    out, made, stats = compressed
    assert made == ["q8_0", "q4_k", "q4_k", *made[3:]]  # and what was measured is not made anew
    results = read_results(out)
    sizes = {c["name"]: c["bytes"] for c in results["candidates"]}
    assert sizes["q4_k gptq"] == sizes["q4_k"]
    chosen = next(c for c in results["candidates"] if c["name"] == results["choice"]["name"])
    file = out / "model.gguf"
    assert file.stat().st_size == chosen["bytes"] == stats["bytes"]
    assert chosen["loss"]["verdict"] == "keeps"
    tested = sorted(results["candidates"][1:], key=lambda c: (c["expected"], -c["bytes"]))
    accepted = list(itertools.takewhile(lambda c: c["loss"]["verdict"] == "keeps", tested))
    assert chosen["bytes"] == min(c["bytes"] for c in accepted)
    model = load_model(base / "model")
    tokenizer = load(base / "model")
    questions = read_questions(base / "rows.jsonl", tokenizer, context=64, most=200, seed=1)
    before = nats(model, questions.right)
    after = nats(dequantised(file, model.config), questions.right)
    kept = math.exp(-float((after - before).sum() / questions.tokens.sum()))
    assert kept == pytest.approx(chosen["loss"]["kept"], abs=1e-6)
    assert "was taken" in (out / "report.html").read_text()
    assert (out / "candidates.svg").is_file()


def test_another_choice_measures_nothing_anew(
    base: Path, compressed: tuple[Path, list[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures are kept by what they depend on; the decision depends on them and is kept nowhere."""
    out, made, _ = compressed
    source, before, rows = base / "rows.jsonl", list(made), read_results(out)["candidates"]
    first = read_results(out)["choice"]["name"]

    def taken(**changes: Any) -> str:
        compress(base / "model", source, out, settings(**changes))
        return str(read_results(out)["choice"]["name"])

    def never(*given: Any, **more: Any) -> None:
        raise AssertionError("measured anew")

    for name in ("nats", "nats_in", "options_of", "sensitivities", "measure_importance"):
        monkeypatch.setattr(measurements, name, never)
    monkeypatch.setattr(report, "draw", lambda found: None)  # that takes long

    assert taken(keep="50%") == first
    most = next(c["bytes"] for c in rows if c["name"] == "q4_k")
    fitting = [c for c in rows[1:] if c["bytes"] <= most]
    best = max(c["loss"]["kept"] for c in fitting)
    chosen = taken(size=f"{most / 1000:.3f}KB")
    assert next(c["loss"]["kept"] for c in fitting if c["name"] == chosen) == best
    # Refused: what is there stays as it is, the figures are shown, with the reason.
    file = (out / "model.gguf").read_bytes()
    for changes, message in (
        ({"keep": "99.9999%"}, r"q8_0, from which least is expected to be lost, keeps .* at least "
                               r".*: \d+\.\d\d points too few"),
        ({"size": "180KB"}, r"the smallest, .*, has .*, \d.* too many"),
    ):  # fmt: skip
        with pytest.raises(NoCandidateError, match=message) as refused:
            taken(**changes)
        shown = read_results(refused.value.directory)
        assert (shown["choice"], shown["refusal"]) == (None, str(refused.value))
        assert len(shown["candidates"]) == len(rows)
        assert "Nothing was taken" in (refused.value.directory / "report.html").read_text()
    assert (out / "model.gguf").read_bytes() == file
    assert made == before
    for place in candidates_of(out).rglob("*.gguf"):
        place.unlink()  # whoever wants the space
    monkeypatch.setattr(measurements, "measure_importance", measure_importance)
    assert taken() == first
    assert made == [*before, first]
    assert not (candidates_of(out) / "results.json").exists()  # that of the refusal
    # Other questions: the files are made of the same plans, the answers are other answers.
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="at most 1KB"):
        compress(base / "model", source, out, settings(questions=20, size="1KB"))
    known = json.loads((candidates_of(out) / "files" / "whole" / "model.json").read_text())
    assert len(known) == 1  # with other questions the text is another that shows what matters


def test_checkpoints_for_torch_are_candidates_as_well(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("LADDER", ("q8_0",)), ("MIXED_BITS", ()), ("BY_GPTQ", ())):
        monkeypatch.setattr(candidates, name, few)
    monkeypatch.setattr(report, "draw", lambda found: None)  # that takes long
    monkeypatch.setattr(measurements, "sensitivities", lambda *given, **more: {})
    model, out = load_model(base / "model", dtype=torch.float32), tmp_path / "small"
    foretold = {plan.name: plan for plan in packed_plans(model, {}, {})}
    assert set(foretold) == {"torch int8", "torch int4", "torch int4 gptq"}
    assert foretold["torch int4"].expected > 50 * foretold["torch int8"].expected > 0
    wanted = settings(packed=True, size=f"{foretold['torch int4'].bytes / 1000 + 9:.3f}KB")
    compress(base / "model", base / "rows.jsonl", out, wanted)
    found = {each["name"]: each for each in read_results(out)["candidates"]}
    assert set(found) == {"model", "q8_0", *foretold}
    for name, plan in foretold.items():  # what the file says of its tensors comes on top
        file = candidates_of(out) / "files" / "whole" / name.replace(" ", "-")
        with (file / "model.safetensors").open("rb") as opened:
            head = 8 + int.from_bytes(opened.read(8), "little")
        assert found[name]["bytes"] == plan.bytes + head
    # What was taken is a model directory, and answers as measured.
    assert read_results(out)["choice"]["name"].startswith("torch int4")
    assert not (out / "model.gguf").exists()
    questions = read_questions(base / "rows.jsonl", load(out), context=64, most=200, seed=1)
    before, after = (nats(load_model(place, dtype=torch.float32), questions.right)
                     for place in (base / "model", out))  # fmt: skip
    kept = math.exp(-float((after - before).sum() / questions.tokens.sum()))
    taken = found[read_results(out)["choice"]["name"]]
    assert kept == pytest.approx(taken["loss"]["kept"], abs=1e-6)
    # Without them the same figures are read, and these are left out.
    compress(base / "model", base / "rows.jsonl", out, settings(size="1MB"))
    assert [each["name"] for each in read_results(out)["candidates"]] == ["model", "q8_0"]
    assert (out / "model.gguf").exists()
    assert not (out / "model.safetensors").exists()


def test_what_is_kept_is_checked(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged figures are measured anew, damaged files made anew, failures tried again."""
    written, speeds = iter((b"one", b"one", b"other")), iter([None, None, measured_speed()])
    monkeypatch.setattr(
        measurements, "make_file", lambda plan, source, file, **_: file.write_bytes(next(written))
    )
    monkeypatch.setattr(measurements, "nats_in", lambda *_: np.array([float(next(costs))] * 2))
    monkeypatch.setattr(measurements, "speed_of", lambda *_: (next(speeds), "not installed"))
    costs = itertools.count(1)
    plan = candidates.Plan("q4_k gptq", "q4_k", {}, 3)
    one = Completion(np.array([1, 2, 3], dtype=np.uint32), np.array([False, True, True]))
    questions = Questions([one, one], [one, one])

    def found(config: CompressConfig | None = None) -> measurements.MeasuredModel:
        model: Any = load_model(base / "model")
        config = config or settings()
        return measurements.MeasuredModel(model, base, tmp_path / "m", "hash", [], config)

    def answers() -> float:
        return float(found().answers(plan, questions)[0])

    figures, file = tmp_path / "m" / "q4_k-gptq.json", tmp_path / "m" / "q4_k-gptq.gguf"
    assert [answers(), answers(), found().bytes(plan)] == [1, 1, 3]
    kept = json.loads(figures.read_text())
    (key,) = (each for each in kept if each.startswith("answers"))
    for expected, wrong in enumerate(
        ([], [3.0], [1.0, None], [1.0, "x"], [math.nan] * 2, {"a": 1}), start=2
    ):
        figures.write_text(json.dumps({**kept, key: wrong}))
        assert answers() == expected
    figures.write_text("[]")
    assert answers() == 8
    # A file that is damaged is made again; where it comes out the same, its figures hold.
    file.write_bytes(b"damaged")
    found().file(plan)
    assert file.read_bytes() == b"one"
    assert answers() == 8
    file.unlink()
    found().file(plan)
    assert file.read_bytes() == b"other"
    assert answers() == 9
    # What was in the way of a speed may be mended.
    timed = settings(measure_speed=True)
    assert [found(timed).speed(plan, ["a"]).measured for _ in range(2)] == [None, None]
    assert [found(timed).speed(plan, ["a"]).measured for _ in range(2)] == [measured_speed()] * 2
    monkeypatch.setattr(measurements, "nats_in", lambda *_: np.array([math.nan] * 2))
    with pytest.raises(ModelError, match="what is no number"):
        found().answers(plan, Questions([one, one, one], []))


def measured_speed() -> Measurement:
    return Measurement(1.0, 1.0, 100.0, 200.0, None, 1.0)


@pytest.mark.slow
def test_pruned_models_are_candidates_in_the_same_sequence(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "LADDER", ("q8_0",))
    monkeypatch.setattr(candidates, "MIXED_BITS", ())
    monkeypatch.setattr(candidates, "BY_GPTQ", ())
    text, out = tmp_path / "text.txt", tmp_path / "small"
    rows = [json.loads(line) for line in (base / "rows.jsonl").read_text().splitlines()]
    text.write_text("\n<|endoftext|>\n".join(row["prompt"] + row["completion"] for row in rows * 2))
    wanted = settings(prune="0.8", prune_steps=3, calibration=str(text), threads=1, keep="5%")
    compress(base / "model", base / "rows.jsonl", out, wanted)
    found = {each["name"]: each for each in read_results(out)["candidates"]}
    assert set(found) == {"model", "q8_0", "80% q8_0"}
    assert found["80% q8_0"]["bytes"] < 0.9 * found["q8_0"]["bytes"]
    # The order is that of how far each is from the whole model on text that was held back.
    assert found["80% q8_0"]["expected"] > found["q8_0"]["expected"]
    pruned = load_model(candidates_of(out) / "pruned" / "0.8")
    before = (candidates_of(out) / "pruned" / "0.8" / "model.safetensors").stat().st_mtime_ns
    assert pruned.config.parameters <= 0.8 * load_model(base / "model").config.parameters
    compress(base / "model", base / "rows.jsonl", out, dataclasses.replace(wanted, size="1MB"))
    assert (
        candidates_of(out) / "pruned" / "0.8" / "model.safetensors"
    ).stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="is not the questions"):
        compress(base / "model", text, tmp_path / "x", dataclasses.replace(wanted))


def test_an_unfit_place_is_refused(base: Path, tmp_path: Path) -> None:
    (tmp_path / "small.candidates").mkdir()
    (tmp_path / "small.candidates" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"small\.candidates holds something that linnet did not"):
        compress(base / "model", base / "rows.jsonl", tmp_path / "small", settings())


def test_what_is_no_model_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    (tmp_path / "x.bin").write_bytes(b"GGUF")
    for name, said in (
        ("x.gguf", r"Got a GGUF file; make one of it first: linnet import \S*x\.gguf"),
        ("x.bin", "it has no config.json"),
        ("x", "it does not exist"),
    ):
        with pytest.raises(ModelError, match=f"expected a model directory.*{said}"):
            compress(tmp_path / name, tmp_path / "rows.jsonl", tmp_path / "out", settings())


def test_questions_must_say_something(base: Path, tmp_path: Path) -> None:
    rows = (base / "rows.jsonl").read_text().splitlines()
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(rows[:5]))
    with pytest.raises(DataError, match="at least 8 questions"):
        compress(base / "model", few, tmp_path / "x", settings())
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text("\n".join([*rows[:8], '{"text": "Nothing is asked here."}']))
    heard = Listening()
    read_questions(mixed, load(base / "model"), context=64, most=9, seed=1, progress=heard)
    assert heard.warnings == [
        f"{mixed}: 1 of 9 rows left out: a text without a prompt has no right answer"
    ]
    # What a pruned model is distilled on must not judge it, under whatever name and in whatever
    # order it comes.
    copied, tokenizer = tmp_path / "copied.csv", load(base / "model")
    with copied.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(json.loads(row) for row in reversed(rows[:12]))
    asked: dict[str, Any] = {"context": 64, "most": 99, "seed": 1, "learned": copied}
    heard = Listening()
    found = read_questions(base / "rows.jsonl", tokenizer, progress=heard, **asked)
    assert len(found.right) == len(rows) - 12
    assert (
        f"12 of {len(rows)} questions left out: they are in {copied} as well" in heard.warnings[0]
    )
    pruned = settings(prune="0.5", calibration=str(copied))
    few.write_text("\n".join(rows[:12]))
    with pytest.raises(DataError, match=r"to judge by that are not in .*copied\.csv\. Got 0"):
        compress(base / "model", few, tmp_path / "x", pruned)
    brief = tmp_path / "brief.txt"
    brief.write_text("ba di ko lu me po")
    with pytest.raises(DataError, match=r"at least 5 texts .* Got 1; give more text"):
        compress(
            base / "model", base / "rows.jsonl", tmp_path / "z", settings(calibration=str(brief))
        )
    with pytest.raises(ConfigError, match=r"at most 1KB; the smallest, .* has more than"):
        compress(base / "model", base / "rows.jsonl", tmp_path / "z", settings(size="1KB"))
    assert not list(tmp_path.rglob("*.gguf"))  # before any candidate is made
    # The same one again tells nothing new; all behind one prompt none has another.
    again = tmp_path / "again.jsonl"
    again.write_text("\n".join(rows[:9] * 20))
    tokenizer, heard = load(base / "model"), Listening()
    found = read_questions(again, tokenizer, context=64, most=200, seed=1, progress=heard)
    assert len(found.right) == 9
    assert heard.warnings == [
        f"{again}: 171 of 180 rows left out: another one has the same question and answer"
    ]
    made = [{"prompt": "Say ba." if n % 5 else "Say di.", "completion": f" {n}!"}
            for n in range(20)]  # fmt: skip
    again.write_text("\n".join(map(json.dumps, made)))
    found = read_questions(again, tokenizer, context=64, most=200, seed=1)
    for right, other in zip(found.right, found.other, strict=True):
        asked, answer = (tokenizer.decode(each.tokens.tolist()) for each in (right, other))
        assert ("Say di." in asked) != ("Say di." in answer)
    again.write_text("\n".join(json.dumps(row | {"prompt": "Say ba."}) for row in made))
    with pytest.raises(DataError, match="expected questions that differ"):
        read_questions(again, tokenizer, context=64, most=200, seed=1)
    odd = tmp_path / "odd.jsonl"
    odd.write_text("\n".join(
        json.dumps({"prompt": f"Tell me a thing{'.' * (n % 2)}", "completion": f" {n}{n} xyzzy"})
        for n in range(20)
    ))  # fmt: skip
    with pytest.raises(DataError, match="nothing to lose"):
        compress(base / "model", odd, tmp_path / "y", settings())
