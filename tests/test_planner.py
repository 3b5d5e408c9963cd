"""The planner: what follows from more text or time, what it refuses, and its arithmetic."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from linnet import planner
from linnet.config import from_mapping, parse_duration
from linnet.errors import BudgetError, ConfigError, DamagedError, DataError
from linnet.evaluate.tasks.baselines import ByteNgram
from linnet.model import Transformer
from linnet.model.layers import Attention
from linnet.planner import (
    CorpusFacts,
    MachineFacts,
    Plan,
    choose,
    choose_vocabulary,
    choosing,
    measuring,
)
from linnet.train import TrainConfig
from linnet.train.config import check_memory
from linnet.train.machine import flops_per_token

pytestmark = pytest.mark.usefixtures("reading_here")

FAST = MachineFacts("cpu", "bf16", 2, "a processor", 2e11)
TEXT = CorpusFacts(1000, 10_000_000, 2.5)


def plan_for(
    corpus: CorpusFacts = TEXT, machine: MachineFacts = FAST, *, budget: float = 300.0,
    spent: float = 5.0, vocab_size: int | None = None, **overrides: object,
) -> Plan:  # fmt: skip
    return choose(
        corpus, machine, budget=budget, spent=spent, overrides=overrides, vocab_size=vocab_size
    )


def facts(train_bytes: int) -> CorpusFacts:
    return CorpusFacts(max(1, train_bytes // 1000), train_bytes, 2.5)


@given(
    st.integers(20_000, 2_000_000_000),
    st.floats(1e9, 1e14),
    st.floats(10, 100_000),
    st.floats(1.0, 20.0),
)
@settings(max_examples=60, deadline=None)
def test_any_plan_that_is_made_can_be_trained(
    train_bytes: int, flops: float, budget: float, spent: float
) -> None:
    machine = MachineFacts("cpu", "fp32", 2, "a processor", flops)
    try:
        made = plan_for(facts(train_bytes), machine, budget=budget, spent=spent)
    except BudgetError:
        return
    training = from_mapping(TrainConfig, made.train, where="plan")
    assert training.model(made.vocab_size, end_of_text=0, pad=1).parameters == made.parameters
    assert 0 < training.seconds <= budget
    assert sum(made.seconds.values()) <= budget * 1.001 + 1
    assert made.steps >= 1
    assert Plan(**json.loads(json.dumps(vars(made)))) == made


@given(st.floats(60, 1_700), st.floats(1.0, 4.0), st.floats(1e10, 1e13))
@settings(max_examples=60, deadline=None)
def test_more_time_is_never_a_smaller_model(budget: float, longer: float, flops: float) -> None:
    machine = MachineFacts("cpu", "bf16", 2, "a processor", flops)
    # Up to the half hour beyond which contexts are longer.
    short = plan_for(machine=machine, budget=budget)
    long = plan_for(machine=machine, budget=min(1_900.0, budget * longer))
    assert long.train["width"] >= short.train["width"]
    assert long.train["depth"] >= short.train["depth"]


@given(
    st.integers(20_000, 10_000_000_000),
    st.integers(20_000, 10_000_000_000),
    st.sampled_from(choosing.SHAPES),
)
def test_more_text_is_never_a_smaller_vocabulary(
    one: int, other: int, shape: tuple[int, int, int]
) -> None:
    width, depth, _ = shape
    less, more = sorted((one, other))
    few = choose_vocabulary(less, width=width, depth=depth)
    many = choose_vocabulary(more, width=width, depth=depth)
    assert choosing.VOCABULARIES[0] <= few <= many


def test_a_faster_machine_gets_a_larger_model() -> None:
    slow = plan_for(machine=MachineFacts("cpu", "fp32", 2, "", 2e10))
    assert slow.parameters < plan_for().parameters
    assert slow.tokens_per_second > 0


def test_few_documents_are_not_repeated_for_ever() -> None:
    made = plan_for(facts(100_000), budget=3600)
    assert made.epochs == pytest.approx(choosing.MOST_EPOCHS, abs=0.01)
    assert made.seconds["train"] < 3600 / 2
    assert any("passes" in reason and "More documents" in reason for reason in made.reasons)


@pytest.mark.parametrize("train_bytes", [20_000, 10_000_000, 400_000_000, 4_000_000_000])
@pytest.mark.parametrize("spent", [1.0, 100.0])
def test_a_budget_too_short_names_one_that_works(train_bytes: int, spent: float) -> None:
    with pytest.raises(BudgetError) as caught:
        plan_for(facts(train_bytes), budget=1.0, spent=spent)
    said = str(caught.value)
    assert "a budget of 1s leaves no time to train" in said
    named = parse_duration(said.rpartition("allow at least ")[2])
    assert plan_for(facts(train_bytes), budget=named, spent=spent)
    with pytest.raises(BudgetError):
        plan_for(facts(train_bytes), budget=named / 2, spent=spent)


def test_what_the_user_sets_is_planned_with() -> None:
    made = plan_for(width=96, depth=3, matrix_lr=0.1, vocab_size=1000)
    assert (made.train["width"], made.train["depth"], made.vocab_size) == (96, 3, 1000)
    assert set(made.train) == set(choosing.PLANNED)
    assert 96 % made.train["head_width"] == 0
    long = plan_for(context=10_000)
    assert long.train["batch_tokens"] >= long.train["context"] == 10_000
    # With 48 only some of the shapes are possible.
    assert plan_for(head_width=48).train["width"] % 48 == 0


def test_few_documents_are_read_often_enough_however_slow_the_machine_turns_out() -> None:
    made = plan_for(facts(30_000), budget=60)
    assert made.seconds["train"] < 3  # an estimate by arithmetic alone
    assert made.train["steps"] == made.steps > 1
    assert 20 < made.train["seconds"] <= 60
    assert "steps" not in plan_for(facts(10_000_000), budget=60).train


@pytest.mark.parametrize("budget", [60, 300, 3600])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_context_is_one_for_conversations(budget: float, device: str) -> None:
    """Whatever the time; most of the training reads shorter rows, and the plan says why."""
    made = plan_for(machine=replace(FAST, device=device), budget=budget)
    config = from_mapping(TrainConfig, made.train, where="plan")
    assert config.context >= 1024
    assert config.context % config.resolved_short_length == 0
    assert 0.5 < config.short_rows < 1
    assert any("conversation" in reason for reason in made.reasons)
    small = plan_for(batch_tokens=512)
    assert (small.train["context"], small.train["short_rows"]) == (256, 0.0)
    # Short rows are a matter of the planner's own context.
    own = plan_for(context=200)
    assert (own.train["context"], own.train["short_rows"]) == (200, 0.0)
    assert not any("conversation" in reason for reason in own.reasons)


def test_what_compiling_costs_now_decides_over_it() -> None:
    """On a busy machine the same budget trains without."""
    idle = plan_for(machine=replace(FAST, compile_seconds=5.0))
    busy = plan_for(machine=replace(FAST, compile_seconds=150.0))
    assert busy.tokens_per_second < idle.tokens_per_second
    assert busy.parameters <= idle.parameters


def test_steps_are_cut_by_the_budget_but_not_by_an_estimate() -> None:
    made = plan_for(steps=10)
    assert made.steps == 10
    assert made.seconds["train"] < 60 < made.train["seconds"]
    assert made.train["seconds"] == pytest.approx(made.seconds_for_training, abs=1)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"width": 37}, "width must be a multiple of head_width. Got 37 and 32"),
        ({"width": 0}, "width must be at least 1. Got 0"),
        ({"width": "wide"}, "here: width must be a whole number. Got 'wide'"),
        ({"depth": -1}, "depth must be at least 1. Got -1"),
        ({"widht": 64}, "here: unknown setting 'widht'; did you mean 'width'?"),
        ({"batch_tokens": 16}, "batch_tokens must be at least the context"),
    ],
)
def test_settings_that_cannot_work_are_refused(overrides: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planner.check_settings(overrides, where="here")
    assert said in str(caught.value)


def test_a_model_larger_than_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = TrainConfig(steps=1).model(2048, end_of_text=0, pad=1)
    check_memory(shape, "cpu")
    monkeypatch.setattr("linnet.train.config.memory_bytes", lambda: 1_000_000)
    with pytest.raises(ConfigError, match=r"needs .* MB of memory to train, .* has 1\.0 MB"):
        check_memory(shape, "cpu")
    monkeypatch.setattr("linnet.train.config.memory_bytes", lambda: None)
    check_memory(shape, "cpu")


def test_without_held_out_text_nothing_is_predicted() -> None:
    made = plan_for(CorpusFacts(100, 1_000_000, None))
    assert made.expected_bits_per_byte is None
    assert not any("5-gram" in reason for reason in made.reasons)


@pytest.mark.parametrize("changes", [{}, {"tied": True}, {"family": "gpt2"}, {"family": "qwen3"}])
def test_arithmetic_per_token_is_what_torch_counts(changes: dict[str, object]) -> None:
    """Against torch's own counter, over a forward and a backward pass."""
    values = {"steps": 1, "width": 64, "depth": 3, "head_width": 32, "context": 64, **changes}
    config = from_mapping(TrainConfig, values, where="test")
    shape = config.model(512, end_of_text=0, pad=1)
    model = Transformer(shape)
    for module in model.modules():
        if isinstance(module, Attention):
            module.written_out = True  # the counter does not know the fused kernel for CPU
    ids = torch.arange(2 * 64).view(2, 64)
    with FlopCounterMode(display=False) as counter:
        model(ids).sum().backward()
    counted = counter.get_total_flops() / ids.numel()
    # Exact but for vectors and learned positions, which count as if they were matrices.
    assert flops_per_token(shape) == pytest.approx(counted, rel=0.04)


def corpus_of(tmp_path: Path, count: int) -> Path:
    from linnet.data import DataConfig, prepare

    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(count):
        words = " ".join(f"{number * 40 + k:d} green ferns grow" for k in range(40))
        (folder / f"{number}.txt").write_text(f"Note {number}. {words}.\n")
    return prepare([folder], tmp_path / "corpus", DataConfig(workers=1)).path


def test_measuring_a_corpus(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, 60)
    found = planner.measure_corpus(corpus)
    from linnet.data import read_documents

    train = [d.text for d in read_documents(corpus, "train")]
    held = [d.text for d in read_documents(corpus, "validation")]
    assert found.documents == len(train)
    assert found.train_bytes == sum(len(text.encode()) for text in train)
    ngram = ByteNgram(train)
    spent = sum(ngram.bits(text) for text in held) / sum(len(text.encode()) for text in held)
    assert found.ngram_bits_per_byte == pytest.approx(spent)


def test_too_little_text_says_how_much_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"at least 20\.0 KB of text .* Got .*; add documents"):
        planner.measure_corpus(corpus_of(tmp_path, 5))


def test_a_plan_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(tmp_path, 60)
    monkeypatch.setattr(planner, "measure_machine", lambda runtime: FAST)
    made = planner.plan(corpus, tmp_path / "plan", budget=60.0, overrides={"width": 64})
    read = planner.read_plan(tmp_path / "plan")
    assert read.budget == 60.0
    assert read.train["width"] == 64
    assert made.manifest.config == {"budget": 60.0, "train.width": 64}
    assert made.stats == {"parameters": read.parameters, "steps": read.steps}
    text = (tmp_path / "plan" / "plan.json").read_text()
    (tmp_path / "plan" / "plan.json").write_text(text.replace('"budget"', '"budgie"'))
    with pytest.raises(DamagedError, match=r"plan\.json is damaged .* run linnet build again"):
        planner.read_plan(tmp_path / "plan")


def test_the_machine_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from linnet.runtime import Runtime

    monkeypatch.setattr(measuring, "PROBE_SECONDS", 0.1)
    before = torch.get_num_threads()
    found = planner.measure_machine(Runtime("cpu", "fp32", 1))
    assert found.flops > 1e8  # any machine of this century
    assert found.processor
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("count", "shown"), [(45_216, "45 k"), (5_243_904, "5.2 M"), (1_500_000_000, "1.5 B")]
)
def test_parameters_are_shown_short(count: int, shown: str) -> None:
    assert planner.show_parameters(count) == shown
