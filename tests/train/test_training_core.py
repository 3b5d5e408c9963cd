"""What a new kind of training needs of the loop: pairs, metrics, own parameters, own samples."""

import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_loop import SMALL, lines, weights
from torch import Tensor, distributed, nn

from linnet import artifact
from linnet.errors import ConfigError, StoppedError
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.forgetting import GeneralLoss
from linnet.model import ModelConfig, Transformer
from linnet.progress import Progress, Task
from linnet.runtime import Runtime
from linnet.shards.batches import Batch
from linnet.train import TrainConfig, train
from linnet.train import config as config_module
from linnet.train.config import (
    OBJECTIVES,
    OPTIMIZERS,
    ObjectiveKind,
    OptimizerKind,
    TrainingConfig,
)
from linnet.train.distributed import Interrupt, ProcessGroup, SingleProcess, World
from linnet.train.loop import Loop
from linnet.train.machine import Machine
from linnet.train.objectives import Loss, Mean, next_token
from linnet.train.optimizers import optimizer_of_objective
from linnet.train.state import put_tensors, take_tensors
from linnet.train.stream import Context, ShortRows, fold_rows
from linnet.train.validation import HeldOutLoss
from linnet.train.warm_start import fit_bigrams

pytestmark = pytest.mark.usefixtures("undrawn")

VOCABULARY, LENGTH = 12, 6
CONFIG = ModelConfig(
    family="llama", vocab_size=VOCABULARY, context=16, width=16, depth=1, heads=2,
    kv_heads=2, head_width=8, mlp_width=32,
)  # fmt: skip


def small_model() -> Transformer:
    model = Transformer(CONFIG).train()
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3, generator=random)
    return model


def sequence_logprobs(model: Transformer, batch: Batch) -> Tensor:
    """The log-probability of the trained targets of each row, ``(B,)``."""
    logprobs = model(batch.tokens).log_softmax(-1).gather(2, batch.targets[..., None]).squeeze(2)
    assert batch.loss_mask is not None
    return (logprobs * batch.loss_mask).sum(1)


class Pairs:
    """Pairs of rows, of which different numbers of tokens are trained, beside a margin each."""

    def __init__(self, pairs: int = 4) -> None:
        self.pairs, self.drawn = pairs, 0

    def next(self, context: object = None) -> Batch:
        random = torch.Generator().manual_seed(self.drawn)
        self.drawn += 1
        tokens = torch.randint(VOCABULARY, (2 * self.pairs, LENGTH + 1), generator=random)
        mask = torch.rand(2 * self.pairs, LENGTH, generator=random) < 0.6
        mask[:, -1] = True
        return Batch(
            tokens[:, :-1], tokens[:, 1:], mask, units=self.pairs,
            reference_logprobs=torch.randn(self.pairs, 2, generator=random),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.drawn = state["drawn"]


def preference(model: Transformer, batch: Batch) -> Loss:
    """DPO (arXiv:2305.18290) with beta 0.5, with the share of pairs that are in order."""
    ratios = sequence_logprobs(model, batch).view(-1, 2) - batch["reference_logprobs"]
    margins = ratios[:, 0] - ratios[:, 1]
    won = margins > 0
    metrics = {
        "accuracy": won.float().mean(),
        "won_margin": Mean((margins * won).sum(), won.sum()),
    }
    return Loss(-F.logsigmoid(0.5 * margins).sum(), len(margins), metrics)


def make_loop(directory: Path, **changes: Any) -> Loop:
    """A loop over a small model, of which anything can be changed."""
    model = changes.pop("model", None) or small_model()
    objective = changes.pop("objective", next_token)
    settings = {"steps": 5, "schedule": "wsd", "decay": 0.0, "save_seconds": 1e9}
    config = TrainingConfig(**(settings | changes.pop("settings", {})))
    groups = [{"params": list(model.parameters()), "peak_lr": 0.01}]
    directory.mkdir(exist_ok=True)
    usual = {
        "machine": Machine(Runtime("cpu", "fp32", 1), compiled=False),
        "stream": Pairs(),
        "optimizers": [torch.optim.AdamW(groups), *optimizer_of_objective(objective, lr=0.01)],
        "micro_units": 100,
        "started": 0.0,
    }
    return Loop(directory, config, model=model, objective=objective, **(usual | changes))


def run(loop: Loop, *, stop_at: int = 0) -> list[dict[str, Any]]:
    """What is logged of each step; ``stop_at``: Ctrl-C in that step."""
    interrupt = Interrupt()
    step = loop._step

    def counted(task: Task) -> None:
        step(task)
        interrupt.requested = loop.pace.step == stop_at

    loop._step = counted  # type: ignore[method-assign]
    loop.resume()
    loop.run(interrupt)
    return [entry for entry in lines(loop.directory) if "loss" in entry]


def assert_same(one: nn.Module, other: nn.Module) -> None:
    for (name, mine), theirs in zip(
        one.state_dict().items(), other.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name


# -- batches -----------------------------------------------------------------------------


def test_a_batch_is_cut_between_its_units() -> None:
    batch = Pairs(5).next()
    pieces = batch.split(2)
    assert [piece.units for piece in pieces] == [2, 2, 1]
    assert [len(piece.tokens) for piece in pieces] == [4, 4, 2]
    assert [len(piece["reference_logprobs"]) for piece in pieces] == [2, 2, 1]
    assert pieces[0].tensors.keys() == batch.tensors.keys()
    for name, tensor in batch.tensors.items():
        assert torch.equal(torch.cat([piece[name] for piece in pieces]), tensor), name
    assert batch.to("cpu").units == 5
    with pytest.raises(ValueError, match="tokens must have a multiple of 3 rows"):
        Batch(torch.zeros(4, 2), units=3)
    with pytest.raises(ValueError, match="labels must have"):
        Batch(torch.zeros(4, 2), labels=torch.zeros(3))


def test_short_rows_follow_progress_and_keep_the_units() -> None:
    class Rows(Pairs):
        def next(self, context: object = None) -> Batch:
            tokens = torch.arange(24).view(4, 6)
            return Batch(tokens, tokens)

    stream = ShortRows(Rows(), share=0.5, length=3)
    model = small_model()
    for progress, shape in ((0.0, (8, 3)), (0.49, (8, 3)), (0.5, (4, 6))):
        batch = stream.next(Context(model, 0, progress))
        assert (batch.tokens.shape, batch.units) == (shape, 4)
        assert batch.tokens.flatten().tolist() == list(range(24))
    assert [piece.tokens.shape for piece in stream.next().split(2)] == [(4, 3)] * 2
    with pytest.raises(ValueError, match="reference_logprobs"):
        fold_rows(Pairs().next(), 3)


# -- losses and metrics --------------------------------------------------------------------


@pytest.mark.parametrize("objective", [preference, next_token])
def test_however_a_batch_is_cut_losses_metrics_and_steps_are_the_same(
    objective: Callable[[Transformer, Batch], Loss], tmp_path: Path
) -> None:
    """Against the written-out loss of the whole batch: pairs count alike, or tokens do."""
    found = {}
    for units in (1, 3, 4):
        loop = make_loop(tmp_path / str(units), objective=objective, micro_units=units)
        found[units] = run(loop), loop.model
    stream, model = Pairs(), small_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(5):
        batch = stream.next()
        if objective is preference:
            ratios = sequence_logprobs(model, batch).view(-1, 2) - batch["reference_logprobs"]
            margins = ratios[:, 0] - ratios[:, 1]
            loss = F.softplus(-0.5 * margins).mean()
            metrics = {
                "accuracy": (margins > 0).float().mean().item(),
                "won_margin": margins[margins > 0].mean().item(),
            }
        else:
            mask = batch.loss_mask
            assert mask is not None
            loss = F.cross_entropy(model(batch.tokens)[mask], batch.targets[mask])
            metrics = {}
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        for units, (entries, _) in found.items():
            entry = entries[step]
            assert entry["loss"] == pytest.approx(loss.item(), abs=2e-5), units
            assert {name: entry[name] for name in metrics} == pytest.approx(metrics, abs=2e-5)
    for _, trained in found.values():
        for ours, theirs in zip(trained.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_weight_that_only_the_objective_knows_divides_the_gradient_too(tmp_path: Path) -> None:
    """Here the loss counts what the model is unsure of; the batch cannot say how many that is."""

    def unsure(model: Transformer, batch: Batch) -> Loss:
        logits = model(batch.tokens).transpose(1, 2)
        losses = F.cross_entropy(logits, batch.targets, reduction="none")
        hard = losses > 2.0
        return Loss(losses[hard].sum(), int(hard.sum()))

    norms = []
    for units in (1, 4):
        loop = make_loop(tmp_path / str(units), objective=unsure, micro_units=units)
        norms.append([entry["grad_norm"] for entry in run(loop)])
    assert norms[0] == pytest.approx(norms[1], abs=2e-4)
    model, batch = small_model(), Pairs().next()
    unsure(model, batch).mean.backward()
    expected = torch.nn.utils.clip_grad_norm_(model.parameters(), math.inf).item()
    assert norms[0][0] == pytest.approx(expected, abs=2e-4)


def test_a_piece_in_which_nothing_counts_is_passed_over(tmp_path: Path) -> None:
    class Half(Pairs):
        def next(self, context: object = None) -> Batch:
            batch = super().next()
            assert batch.loss_mask is not None
            batch.loss_mask[:4] = False
            return batch

    entries = run(make_loop(tmp_path, stream=Half(), micro_units=1))
    assert all(math.isfinite(entry["loss"]) for entry in entries)
    assert make_loop(tmp_path, stream=Half()).resume() is False


def test_metrics_are_shown_and_may_not_hide_the_log_of_the_loop(tmp_path: Path) -> None:
    notes: list[str] = []

    class Listening(Progress):
        @contextmanager
        def task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Task]:
            task = Task()
            task.update = lambda note="", **more: notes.append(note)  # type: ignore[method-assign]
            yield task

    run(make_loop(tmp_path, objective=preference, progress=Listening()))
    assert " · accuracy 0." in notes[0]

    def hides(model: Transformer, batch: Batch) -> Loss:
        return Loss(sequence_logprobs(model, batch).sum(), 1.0, {"lr": 1.0})

    with pytest.raises(ValueError, match="a name of the log's: lr"):
        run(make_loop(tmp_path / "other", objective=hides))


# -- objectives with parameters and state ------------------------------------------------------


class Tempered(nn.Module):
    """The next token at a temperature that is learned, less a baseline that follows the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("baseline", torch.zeros(()))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, model: Transformer, batch: Batch) -> Loss:
        logits = model(batch.tokens) / self.temperature
        losses = F.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")
        advantage = losses.mean().detach() - self.baseline
        self.baseline += 0.1 * advantage
        return Loss(losses.sum() * (1 + 0.1 * advantage), losses.numel(), {"t": self.temperature})


@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_what_an_objective_owns_is_trained_saved_and_taken_up_exactly(
    end: str, tmp_path: Path
) -> None:
    whole = Tempered()
    entries = run(make_loop(tmp_path / "whole", objective=whole))
    values = [entry["t"] for entry in entries]
    assert len(set(values)) == 5, "it is trained"
    assert whole.baseline != 0

    class KilledError(Exception):
        pass

    class Killed(Tempered):
        calls = 0

        def forward(self, model: Transformer, batch: Batch) -> Loss:
            self.calls += 1
            if self.calls == 4:
                raise KilledError
            return super().forward(model, batch)

    if end == "stopped":
        with pytest.raises(StoppedError, match="step 3 of 5"):
            run(make_loop(tmp_path / "resumed", objective=Tempered()), stop_at=3)
    else:
        settings = {"save_seconds": 0.0}
        with pytest.raises(KilledError):
            run(make_loop(tmp_path / "resumed", objective=Killed(), settings=settings))
    resumed = Tempered()
    loop = make_loop(tmp_path / "resumed", objective=resumed)
    assert [entry["t"] for entry in run(loop)] == values
    resumed.frozen = whole.frozen  # is not the run's to save
    assert_same(whole, resumed)
    assert torch.equal(resumed.temperature, whole.temperature)


def test_what_an_objective_owns_goes_back_to_the_best_step_with_the_weights(tmp_path: Path) -> None:
    """Also where the run went on in another process after it."""

    def loop(name: str, objective: Tempered, **settings: Any) -> Loop:
        losses = iter([3.0, 1.0, 2.0, 2.0, 2.0])
        return make_loop(
            tmp_path / name, objective=objective, settings={"validation_interval": 1} | settings,
            validators=[lambda model: {"loss": next(losses)}],
        )  # fmt: skip

    short = loop("short", Tempered(), steps=2)
    run(short)
    whole = loop("whole", Tempered())
    run(whole)
    with pytest.raises(StoppedError):
        run(loop("resumed", Tempered()), stop_at=3)
    resumed = loop("resumed", Tempered())
    run(resumed)
    for found in (whole, resumed):
        assert found.owned is not None
        found.owned.frozen = short.owned.frozen  # type: ignore[union-attr]
        assert not torch.equal(found.owned.baseline, short.owned.baseline)  # type: ignore[union-attr]
        found.keep_best()
        assert found.best_step == 2
        assert_same(found.model, short.model)
        assert_same(found.owned, short.owned)  # type: ignore[arg-type]


# -- streams that sample from the model -------------------------------------------------------


class Rollouts:
    """Pairs of actions that the model takes after one prompt, each used for three updates.

    The fourth of the vocabulary's tokens is worth 1, the others nothing.
    """

    USES, SAMPLES, GOOD = 3, 16, 4

    def __init__(self) -> None:
        self.batch: Batch | None = None
        self.used = self.drawn = 0

    def next(self, context: Context | None = None) -> Batch:
        assert context is not None
        if self.batch is None or self.used == self.USES:
            self.batch, self.used = self.sample(context), 0
        self.used += 1
        return self.batch

    def sample(self, context: Context) -> Batch:
        self.drawn += 1
        random = torch.Generator().manual_seed(self.drawn)
        prompts = torch.ones(self.SAMPLES, 1, dtype=torch.long)
        with context.at_rest(), torch.no_grad():
            assert not context.model.training
            logprobs = context.model(prompts)[:, -1].log_softmax(-1)
        actions = torch.multinomial(logprobs.exp(), 1, generator=random)
        rewards = (actions[:, 0] == self.GOOD).float()
        return Batch(
            prompts, actions, sampled_logprobs=logprobs.gather(1, actions)[:, 0],
            advantages=rewards - rewards.mean(), rewards=rewards,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        batch = None if self.batch is None else self.batch.tensors
        return {"batch": batch, "used": self.used, "drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.used, self.drawn = state["used"], state["drawn"]
        self.batch = None if state["batch"] is None else Batch(**state["batch"])


def clipped_policy(model: Transformer, batch: Batch) -> Loss:
    """PPO's clipped ratio (arXiv:1707.06347)."""
    logprobs = model(batch.tokens)[:, -1].log_softmax(-1).gather(1, batch.targets)[:, 0]
    ratios = (logprobs - batch["sampled_logprobs"]).exp()
    advantages = batch["advantages"]
    gains = torch.minimum(ratios * advantages, ratios.clamp(0.8, 1.2) * advantages)
    metrics = {
        "reward": batch["rewards"].mean(),
        "ratio": (ratios - 1).abs().max(),
        "clipped": (ratios.detach() - 1).abs().gt(0.2).float().mean(),
    }
    return Loss(-gains.sum(), len(gains), metrics)


def test_a_stream_samples_from_the_model_in_training(tmp_path: Path) -> None:
    """It learns what is rewarded; after each update but a fresh rollout's the policy has moved."""
    model = small_model()
    loop = make_loop(
        tmp_path, model=model, objective=clipped_policy, stream=Rollouts(), settings={"steps": 90}
    )
    entries = run(loop)
    assert loop.model is model
    assert model.training
    fresh = [entry["ratio"] < 1e-5 for entry in entries]
    assert fresh == [step % 3 == 0 for step in range(90)]
    rewards = [entry["reward"] for entry in entries]
    assert sum(rewards[-9:]) / 9 > 0.9 > 0.5 > sum(rewards[:9]) / 9


@pytest.mark.parametrize("stop_at", [4, 5, 6])
def test_a_rollout_is_taken_up_where_it_was_in_use(stop_at: int, tmp_path: Path) -> None:
    def loop(name: str) -> Loop:
        return make_loop(
            tmp_path / name, objective=clipped_policy, stream=Rollouts(), settings={"steps": 9}
        )

    whole, first, second = loop("whole"), loop("resumed"), loop("resumed")
    entries = run(whole)
    with pytest.raises(StoppedError):
        run(first, stop_at=stop_at)
    again = run(second)
    assert [entry["loss"] for entry in again] == [entry["loss"] for entry in entries]
    assert_same(whole.model, second.model)


def test_tensors_in_a_state_are_written_apart() -> None:
    tensors: dict[str, Tensor] = {"model.weight": torch.zeros(2)}
    state = {"a": [1, {"b": torch.arange(3)}], "c": torch.ones(1), "d": None, "e": ("x", 2.5)}
    plain = json.loads(json.dumps(take_tensors(state, tensors, "stream")))
    assert len(tensors) == 3
    back = put_tensors(plain, tensors)
    assert torch.equal(back["a"][1]["b"], torch.arange(3))
    assert torch.equal(back["c"], torch.ones(1))
    assert (back["a"][0], back["d"], back["e"]) == (1, None, ["x", 2.5])


# -- several processes ---------------------------------------------------------------------


class Counting(nn.Module):
    """What stands for DDP: all of the forward pass must go through its call."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls, self.inside = inner, 0, False

    def forward(self, batch: Batch | None = None, **more: Any) -> Any:
        self.calls, self.inside = self.calls + (batch is not None), True
        try:
            return self.inner(batch, **more)
        finally:
            self.inside = False


class Follower(SingleProcess):
    """A world in which another process leads; what it was asked is noted."""

    def __init__(self, rank: int = 1) -> None:
        self.rank, self.size = rank, rank + 1
        self.asked: list[float] = []
        self.stops = False

    def wrap(self, step: nn.Module) -> nn.Module:
        self.wrapped = Counting(step)
        return self.wrapped

    def broadcast(self, value: float) -> float:
        self.asked.append(value)
        return value

    def any(self, value: bool) -> bool:
        return value or self.stops


@pytest.mark.parametrize("objective", [next_token, preference])
def test_the_whole_forward_pass_goes_through_the_wrapping_module(
    objective: Callable[[Transformer, Batch], Loss], tmp_path: Path
) -> None:
    world, model = Follower(rank=0), small_model()
    states = model.hidden

    def seen(*args: Any, **named: Any) -> Tensor:
        assert world.wrapped.inside
        return states(*args, **named)

    model.hidden = seen  # type: ignore[method-assign]

    class Sampling(Pairs):
        def next(self, context: Context | None = None) -> Batch:
            assert context is not None
            assert (
                context.evaluate(lambda model: model.hidden(torch.ones(1, 2).long())).shape[0] == 1
            )
            return super().next()

    held_out = HeldOutLoss([Pairs(2).next()], 100.0, "cpu")
    loop = make_loop(
        tmp_path, model=model, objective=objective, stream=Sampling(), world=world, micro_units=1,
        validators=[held_out, GeneralLoss(held_out)], validate_first=True,
        sampler=lambda model: str(model.hidden(torch.ones(1, 2).long()).shape),
        settings={"sample_interval": 2, "validation_interval": 2},
    )  # fmt: skip
    model.hidden = states  # type: ignore[method-assign]
    counts = torch.rand(VOCABULARY, VOCABULARY)
    assert fit_bigrams(model, counts, dtype=torch.float32) > 0, "before the model is distributed"
    model.hidden = seen  # type: ignore[method-assign]
    run(loop)
    assert world.wrapped.calls == 5 * 4
    assert {"sample", "validation_loss"} <= {name for entry in lines(tmp_path) for name in entry}


def test_only_rank_0_writes_and_all_stop_together(tmp_path: Path) -> None:
    world = Follower()
    loop = make_loop(
        tmp_path, world=world, validators=[lambda model: {"loss": 1.0}],
        settings={"save_seconds": 0.0, "validation_interval": 2}, sampler=lambda model: "text",
    )  # fmt: skip
    loop.run(Interrupt())
    assert (loop.pace.step, loop.best) == (5, {"loss": 1.0})
    assert not list(tmp_path.iterdir())
    assert world.asked, "the clock and the figures are the leader's"
    world.stops = True
    with pytest.raises(StoppedError, match="step 1"):
        make_loop(tmp_path, world=world).run(Interrupt())
    assert not list(tmp_path.iterdir())


def test_torch_distributes_the_step(tmp_path: Path) -> None:
    """DistributedDataParallel takes the module that the loop hands out, and changes nothing."""
    from torch.nn.parallel import DistributedDataParallel

    class Parallel(SingleProcess):
        def wrap(self, step: nn.Module) -> nn.Module:
            return DistributedDataParallel(step)

    plain, objective = make_loop(tmp_path / "plain", objective=Tempered()), Tempered()
    entries = run(plain)
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        wrapped = make_loop(tmp_path / "ddp", objective=objective, world=Parallel())
        assert [e["loss"] for e in run(wrapped)] == [e["loss"] for e in entries]
    finally:
        distributed.destroy_process_group()
    assert_same(plain.model, wrapped.model)


class Uneven(Pairs):
    """Of every third batch only the last pair counts, so that one rank has nothing to learn."""

    def next(self, context: object = None) -> Batch:
        batch = super().next()
        if self.drawn % 3 == 0:
            assert batch.loss_mask is not None
            batch.loss_mask[:-2] = False
        return batch


class Temperature(nn.Module):
    """The next token at a temperature that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, model: Transformer, batch: Batch) -> Loss:
        logits = model(batch.tokens) / self.temperature
        losses = F.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")
        return Loss(losses.sum(), losses.numel(), {"t": self.temperature})


def scenarios(world: World, directory: Path) -> dict[str, Any]:
    """Runs that must come out alike however many ranks make them."""
    held_out = HeldOutLoss([Pairs(2).next()], 100.0, "cpu")
    directory.mkdir(exist_ok=True)

    def loop(name: str, **changes: Any) -> Loop:
        usual: dict[str, Any] = {"world": world, "stream": Uneven(5), "micro_units": 1}
        return make_loop(directory / name, **(usual | changes))

    def outcome(found: Loop) -> dict[str, Any]:
        weights = [value.detach().clone() for value in found.model.parameters()]
        return {"weights": weights, "step": found.pace.step, "best": found.best_step}

    settings = {"validation_interval": 2, "save_seconds": 0.0}
    found: dict[str, Any] = {}
    tokens = loop("tokens", validators=[held_out], settings=settings, sampler=lambda model: "text")
    run(tokens)
    found["tokens"] = outcome(tokens)
    tokens.keep_best()
    found["kept"] = outcome(tokens)
    pairs = loop("pairs", objective=preference, stream=Pairs(5))
    run(pairs)
    found["pairs"] = outcome(pairs)
    owning = Temperature()
    owned = loop("owned", objective=owning)
    run(owned)
    found["owned"] = {**outcome(owned), "temperature": owning.temperature.detach().clone()}
    # Ctrl-C comes to the last rank alone, in step 3; then all go on from there.
    is_last = world.rank == world.size - 1
    with pytest.raises(StoppedError, match="step 3 of 5"):
        run(loop("stopped"), stop_at=3 if is_last else 0)
    again = loop("stopped")
    run(again)
    found["stopped"] = outcome(again)
    # The last rank's clock says that the time is up; rank 0's decides.
    late = {"started": -1e9} if is_last and world.rank else {"started": time.monotonic()}
    timed = loop("timed", settings={"seconds": 1e6}, **late)
    run(timed)
    found["timed"] = outcome(timed)
    return found


def follow(directory: Path) -> None:
    """The other rank, in a process of its own."""
    torch.set_num_threads(1)
    join(directory, 1)
    torch.save(scenarios(ProcessGroup(), directory / "two"), directory / "rank1.pt")
    distributed.destroy_process_group()


def join(directory: Path, rank: int) -> None:
    store = distributed.FileStore(str(directory / "store"), 2)
    limit = timedelta(seconds=120)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=limit)


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path: Path) -> None:
    """Losses, gradients, metrics and weights of the same batches; every decision taken together."""
    alone = scenarios(SingleProcess(), tmp_path / "one")
    other = multiprocessing.get_context("spawn").Process(target=follow, args=(tmp_path,))
    other.start()
    try:
        join(tmp_path, 0)
        together = scenarios(ProcessGroup(), tmp_path / "two")
        distributed.destroy_process_group()
        other.join(120)
    finally:
        other.kill()
    assert other.exitcode == 0
    for name, expected in alone.items():
        for found in (together[name], torch.load(tmp_path / "rank1.pt")[name]):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, msg=name)
    for name in alone.keys() - {"kept"}:
        ours, theirs = (lines(tmp_path / place / name) for place in ("one", "two"))
        assert [each["step"] for each in theirs] == [each["step"] for each in ours]
        for one, two in zip(ours, theirs, strict=True):
            assert one.keys() == two.keys()
            for figure in one.keys() & {"loss", "grad_norm", "tokens", "accuracy", "won_margin"}:
                assert two[figure] == pytest.approx(one[figure], abs=3e-5), (name, figure)
    with pytest.raises(ValueError, match=r"needs as many units. Got 1"):
        Batch(torch.zeros(1, 2)).part(0, of=2)


# -- declarations ------------------------------------------------------------------------------


def test_an_optimizer_and_an_objective_are_a_line_each(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("toys")
    seen: list[Sequence[Tensor]] = []

    def signs(
        matrices: list[Tensor], *, weight_decay: float, dtype: torch.dtype
    ) -> torch.optim.Optimizer:
        seen.append(matrices)
        return torch.optim.Rprop(matrices)

    def smoothed(model: Transformer, batch: Batch) -> Loss:
        logits = model(batch.tokens).flatten(0, 1)
        targets = batch.targets.flatten()
        loss = F.cross_entropy(logits, targets, label_smoothing=0.1, reduction="sum")
        return Loss(loss, len(targets), {"plain": next_token(model, batch).mean})

    module.signs, module.smoothed = signs, smoothed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "toys", module)
    monkeypatch.setitem(OPTIMIZERS, "signs", OptimizerKind("toys", "signs", lr=0.5))
    monkeypatch.setitem(OBJECTIVES, "smoothed", ObjectiveKind("toys", "smoothed"))
    changes = {"steps": 3, "family": "apertus", "optimizer": "signs", "objective": "smoothed"}
    config = TrainConfig(**(SMALL | changes))
    assert config.resolved_matrix_lr == 0.5
    assert config.recipe()["objective"] == "smoothed"
    found = train(shards, tmp_path / "model", config)
    assert len(seen[0]) == 2 * 6
    entries = [entry for entry in lines(found.path) if "loss" in entry]
    assert all(0 < entry["plain"] != entry["loss"] for entry in entries)  # type: ignore[operator]
    for wrong in ({"optimizer": "sign"}, {"objective": "smooth"}):
        with pytest.raises(ConfigError, match="must be one of"):
            TrainConfig(steps=1, **wrong)
    with pytest.raises(ConfigError, match=r"is not for causal models; use next_token"):
        train(shards, tmp_path / "none", TrainConfig(**SMALL, objective="masked_token"))


def test_an_objective_with_parameters_trains_with_a_model_from_scratch(
    shards: Path, tmp_path: Path
) -> None:
    found = train(shards, tmp_path / "model", TrainConfig(**SMALL), objective=Tempered())
    entries = [entry for entry in lines(found.path) if "loss" in entry]
    assert len({entry["t"] for entry in entries}) == 24
    assert not any("temperature" in name for name in weights(found.path))


def test_what_kinds_of_training_share_is_declared_once() -> None:
    shared = {field.name for field in fields(TrainingConfig)}
    twice = {field.name for field in fields(TrainConfig)} & {f.name for f in fields(FinetuneConfig)}
    assert twice == shared | {"context"}  # of the model, and of the examples
    for config in (TrainConfig, FinetuneConfig):
        names = [name for base in config.__mro__ for name in vars(base).get("__annotations__", {})]
        own = set(vars(config_module.TrainConfig)["__annotations__"])
        assert own.isdisjoint(shared)
        assert shared <= set(names)


@pytest.mark.parametrize(
    ("kind", "config", "recipe"),
    [
        ("model", TrainConfig(steps=10, family="apertus"), "20bdcccd1ea8"),
        (
            "model",
            TrainConfig(seconds=60, family="bert", short_rows=0.5, optimizer="adamw"),
            "18c876c52140",
        ),
        ("adapter", FinetuneConfig(), "acf01a5b7d7f"),
        (
            "model",
            FinetuneConfig(method="full", pull=0.1, replay=0.2, micro_tokens=7),
            "78efd5aa87cc",
        ),
    ],
)
def test_models_made_by_earlier_versions_stay_current(
    kind: str, config: TrainingConfig, recipe: str
) -> None:
    """Hashes that these settings had when they were declared twice."""
    role = "shards" if isinstance(config, TrainConfig) else "base"
    found = artifact.Recipe(kind, 1, config.recipe(), {role: "x"}).hash
    assert found.startswith(recipe)
