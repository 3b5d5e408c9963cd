"""Distillation: the loss is the published one, and a student comes near its teacher."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from linnet import artifact
from linnet.align.rollouts import Policy
from linnet.cli.distil import app
from linnet.compress.packed import export_packed
from linnet.distil import distil as distilling
from linnet.distil import divergence as divergences
from linnet.distil import loop as loops
from linnet.distil import saved_logits, written_texts
from linnet.distil.config import DistilConfig
from linnet.distil.distil import distil_model
from linnet.distil.divergence import DistillationLoss, divergence, matching
from linnet.distil.own_samples import OwnSamples
from linnet.distil.saved_logits import SavedBatches, SavedLogits
from linnet.distil.teachers import Expected, LiveTeacher
from linnet.distil.written_texts import TextPrompt, prompts_of_texts, write_texts
from linnet.errors import (
    ConfigError,
    ContradictionError,
    DamagedError,
    DataError,
    LinnetError,
    ModelError,
    StoppedError,
)
from linnet.export.config import PackedConfig
from linnet.finetune import finetune as finetune_module
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.encoding import Example
from linnet.finetune.examples import load_examples
from linnet.finetune.packing import PackedBatches
from linnet.finetune.replay import save_examples
from linnet.generate import Completion
from linnet.model import Transformer, load_checkpoint, load_model, save_checkpoint
from linnet.progress import Progress
from linnet.shards.batches import Batch
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer
from linnet.train import loop as loop_module
from linnet.train.distributed import Interrupt
from linnet.train.objectives import Loss, next_token
from linnet.train.state import read_numbers, read_tensors, write_tensors
from linnet.train.stream import Context
from tiny_transformer import model

if TYPE_CHECKING:
    from linnet.distil.teachers import Teacher

DRAW = torch.Generator().manual_seed(5)


class Listening(Progress):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def batch() -> Batch:
    tokens = torch.randint(60, (3, 12), generator=torch.Generator().manual_seed(8))
    mask = torch.rand(3, 12, generator=torch.Generator().manual_seed(9)) < 0.7
    return Batch(tokens, tokens.roll(-1, 1), mask)


def gradients(loss: Tensor, of: Transformer) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(of.parameters())))


def assert_same(ours: Loss, expected: Tensor, of: Transformer) -> None:
    """The same loss, and the same gradients."""
    torch.testing.assert_close(ours.sum, expected)
    for one, other in zip(gradients(ours.sum, of), gradients(expected, of), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


# --- the loss -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_divergence_is_that_of_trl(mixing: float, temperature: float) -> None:
    gkd = pytest.importorskip("trl.experimental.gkd")
    student = torch.randn(2, 5, 11, generator=DRAW).requires_grad_()
    teacher = torch.randn(2, 5, 11, generator=DRAW)
    expected = gkd.GKDTrainer.generalized_jsd_loss(
        student, teacher, beta=mixing, temperature=temperature, reduction="sum"
    )
    ours = student.detach().clone().requires_grad_()
    found = divergence(
        (ours.flatten(0, 1) / temperature).log_softmax(-1),
        (teacher.flatten(0, 1) / temperature).log_softmax(-1),
        mixing=mixing,
    ).sum()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, ours)[0], torch.autograd.grad(expected, student)[0]
    )


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_the_divergence_from_a_copy_is_nothing(mixing: float) -> None:
    one = model()
    loss = DistillationLoss(LiveTeacher(one), mixing=mixing)(one, batch())
    assert float(loss.sum.detach()) == pytest.approx(0, abs=1e-4)
    for gradient in gradients(loss.sum, one):
        assert float(gradient.abs().max()) < 1e-4


def test_without_a_weight_it_is_plain_training_bit_for_bit() -> None:
    one, given = model(), batch()
    plain, ours = next_token(one, given), DistillationLoss(LiveTeacher(model(2)), 0.0)(one, given)
    assert torch.equal(plain.sum, ours.sum)
    assert plain.weight == ours.weight
    for one_of, other in zip(gradients(plain.sum, one), gradients(ours.sum, one), strict=True):
        assert torch.equal(one_of, other)


@pytest.mark.parametrize(
    "changes", [{}, {"tied": False, "logit_bias": True}, {"logit_softcap": 3.0}]
)
def test_the_loss_is_what_its_formula_says(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergences, "CHUNK_ROWS", 7)
    monkeypatch.setattr(divergences, "CHUNK_LOGITS", 7)
    one, teacher, given = model(**changes), model(2), batch()
    loss = DistillationLoss(LiveTeacher(teacher), weight=0.6, temperature=2.0)(one, given)
    assert given.loss_mask is not None
    ours, theirs = (each(given.tokens)[given.loss_mask] for each in (one, teacher))
    apart = F.kl_div(
        (ours / 2).log_softmax(-1), (theirs.detach() / 2).log_softmax(-1),
        reduction="sum", log_target=True,
    )  # fmt: skip
    plain = F.cross_entropy(ours, given.targets[given.loss_mask], reduction="sum")
    assert_same(loss, 0.6 * 4 * apart + 0.4 * plain, one)
    found = loss.metrics["divergence"], loss.metrics["next_token"]
    sums = [float(each.sum) for each in found]  # type: ignore[union-attr]
    assert sums == pytest.approx([float(apart.detach()), float(plain.detach())])


def test_what_the_student_wrote_itself_counts_by_the_teacher_alone() -> None:
    one, teacher, given = model(), model(2), batch()
    sampled = torch.zeros(3, 12, dtype=torch.bool)
    sampled[1] = True
    mixed = given.replaced({**given.tensors, "sampled": sampled})
    loss = DistillationLoss(LiveTeacher(teacher), weight=0.5)(one, mixed)
    alone = DistillationLoss(LiveTeacher(teacher), weight=1.0)(one, given)
    assert given.loss_mask is not None
    others = given.replaced({**given.tensors, "loss_mask": given.loss_mask & ~sampled})
    assert_same(loss, 0.5 * alone.sum + 0.5 * next_token(one, others).sum, one)


def test_padding_and_packing_change_nothing() -> None:
    one, teacher = model(), LiveTeacher(model(2))
    tokens = torch.randint(60, (2, 9), generator=DRAW)
    objective = DistillationLoss(teacher, 0.7, mixing=0.4)
    alone = [
        objective(one, Batch(row[None, :-1][:, :size], row[None, 1:][:, :size]))
        for row, size in zip(tokens, (8, 5), strict=True)
    ]
    packed = torch.full((1, 20), 3)
    targets, mask, segments = packed.clone(), torch.zeros(1, 20, dtype=torch.bool), packed * 0
    for number, (row, start, size) in enumerate([(tokens[0], 0, 8), (tokens[1], 8, 5)], 1):
        here = slice(start, start + size)
        packed[0, here], targets[0, here] = row[:size], row[1 : size + 1]
        mask[0, here], segments[0, here] = True, number
    together = objective(one, Batch(packed, targets, mask, segments))
    assert_same(together, alone[0].sum + alone[1].sum, one)
    assert together.weight == 13


def test_a_teacher_may_have_rows_of_no_token_and_tokens_that_the_student_has_not() -> None:
    given, teacher = batch(), model(2, vocab_size=90)
    kept = torch.randperm(90, generator=torch.Generator().manual_seed(4))[:60]
    one = model()
    loss = DistillationLoss(LiveTeacher(teacher, kept))(one, given)
    assert given.loss_mask is not None
    theirs = teacher(kept[given.tokens])[given.loss_mask][:, kept].detach()
    expected = F.kl_div(
        one(given.tokens)[given.loss_mask].log_softmax(-1), theirs.softmax(-1), reduction="sum"
    )
    assert_same(loss, expected, one)
    longer = model(vocab_size=64)  # with rows behind the tokens, as for speed
    found = DistillationLoss(LiveTeacher(teacher, kept))(longer, given)
    ours = longer(given.tokens)[given.loss_mask][:, :60].log_softmax(-1)
    assert_same(found, F.kl_div(ours, theirs.softmax(-1), reduction="sum"), longer)
    with pytest.raises(ModelError, match="must share one vocabulary"):
        DistillationLoss(LiveTeacher(teacher))(one, given)


def test_pieces_of_a_batch_add_up() -> None:
    one, objective = model(), DistillationLoss(LiveTeacher(model(2)), 0.9, mixing=1.0)
    whole, pieces = objective(one, batch()), [objective(one, each) for each in batch().split(1)]
    assert_same(whole, torch.stack([each.sum for each in pieces]).sum(), one)
    assert dataclasses.replace(whole, weight=sum(each.weight for each in pieces)) == whole


# --- saved logits ---------------------------------------------------------------------------------


def top(teacher: Transformer, given: Batch, k: int, temperature: float = 1.0) -> Expected:
    """A teacher's likeliest tokens, and the mass of all others."""
    assert given.loss_mask is not None
    logits = teacher(given.tokens, segment_ids=given.segment_ids)[given.loss_mask].detach()
    whole = (logits / temperature).log_softmax(-1)
    likely, ids = whole.topk(k)
    rest = (1 - likely.double().exp().sum(-1, keepdim=True)).log().float()
    return Expected(torch.cat((likely, rest), 1), ids)


@pytest.mark.parametrize("mixing", [0.0, 0.5, 1.0])
def test_all_others_together_never_count_for_more(mixing: float) -> None:
    one, teacher, given = model(), model(2), batch()
    assert given.loss_mask is not None
    ours = one(given.tokens)[given.loss_mask].detach()
    theirs = teacher(given.tokens)[given.loss_mask].detach().log_softmax(-1)
    whole = divergence(ours.log_softmax(-1), theirs, mixing=mixing)
    before = torch.zeros(len(ours))
    for k in (1, 4, 16, 40, 59):
        expected = top(teacher, given, k)
        found = matching(ours, expected)
        torch.testing.assert_close(found.exp().sum(1), torch.ones(len(ours)))
        apart = divergence(found, expected.log_probs, mixing=mixing)
        assert bool((apart >= before - 1e-5).all()), k  # telling more apart never counts for less
        before = apart
    torch.testing.assert_close(before, whole, atol=1e-5, rtol=1e-4)  # of 60, one is left


@pytest.mark.parametrize(("k", "temperature"), [(60, 1.0), (60, 2.0), (5, 1.0), (5, 2.0)])
def test_saved_logits_are_the_teacher_s(k: int, temperature: float, saved: Saved) -> None:
    """All of them teach what the live teacher does; some, what its likeliest tokens do."""
    one, teacher = model(), model(2)
    found = saved(teacher, k, temperature)
    given = SavedBatches(found, rows=2, length=16, seed=3).next()
    loss = DistillationLoss(found, 0.6, 0.3, temperature)(one, given)
    live: Teacher = LiveTeacher(teacher)
    if k < 60:
        live = Known(top(teacher, given, k, temperature))
    expected = DistillationLoss(live, 0.6, 0.3, temperature)(one, given)
    torch.testing.assert_close(loss.sum, expected.sum, atol=1e-2, rtol=1e-4)
    for ours, theirs in zip(gradients(loss.sum, one), gradients(expected.sum, one), strict=True):
        torch.testing.assert_close(ours, theirs, atol=5e-3, rtol=1e-2)
    # What fp16 rounds away is nothing that could be learned.
    ids, log_probs = found.of(0)
    example = found.examples[0]
    row = torch.from_numpy(example.tokens.astype("int64"))[None, :-1]
    with torch.no_grad():
        exact = (teacher(row)[0][torch.from_numpy(example.trained[1:])] / temperature).log_softmax(
            -1
        )
    likely = exact.gather(1, ids)
    assert float((likely.exp() * (likely - log_probs[:, :-1])).sum(1).abs().max()) < 1e-3
    assert bool((likely.diff(dim=1) <= 1e-3).all())


@dataclasses.dataclass(frozen=True)
class Known:
    """As a teacher: what is known already of a batch."""

    given: Expected
    tokens: int = 60

    def read(self, batch: Batch, chosen: Tensor) -> Known:
        return self

    def expected(self, part: slice, temperature: float) -> Expected:
        assert self.given.ids is not None
        return Expected(self.given.log_probs[part], self.given.ids[part])


Saved = Callable[[Transformer, int, float], SavedLogits]


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Saved:
    """Saves what a teacher expects of some examples, in more than one file."""
    monkeypatch.setattr(saved_logits, "PART_BYTES", 6 * 40)
    draw = np.random.default_rng(7)

    def example(length: int) -> Example:
        tokens = draw.integers(60, size=length).astype(np.uint32)
        return Example(tokens, np.arange(length) >= length // 3 + 1, "test")

    examples = [example(length) for length in (12, 5, 16, 9, 4)]

    def made(teacher: Transformer, k: int, temperature: float) -> SavedLogits:
        out = tmp_path / f"{k}-{temperature}"
        with artifact.create(out, kind="logits", format=1, config={}, inputs={}) as draft:
            save_examples(draft.path / "examples.safetensors", examples)
            figures = saved_logits.save_logits(
                LiveTeacher(teacher), examples, draft.path, k=k, temperature=temperature, rows=2,
                length=16, device="cpu", interrupt=Interrupt(),
            )  # fmt: skip
            assert figures.places == sum(int(each.trained.sum()) for each in examples)
            draft.stats.update(vocabulary=60, k=k, temperature=temperature, context=16)
        assert len(list(out.glob("logits-*"))) > 1
        return SavedLogits.open(out)

    return made


def test_logits_of_other_examples_are_damaged(saved: Saved) -> None:
    found = saved(model(2), 5, 1.0)
    files = sorted(found.found.path.glob("logits-*"))
    with pytest.raises(ConfigError, match=r"saved at --temperature 1\. Got 2"):
        found.require_temperature(2.0)
    ids, log_probs, rest = (dict(read_tensors(files[0]))[name] for name in NAMES)
    numbers = read_numbers(files[0])
    write_tensors(files[0], dict(zip(NAMES, (ids + 60, log_probs, rest), strict=True)), numbers)
    with pytest.raises(DamagedError, match="names tokens that there are none of"):
        SavedLogits(found.found).of(0)
    with pytest.raises(DamagedError):
        SavedLogits.open(found.found.path)
    files[-1].unlink()
    with pytest.raises(DamagedError, match="it has 5 examples, logits of"):
        SavedLogits(found.found).of(0)


def test_the_damage_of_logits_costs_no_more_than_them(saved: Saved) -> None:
    """What is to be deleted are the logits, and never the directory that they lie in."""
    found = saved(model(2), 5, 1.0)
    file = found.found.path / "examples.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DamagedError, match=re.escape(f"; delete {found.found.path} to start")):
        _ = found.examples


@pytest.mark.parametrize(
    ("stats", "said"),
    [
        ({"k": None}, "it has no 'k'"),
        ({"k": "5"}, "k must be a whole number"),
        ({"k": True}, "k must be a whole number"),
        ({"k": 10**12}, "it keeps 1000000000000 of 60 tokens"),
        ({"k": 6}, "k is 6, but the files have another"),
        ({"context": 0}, "context must be a whole number"),
        ({"context": 8}, "an example of 12 tokens, in rows of 8"),
        ({"vocabulary": 40}, "names tokens that there are none of"),
        ({"temperature": "1"}, "temperature must be a number"),
        ({"reading": "all"}, "reading must be an object"),
    ],
)
def test_figures_of_a_stranger_are_judged(stats: dict[str, Any], said: str, saved: Saved) -> None:
    place = saved(model(2), 5, 1.0).found.path / artifact.MANIFEST
    manifest = json.loads(place.read_text())
    manifest["stats"] |= stats
    manifest["stats"] = {
        key: value for key, value in manifest["stats"].items() if value is not None
    }
    place.write_text(json.dumps(manifest))
    with pytest.raises(DamagedError, match=said):
        _ = SavedLogits.open(place.parent).examples


def test_the_least_log_probability_is_a_number(saved: Saved) -> None:
    """At a low temperature it is smaller than fp16 has."""
    found = saved(model(2), 5, 1e-5)
    for number in range(len(found.examples)):
        assert all(bool(each.isfinite().all()) for each in found.of(number))


NAMES = ("ids", "log_probs", "rest")


# --- runs -----------------------------------------------------------------------------------------

WORDS = [f"The {a} {b} sees a {c}." for a in ["old", "red", "odd"]
         for b in ["owl", "cat", "fox"] for c in ["hill", "lake", "wood"]]  # fmt: skip
SETTINGS: dict[str, Any] = {
    "steps": 6, "threads": 1, "dtype": "fp32", "context": 16, "batch_tokens": 64, "lr": 0.01,
    "sample_interval": 1000, "validation_interval": 3, "teacher_weight": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, a student of its vocabulary and one of another, text and rows."""
    directory = tmp_path_factory.mktemp("distil")
    (directory / "text.txt").write_text("\n<|endoftext|>\n".join(WORDS * 3))
    rows = [{"prompt": text[:12], "completion": text[12:]} for text in WORDS]
    (directory / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, vocabulary, changes in (
        ("teacher", 280, {"width": 64, "depth": 2}),
        ("student", 280, {"width": 32, "depth": 1, "tied": True}),
        ("other", 270, {"width": 32, "depth": 1, "tied": True}),
    ):
        tokens = directory / f"tokens-{vocabulary}"
        if not tokens.exists():
            train_tokenizer(
                WORDS, tokens, TokenizerConfig(kind="bpe", vocab_size=vocabulary), inputs={}
            )
        made: Any = model(vocab_size=load(tokens).vocab_size, context=64, **changes)
        (directory / name).mkdir()
        save_checkpoint(made, directory / name, tokenizer=tokens)
    return directory


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs."""
    monkeypatch.setattr(distilling, "plot_curves", lambda metrics, out: [])
    monkeypatch.setattr(finetune_module, "plot_curves", lambda metrics, out: [])


def settings(**changes: Any) -> DistilConfig:
    return DistilConfig(**(SETTINGS | changes))


def weights(directory: Path) -> dict[str, Tensor]:
    return load_file(directory / "model.safetensors")


def assert_equal(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_fresh_student_learns_and_is_an_ordinary_checkpoint(place: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    out = tmp_path / "small"
    command = ["distil", str(place / "teacher"), str(place / "text.txt"), "--out", str(out)]
    own = settings(width=32, context=16)
    for field in dataclasses.fields(own):
        if getattr(own, field.name) != field.default:
            command += [f"--{field.name.replace('_', '-')}", str(getattr(own, field.name))]
    done = CliRunner().invoke(app, command[1:])
    assert done.exit_code == 0, done.output
    made = artifact.read(out)
    assert made.stats["validation_loss"] < made.stats["start_loss"]
    assert made.stats["parameters"] < made.stats["teacher_parameters"]
    said = " ".join(done.output.split())
    assert f"{made.stats['parameters']:,} parameters, the teacher has" in said
    assert f"{made.stats['teacher_loss']:.3f} nats per token by the teacher" in said
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out)
    ours, row = load_model(out), torch.tensor([load(out).encode(WORDS[0])])
    assert (ours.config.family, ours.config.width, ours.config.depth) == ("llama", 32, 2)
    with torch.no_grad():
        torch.testing.assert_close(theirs(row).logits, ours(row), atol=1e-4, rtol=1e-3)
    assert "on what a larger model expects of it, its teacher" in (out / "README.md").read_text()
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert {"divergence", "next_token"} <= lines[1].keys()


def test_a_run_without_a_weight_is_plain_training(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(teacher_weight=0.0)
    distil_model(place / "teacher", place / "text.txt", tmp_path / "none", config)
    with monkeypatch.context() as patch:
        patch.setattr(loops, "DistillationLoss", lambda *given: next_token)
        distil_model(place / "teacher", place / "text.txt", tmp_path / "plain", config)
    assert_equal(tmp_path / "none", tmp_path / "plain")


@pytest.mark.parametrize(
    ("data", "changes"),
    [("rows.jsonl", {"own_samples": 0.5, "max_tokens": 4}), ("text.txt", {"saved": True})],
)
def test_an_interrupted_run_ends_as_one_that_was_not(
    data: str, changes: dict[str, Any], place: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    teacher, changes = place / "teacher", dict(changes)
    if changes.pop("saved", False):
        teacher = tmp_path / "logits"
        distil_model(place / "teacher", place / data, teacher, saving())
    run = settings(**changes)
    student = place / "student"
    distil_model(teacher, place / data, tmp_path / "whole", run, student=student)
    with monkeypatch.context() as patch:
        made = loop_module.Loop._step

        def stopped(self: Any, *args: Any) -> Any:
            if self.pace.step == 4:
                self._save()
                raise StoppedError("stopped")
            return made(self, *args)

        patch.setattr(loop_module.Loop, "_step", stopped)
        with pytest.raises(StoppedError):
            distil_model(teacher, place / data, tmp_path / "cut", run, student=student)
    distil_model(teacher, place / data, tmp_path / "cut", run, student=student)
    assert_equal(tmp_path / "whole", tmp_path / "cut")


def saving(**changes: Any) -> DistilConfig:
    """Settings that save logits."""
    own = {"save_logits": 280, "threads": 1, "dtype": "fp32", "context": 16}
    return DistilConfig(**(own | changes))


def test_saving_goes_on_where_it_was_stopped_and_teaches_as_the_teacher_does(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_logits, "PART_BYTES", 6 * 280 * 60)
    text, teacher = place / "text.txt", place / "teacher"
    distil_model(teacher, text, tmp_path / "whole", saving())
    with monkeypatch.context() as patch:
        made = saved_logits._Part.write

        def second(self: Any, file: Path, *given: Any) -> None:
            if file.name == "logits-00003.safetensors":
                raise StoppedError("stopped")
            made(self, file, *given)

        patch.setattr(saved_logits._Part, "write", second)
        with pytest.raises(StoppedError):
            distil_model(teacher, text, tmp_path / "cut", saving())
    written: list[str] = []

    def counted(self: Any, file: Path, *given: Any) -> None:
        written.append(file.name)
        made(self, file, *given)

    monkeypatch.setattr(saved_logits._Part, "write", counted)
    cut = distil_model(teacher, text, tmp_path / "cut", saving())
    assert written[0] == "logits-00003.safetensors"
    assert cut.content == artifact.read(tmp_path / "whole").content
    assert cut.stats["rest"] == pytest.approx(0, abs=1e-6)
    student = place / "student"
    live = distil_model(teacher, text, tmp_path / "live", settings(), student=student)
    ours = distil_model(tmp_path / "cut", text, tmp_path / "ours", settings(), student=student)
    for name in ("teacher_loss", "start_loss", "validation_loss"):
        assert ours.stats[name] == pytest.approx(live.stats[name], rel=1e-4)
    with pytest.raises(ConfigError, match="saved of another text"):
        distil_model(tmp_path / "cut", place / "rows.jsonl", tmp_path / "no", settings())
    with pytest.raises(ConfigError, match=r"saved with --context 16\. Got 32"):
        distil_model(tmp_path / "cut", text, tmp_path / "no", settings(context=32))
    with pytest.raises(ContradictionError, match="needs a teacher that reads them"):
        distil_model(tmp_path / "cut", text, tmp_path / "no", settings(own_samples=0.5))
    with pytest.raises(ModelError, match="--by text"):
        distil_model(tmp_path / "cut", text, tmp_path / "no", settings(), student=place / "other")


@pytest.mark.parametrize(
    ("changes", "student", "said"),
    [
        ({}, "other", "the teacher's vocabulary, but .*: --by text"),
        ({"width": 32}, "student", "--width is for a fresh student, but there is .*Got 32"),
        ({"book": "open"}, "student", "--book is for rows with prompts, but .* is plain text"),
        ({"width": 1 << 20}, None, "width 1048576, .* of memory to train, .* set smaller ones"),
        ({"by": "text"}, None, "expected --student MODEL"),
        ({"save_logits": 4}, "student", "--save-logits makes no student"),
        ({"own_samples": 0.1, "max_tokens": 4}, "student", "own_samples are a share of the 4 rows"),
        ({"own_samples": 0.5, "max_tokens": 16}, "student", "max_tokens must be below the context"),
    ],
)
def test_what_does_not_go_together_is_named(
    changes: dict[str, Any], student: str | None, said: str, place: Path, tmp_path: Path
) -> None:
    clean = (
        {"teacher_weight": 0.9, "steps": 0, "lr": 0.0} if "teacher_weight" not in changes else {}
    )
    given = None if student is None else place / student
    with pytest.raises(LinnetError, match=said):
        distil_model(
            place / "teacher", place / "text.txt", tmp_path / "out", settings(**clean, **changes),
            student=given,
        )  # fmt: skip


def test_a_line_of_text_is_too_little(place: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("One line.")
    with pytest.raises(DataError, match=r"one\.txt: expected text of at least 100 tokens"):
        distil_model(place / "teacher", tmp_path / "one.txt", tmp_path / "out", settings())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"by": "text", "mixing": 0.5}, "--mixing is not for --by text. Got 0.5"),
        ({"by": "text", "own_samples": 0.5}, "--own-samples is not for --by text"),
        ({"samples": 2}, "--samples is not for --by logits"),
        ({"max_tokens": 5}, "--max-tokens is for --own-samples and --by text"),
        ({"own_samples": 0.5, "teacher_weight": 0.0}, "--teacher-weight 0 leaves it out"),
        ({"save_logits": 4, "steps": 5}, "--steps is for the runs that read saved logits"),
        ({"compile": "yes"}, "distillation is not compiled"),
        ({"temperature": 1e-30}, "temperature must be between 0.01 and 20"),
        ({"template": "chatml"}, "template must be auto or none"),
    ],
)
def test_settings_of_another_way_are_refused_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        DistilConfig(**changes)


def test_the_commands_of_the_page_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def taken(teacher: str, data: str, out: Path, config: DistilConfig, **given: Any) -> Any:
        asked.append((teacher, data, str(out), config, given["student"]))
        raise StoppedError("not run")

    monkeypatch.setattr(distilling, "distil_model", taken)
    page = Path(__file__).parents[2] / "docs" / "distilling.md"
    commands = re.findall(r"^linnet distil ([^#\n]+)", page.read_text("utf-8"), re.MULTILINE)
    for command in commands:
        assert isinstance(CliRunner().invoke(app, command.split()).exception, StoppedError), command
    assert len(asked) == len(commands) > 5
    assert ("logits", "notes", "small", DistilConfig(width=256), None) in asked
    assert ("model", "notes", "logits", DistilConfig(save_logits=64), None) in asked


def test_own_samples_begin_with_what_is_given_and_are_marked(place: Path) -> None:
    checkpoint = load_checkpoint(place / "student")
    config = ExamplesConfig(context=16, template="none")
    examples = load_examples([place / "rows.jsonl"], checkpoint.tokenizer, config).train
    text = PackedBatches(examples, rows=2, length=32, seed=1)
    stream = OwnSamples(text, examples, Policy(checkpoint, 6), rows=2, length=32, seed=1)
    given = stream.next(Context(checkpoint.model, step=0, progress=0.0))
    sampled, mask = given["sampled"], given.loss_mask
    assert mask is not None
    assert given.segment_ids is not None
    assert not sampled[:2].any()
    assert torch.equal(sampled[2:], mask[2:])
    prompts = {tuple(each.tokens[: int(each.trained.argmax())].tolist()) for each in examples}
    for row in (2, 3):
        for segment in range(1, int(given.segment_ids[row].max()) + 1):
            inside = given.segment_ids[row] == segment
            own = inside & mask[row]
            assert 1 <= int(own.sum()) <= 6
            begin = int((inside & ~mask[row]).sum()) + 1  # the last of the prompt predicts
            assert tuple(given.tokens[row][inside][:begin].tolist()) in prompts
    assert stream.drawn == sum(int(given.segment_ids[row].max()) for row in (2, 3)) > 2
    again = OwnSamples(text, examples, Policy(checkpoint, 6), rows=2, length=32, seed=1)
    again.restore({"drawn": 0, "text": {"epoch": 0, "row": 0}})
    same = again.next(Context(checkpoint.model, step=0, progress=0.0))
    assert all(torch.equal(same[name], value) for name, value in given.tensors.items())


# --- by text --------------------------------------------------------------------------------------


def test_a_student_of_another_vocabulary_is_tuned_on_what_the_teacher_writes(
    place: Path, tmp_path: Path
) -> None:
    config = DistilConfig(
        by="text", steps=3, threads=1, template="none", dtype="fp32", max_tokens=48, samples=3,
        held_out=0.1, sample_interval=1000,
    )  # fmt: skip
    heard = Listening()
    made = distil_model(
        place / "teacher", place / "rows.jsonl", tmp_path / "tuned", config,
        student=place / "other", progress=heard,
    )  # fmt: skip
    assert load_model(made.path).config.vocab_size == load(place / "other").vocab_size
    assert made.stats["steps"] == 3
    texts = artifact.read(tmp_path / "tuned.text")
    assert texts.stats["of_texts"] == 3 * len(WORDS)
    left_out = texts.stats["left_out"]
    assert texts.stats["texts"] + sum(left_out.values()) == 3 * len(WORDS)
    assert any(f"{left_out['cut at --max-tokens']} cut at" in said for said in heard.warnings)
    assert {"seed", "temperature", "samples", "max_tokens"} <= texts.manifest.config.keys()
    rows = [json.loads(line) for line in (texts.path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == texts.stats["texts"]
    assert {row["prompt"] for row in rows} <= {text[:12] for text in WORDS}


def test_no_text_is_written_for_a_student_that_cannot_learn(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("Dear")
    shutil.copytree(place / "other", tmp_path / "few")
    config = json.loads((tmp_path / "few" / "config.json").read_text())
    (tmp_path / "few" / "config.json").write_text(json.dumps(
        config | {"quantization_config": {"quant_method": "gptq"}}
    ))  # fmt: skip
    monkeypatch.setattr(distilling, "write_texts", None)
    monkeypatch.chdir(tmp_path / "full")
    for out, student, said in [
        (tmp_path / "out", tmp_path / "few", "rounded to few bits; train the model"),
        (tmp_path / "full", place / "other", "holds something that linnet did not write"),
        (Path(), place / "other", "holds something that linnet did not write"),
        (tmp_path / "full" / "letter.txt", place / "other", "is a file"),
        (place / "other", place / "other", "which would be lost"),
        (Path("/"), place / "other", "which would be lost"),
    ]:
        with pytest.raises(LinnetError, match=said):
            distil_model(
                place / "teacher", place / "rows.jsonl", out, DistilConfig(by="text"),
                student=student,
            )  # fmt: skip
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    assert distilling._place_of_texts(Path(), []) == tmp_path / "new.text"
    assert distilling._place_of_texts(Path("small/"), []) == Path("small.text")


def test_prompts_end_with_whole_characters(place: Path) -> None:
    """Of languages whose characters are several tokens, too."""
    tokenizer = load(place / "teacher")
    text = "水山火木土金" * 3
    whole = tokenizer.encode_arrays([text])[0].astype(np.uint32)
    assert len(whole) > 2 * len(text)
    pieces = [whole[start : start + 30] for start in range(12)]
    examples = [Example(each, np.arange(len(each)) > 0, "test") for each in pieces]
    for prompt in prompts_of_texts(examples, tokenizer, seed=1):
        assert prompt.row["prompt"] in text
        assert tokenizer.decode(prompt.tokens).endswith(prompt.row["prompt"])


def test_texts_that_teach_nothing_are_left_out_and_counted(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        (" A hill.", "stop", 9), (" ", "stop", 1), (" A lake", "length", 8),
        (" A hill.", "stop", 9), (" so so so", "stop", 0), (" A h\ufffd.", "stop", 6),
    ]  # fmt: skip
    calls: list[list[int]] = []

    class Writing:
        def __init__(self, *given: Any) -> None: ...

        def write(self, prompts: Any, seeds: list[int], *, temperature: float) -> list[Completion]:
            start = sum(map(len, calls))
            calls.append(seeds)
            return [
                Completion(text, tuple(range(n)) if n else (1, 2) * 9, reason, 1)  # type: ignore[arg-type]
                for text, reason, n in texts[start : start + len(seeds)]
            ]

    monkeypatch.setattr(written_texts, "Policy", Writing)
    monkeypatch.setattr(written_texts, "AT_ONCE", 2)
    checkpoint = load_checkpoint(place / "teacher")
    prompts = [TextPrompt((1, 2), {"prompt": "The"}), TextPrompt((1,) * 99, {"prompt": "long"})]
    run: dict[str, Any] = {"samples": 6, "max_tokens": 8, "temperature": 1.0, "seed": 1}
    interrupt = Interrupt()

    class Stopping(Progress):
        @contextmanager
        def task(self, name: str, **given: Any) -> Iterator[Any]:
            class Once:
                def update(self, *, done: float) -> None:
                    interrupt.requested = True

            yield Once()

    with pytest.raises(StoppedError, match="stopped and saved 2 of 6 texts"):
        write_texts(
            checkpoint, prompts, tmp_path, interrupt=interrupt, progress=Stopping(), **run
        )  # fmt: skip
    found = write_texts(checkpoint, prompts, tmp_path, interrupt=Interrupt(), **run)
    assert [len(each) for each in calls] == [2, 2, 2]
    assert len({seed for each in calls for seed in each}) == 6
    assert found == {
        "texts": 1, "of_texts": 12,
        "left_out": {
            "cut at --max-tokens": 1, "empty": 1, "repeating itself": 1,
            "to a prompt longer than 56 tokens": 6, "with bytes that are no characters": 1,
            "written before": 1,
        },
    }  # fmt: skip
    assert json.loads((tmp_path / "rows.jsonl").read_text()) == {
        "prompt": "The", "completion": " A hill."
    }  # fmt: skip


def test_a_teacher_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere: expected a model directory, but it does not"):
        distil_model(tmp_path / "nowhere", tmp_path / "text.txt", tmp_path / "out")
    (tmp_path / "teacher.gguf").touch()
    with pytest.raises(ModelError, match="linnet import"):
        distil_model(tmp_path / "teacher.gguf", tmp_path / "text.txt", tmp_path / "out")


def test_a_text_that_nothing_can_be_judged_by(place: Path, tmp_path: Path) -> None:
    """Codes that are fitted to all of a text were judged by nothing that they had not seen."""
    for text in ("", "The old owl."):
        (tmp_path / "text.txt").write_text(text)
        with pytest.raises(DataError, match="expected at least 5 rows of up to 16 tokens, one of"):
            export_packed(
                place / "teacher", tmp_path / "out",
                PackedConfig(text=str(tmp_path / "text.txt"), context=16),
            )  # fmt: skip
