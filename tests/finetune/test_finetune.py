"""Fine-tuning: the steps that transformers and peft make, exact resume, results others load."""

import json
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import Result
from safetensors.torch import load_file
from typer.testing import CliRunner

from linnet.cli.finetune import app
from linnet.errors import BudgetError, ConfigError, DataError, ModelError, OutputError, StoppedError
from linnet.finetune import budget
from linnet.finetune.budget import row_length, update_rows
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.encoding import Example
from linnet.finetune.examples import load_examples
from linnet.finetune.finetune import finetune, preview_examples, usual_command
from linnet.finetune.packing import PackedBatches
from linnet.model import load_model
from linnet.model.merging import merge_adapter
from linnet.progress import Progress
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer
from linnet.train import loop as loop_module
from linnet.train import state as state_module
from linnet.train.loop import Verdict
from linnet.train.optimizers import AdamWToStart

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = {
    "threads": 1,
    "compile": "no",
    "dtype": "fp32",
    "batch_tokens": 256,
    "micro_tokens": 128,
    "template": "none",
    "validation_interval": 4,
    "general_tokens": 0,
    "sample_interval": 1000,
    "steps": 12,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama, written by transformers, with a tokenizer and rows to train on."""
    transformers = pytest.importorskip("transformers")
    directory = tmp_path_factory.mktemp("base")
    rows = [
        {"prompt": f"What is {a} and {b}?", "completion": f" {a} and {b} are {a + b}."}
        for a in range(11)
        for b in range(11)
    ]
    random.Random(1).shuffle(rows)
    (directory / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    texts = [row["prompt"] + row["completion"] for row in rows]
    config = TokenizerConfig(kind="bpe", vocab_size=320)
    train_tokenizer(texts, directory / "tokenizer", config, inputs={})
    tokenizer = load(directory / "tokenizer")
    torch.manual_seed(0)
    shape = transformers.LlamaConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.end_of_text,
        eos_token_id=tokenizer.end_of_text,
    )
    transformers.LlamaForCausalLM(shape).save_pretrained(directory / "model")
    tokenizer.save(directory / "model")
    return directory


def settings(**changes: object) -> FinetuneConfig:
    return FinetuneConfig(**(SETTINGS | changes))  # type: ignore[arg-type]


def losses(directory: Path, name: str = "loss") -> list[float]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [entry[name] for entry in map(json.loads, lines) if name in entry]


def reference_losses(model: torch.nn.Module, base: Path, config: FinetuneConfig) -> list[float]:
    """The same run, one example at a time, by transformers and torch alone."""
    tokenizer = load(base / "model")
    examples = load_examples([base / "rows.jsonl"], tokenizer, config)
    length = row_length([e.places for e in examples.train + examples.held_out], config)
    rows = config.batch_tokens // length
    stream = PackedBatches(examples.train, rows=rows, length=length, seed=config.seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    found = []
    for step in range(config.steps):
        progress = (step + 0.5) / config.steps
        rate = progress / config.warmup if progress < config.warmup else None
        if rate is None:
            share = (progress - config.warmup) / (1 - config.warmup)
            rate = 0.5 * (1 + np.cos(np.pi * share))
        batch = stream.next()
        assert batch.segment_ids is not None
        assert batch.loss_mask is not None
        total = torch.zeros(())
        for row in range(len(batch.tokens)):
            for segment in batch.segment_ids[row].unique():
                here = batch.segment_ids[row] == segment
                if not batch.loss_mask[row, here].any():
                    continue
                logits = model(batch.tokens[row : row + 1, here]).logits[0]
                each = F.cross_entropy(logits, batch.targets[row, here], reduction="none")
                total = total + each[batch.loss_mask[row, here]].sum()
        loss = total / batch.loss_mask.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, config.clip)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * rate
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("recompute", ["no", "yes"])
def test_full_steps_are_those_of_transformers(recompute: str, base: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = settings(
        method="full", lr=3e-3, weight_decay=0.1, warmup=0.25, checkpoint_activations=recompute
    )
    found = finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
    model = transformers.AutoModelForCausalLM.from_pretrained(base / "model").train()
    expected = reference_losses(model, base, config)
    assert expected[-1] < expected[0] - 0.3
    assert losses(found.path) == pytest.approx(expected, abs=3e-5)


def test_lora_steps_are_those_of_peft(base: Path, tmp_path: Path) -> None:
    """peft begins with our matrices and makes the same steps; then it loads what we wrote."""
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    config = settings(lr=1e-1, rank=4, rslora=True, targets=("q_proj", "down_proj"))
    first = settings(lr=1e-30, rank=4, rslora=True, targets=("q_proj", "down_proj"), steps=1)
    finetune(base / "model", [base / "rows.jsonl"], tmp_path / "start", first)
    found = finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
    assert found.manifest.kind == "adapter"

    def theirs(adapter: Path) -> torch.nn.Module:
        model = transformers.AutoModelForCausalLM.from_pretrained(base / "model")
        return peft.PeftModel.from_pretrained(model, adapter, is_trainable=True)

    expected = reference_losses(theirs(tmp_path / "start").train(), base, config)
    assert expected[-1] < expected[0] - 0.05
    assert losses(found.path) == pytest.approx(expected, abs=3e-5)
    ids = torch.tensor([[5, 9, 30, 7]])
    with torch.inference_mode():
        changed = theirs(found.path).eval()(ids).logits
        plain = load_model(base / "model")(ids)
    assert (changed - plain).abs().max() > 0.01


def test_full_gives_a_model_directory_that_transformers_reads(base: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = settings(method="full", lr=3e-3)
    found = finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
    assert found.manifest.kind == "model"
    model = transformers.AutoModelForCausalLM.from_pretrained(found.path)
    transformers.AutoTokenizer.from_pretrained(found.path)
    assert (found.path / "loss.svg").is_file()
    ids = torch.tensor([[5, 9, 30, 7]])
    with torch.inference_mode():
        torch.testing.assert_close(load_model(found.path)(ids), model(ids).logits)
    validations = losses(found.path, "validation_loss")
    assert found.stats["base_loss"] == validations[0] > min(validations[1:])
    assert found.stats["validation_loss"] == min(validations)
    again = finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
    assert again.manifest.created == found.manifest.created, "it was made anew"


@pytest.mark.parametrize("micro", [64, 256])
def test_the_loss_does_not_depend_on_how_a_batch_is_cut(
    micro: int, base: Path, tmp_path: Path
) -> None:
    """Rows hold different numbers of trained tokens; a mean of means would be another loss."""
    found = {
        tokens: losses(
            finetune(
                base / "model",
                [base / "rows.jsonl"],
                tmp_path / str(tokens),
                settings(lr=1e-2, context=64, batch_tokens=256, micro_tokens=tokens, steps=6),
            ).path
        )
        for tokens in (micro, 128)
    }
    assert found[micro] == pytest.approx(found[128], abs=3e-5)


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask to stop as Ctrl-C would, once ``step`` steps are done."""
    original = loop_module.Loop._step

    def counted(self: loop_module.Loop, task: object) -> None:
        original(self, task)  # type: ignore[arg-type]
        if self.pace.step == step:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop_module.Loop, "_step", counted)


def assert_same_tensors(one: Path, other: Path, name: str) -> None:
    first, second = load_file(one / name), load_file(other / name)
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key


@pytest.mark.parametrize(
    ("changes", "weights"),
    [
        ({"lora_dropout": 0.2, "dtype": "bf16"}, "adapter_model.safetensors"),
        ({"method": "full", "pull": 3.0}, "model.safetensors"),
    ],
)
def test_a_stopped_run_ends_with_the_same_bits(
    changes: dict[str, object],
    weights: str,
    base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config, rows = settings(lr=1e-2, **changes), [base / "rows.jsonl"]
    whole = finetune(base / "model", rows, tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        stop_at(5, patch)
        with pytest.raises(StoppedError, match=r"step 5 of 12.*same command"):
            finetune(base / "model", rows, tmp_path / "resumed", config)
    saved = load_file(tmp_path / ".resumed.partial" / "state" / "state.safetensors")
    if weights.startswith("adapter"):
        assert all(".low_rank." in name for name in saved if name.startswith("model."))
    resumed = finetune(base / "model", rows, tmp_path / "resumed", config)
    assert_same_tensors(whole.path, resumed.path, weights)
    assert losses(whole.path) == losses(resumed.path)
    assert not (resumed.path / "state").exists()


def test_equal_runs_give_equal_bytes(base: Path, tmp_path: Path) -> None:
    """Every file that counts, and so the hash of the content; readable as the umask says."""
    before = os.umask(0o027)
    try:
        one, other = (
            finetune(base / "model", [base / "rows.jsonl"], tmp_path / name, settings(steps=2))
            for name in ("one", "other")
        )
    finally:
        os.umask(before)
    assert one.content == other.content
    name = "adapter_model.safetensors"
    assert (one.path / name).read_bytes() == (other.path / name).read_bytes()
    assert {file.stat().st_mode & 0o777 for file in one.path.iterdir()} == {0o640}


SCRIPT = """
import json, sys
from pathlib import Path
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.finetune import finetune
base, out, settings = sys.argv[1:]
finetune(base + "/model", [base + "/rows.jsonl"], Path(out), FinetuneConfig(**json.loads(settings)))
"""


def test_a_killed_run_ends_with_the_same_bits(base: Path, tmp_path: Path) -> None:
    changes = SETTINGS | {"steps": 60, "save_seconds": 0.02, "lr": 1e-2}
    command = [sys.executable, "-c", SCRIPT, str(base), str(tmp_path / "killed")]
    killed = subprocess.Popen([*command, json.dumps(changes)])
    state = tmp_path / ".killed.partial" / "state" / "state.safetensors"
    while not state.exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert state.exists(), "the run ended before it could be killed"
    assert not (tmp_path / "killed").exists()
    config, rows = FinetuneConfig(**changes), [base / "rows.jsonl"]  # type: ignore[arg-type]
    resumed = finetune(base / "model", rows, tmp_path / "killed", config)
    whole = finetune(base / "model", rows, tmp_path / "whole", config)
    assert_same_tensors(whole.path, resumed.path, "adapter_model.safetensors")


def test_a_full_disk_leaves_the_last_save(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first save is whole, the second finds no room: the run goes on from the first."""
    changes = {"lr": 1e-2, "save_seconds": 0.0}
    monkeypatch.setattr(loop_module, "SAVING_SHARE", 1e9)
    config, rows = settings(**changes), [base / "rows.jsonl"]
    whole = finetune(base / "model", rows, tmp_path / "whole", config)
    out = tmp_path / "full"
    state = state_module.state_file(tmp_path / ".full.partial")
    with monkeypatch.context() as patch:
        original = os.fsync

        def fails(descriptor: int) -> None:
            if state.exists() and "state.safetensors" in os.readlink(f"/proc/self/fd/{descriptor}"):
                raise OSError(28, "No space left on device")
            original(descriptor)

        patch.setattr(os, "fsync", fails)
        with pytest.raises(OutputError, match=r"disk is full.*same command"):
            finetune(base / "model", rows, out, config)
    assert not list(state.parent.glob(".*.partial")), "what was half written takes room"
    assert state_module.read_numbers(state)["pace"]["step"] == 1
    resumed = finetune(base / "model", rows, out, config)
    assert_same_tensors(whole.path, resumed.path, "adapter_model.safetensors")


def test_the_best_is_kept_and_patience_ends_the_run(base: Path, tmp_path: Path) -> None:
    """A rate that ruins the model: what comes out is the model before it was ruined."""
    config = settings(method="full", lr=3.0, steps=40, patience=3, validation_interval=2, warmup=0)
    found = finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
    assert found.stats["best_step"] == 0
    assert found.stats["steps"] == 6
    assert_same_tensors(base / "model", found.path, "model.safetensors")


def test_a_judge_can_stop_a_run_and_what_was_kept_before_stays(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How a limit on forgetting ends a run."""
    original = loop_module.Loop.__init__

    def strict(self: loop_module.Loop, *args: object, **named: object) -> None:
        original(self, *args, **named)  # type: ignore[arg-type]
        calls = iter((Verdict("keep"), Verdict("keep"), Verdict("stop", "it has seen enough")))
        self.judge = lambda figures, best: next(calls)

    monkeypatch.setattr(loop_module.Loop, "__init__", strict)
    config = settings(lr=1e-2, validation_interval=2)
    found = finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
    assert found.stats["best_step"] == 2
    assert found.stats["steps"] == 4
    assert '"event": "stopped: it has seen enough"' in (found.path / "metrics.jsonl").read_text()


def test_the_pull_is_towards_the_start() -> None:
    """Against the written-out rule, with no gradient at all."""
    weight = torch.nn.Parameter(torch.tensor([[1.0, 2.0]]))
    start = torch.tensor([[0.0, 4.0]], dtype=torch.bfloat16)
    optimizer = AdamWToStart([{"params": [weight]}], pull=5.0, starts={weight: start})
    optimizer.param_groups[0]["lr"] = 0.1
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.tensor([[0.5, 3.0]]))


def test_a_pulled_run_stays_nearer(base: Path, tmp_path: Path) -> None:
    before = load_file(base / "model" / "model.safetensors")
    moved = {}
    for pull in (0.0, 30.0):
        config = settings(method="full", lr=3e-3, pull=pull)
        out = tmp_path / str(pull)
        found = finetune(base / "model", [base / "rows.jsonl"], out, config)
        after = load_file(found.path / "model.safetensors")
        moved[pull] = sum((after[name] - before[name]).norm().item() for name in before)
    assert 0 < moved[30.0] < 0.8 * moved[0.0]


def test_wrong_input_is_named(base: Path, tmp_path: Path) -> None:
    rows, out = [base / "rows.jsonl"], tmp_path / "out"
    with pytest.raises(ModelError, match=r"nowhere.*does not exist"):
        finetune(tmp_path / "nowhere", rows, out, settings())
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": ""}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:2"):
        finetune(base / "model", [bad], out, settings())
    with pytest.raises(ConfigError, match=r"nonsense.*q_proj"):
        finetune(base / "model", rows, out, settings(targets=("nonsense",)))
    with pytest.raises(ConfigError, match="pull is for --method full"):
        settings(pull=1.0)
    with pytest.raises(ConfigError, match="rank is for --method lora"):
        settings(method="full", rank=8)
    for wrong in (
        {"clip": -1.0},
        {"weight_decay": -3.0},
        {"batch_tokens": -1},
        {"micro_tokens": -5},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            settings(**wrong)
    adapter = finetune(base / "model", rows, tmp_path / "adapter", settings(steps=1))
    with pytest.raises(ConfigError, match="is an adapter; merge it"):
        finetune(adapter.path, rows, out, settings())
    with pytest.raises(ConfigError, match="is an adapter; merge it"):
        preview_examples(adapter.path, rows, settings())
    with pytest.raises(OutputError, match="which would be lost"):
        finetune(base / "model", rows, base / "model", settings())
    assert (base / "model" / "model.safetensors").is_file()
    merged = tmp_path / "merged"
    shutil.copytree(adapter.path, merged)
    with pytest.raises(OutputError, match="which would be lost"):
        merge_adapter(merged, merged, base=base / "model")
    assert (merged / "adapter_model.safetensors").is_file()
    damaged = tmp_path / "damaged"
    shutil.copytree(base / "model", damaged)
    (damaged / "model.safetensors").write_bytes(b"\x08")
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        finetune(damaged, rows, out, settings())
    assert not out.exists()


def test_what_a_run_takes_is_told_and_what_does_not_fit_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Listening(Progress):
        def message(self, text: str) -> None:
            said.append(text)

    rows, config = [base / "rows.jsonl"], settings(steps=2, micro_tokens=0)
    found = finetune(base / "model", rows, tmp_path / "out", config, progress=Listening())
    assert re.fullmatch(
        r"about [\d.]+ s: 2 steps of [\d.]+ s, 0.[\d]+ passes over 113 examples, fewer if held-out "
        r"ones stop improving; [\d.]+ MB of memory, [\d.]+ [MG]B are free",
        said[0],
    )
    assert found.stats["memory_expected"] > found.stats["trained_parameters"] * 12
    monkeypatch.setattr(budget, "available_memory", lambda device: 1 << 20)
    with pytest.raises(BudgetError, match=r"LoRA of 0 M parameters needs about .* free memory"):
        finetune(base / "model", rows, tmp_path / "none", config)
    assert not (tmp_path / "none").exists()


def made_examples(count: int, tokens: int) -> list[Example]:
    trained = np.arange(tokens + 1) > tokens // 2
    return [Example(np.zeros(tokens + 1, np.uint32), trained, f"{n}", 1) for n in range(count)]


@pytest.mark.parametrize(
    ("count", "tokens", "batch", "steps", "passes"),
    [
        (1, 40, 256, (30, 100), 100),  # no more than a hundred times
        (80, 40, 266, (300, 300), (10, 30)),
        (1000, 40, 3333, (300, 300), (20, 30)),
        (20_000, 100, 4096, (1460, 1600), 3),
        (30, 1000, 2500, (300, 300), (20, 30)),
    ],
)
def test_few_examples_get_smaller_updates_and_more_passes(
    count: int, tokens: int, batch: int, steps: tuple[int, int], passes: float | tuple[int, int]
) -> None:
    examples, config = made_examples(count, tokens), FinetuneConfig(context=1024)
    assert budget.usual_batch(examples) == batch
    length = row_length([tokens] * count, config)
    rows = update_rows(batch, length)
    found = budget.run_length(examples, config, rows=rows, length=length)
    assert steps[0] <= found.steps <= steps[1]
    assert found.steps == found.usual
    low, high = passes if isinstance(passes, tuple) else (0.97 * passes, 1.03 * passes)
    assert low <= found.steps / found.per_pass <= high
    fixed = budget.run_length(examples, FinetuneConfig(steps=7), rows=rows, length=length)
    assert (fixed.steps, fixed.usual) == (7, found.usual)
    twice = budget.run_length(examples, FinetuneConfig(epochs=2.0), rows=rows, length=length)
    assert twice.steps == pytest.approx(2 * found.per_pass, abs=1)
    timed = budget.run_length(examples, FinetuneConfig(seconds=9), rows=rows, length=length)
    assert timed.steps == 0


def test_a_run_too_short_to_matter_names_the_command_that_would_do() -> None:
    class Heard(Progress):
        def __init__(self) -> None:
            self.said: list[str] = []

        def warn(self, text: str) -> None:
            self.said.append(text)

    def warnings(count: int, steps: int, usual: int) -> list[str]:
        heard, planned = Heard(), budget.Length(steps, 8.0, usual, count)
        budget.warn_if_short(planned, steps, command="linnet it", step_seconds=1, progress=heard)
        return heard.said

    (said,) = warnings(80, 4, 300)
    assert re.search(r"4 steps \(0.5 passes over 80 examples\).*about 5 min: linnet it", said)
    assert warnings(80, 300, 300) == warnings(10, 40, 40) == warnings(9000, 100, 700) == []
    (alone,) = warnings(1, 50, 50)
    assert "there is one example" in alone
    config = settings(steps=4, targets=("q_proj", "v_proj"), method="lora", sweep=False)
    command = usual_command("org/base", ["my rows.jsonl"], Path("out"), config)
    parsed = shlex.split(command)
    assert parsed[:6] == ["linnet", "finetune", "org/base", "my rows.jsonl", "--out", "out"]
    assert "--steps" not in parsed
    assert parsed.count("--targets") == 2
    assert "--no-sweep" in parsed
    shown = CliRunner().invoke(app, [*parsed[2:], "--help"])
    assert shown.exit_code == 0, shown.output


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_shows_examples_and_trains(base: Path, tmp_path: Path) -> None:
    model, rows = base / "model", base / "rows.jsonl"
    plain = ("--template", "none")
    shown = invoke(model, rows, "--preview", *plain)
    assert shown.exit_code == 0, shown.output
    text = "".join(shown.output.split())
    assert "⟦" in text
    assert "Whatis" in text.split("⟦")[0]
    out = tmp_path / "out"
    quick = ("--steps", 2, "--threads", 1, "--compile", "no", "--batch-tokens", 256, "--no-sweep")
    done = invoke(model, rows, "--out", out, "--general-tokens", 0, *quick, *plain)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "bits per byte" in done.output
    assert (out / "adapter_model.safetensors").is_file()
    assert isinstance(invoke(model, rows).exception, ConfigError)


def test_rows_are_as_long_as_the_examples_want() -> None:
    assert row_length([20] * 50, settings(context=1024)) == 128
    assert row_length([20] * 50 + [900], settings(context=1024)) == 960
    assert row_length([1023] * 50, settings(context=1024)) == 1024


@pytest.mark.parametrize(
    ("parameters", "method", "lr"),
    [
        (10**9, "full", 5e-5),
        (10**9, "lora", 5e-4),
        (10**6, "full", 1e-3),
        (10**6, "lora", 1e-2),
        (10**13, "full", 1e-5),
    ],
)
def test_learning_rates_where_none_is_set(parameters: int, method: str, lr: float) -> None:
    assert settings(method=method).peak_lr(parameters) == pytest.approx(lr)
    assert settings(method=method, lr=0.5).peak_lr(parameters) == 0.5
